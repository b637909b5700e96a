# One site of two hosts, which the tests start from.

region          = "eu-central-1"
name            = "shop-east"
certificate_arn = "arn:aws:acm:eu-central-1:123456789012:certificate/1"
public = {
  functions = { one-code = { groups = ["codes"], path_patterns = ["/*"] } }
  gateways  = {}
  cache     = {}
}
link = {
  hosts = ["east-b"]
  link  = { kind = "vpn", site_cidr_blocks = ["10.8.0.0/16"], vpn = { customer_address = "198.51.100.1" } }
  agent = { common_names = ["agent.east"], ca_bundle_pem = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n" }
}
private = {
  install  = false
  packages = { version = "1.0.0" }
  keys     = { public = "AAAAC3NzaC1lZDI1NTE5AAAAIAAAAC3NzaC1lZDI1NTE5AA" }
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
      roles     = ["gateway"]
      wave      = 2
      ssh       = { host_key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB" }
    }
  }
  site = {
    id       = "east"
    vips     = ["192.0.2.10"]
    uplink   = { bits_per_sec = 1000000000 }
    capacity = { weighted_qps = 3000, p95_ms = 400 }
  }
}
site_set = {
  service = { host = "code.example.test", slb_host = "cloud.example.test", port = 443 }
  plan    = { salt = "5b1d0f6a92c34e7788a1c3d5e7f90b2d" }
  dns     = { zones = { "example.test" = "@ SOA ns. admin. 1 2 3 4 5" } }
  store   = { shards = ["postgres://spillway@10.8.0.31/spillway"] }
  cloud = { aws = {
    billing        = true
    gateways       = { weighted_qps = 1500, boot_secs = 30 }
    functions      = { one-code = { warm_max = 50, warm_qps = 40 } }
    capacity       = { max_units = 500 }
    alarm_endpoint = { certificate = "/etc/spillway/alarms.pem", key = "/etc/spillway/alarms.key" }
  } }
  routes = { qr = { path = "/v1/qr", group = "codes" } }
}
