# Every validation of site_set: a plan without what is wrong goes through.

run "good" {
  command = plan
}

run "good_two" {
  command = plan
  variables {
    hosts    = var.two
    keys     = { folder = "./tests/keys" }
    site     = merge(var.site, { admin_address = "10.8.0.20" })
    site_set = merge(var.site_set, { dns = merge(var.site_set.dns, { address = "10.8.0.53" }) })
  }
}

run "salt" {
  command = plan
  variables {
    site_set = merge(var.site_set, { plan = merge(var.site_set.plan, { salt = "short" }) })
  }
  expect_failures = [var.site_set]
}

run "host_names" {
  command = plan
  variables {
    site_set = merge(var.site_set, { service = merge(var.site_set.service, { slb_host = "code.example.test" }) })
  }
  expect_failures = [var.site_set]
}

run "host_name_form" {
  command = plan
  variables {
    site_set = merge(var.site_set, { service = merge(var.site_set.service, { host = "Code.example.test." }) })
  }
  expect_failures = [var.site_set]
}

run "service_port" {
  command = plan
  variables {
    site_set = merge(var.site_set, { service = merge(var.site_set.service, { port = 0 }) })
  }
  expect_failures = [var.site_set]
}

run "zones" {
  command = plan
  variables {
    site_set = merge(var.site_set, { dns = merge(var.site_set.dns, { zones = {} }) })
  }
  expect_failures = [var.site_set]
}

run "zone_without_soa" {
  command = plan
  variables {
    site_set = merge(var.site_set, { dns = merge(var.site_set.dns, { zones = { "example.test" = "www A 192.0.2.1" } }) })
  }
  expect_failures = [var.site_set]
}

run "slb_addresses" {
  command = plan
  variables {
    site_set = merge(var.site_set, { cloud = merge(var.site_set.cloud, { slb_addresses = ["cloud.example.test"] }) })
  }
  expect_failures = [var.site_set]
}

run "agent_nowhere" {
  command = plan
  variables {
    hosts = { a = merge(var.hosts.a, { roles = ["dns", "balancer", "gateway", "service"] }) }
    keys  = { public = "Zm9yIHRlc3RzIG9mIHRoZSBtb2R1bGUgb25seSwgIyE=" }
  }
  expect_failures = [var.site_set]
}

run "dns_of_several_hosts" {
  command = plan
  variables {
    hosts = var.two
    keys  = { folder = "./tests/keys" }
    site  = merge(var.site, { admin_address = "10.8.0.20" })
  }
  expect_failures = [var.site_set]
}

run "password_in_a_url" {
  command = plan
  variables {
    site_set = merge(var.site_set, { store = merge(var.site_set.store, { shards = ["postgres://u:${var.site_set.service.host}@10.8.0.5/d"] }) })
  }
  expect_failures = [var.site_set]
}

run "file_for_two_services" {
  command = plan
  variables {
    hosts    = merge(var.two, { b = merge(var.two.b, { roles = ["dns", "service", "balancer", "gateway"] }) })
    keys     = { folder = "./tests/keys" }
    site     = merge(var.site, { admin_address = "10.8.0.20" })
    site_set = merge(var.site_set, { dns = merge(var.site_set.dns, { address = "10.8.0.53" }) })
  }
  expect_failures = [var.site_set]
}

run "route_path" {
  command = plan
  variables {
    site_set = merge(var.site_set, { routes = { qr = merge(var.site_set.routes.qr, { path = "v1" }) } })
  }
  expect_failures = [var.site_set]
}

run "no_routes" {
  command = plan
  variables {
    site_set = merge(var.site_set, { routes = {} })
  }
  expect_failures = [var.site_set]
}

run "route_spill" {
  command = plan
  variables {
    site_set = merge(var.site_set, { routes = { qr = merge(var.site_set.routes.qr, { spill = ["teleport"] }) } })
  }
  expect_failures = [var.site_set]
}

run "holidays_that_are_no_dates" {
  command = plan
  variables {
    site_set = merge(var.site_set, { agent = { holidays = ["2026-12-25", "2026-02-30"] } })
  }
  expect_failures = [var.site_set]
}

run "forecast" {
  command = plan
  variables {
    site_set = merge(var.site_set, { agent = { forecast_quantile = 0.9, holidays = ["2026-12-25"], utc_offset = "+01:00" } })
  }
  assert {
    condition     = strcontains(local.config_toml, "forecast_quantile = 0.9\nholidays = [\"2026-12-25\"]\n") && strcontains(local.config_toml, "utc_offset = \"+01:00\"\n")
    error_message = "the forecast's settings are rendered"
  }
}

run "knob_tier" {
  command = plan
  variables {
    site_set = merge(var.site_set, { knobs = { k = { tier = 0, owner = "o", users_see = "u", releases = 0.1, sheds = [] } } })
  }
  expect_failures = [var.site_set]
}

run "knob_releases" {
  command = plan
  variables {
    site_set = merge(var.site_set, { knobs = { k = { tier = 1, owner = "o", users_see = "u", releases = 1.1, sheds = [] } } })
  }
  expect_failures = [var.site_set]
}

run "knob_sheds" {
  command = plan
  variables {
    site_set = merge(var.site_set, { knobs = { k = { tier = 1, owner = "o", users_see = "u", releases = 0.1, sheds = ["none"] } } })
  }
  expect_failures = [var.site_set]
}

run "aws_without_its_host" {
  command = plan
  variables {
    site_set = merge(var.site_set, { cloud = merge(var.site_set.cloud, { aws = { region = "eu-central-1", name = "east" } }) })
  }
  expect_failures = [var.site_set]
}

run "aws_host_without_aws" {
  command = plan
  variables {
    hosts = { a = merge(var.hosts.a, { roles = ["agent", "aws", "dns", "balancer", "gateway", "service"] }) }
  }
  expect_failures = [var.site_set]
}

run "aws_function" {
  command = plan
  variables {
    site_set = merge(var.site_set, { cloud = merge(var.site_set.cloud, { aws = {
    region = "eu-central-1", name = "east", admin_address = "10.8.0.11", functions = { other = { name = "east-other" } } } }) })
  }
  expect_failures = [var.site_set]
}

run "aws_function_that_serves_nobody" {
  command = plan
  variables {
    site_set = merge(var.site_set, { cloud = merge(var.site_set.cloud, { aws = {
    region = "eu-central-1", name = "east", admin_address = "10.8.0.11", functions = { one-code = { name = "east-alarm", program = "alarm" } } } }) })
  }
  expect_failures = [var.site_set]
}

run "mirror_with_a_password" {
  command = plan
  variables {
    site_set = merge(var.site_set, { plan = merge(var.site_set.plan, { mirrors = ["rediss://spillway:secret@cache:6379"] }) })
  }
  expect_failures = [var.site_set]
}

run "mode_and_budget" {
  command = plan
  variables {
    site_set = merge(var.site_set, {
      agent = { mode = "recommend" }
      cloud = merge(var.site_set.cloud, { backhaul_bytes = 900, budget = { usd_per_hour = 2.5 } })
    })
  }
  assert {
    condition     = alltrue([for line in ["mode = \"recommend\"", "backhaul_bytes = 900", "[cloud.budget]", "usd_per_hour = 2.5"] : strcontains(output.config, line)])
    error_message = "The configuration lacks what was written."
  }
}

run "mode" {
  command = plan
  variables {
    site_set = merge(var.site_set, { agent = { mode = "watch" } })
  }
  expect_failures = [var.site_set]
}

run "budget" {
  command = plan
  variables {
    site_set = merge(var.site_set, { cloud = merge(var.site_set.cloud, { budget = { usd_per_hour = 0 } }) })
  }
  expect_failures = [var.site_set]
}
