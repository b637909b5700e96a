# Every validation of hosts, ssh, packages and render_to: a plan without what is wrong goes through.

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

run "no_hosts" {
  command = plan
  variables {
    hosts = {}
  }
  expect_failures = [var.hosts]
}

run "host_name" {
  command = plan
  variables {
    hosts = { A_1 = var.hosts.a }
  }
  expect_failures = [var.hosts]
}

run "host_address" {
  command = plan
  variables {
    hosts = { a = merge(var.hosts.a, { address = "10.8.0.11/24" }) }
  }
  expect_failures = [var.hosts]
}

run "host_address_twice" {
  command = plan
  variables {
    hosts    = merge(var.two, { b = merge(var.two.b, { address = "10.8.0.11" }) })
    keys     = { folder = "./tests/keys" }
    site     = merge(var.site, { admin_address = "10.8.0.20" })
    site_set = merge(var.site_set, { dns = merge(var.site_set.dns, { address = "10.8.0.53" }) })
  }
  expect_failures = [var.hosts]
}

run "host_families" {
  command = plan
  variables {
    hosts    = merge(var.two, { b = merge(var.two.b, { address = "fd00::12" }) })
    keys     = { folder = "./tests/keys" }
    site     = merge(var.site, { admin_address = "10.8.0.20" })
    site_set = merge(var.site_set, { dns = merge(var.site_set.dns, { address = "10.8.0.53" }) })
  }
  expect_failures = [var.hosts]
}

run "host_role" {
  command = plan
  variables {
    hosts = { a = merge(var.hosts.a, { roles = ["agent", "dns", "balancer", "gateway", "service", "database"] }) }
  }
  expect_failures = [var.hosts]
}

run "no_gateway" {
  command = plan
  variables {
    hosts = { a = merge(var.hosts.a, { roles = ["agent", "dns", "balancer", "service"] }) }
  }
  expect_failures = [var.hosts]
}

run "two_agents" {
  command = plan
  variables {
    hosts = merge(var.two, { b = merge(var.two.b, { roles = ["agent", "gateway"] }) })
    keys  = { folder = "./tests/keys" }
    site  = merge(var.site, { admin_address = "10.8.0.20" })
  }
  expect_failures = [var.hosts]
}

run "wave" {
  command = plan
  variables {
    hosts = { a = merge(var.hosts.a, { wave = 4 }) }
  }
  expect_failures = [var.hosts]
}

run "one_wave_for_all" {
  command = plan
  variables {
    hosts    = merge(var.two, { b = merge(var.two.b, { wave = 1 }) })
    keys     = { folder = "./tests/keys" }
    site     = merge(var.site, { admin_address = "10.8.0.20" })
    site_set = merge(var.site_set, { dns = merge(var.site_set.dns, { address = "10.8.0.53" }) })
  }
  expect_failures = [var.hosts]
}

run "host_key" {
  command = plan
  variables {
    hosts = { a = merge(var.hosts.a, { ssh = { host_key = "SHA256:abc" } }) }
  }
  expect_failures = [var.hosts]
}

run "ssh_port" {
  command = plan
  variables {
    hosts = { a = merge(var.hosts.a, { ssh = { host_key = "ssh-ed25519 AAAA", port = 0 } }) }
  }
  expect_failures = [var.hosts]
}

run "ssh_user" {
  command = plan
  variables {
    hosts = { a = merge(var.hosts.a, { ssh = { host_key = "ssh-ed25519 AAAA", user = "root; reboot" } }) }
  }
  expect_failures = [var.hosts]
}

run "interface" {
  command = plan
  variables {
    hosts = { a = merge(var.hosts.a, { interface = "eth 0" }) }
  }
  expect_failures = [var.hosts]
}

run "private_key_file" {
  command = plan
  variables {
    ssh = { private_key_file = "./tests/nothing" }
  }
  expect_failures = [var.ssh]
}

run "ssh_timeout" {
  command = plan
  variables {
    ssh = { timeout = "soon" }
  }
  expect_failures = [var.ssh]
}

run "bastion_key" {
  command = plan
  variables {
    ssh = { bastion = { address = "192.0.2.1", host_key = "" } }
  }
  expect_failures = [var.ssh]
}

run "render_to" {
  command = plan
  variables {
    render_to = "rendered/"
  }
  expect_failures = [var.render_to]
}

run "package_version" {
  command = plan
  variables {
    packages = { version = "latest" }
  }
  expect_failures = [var.packages]
}

run "package_without_source" {
  command = plan
  variables {
    packages = {}
  }
  expect_failures = [var.packages]
}

run "package_file" {
  command = plan
  variables {
    packages = { version = "1.0.0", files = { spillway = "./tests/nothing.deb" } }
  }
  expect_failures = [var.packages]
}

run "package_name" {
  command = plan
  variables {
    packages = { version = "1.0.0", common = ["Spillway --force"] }
  }
  expect_failures = [var.packages]
}
