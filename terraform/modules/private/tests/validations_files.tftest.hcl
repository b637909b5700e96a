# Every validation of keys, files and secret_files: a plan without what is wrong goes through.

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

run "keys_missing_in_folder" {
  command = plan
  variables {
    keys = { folder = "./tests/few" }
  }
  expect_failures = [var.keys]
}

run "keys_folder_and_public" {
  command = plan
  variables {
    keys = { folder = "./tests/keys", public = "Zm9yIHRlc3RzIG9mIHRoZSBtb2R1bGUgb25seSwgIyE=" }
  }
  expect_failures = [var.keys]
}

run "public_key" {
  command = plan
  variables {
    keys = { public = "short" }
  }
  expect_failures = [var.keys]
}

run "no_public_key_for_the_others" {
  command = plan
  variables {
    hosts    = var.two
    keys     = {}
    site     = merge(var.site, { admin_address = "10.8.0.20" })
    site_set = merge(var.site_set, { dns = merge(var.site_set.dns, { address = "10.8.0.53" }) })
  }
  expect_failures = [var.keys]
}

run "no_key_for_two_services" {
  command = plan
  variables {
    hosts    = merge(var.two, { b = merge(var.two.b, { roles = ["dns", "service", "balancer", "gateway"] }) })
    keys     = { public = "Zm9yIHRlc3RzIG9mIHRoZSBtb2R1bGUgb25seSwgIyE=" }
    site     = merge(var.site, { admin_address = "10.8.0.20" })
    site_set = merge(var.site_set, { store = { shards = ["postgres://u@10.8.0.5/d"] }, dns = merge(var.site_set.dns, { address = "10.8.0.53" }) })
  }
  expect_failures = [var.keys]
}

run "file_path" {
  command = plan
  variables {
    files = { "etc/motd" = { content = "", roles = ["dns"] } }
  }
  expect_failures = [var.files]
}

run "file_of_the_module" {
  command = plan
  variables {
    files = { "/etc/spillway/spillway.toml" = { content = "", roles = ["dns"] } }
  }
  expect_failures = [var.files]
}

run "file_to_nowhere" {
  command = plan
  variables {
    files = { "/etc/motd" = { content = "" } }
  }
  expect_failures = [var.files]
}

run "file_to_no_host" {
  command = plan
  variables {
    files = { "/etc/motd" = { content = "", hosts = ["z"] } }
  }
  expect_failures = [var.files]
}

run "file_to_no_role" {
  command = plan
  variables {
    files = { "/etc/motd" = { content = "", roles = ["router"] } }
  }
  expect_failures = [var.files]
}

run "file_mode" {
  command = plan
  variables {
    files = { "/etc/motd" = { content = "", roles = ["dns"], mode = "644" } }
  }
  expect_failures = [var.files]
}

run "file_unit" {
  command = plan
  variables {
    files = { "/etc/motd" = { content = "", roles = ["dns"], units = ["frr; reboot"] } }
  }
  expect_failures = [var.files]
}

run "secret_without_content" {
  command = plan
  variables {
    secret_files = { "/etc/x/y" = { roles = ["dns"] } }
  }
  expect_failures = [var.secret_files]
}

run "secret_source" {
  command = plan
  variables {
    secret_files = { "/etc/x/y" = { source = "./tests/nothing", roles = ["dns"] } }
  }
  expect_failures = [var.secret_files]
}

run "secret_path" {
  command = plan
  variables {
    secret_files = { "/etc/../x y" = { content = "x", roles = ["dns"] } }
  }
  expect_failures = [var.secret_files]
}

run "secret_to_nowhere" {
  command = plan
  variables {
    secret_files = { "/etc/x/y" = { content = "x" } }
  }
  expect_failures = [var.secret_files]
}

run "secret_owner" {
  command = plan
  variables {
    secret_files = { "/etc/x/y" = { content = "x", roles = ["dns"], owner = "root" } }
  }
  expect_failures = [var.secret_files]
}
