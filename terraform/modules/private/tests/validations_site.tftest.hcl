# Every validation of site, other_sites and the floating addresses: a plan without what is wrong goes through.

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

run "site_id" {
  command = plan
  variables {
    site = merge(var.site, { id = "agent" })
  }
  expect_failures = [var.site]
}

run "vips" {
  command = plan
  variables {
    site = merge(var.site, { vips = ["192.0.2.0/24"] })
  }
  expect_failures = [var.site]
}

run "admin_address" {
  command = plan
  variables {
    hosts    = var.two
    keys     = { folder = "./tests/keys" }
    site_set = merge(var.site_set, { dns = merge(var.site_set.dns, { address = "10.8.0.53" }) })
  }
  expect_failures = [var.site]
}

run "router_id" {
  command = plan
  variables {
    site = merge(var.site, { vrrp_router_id = 255 })
  }
  expect_failures = [var.site]
}

run "ports" {
  command = plan
  variables {
    site = merge(var.site, { ports = { gateway = 8082 } })
  }
  expect_failures = [var.site]
}

run "port_of_the_service" {
  command = plan
  variables {
    site = merge(var.site, { ports = { gateway = 443 } })
  }
  expect_failures = [var.site]
}

run "uplink" {
  command = plan
  variables {
    site = merge(var.site, { uplink = { bits_per_sec = 1 } })
  }
  expect_failures = [var.site]
}

run "other_site_of_this_name" {
  command = plan
  variables {
    other_sites = [merge(var.site, { balancer = { listen = "", admin = "", sources = [] }, gateways = {}, services = {} })]
  }
  expect_failures = [var.other_sites]
}

run "host_of_another_site" {
  command = plan
  variables {
    other_sites = [merge(var.site, { id = "west", balancer = { listen = "", admin = "", sources = [] }, gateways = { a-gateway = { listen = "", admin = "" } }, services = {} })]
  }
  expect_failures = [var.other_sites]
}

run "floats_on_no_interface" {
  command = plan
  variables {
    hosts = { a = merge(var.hosts.a, { interface = null }) }
  }
  expect_failures = [output.files]
}

run "floats_in_no_family" {
  command = plan
  variables {
    site = merge(var.site, { vips = ["2001:db8::10"] })
  }
  expect_failures = [output.files]
}

run "floats_and_is_a_hosts" {
  command = plan
  variables {
    hosts    = var.two
    keys     = { folder = "./tests/keys" }
    site     = merge(var.site, { admin_address = "10.8.0.11" })
    site_set = merge(var.site_set, { dns = merge(var.site_set.dns, { address = "10.8.0.53" }) })
  }
  expect_failures = [output.files]
}
