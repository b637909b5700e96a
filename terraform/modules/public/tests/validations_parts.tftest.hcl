# Every validation refuses what it is there for.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  name          = "east"
  load_balancer = { certificate_arn = "arn:aws:acm:eu-central-1:123456789012:certificate/1" }
  functions     = { one-code = { groups = ["codes"], path_patterns = ["/*"] } }
}

run "gateways_bounds" {
  command = plan

  variables {
    gateways = { min = 3, max = 2 }
  }

  expect_failures = [var.gateways]
}

run "gateways_types" {
  command = plan

  variables {
    gateways = { instance_types = [] }
  }

  expect_failures = [var.gateways]
}

run "types_of_two_architectures" {
  command = plan

  variables {
    gateways = { instance_types = ["c7g.large", "c7i.large"] }
  }

  expect_failures = [var.gateways]
}

run "an_image_of_another_architecture" {
  command = plan

  variables {
    gateways = { instance_types = ["c7i.large"] }
  }

  expect_failures = [var.gateways]
}

run "gateways_image" {
  command = plan

  variables {
    gateways = { image_id = "debian" }
  }

  expect_failures = [var.gateways]
}

run "gateways_root_device" {
  command = plan

  variables {
    gateways = { root_device = "sda1" }
  }

  expect_failures = [var.gateways]
}

run "gateways_ports" {
  command = plan

  variables {
    gateways = { port = 9311 }
  }

  expect_failures = [var.gateways]
}

run "gateways_packages" {
  command = plan

  variables {
    gateways = { packages = ["a;reboot.deb"] }
  }

  expect_failures = [var.gateways]
}

run "gateways_config" {
  command = plan

  variables {
    gateways = { config = "$(reboot)" }
  }

  expect_failures = [var.gateways]
}

run "gateways_public_key" {
  command = plan

  variables {
    gateways = { public_key = "$(reboot)" }
  }

  expect_failures = [var.gateways]
}

run "gateways_units" {
  command = plan

  variables {
    gateways = { units = ["spillway-gateway"] }
  }

  expect_failures = [var.gateways]
}

run "gateways_volume" {
  command = plan

  variables {
    gateways = { volume_gib = 1 }
  }

  expect_failures = [var.gateways]
}

run "cache_node" {
  command = plan

  variables {
    cache = { node_type = "t4g.small" }
  }

  expect_failures = [var.cache]
}

run "cache_version" {
  command = plan

  variables {
    cache = { engine_version = "6.2" }
  }

  expect_failures = [var.cache]
}

run "cache_replicas" {
  command = plan

  variables {
    cache = { replicas = 0 }
  }

  expect_failures = [var.cache]
}

run "database_version" {
  command = plan

  variables {
    database = { engine_version = "9.6" }
  }

  expect_failures = [var.database]
}

run "database_class" {
  command = plan

  variables {
    database = { instance_class = "r7g.large" }
  }

  expect_failures = [var.database]
}

run "database_capacity" {
  command = plan

  variables {
    database = { acu_min = 8, acu_max = 4 }
  }

  expect_failures = [var.database]
}

run "database_readers" {
  command = plan

  variables {
    database = { readers = 16 }
  }

  expect_failures = [var.database]
}

run "database_name" {
  command = plan

  variables {
    database = { name = "1st" }
  }

  expect_failures = [var.database]
}

run "database_follows_nobody" {
  command = plan

  variables {
    database = { follows_on_premises = true }
  }

  expect_failures = [var.database]
}
