# Every validation refuses what it is there for.

mock_provider "aws" {
  source = "../public/tests/mocks"
}

run "name" {
  command = plan

  variables {
    name = "Shop--East"
  }

  expect_failures = [var.name]
}

run "certificate_in_two_places" {
  command = plan

  variables {
    public = merge(var.public, { load_balancer = { certificate_arn = "arn:aws:acm:eu-central-1:123456789012:certificate/2" } })
  }

  expect_failures = [var.public]
}

run "blocks_in_two_places" {
  command = plan

  variables {
    public = merge(var.public, { network = { on_premises = { cidr_blocks = ["10.9.0.0/16"] } } })
  }

  expect_failures = [var.public]
}

run "agents_in_two_places" {
  command = plan

  variables {
    public = merge(var.public, { network = { on_premises = { agents = ["10.9.0.1:9100"] } } })
  }

  expect_failures = [var.public]
}

run "function_of_the_service_called_alarm" {
  command = plan

  variables {
    public = merge(var.public, { functions = merge(var.public.functions, { alarm = { program = "one-code", groups = ["alarms"], path_patterns = ["/alarms"] } }) })
  }

  expect_failures = [var.public]
}

run "edge_that_is_no_host" {
  command = plan

  variables {
    link = merge(var.link, { hosts = ["edge"] })
  }

  expect_failures = [var.link]
}

run "endpoint_that_nobody_answers" {
  command = plan

  variables {
    alarms   = { agent_endpoint = "https://agent.example.test:9443/v1/alarms" }
    site_set = merge(var.site_set, { cloud = { aws = { gateways = { weighted_qps = 1500 } } } })
  }

  expect_failures = [var.alarms]
}

run "no_agent" {
  command = plan

  variables {
    private = merge(var.private, { hosts = { for name, host in var.private.hosts : name => merge(host, { roles = [for role in host.roles : role if role != "agent"] }) } })
  }

  expect_failures = [var.private]
}

run "names_that_come_from_what_was_made" {
  command = plan

  variables {
    site_set = merge(var.site_set, { cloud = { aws = { name = "shop-east", gateways = { weighted_qps = 1500 } } } })
  }

  expect_failures = [var.site_set]
}

run "mirrors_that_come_from_what_was_made" {
  command = plan

  variables {
    site_set = merge(var.site_set, { plan = merge(var.site_set.plan, { mirrors = ["rediss://other:6379"] }) })
  }

  expect_failures = [var.site_set]
}

run "functions_that_come_from_what_was_made" {
  command = plan

  variables {
    site_set = merge(var.site_set, { cloud = merge(var.site_set.cloud, { functions = { one-code = { groups = ["codes"] } } }) })
  }

  expect_failures = [var.site_set]
}

run "no_addresses_to_answer" {
  command = plan

  variables {
    public = merge(var.public, { load_balancer = { fixed_addresses = false } })
  }

  expect_failures = [var.site_set]
}

run "gateways_of_unknown_strength" {
  command = plan

  variables {
    site_set = merge(var.site_set, { cloud = { aws = {} } })
  }

  expect_failures = [var.site_set]
}

run "group_without_a_function" {
  command = plan

  variables {
    site_set = merge(var.site_set, { routes = merge(var.site_set.routes, { scan = { path = "/v1/scans", group = "scans" } }) })
  }

  expect_failures = [var.site_set]
}

run "public_without_functions" {
  command = plan

  variables {
    public = { gateways = {} }
  }

  expect_failures = [var.public]
}

run "link_without_a_line" {
  command = plan

  variables {
    link = { hosts = [] }
  }

  expect_failures = [var.link]
}

run "private_without_a_site" {
  command = plan

  variables {
    private = { for key, value in var.private : key => value if key != "site" }
  }

  expect_failures = [var.private]
}
