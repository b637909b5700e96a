# Two sites side by side: what each knows of the other, and what must be each one's own.

mock_provider "aws" {
  alias  = "east"
  source = "../../modules/public/tests/mocks"
}

mock_provider "aws" {
  alias  = "west"
  source = "../../modules/public/tests/mocks"
}

override_resource {
  target = module.east.module.public.aws_eip.fixed
  values = { public_ip = "203.0.113.64" }
}

override_resource {
  target = module.west.module.public.aws_eip.fixed
  values = { public_ip = "203.0.113.65" }
}

run "whole" {
  command = apply

  assert {
    condition     = strcontains(output.config.east, "slb_host = \"cloud-east.example.test\"") && strcontains(output.config.west, "slb_host = \"cloud-west.example.test\"")
    error_message = "each site must send its clients to its own cloud"
  }
  assert {
    condition     = strcontains(output.config.east, "slb_addresses = [\"203.0.113.64\",\"203.0.113.64\"]") && strcontains(output.config.west, "slb_addresses = [\"203.0.113.65\",\"203.0.113.65\"]")
    error_message = "each site's name servers must answer with its own cloud's addresses"
  }
  assert {
    condition     = endswith(local.zones.east["example.test"], "\nns-west IN A 198.51.100.11\ncloud-west.example.test. 60 IN A 203.0.113.65\ncloud-west.example.test. 60 IN A 203.0.113.65\n")
    error_message = "each zone must say where the other's cloud is"
  }
  assert {
    condition     = !strcontains(output.config.east, "10.9.0.") && !strcontains(output.config.west, "10.8.0.")
    error_message = "no site must need the other"
  }
  assert {
    condition     = alltrue([for cloud in output.cloud : join(" ", cloud.storage.artifacts) == "config/plan.pub config/spillway.toml"]) && output.zone_files.east["zones/example.test.zone"] == local.zones.east["example.test"]
    error_message = "each site's gateways must find what they start from"
  }
}

run "region" {
  command = plan

  variables {
    west = merge(var.west, { region = "Ireland" })
  }

  expect_failures = [var.east]
}

run "certificate_of_another_region" {
  command = plan

  variables {
    west = merge(var.west, { certificate_arn = "arn:aws:acm:us-east-1:123456789012:certificate/1" })
  }

  expect_failures = [var.east]
}

run "one_name" {
  command = plan

  variables {
    west = merge(var.west, { name = var.east.name })
  }

  expect_failures = [var.east]
}

run "one_host" {
  command = plan

  variables {
    west = merge(var.west, { slb_host = var.east.slb_host })
  }

  expect_failures = [var.east]
}

run "one_site" {
  command = plan

  variables {
    west = merge(var.west, { private = merge(var.west.private, { site = merge(var.west.private.site, { id = "east" }) }) })
  }

  expect_failures = [var.east]
}

run "one_block" {
  command = plan

  variables {
    west = merge(var.west, { link = merge(var.west.link, { link = var.east.link.link }) })
  }

  expect_failures = [var.east]
}

run "host_for_both" {
  command = plan

  variables {
    site_set = merge(var.site_set, { service = merge(var.site_set.service, { slb_host = "cloud.example.test" }) })
  }

  expect_failures = [var.site_set]
}

run "setting_of_no_site" {
  command = plan

  variables {
    east = merge(var.east, { dns_adress = "10.8.0.22" })
  }

  expect_failures = [var.east]
}

run "setting_of_no_site_in_the_west" {
  command = plan

  variables {
    west = merge(var.west, { alarm = {} })
  }

  expect_failures = [var.west]
}

run "site_without_hosts" {
  command = plan

  variables {
    west = { for key, value in var.west : key => value if key != "private" }
  }

  expect_failures = [var.west]
}

run "functions_of_one_site" {
  command = plan

  variables {
    east = merge(var.east, { public = merge(var.east.public, { functions = var.functions }) })
  }

  expect_failures = [var.east]
}

run "packages_of_one_site" {
  command = plan

  variables {
    west = merge(var.west, { private = merge(var.west.private, { packages = var.packages }) })
  }

  expect_failures = [var.west]
}

run "secret_of_one_site" {
  command = plan

  variables {
    secret_files = { "/var/lib/spillway/.pgpass" = { content = "secret", roles = ["service"], hosts = ["east-a"] } }
  }

  expect_failures = [var.secret_files]
}
