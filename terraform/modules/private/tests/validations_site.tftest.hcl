# Every validation of site, other_sites and the floating addresses: a plan without what is wrong goes through.

variables {
  hosts = {
    a = {
      address   = "10.8.0.11"
      interface = "eth0"
      roles     = ["agent", "dns", "balancer", "gateway", "service"]
      ssh       = { host_key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA" }
    }
  }
  two = {
    a = {
      address   = "10.8.0.11"
      interface = "eth0"
      roles     = ["agent", "dns", "balancer", "gateway", "service"]
      ssh       = { host_key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA" }
    }
    b = {
      address   = "10.8.0.12"
      interface = "eth0"
      roles     = ["dns", "balancer", "gateway"]
      wave      = 2
      ssh       = { host_key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB" }
    }
  }
  packages = { version = "1.0.0" }
  site_set = {
    service = { host = "code.example.test", slb_host = "cloud.example.test", port = 443 }
    plan    = { salt = "5b1d0f6a92c34e7788a1c3d5e7f90b2d" }
    dns     = { zones = { "example.test" = "@ SOA ns. admin. 1 2 3 4 5" } }
    store   = { shards = ["sqlite:one-code.db"] }
    cloud   = { slb_addresses = ["198.51.100.1"], functions = { one-code = { groups = ["codes"] } } }
    routes  = { qr = { path = "/v1/qr", group = "codes" } }
  }
  site = {
    id       = "east"
    vips     = ["192.0.2.10"]
    uplink   = { bits_per_sec = 1000000000 }
    capacity = { weighted_qps = 1500, p95_ms = 400 }
  }
}

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
