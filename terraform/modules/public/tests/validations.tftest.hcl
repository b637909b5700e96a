# Every validation refuses what it is there for.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  name          = "east"
  load_balancer = { certificate_arn = "arn:aws:acm:eu-central-1:123456789012:certificate/1" }
  functions     = { one-code = { groups = ["codes"], path_patterns = ["/*"] } }
}

run "name" {
  command = plan

  variables {
    name = "East"
  }

  expect_failures = [var.name]
}

run "name_too_long" {
  command = plan

  variables {
    name = "a-name-of-far-too-many-letters"
  }

  expect_failures = [var.name]
}

run "name_with_two_hyphens" {
  command = plan

  variables {
    name = "ea--st"
  }

  expect_failures = [var.name]
}

run "tags" {
  command = plan

  variables {
    tags = { "spillway:agent" = "false" }
  }

  expect_failures = [var.tags]
}

run "network_block" {
  command = plan

  variables {
    network = { cidr_block = "10.0.0.0/24" }
  }

  expect_failures = [var.network]
}

run "network_block_of_ipv6" {
  command = plan

  variables {
    network = { cidr_block = "2001:db8::/32" }
  }

  expect_failures = [var.network]
}

run "network_zones" {
  command = plan

  variables {
    network = { zones = ["eu-central-1a", "eu-central-1a"] }
  }

  expect_failures = [var.network]
}

run "network_nat" {
  command = plan

  variables {
    network = { nat = "yes" }
  }

  expect_failures = [var.network]
}

run "network_endpoints" {
  command = plan

  variables {
    network = { interface_endpoints = ["s3"] }
  }

  expect_failures = [var.network]
}

run "network_on_premises" {
  command = plan

  variables {
    network = { on_premises = { cidr_blocks = ["0.0.0.0/0"] } }
  }

  expect_failures = [var.network]
}

run "network_on_premises_ports" {
  command = plan

  variables {
    network = { on_premises = { cidr_blocks = ["10.8.0.0/16"], ports = [0] } }
  }

  expect_failures = [var.network]
}

run "network_on_premises_agents" {
  command = plan

  variables {
    network = { on_premises = { cidr_blocks = ["10.8.0.0/16"], agents = ["http://10.8.0.11:9100"] } }
  }

  expect_failures = [var.network]
}

run "network_on_premises_agents_without_port" {
  command = plan

  variables {
    network = { on_premises = { cidr_blocks = ["10.8.0.0/16"], agents = ["10.8.0.11"] } }
  }

  expect_failures = [var.network]
}

run "certificate" {
  command = plan

  variables {
    load_balancer = { certificate_arn = "code.example.test" }
  }

  expect_failures = [var.load_balancer]
}

run "ssl_policy" {
  command = plan

  variables {
    load_balancer = { certificate_arn = "arn:aws:acm:eu-central-1:123456789012:certificate/1", ssl_policy = "ELBSecurityPolicy-2016-08" }
  }

  expect_failures = [var.load_balancer]
}

run "client_blocks" {
  command = plan

  variables {
    load_balancer = { certificate_arn = "arn:aws:acm:eu-central-1:123456789012:certificate/1", client_ipv6_cidr_blocks = ["0.0.0.0/0"] }
  }

  expect_failures = [var.load_balancer]
}

run "idle_timeout" {
  command = plan

  variables {
    load_balancer = { certificate_arn = "arn:aws:acm:eu-central-1:123456789012:certificate/1", idle_timeout_secs = 0 }
  }

  expect_failures = [var.load_balancer]
}

run "waf" {
  command = plan

  variables {
    load_balancer = { certificate_arn = "arn:aws:acm:eu-central-1:123456789012:certificate/1", waf = { requests_per_5_min = 1 } }
  }

  expect_failures = [var.load_balancer]
}
