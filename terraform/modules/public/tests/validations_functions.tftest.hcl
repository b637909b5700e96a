# Every validation refuses what it is there for.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  name          = "east"
  load_balancer = { certificate_arn = "arn:aws:acm:eu-central-1:123456789012:certificate/1" }
  functions     = { one-code = { groups = ["codes"], path_patterns = ["/*"] } }
}

run "no_function" {
  command = plan

  variables {
    functions = {}
  }

  expect_failures = [var.functions]
}

run "function_name" {
  command = plan

  variables {
    functions = { One_Code = { groups = ["codes"], path_patterns = ["/*"] } }
  }

  expect_failures = [var.functions]
}

run "function_name_too_long" {
  command = plan

  variables {
    functions = { a-function-with-a-long-name-indeed = { groups = ["codes"], path_patterns = ["/*"] } }
  }

  expect_failures = [var.functions]
}

run "function_name_of_the_module" {
  command = plan

  variables {
    functions = { gw8080 = { groups = ["codes"], path_patterns = ["/*"] } }
  }

  expect_failures = [var.functions]
}

run "function_groups" {
  command = plan

  variables {
    functions = { a = { groups = ["codes"], path_patterns = ["/a"] }, b = { groups = ["codes"], path_patterns = ["/b"] } }
  }

  expect_failures = [var.functions]
}

run "function_without_groups" {
  command = plan

  variables {
    functions = { one-code = { groups = [], path_patterns = ["/*"] } }
  }

  expect_failures = [var.functions]
}

run "function_patterns" {
  command = plan

  variables {
    functions = { one-code = { groups = ["codes"], path_patterns = ["v1/users"] } }
  }

  expect_failures = [var.functions]
}

run "function_with_too_many_patterns" {
  command = plan

  variables {
    functions = { one-code = { groups = ["codes"], path_patterns = ["/a", "/b", "/c", "/d", "/e", "/f"] } }
  }

  expect_failures = [var.functions]
}

run "function_memory" {
  command = plan

  variables {
    functions = { one-code = { groups = ["codes"], path_patterns = ["/*"], memory_mb = 64 } }
  }

  expect_failures = [var.functions]
}

run "function_timeout" {
  command = plan

  variables {
    functions = { one-code = { groups = ["codes"], path_patterns = ["/*"], timeout_secs = 901 } }
  }

  expect_failures = [var.functions]
}

run "function_concurrency" {
  command = plan

  variables {
    functions = { one-code = { groups = ["codes"], path_patterns = ["/*"], reserved_concurrency = 0 } }
  }

  expect_failures = [var.functions]
}

run "function_architecture" {
  command = plan

  variables {
    functions = { one-code = { groups = ["codes"], path_patterns = ["/*"], architecture = "arm" } }
  }

  expect_failures = [var.functions]
}

run "function_env" {
  command = plan

  variables {
    functions = { one-code = { groups = ["codes"], path_patterns = ["/*"], env = { AWS_REGION = "x" } } }
  }

  expect_failures = [var.functions]
}

run "function_env_with_a_secret" {
  command = plan

  variables {
    functions = { one-code = { groups = ["codes"], path_patterns = ["/*"], env = { ONE_CODE_SECRET = "x" } } }
  }

  expect_failures = [var.functions]
}

run "function_priority" {
  command = plan

  variables {
    functions = { one-code = { groups = ["codes"], path_patterns = ["/*"], priority = 0 } }
  }

  expect_failures = [var.functions]
}

run "function_program" {
  command = plan

  variables {
    functions = { one-code = { program = "two-code", groups = ["codes"], path_patterns = ["/*"] } }
  }

  expect_failures = [var.functions]
}

run "alarm_with_groups" {
  command = plan

  variables {
    network   = { on_premises = { cidr_blocks = ["10.8.0.0/16"], agents = ["10.8.0.11:9100"] } }
    functions = { alarm = { program = "alarm", groups = ["codes"] } }
  }

  expect_failures = [var.functions]
}

run "alarm_with_patterns" {
  command = plan

  variables {
    network   = { on_premises = { cidr_blocks = ["10.8.0.0/16"], agents = ["10.8.0.11:9100"] } }
    functions = { alarm = { program = "alarm", path_patterns = ["/alarms"] } }
  }

  expect_failures = [var.functions]
}

run "alarm_without_agents" {
  command = plan

  variables {
    functions = { alarm = { program = "alarm" } }
  }

  expect_failures = [var.functions]
}

run "function_without_patterns" {
  command = plan

  variables {
    functions = { one-code = { groups = ["codes"] } }
  }

  expect_failures = [var.functions]
}

run "secrets_of_the_operator" {
  command = plan

  variables {
    secrets = { service = "ONE_CODE_SECRET", operator = "TOKEN" }
  }

  expect_failures = [var.secrets]
}

run "secrets_without_the_service" {
  command = plan

  variables {
    secrets = { database = "PGPASSWORD" }
  }

  expect_failures = [var.secrets]
}

run "secrets_of_one_variable" {
  command = plan

  variables {
    secrets = { service = "KEY", database = "KEY" }
  }

  expect_failures = [var.secrets]
}

run "logs" {
  command = plan

  variables {
    logs = { retention_days = 8 }
  }

  expect_failures = [var.logs]
}

run "storage_versions" {
  command = plan

  variables {
    storage = { artifact_versions_kept = 0 }
  }

  expect_failures = [var.storage]
}

run "storage_log_days" {
  command = plan

  variables {
    storage = { log_days = 30 }
  }

  expect_failures = [var.storage]
}

run "two_functions_of_one_priority" {
  command = plan

  variables {
    functions = {
      a = { groups = ["a"], path_patterns = ["/a"], priority = 5 }
      b = { groups = ["b"], path_patterns = ["/b"], priority = 5 }
    }
  }

  expect_failures = [aws_lb_listener_rule.function]
}

run "patterns_beside_gateways" {
  command = plan

  variables {
    functions = { a = { groups = ["a"], path_patterns = ["/a", "/b", "/c", "/d", "/e"] } }
    gateways  = { instance_types = ["c7g.large"], max = 2, packages = ["packages/a.deb"] }
  }

  expect_failures = [aws_lb_listener_rule.function_alone]
}
