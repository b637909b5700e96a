# One host, and two, that every validation's test starts from.

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
