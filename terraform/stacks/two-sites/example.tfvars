# Two sites of two hosts, each with its cloud. Names and addresses are those of documentation: replace each. Both need not
# be alike: what is optional at one may be left out at the other.

tags      = { service = "codes" }
functions = { one-code = { groups = ["codes", "scans"], path_patterns = ["/*"] } }
secrets   = { service = "ONE_CODE_SECRET", database = "PGPASSWORD" }
packages  = { version = "1.0.0" }

site_set = {
  service = { host = "code.example.test", port = 443 }
  plan    = { salt = "5b1d0f6a92c34e7788a1c3d5e7f90b2d" }
  dns = {
    zones = {
      "example.test" = <<-EOT
        $ORIGIN example.test.
        $TTL 300
        @    IN SOA ns-east hostmaster ( 1 3600 600 604800 30 )
             IN NS  ns-east
             IN NS  ns-west
        ns-east IN A 192.0.2.11
        ns-west IN A 198.51.100.11
      EOT
    }
  }
  store = { shards = ["postgres://spillway@db.example.test/spillway"] }
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

east = {
  region          = "eu-central-1"
  name            = "shop-east"
  certificate_arn = "arn:aws:acm:eu-central-1:123456789012:certificate/00000000-0000-0000-0000-000000000000"
  slb_host        = "cloud-east.example.test"
  dns_address     = "10.8.0.21"
  public = {
    network  = { cidr_block = "10.64.0.0/16" }
    gateways = { max = 8 }
    cache    = {}
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
  alarms = { emails = ["on-call@example.test"] }
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
    keys = { folder = "keys/east" }
    site = {
      id            = "east"
      vips          = ["192.0.2.10"]
      admin_address = "10.8.0.20"
      uplink        = { bits_per_sec = 1000000000 }
      capacity      = { weighted_qps = 3000, p95_ms = 400 }
    }
  }
}

west = {
  region          = "eu-west-1"
  name            = "shop-west"
  certificate_arn = "arn:aws:acm:eu-west-1:123456789012:certificate/00000000-0000-0000-0000-000000000000"
  slb_host        = "cloud-west.example.test"
  dns_address     = "10.9.0.21"
  public = {
    network  = { cidr_block = "10.65.0.0/16" }
    gateways = { max = 8 }
    cache    = {}
  }
  link = {
    link = {
      kind             = "vpn"
      site_cidr_blocks = ["10.9.0.0/16"]
      vpn              = { customer_address = "203.0.113.1" }
    }
    # The certificates of the CA that signs the agent's own, which names it.
    agent = {
      common_names  = ["agent.shop-west"]
      ca_bundle_pem = <<-EOT
        -----BEGIN CERTIFICATE-----
        replace
        -----END CERTIFICATE-----
      EOT
    }
  }
  alarms = { emails = ["on-call@example.test"] }
  private = {
    hosts = {
      west-a = {
        address   = "10.9.0.11"
        interface = "eth0"
        roles     = ["agent", "aws", "dns", "balancer", "gateway", "service"]
        ssh       = { host_key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIC" }
      }
      west-b = {
        address   = "10.9.0.12"
        interface = "eth0"
        roles     = ["dns", "balancer", "gateway", "service"]
        wave      = 2
        ssh       = { host_key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAID" }
      }
    }
    keys = { folder = "keys/west" }
    site = {
      id            = "west"
      vips          = ["198.51.100.10"]
      admin_address = "10.9.0.20"
      uplink        = { bits_per_sec = 1000000000 }
      capacity      = { weighted_qps = 3000, p95_ms = 400 }
    }
  }
}
