# Every mistake that the variables know, made once.

mock_provider "aws" {}

variables {
  name = "shop"
  site = "east"
  network = {
    vpc_id                  = "vpc-1"
    cidr_block              = "10.64.0.0/16"
    private_subnet_ids      = ["subnet-1"]
    private_route_table_ids = ["rtb-1"]
  }
  link = { kind = "vpn", site_cidr_blocks = ["10.20.0.0/16"], vpn = { customer_address = "198.51.100.1" } }
}

run "name" {
  command = plan
  variables {
    name = "Shop"
  }
  expect_failures = [var.name]
}

run "site" {
  command = plan
  variables {
    site = "e"
  }
  expect_failures = [var.site]
}

run "kind" {
  command = plan
  variables {
    link = { kind = "pigeon", site_cidr_blocks = ["10.20.0.0/16"] }
  }
  expect_failures = [var.link]
}

run "vpn_without_vpn" {
  command = plan
  variables {
    link = { kind = "vpn", site_cidr_blocks = ["10.20.0.0/16"] }
  }
  expect_failures = [var.link]
}

run "transit_gateway_missing" {
  command = plan
  variables {
    link = { kind = "transit-gateway", site_cidr_blocks = ["10.20.0.0/16"] }
  }
  expect_failures = [var.link]
}

run "transit_gateway_too_much" {
  command = plan
  variables {
    link = { kind = "vpn", site_cidr_blocks = ["10.20.0.0/16"], vpn = { customer_address = "198.51.100.1" }, transit_gateway = { id = "tgw-1" } }
  }
  expect_failures = [var.link]
}

run "direct_connect_missing" {
  command = plan
  variables {
    link = { kind = "direct-connect", site_cidr_blocks = ["10.20.0.0/16"] }
  }
  expect_failures = [var.link]
}

run "no_blocks" {
  command = plan
  variables {
    link = { kind = "vpn", site_cidr_blocks = [], vpn = { customer_address = "198.51.100.1" } }
  }
  expect_failures = [var.link]
}

run "whole_internet" {
  command = plan
  variables {
    link = { kind = "vpn", site_cidr_blocks = ["0.0.0.0/0"], vpn = { customer_address = "198.51.100.1" } }
  }
  expect_failures = [var.link]
}

run "ipv6_block" {
  command = plan
  variables {
    link = { kind = "vpn", site_cidr_blocks = ["fd00::/48"], vpn = { customer_address = "198.51.100.1" } }
  }
  expect_failures = [var.link]
}

run "routes" {
  command = plan
  variables {
    link = { kind = "vpn", site_cidr_blocks = ["10.20.0.0/16"], routes = "rip", vpn = { customer_address = "198.51.100.1" } }
  }
  expect_failures = [var.link]
}

run "public_asn" {
  command = plan
  variables {
    link = { kind = "vpn", site_cidr_blocks = ["10.20.0.0/16"], site_asn = 13335, vpn = { customer_address = "198.51.100.1" } }
  }
  expect_failures = [var.link]
}

run "same_asn" {
  command = plan
  variables {
    link = { kind = "vpn", site_cidr_blocks = ["10.20.0.0/16"], site_asn = 64512, vpn = { customer_address = "198.51.100.1" } }
  }
  expect_failures = [var.link]
}

run "customer_address" {
  command = plan
  variables {
    link = { kind = "vpn", site_cidr_blocks = ["10.20.0.0/16"], vpn = { customer_address = "edge.example.test" } }
  }
  expect_failures = [var.link]
}

run "one_inside_block" {
  command = plan
  variables {
    link = { kind = "vpn", site_cidr_blocks = ["10.20.0.0/16"], vpn = { customer_address = "198.51.100.1", inside_cidr_blocks = ["169.254.10.0/30"] } }
  }
  expect_failures = [var.link]
}

run "inside_block_elsewhere" {
  command = plan
  variables {
    link = { kind = "vpn", site_cidr_blocks = ["10.20.0.0/16"], vpn = { customer_address = "198.51.100.1", inside_cidr_blocks = ["10.0.0.0/30", "10.0.0.4/30"] } }
  }
  expect_failures = [var.link]
}

run "interface_without_line" {
  command = plan
  variables {
    link = { kind = "direct-connect", site_cidr_blocks = ["10.20.0.0/16"], direct_connect = { gateway_id = "dxgw-1", virtual_interface = { vlan = 101, amazon_address = "169.254.255.1/30", customer_address = "169.254.255.2/30" } } }
  }
  expect_failures = [var.link]
}

run "access_direction" {
  command = plan
  variables {
    access = { a = { security_group_id = "sg-1", port = 80, direction = "both" } }
  }
  expect_failures = [var.access]
}

run "access_protocol" {
  command = plan
  variables {
    access = { a = { security_group_id = "sg-1", port = 80, protocol = "-1" } }
  }
  expect_failures = [var.access]
}

run "access_port" {
  command = plan
  variables {
    access = { a = { security_group_id = "sg-1", port = 80, port_to = 79 } }
  }
  expect_failures = [var.access]
}

run "agent_trust" {
  command = plan
  variables {
    agent = { trust = "user" }
  }
  expect_failures = [var.agent]
}

run "agent_without_ca" {
  command = plan
  variables {
    agent = { common_names = ["agent.east"] }
  }
  expect_failures = [var.agent]
}

run "agent_private_key" {
  command = plan
  variables {
    agent = { ca_bundle_pem = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n", common_names = ["agent.east"] }
  }
  expect_failures = [var.agent]
}

run "agent_anyone" {
  command = plan
  variables {
    agent = { ca_bundle_pem = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n" }
  }
  expect_failures = [var.agent]
}

run "agent_session" {
  command = plan
  variables {
    agent = { trust = "ec2", session_secs = 43200 }
  }
  expect_failures = [var.agent]
}

run "gateways_neither_group_nor_role" {
  command = plan
  variables {
    levers = { gateways = { launch_template_id = "lt-1", security_group_id = "sg-1" } }
  }
  expect_failures = [var.levers]
}
