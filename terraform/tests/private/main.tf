# Two sites for the test: one of two hosts that share an address, with keys from a folder, and one of a
# single host that makes its own, reached as a user with sudo. `story.sh` changes the variables.

variable "hosts" {
  type = map(object({ address = string, host_key = string }))
}
variable "folder" {
  type = string
}
variable "gateway_version" {
  type    = string
  default = "1.0.0"
}
variable "version_of_c" {
  type    = string
  default = null
}
variable "tick_ms" {
  type    = number
  default = 1000
}
variable "queue_bytes" {
  type    = number
  default = 65536
}
variable "qr_weight" {
  type    = number
  default = 1.5
}
variable "b_serves" {
  type    = bool
  default = true
}
variable "motd" {
  type    = string
  default = "hello"
}

locals {
  site_set = {
    service = { host = "code.example.test", slb_host = "cloud.example.test", port = 8080 }
    plan    = { salt = "5b1d0f6a92c34e7788a1c3d5e7f90b2d" }
    dns     = { zones = { "example.test" = file("${path.module}/example.test.zone") }, ttl_secs = 5 }
    agent   = { tick_ms = var.tick_ms }
    store   = { shards = ["postgres://spillway@10.99.0.1/spillway"] }
    cloud = {
      slb_addresses = ["198.51.100.1"]
      functions     = { one-code = { groups = ["codes"] } }
    }
    routes = {
      qr   = { path = "/v1/users/{user}/qr", method = "GET", group = "codes", weight = var.qr_weight }
      code = { path = "/v1/users/{user}/code", method = "GET", group = "codes", spill = ["proxy"] }
    }
    knobs = {
      qr-text = { tier = 2, owner = "codes team", users_see = "text, not \"pictures\" & <more>", releases = 0.35, sheds = ["qr"] }
    }
  }
  packages = {
    files = merge(
      { for name in ["spillway", "spillway-agent", "spillway-dns", "spillway-balancer", "spillway-one-code"] :
      name => "${var.folder}/dist/${name}_1.0.0.deb" },
      { spillway-gateway = "${var.folder}/dist/spillway-gateway_${var.gateway_version}.deb" },
    )
  }
  login = { private_key_file = "${var.folder}/login", timeout = "10s" }
}

module "pair" {
  source = "./private"

  hosts = {
    a = {
      address   = var.hosts.a.address
      interface = "eth0"
      roles     = ["agent", "dns", "balancer", "gateway", "service"]
      ssh       = { host_key = var.hosts.a.host_key }
    }
    b = {
      address   = var.hosts.b.address
      interface = "eth0"
      roles     = var.b_serves ? ["balancer", "gateway", "service"] : ["balancer", "gateway"]
      wave      = 2
      ssh       = { host_key = var.hosts.b.host_key }
    }
  }
  ssh      = local.login
  packages = local.packages
  keys     = { folder = "${var.folder}/keys" }
  site_set = local.site_set
  site = {
    id            = "east"
    vips          = ["10.99.0.100"]
    admin_address = "10.99.0.101"
    uplink        = { bits_per_sec = 1000000000, queue_bytes = var.queue_bytes }
    capacity      = { weighted_qps = 1500, p95_ms = 400 }
  }
  files        = { "/etc/motd" = { content = "${var.motd}\n", roles = ["balancer"], units = ["greeter"] } }
  secret_files = { "/var/lib/spillway/.pgpass" = { content = "*:*:*:*:pass-of-the-database\n", roles = ["service"], units = ["spillway-one-code"], owner = "spillway:spillway" } }
  render_to    = "${var.folder}/rendered"
}

module "alone" {
  source = "./private"

  hosts = {
    c = {
      address = var.hosts.c.address
      roles   = ["agent", "dns", "balancer", "gateway", "service"]
      ssh     = { host_key = var.hosts.c.host_key, user = "deploy" }
    }
  }
  ssh      = local.login
  packages = { version = var.version_of_c, files = { for name, file in local.packages.files : name => file if var.version_of_c == null } }
  site_set = local.site_set
  site = {
    id       = "west"
    vips     = [var.hosts.c.address]
    uplink   = { bits_per_sec = 1000000000, queue_bytes = var.queue_bytes }
    capacity = { weighted_qps = 1500, p95_ms = 400 }
  }
}
