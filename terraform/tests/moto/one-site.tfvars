# stacks/one-site against moto, an AWS API server for tests: what moto lacks is switched off here (cache, IPv6 of subnets,
# propagated routes, Roles Anywhere, composite alarms; no endpoint of the agent and no spend), and what would keep
# `destroy` from ending. Nobody asks for a certificate of IAM, so it needs not be there. The hosts are rendered, not set up.

region          = "eu-central-1"
name            = "shop-east"
tags            = { team = "codes" }
certificate_arn = "arn:aws:iam::123456789012:server-certificate/code"

public = {
  network       = { ipv6 = false, nat = "single" }
  load_balancer = { deletion_protection = false, waf = { requests_per_5_min = 2000 } }
  functions = {
    codes    = { groups = ["codes"], path_patterns = ["/v1/users/*/code", "/v1/users/*/qr", "/v1/users"], priority = 10, reserved_concurrency = 50 }
    one-code = { groups = ["scans", "venues", "notices"], path_patterns = ["/*"], memory_mb = 512, env = { SPILLWAY_LOG = "info" } }
  }
  gateways = { max = 8, session_manager = true, package_files = { "packages/spillway.deb" = "../../modules/public/tests/packages/spillway_1.0.0_arm64.deb" } }
  database = { deletion_protection = false }
  storage  = { force_destroy = true }
}

link = {
  link = {
    kind             = "vpn"
    site_cidr_blocks = ["10.8.0.0/16"]
    routes           = "static"
    vpn              = { customer_address = "198.51.100.1" }
  }
  agent = { trust = "ec2" }
}

alarms = {
  composite_alarms = false
  emails           = ["on-call@example.test"]
}

private = {
  install = false
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
      roles     = ["dns", "balancer", "gateway"]
      wave      = 2
      ssh       = { host_key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB" }
    }
  }
  packages = { version = "1.0.0" }
  keys     = { public = "AAAAC3NzaC1lZDI1NTE5AAAAIAAAAC3NzaC1lZDI1NTE5AA" }
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
      gateways  = { weighted_qps = 1500, boot_secs = 30 }
      functions = { codes = { warm_max = 20, warm_qps = 40 } }
    }
  }
  routes = {
    register = { method = "POST", path = "/v1/users", group = "codes", weight = 2, response_bytes = 400 }
    code     = { method = "GET", path = "/v1/users/{user}/code", group = "codes", response_bytes = 500 }
    qr       = { method = "GET", path = "/v1/users/{user}/qr", group = "codes", weight = 1.5, response_bytes = 9000 }
    scan     = { method = "POST", path = "/v1/scans", group = "scans", weight = 2, response_bytes = 400 }
    stats    = { method = "GET", path = "/v1/venues/{venue}/stats", group = "venues", weight = 3, response_bytes = 600 }
    notices  = { method = "GET", path = "/v1/notices", group = "notices", response_bytes = 4000, spill = [] }
  }
  knobs = {
    qr-text        = { tier = 2, owner = "codes team", users_see = "the code as text instead of a picture", releases = 0.35 }
    essential-only = { tier = 3, owner = "duty manager", users_see = "only code and scanning", releases = 0.2, sheds = ["stats", "notices"] }
  }
}
