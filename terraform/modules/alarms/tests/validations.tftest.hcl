# Every mistake that the variables know, made once.

mock_provider "aws" {
  mock_data "aws_region" {
    defaults = { name = "eu-west-1" }
  }
}

variables {
  name  = "shop"
  sites = ["east"]
}

run "name" {
  command = plan
  variables {
    name = "1shop"
  }
  expect_failures = [var.name]
}

run "site_id" {
  command = plan
  variables {
    sites = ["East Side"]
  }
  expect_failures = [var.sites]
}

run "site_twice" {
  command = plan
  variables {
    sites = ["east", "east"]
  }
  expect_failures = [var.sites]
}

run "link_of_no_site" {
  command = plan
  variables {
    links = { north = { vpn = { connection_id = "vpn-1" } } }
  }
  expect_failures = [var.links]
}

run "unknown_kind" {
  command = plan
  variables {
    alarms = { sluggish = { tier = 1 } }
  }
  expect_failures = [var.alarms]
}

run "tier" {
  command = plan
  variables {
    alarms = { slow = { tier = 4 } }
  }
  expect_failures = [var.alarms]
}

run "lease" {
  command = plan
  variables {
    alarms = { slow = { lease = "ten minutes" } }
  }
  expect_failures = [var.alarms]
}

run "more_breaching_than_periods" {
  command = plan
  variables {
    alarms = { slow = { periods = 2, breaching = 3 } }
  }
  expect_failures = [var.alarms]
}

run "concurrency_limit" {
  command = plan
  variables {
    concurrency_limit = 0
  }
  expect_failures = [var.concurrency_limit]
}

run "spend_limit" {
  command = plan
  variables {
    spend = { limit_usd = 0 }
  }
  expect_failures = [var.spend]
}

run "spend_elsewhere" {
  command = plan
  variables {
    spend = { limit_usd = 500 }
  }
  expect_failures = [aws_cloudwatch_metric_alarm.spend]
}

run "endpoint_without_tls" {
  command = plan
  variables {
    subscribers = { agent_endpoint = "http://agent.example.test/v1/alarms" }
  }
  expect_failures = [var.subscribers]
}

run "endpoint_with_password" {
  command = plan
  variables {
    subscribers = { agent_endpoint = "https://me:secret@agent.example.test/v1/alarms" }
  }
  expect_failures = [var.subscribers]
}

run "email" {
  command = plan
  variables {
    subscribers = { emails = ["duty"] }
  }
  expect_failures = [var.subscribers]
}
