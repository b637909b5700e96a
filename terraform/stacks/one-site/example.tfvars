# Two hosts and their cloud. Names and addresses are those of documentation: replace each.

region          = "eu-central-1"
name            = "shop-east"
tags            = { service = "codes" }
certificate_arn = "arn:aws:acm:eu-central-1:123456789012:certificate/00000000-0000-0000-0000-000000000000"

public = {
  network   = { cidr_block = "10.64.0.0/16" }
  functions = { one-code = { groups = ["codes", "scans"], path_patterns = ["/*"] } }
  secrets   = { service = "ONE_CODE_SECRET", database = "PGPASSWORD" }
  gateways  = { max = 8 } # whose packages come to them by package_files, see ../../README.md
  cache     = {}
}

link = {
  link = {
    kind             = "vpn"
    site_cidr_blocks = ["10.8.0.0/16"]
    vpn              = { customer_address = "198.51.100.1" }
  }
  # The certificates of the CA that signs the agent's own, which names it.
  agent = {
    common_names  = ["agent.shop-east"]
    ca_bundle_pem = <<-EOT
      -----BEGIN CERTIFICATE-----
      replace
      -----END CERTIFICATE-----
    EOT
  }
}

alarms = {
  emails = ["on-call@example.test"]
}

private = {
  hosts = {
    east-a = {
      address   = "10.8.0.11"
      interface = "eth0"
      roles     = ["agent", "aws", "dns", "balancer", "gateway", "service"]
      ssh       = { host_key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA" }
    }
    east-b = {
      address   = "10.8.0.12"
      interface = "eth0"
      roles     = ["dns", "balancer", "gateway", "service"]
      wave      = 2
      ssh       = { host_key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB" }
    }
  }
  packages = { version = "1.0.0" }
  keys     = { folder = "keys" }
  site = {
    id            = "east"
    vips          = ["192.0.2.10"]
    admin_address = "10.8.0.20"
    uplink        = { bits_per_sec = 1000000000 }
    capacity      = { weighted_qps = 3000, p95_ms = 400 }
  }
}

site_set = {
  service = { host = "code.example.test", slb_host = "cloud.example.test", port = 443 }
  plan    = { salt = "5b1d0f6a92c34e7788a1c3d5e7f90b2d" }
  dns = {
    address = "10.8.0.21"
    zones = {
      "example.test" = <<-EOT
        $ORIGIN example.test.
        $TTL 300
        @    IN SOA ns1 hostmaster ( 1 3600 600 604800 30 )
             IN NS  ns1
        ns1  IN A   192.0.2.11
      EOT
    }
  }
  store = { shards = ["postgres://spillway@10.8.0.31/spillway"] }
  cloud = {
    aws = {
      gateways  = { weighted_qps = 1500 }
      functions = { one-code = { warm_max = 50, warm_qps = 40 } }
    }
  }
  routes = {
    register = { method = "POST", path = "/v1/users", group = "codes", weight = 2, response_bytes = 400 }
    code     = { method = "GET", path = "/v1/users/{user}/code", group = "codes", response_bytes = 500 }
    qr       = { method = "GET", path = "/v1/users/{user}/qr", group = "codes", weight = 1.5, response_bytes = 9000 }
    scan     = { method = "POST", path = "/v1/scans", group = "scans", weight = 2, response_bytes = 400 }
  }
  knobs = {
    qr-text = { tier = 2, owner = "codes team", users_see = "the code as text instead of a picture", releases = 0.35 }
  }
}
