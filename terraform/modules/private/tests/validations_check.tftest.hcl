# What `spillway check` would refuse on each host is refused by the plan already.

run "group_without_a_function" {
  command = plan

  variables {
    site_set = merge(var.site_set, { routes = { qr = { path = "/v1/qr", group = "codes" }, scan = { path = "/v1/scans", group = "scans" } } })
  }

  expect_failures = [var.site_set]
}

run "group_that_stays_at_home" {
  command = plan

  variables {
    site_set = merge(var.site_set, { routes = { qr = { path = "/v1/qr", group = "codes" }, scan = { path = "/v1/scans", group = "scans", spill = [] } } })
  }

  assert {
    condition     = strcontains(output.config, "spill = []")
    error_message = "what stays at home needs no function"
  }
}

run "group_without_a_service" {
  command = plan

  variables {
    hosts = { a = merge(var.hosts.a, { groups = ["scans"] }) }
  }

  expect_failures = [var.site_set]
}

run "host_in_no_zone" {
  command = plan

  variables {
    site_set = merge(var.site_set, { service = { host = "code.example.org", slb_host = "cloud.example.org", port = 443 } })
  }

  expect_failures = [var.site_set]
}

run "cloud_at_home" {
  command = plan

  variables {
    site_set = merge(var.site_set, { cloud = merge(var.site_set.cloud, { slb_addresses = ["192.0.2.10"] }) })
  }

  expect_failures = [var.site]
}

run "vip_of_nobody" {
  command = plan

  variables {
    site = merge(var.site, { vips = ["0.0.0.0"] })
  }

  expect_failures = [var.site]
}

run "site_called_as_a_part" {
  command = plan

  variables {
    site = merge(var.site, { id = "aws" })
  }

  expect_failures = [var.site]
}

run "queue_too_short" {
  command = plan

  variables {
    site = merge(var.site, { uplink = { bits_per_sec = 1000000000, queue_bytes = 1500 } })
  }

  expect_failures = [var.site]
}

run "shard_of_no_kind" {
  command = plan

  variables {
    site_set = merge(var.site_set, { store = { shards = ["mysql://db.example.test/spillway"] } })
  }

  expect_failures = [var.site_set]
}

run "shard_without_a_database" {
  command = plan

  variables {
    site_set = merge(var.site_set, { store = { shards = ["postgres://spillway@db.example.test"] } })
  }

  expect_failures = [var.site_set]
}

run "shard_twice" {
  command = plan

  variables {
    site_set = merge(var.site_set, { store = { shards = ["sqlite:one.db", "sqlite:one.db"] } })
  }

  expect_failures = [var.site_set]
}

run "a_replica_for_each_shard" {
  command = plan

  variables {
    site_set = merge(var.site_set, { store = { shards = ["postgres://u@a/d", "postgres://u@b/d"], replicas = ["postgres://u@c/d"] } })
  }

  expect_failures = [var.site_set]
}

run "a_replica_of_a_file" {
  command = plan

  variables {
    site_set = merge(var.site_set, { store = { shards = ["sqlite:one.db"], replicas = ["postgres://u@c/d"] } })
  }

  expect_failures = [var.site_set]
}

run "a_replica_that_is_its_shard" {
  command = plan

  variables {
    site_set = merge(var.site_set, { store = { shards = ["postgres://u@a/d"], replicas = ["postgres://u@a/d"] } })
  }

  expect_failures = [var.site_set]
}

run "shard_behind_a_socket" {
  command = plan

  variables {
    site_set = merge(var.site_set, { store = { shards = ["postgres:///spillway?host=/var/run/postgresql", "postgresql://u@[2001:db8::1]:5432/spillway?sslmode=require", "sqlite://one.db"], replicas = ["postgres://u@c/spillway", "", ""], cache = "rediss://cache.example.test:6379/2" } })
  }

  assert {
    condition     = strcontains(output.config, "/var/run/postgresql") && strcontains(output.config, "rediss://cache.example.test:6379/2")
    error_message = "what the program takes must be taken"
  }
}

run "cache_of_no_kind" {
  command = plan

  variables {
    site_set = merge(var.site_set, { store = { shards = ["sqlite:one.db"], cache = "memcached://10.8.0.41:11211" } })
  }

  expect_failures = [var.site_set]
}

run "path_with_a_query" {
  command = plan

  variables {
    site_set = merge(var.site_set, { routes = { qr = { path = "/v1/qr", group = "codes" }, other = { path = "/v1/qr?size=1", group = "codes" } } })
  }

  expect_failures = [var.site_set]
}

run "path_with_a_space" {
  command = plan

  variables {
    site_set = merge(var.site_set, { routes = { qr = { path = "/v1/qr", group = "codes" }, other = { path = "/v1/a qr", group = "codes" } } })
  }

  expect_failures = [var.site_set]
}

run "path_with_two_parameters_in_one_step" {
  command = plan

  variables {
    site_set = merge(var.site_set, { routes = { qr = { path = "/v1/qr", group = "codes" }, other = { path = "/v1/{a}{b}", group = "codes" } } })
  }

  expect_failures = [var.site_set]
}

run "path_with_an_open_brace" {
  command = plan

  variables {
    site_set = merge(var.site_set, { routes = { qr = { path = "/v1/qr", group = "codes" }, other = { path = "/v1/{user", group = "codes" } } })
  }

  expect_failures = [var.site_set]
}

run "path_with_a_rest_in_its_middle" {
  command = plan

  variables {
    site_set = merge(var.site_set, { routes = { qr = { path = "/v1/qr", group = "codes" }, other = { path = "/v1/{*rest}/qr", group = "codes" } } })
  }

  expect_failures = [var.site_set]
}

run "paths_of_every_kind" {
  command = plan

  variables {
    site_set = merge(var.site_set, { routes = { qr = { path = "/v1/qr", group = "codes" }, under = { path = "/files/v{*rest}", group = "codes" }, all = { path = "/{*rest}", group = "codes" }, root = { path = "/", group = "codes", host = "other.example.test" }, user = { path = "/v1/users/{user}", group = "codes", method = "GET" }, change = { path = "/v1/users/{user}", group = "codes", method = "PUT" }, picture = { path = "/v1/users/{user}/{size}.png", group = "codes" } } })
  }

  assert {
    condition     = length(regexall("\\[\\[route\\]\\]", output.config)) == 7
    error_message = "what the program takes must be taken"
  }
}

run "route_twice" {
  command = plan

  variables {
    site_set = merge(var.site_set, { routes = { qr = { path = "/v1/qr", group = "codes" }, other = { path = "/v1/qr", group = "codes" } } })
  }

  expect_failures = [var.site_set]
}

run "routes_told_by_a_parameter" {
  command = plan

  variables {
    site_set = merge(var.site_set, { routes = { qr = { path = "/v1/qr", group = "codes" }, a = { path = "/v1/{a}", group = "codes", method = "GET" }, b = { path = "/v1/{b}", group = "codes", method = "PUT" } } })
  }

  expect_failures = [var.site_set]
}

run "method_in_small_letters" {
  command = plan

  variables {
    site_set = merge(var.site_set, { routes = { qr = { path = "/v1/qr", group = "codes" }, other = { method = "get", path = "/v1/other", group = "codes" } } })
  }

  expect_failures = [var.site_set]
}

run "route_of_a_host_with_a_port" {
  command = plan

  variables {
    site_set = merge(var.site_set, { routes = { qr = { path = "/v1/qr", group = "codes" }, other = { host = "other.example.test:443", path = "/v1/other", group = "codes" } } })
  }

  expect_failures = [var.site_set]
}

run "name_of_a_route" {
  command = plan

  variables {
    site_set = merge(var.site_set, { routes = { qr = { path = "/v1/qr", group = "codes" }, "Other Route" = { path = "/v1/other", group = "codes" } } })
  }

  expect_failures = [var.site_set]
}

run "name_of_a_knob" {
  command = plan

  variables {
    site_set = merge(var.site_set, { knobs = { QR = { tier = 1, owner = "us", users_see = "less", releases = 0.1 } } })
  }

  expect_failures = [var.site_set]
}

run "lease_too_short" {
  command = plan

  variables {
    site_set = merge(var.site_set, { plan = merge(var.site_set.plan, { lease_secs = 1 }) })
  }

  expect_failures = [var.site_set]
}

run "tick_in_seconds" {
  command = plan

  variables {
    site_set = merge(var.site_set, { agent = { tick_ms = 1 } })
  }

  expect_failures = [var.site_set]
}

run "deadline_in_fractions" {
  command = plan

  variables {
    site_set = merge(var.site_set, { routes = { qr = { path = "/v1/qr", group = "codes" }, other = { path = "/v1/other", group = "codes", deadline_ms = 0.5 } } })
  }

  expect_failures = [var.site_set]
}

run "target_in_percent" {
  command = plan

  variables {
    site_set = merge(var.site_set, { agent = { uplink_target = 80 } })
  }

  expect_failures = [var.site_set]
}

run "weightless_route" {
  command = plan

  variables {
    site_set = merge(var.site_set, { routes = { qr = { path = "/v1/qr", group = "codes" }, other = { path = "/v1/other", group = "codes", weight = 0 } } })
  }

  expect_failures = [var.site_set]
}

run "warm_without_a_measure" {
  command = plan

  variables {
    hosts    = { a = merge(var.hosts.a, { roles = ["agent", "aws", "dns", "balancer", "gateway", "service"] }) }
    site_set = merge(var.site_set, { cloud = merge(var.site_set.cloud, { aws = { region = "eu-central-1", name = "shop", functions = { one-code = { name = "shop-one-code", warm_max = 5 } } } }) })
  }

  expect_failures = [var.site_set]
}

run "gateways_without_strength" {
  command = plan

  variables {
    hosts    = { a = merge(var.hosts.a, { roles = ["agent", "aws", "dns", "balancer", "gateway", "service"] }) }
    site_set = merge(var.site_set, { cloud = merge(var.site_set.cloud, { aws = { region = "eu-central-1", name = "shop", gateways = { autoscaling_group = "shop", target_group = "arn:aws:x", weighted_qps = 0, max = 8 } } }) })
  }

  expect_failures = [var.site_set]
}

run "capacity_below_the_least" {
  command = plan

  variables {
    hosts    = { a = merge(var.hosts.a, { roles = ["agent", "aws", "dns", "balancer", "gateway", "service"] }) }
    site_set = merge(var.site_set, { cloud = merge(var.site_set.cloud, { aws = { region = "eu-central-1", name = "shop", capacity = { load_balancer = "arn:aws:x", max_units = 50 } } }) })
  }

  expect_failures = [var.site_set]
}

run "replicas_of_no_cache" {
  command = plan

  variables {
    hosts    = { a = merge(var.hosts.a, { roles = ["agent", "aws", "dns", "balancer", "gateway", "service"] }) }
    site_set = merge(var.site_set, { cloud = merge(var.site_set.cloud, { aws = { region = "eu-central-1", name = "shop", replicas = { weighted_qps = 100, cache_max = 2 } } }) })
  }

  expect_failures = [var.site_set]
}

run "the_least_of_everything" {
  command = plan

  variables {
    hosts    = { a = merge(var.hosts.a, { roles = ["agent", "aws", "dns", "balancer", "gateway", "service"] }) }
    site_set = merge(var.site_set, { cloud = merge(var.site_set.cloud, { aws = { region = "eu-central-1", name = "shop", cache = "shop", functions = { one-code = { name = "shop-one-code" } }, capacity = { load_balancer = "arn:aws:x", max_units = 0 }, replicas = { weighted_qps = 100, cache_max = 2 } } }) })
  }

  assert {
    condition     = strcontains(output.config, "cache_max = 2")
    error_message = "what the program takes must be taken"
  }
}

run "cloud_gateway_as_another_part" {
  command = plan

  variables {
    cloud_gateways = { port = 8080, admin_port = 9311, gateway = "cloud" }
  }

  expect_failures = [var.cloud_gateways]
}

run "cloud_gateway_and_service_alike" {
  command = plan

  variables {
    cloud_gateways = { port = 8080, admin_port = 9311, gateway = "gw", service = "gw" }
  }

  expect_failures = [var.cloud_gateways]
}
