# What is rendered, for one host, for two that share addresses, and for two sites.

variables {
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
}

run "one_host" {
  command = plan
  variables {
    site = merge(var.site, { vips = ["10.8.0.11"] })
  }
  assert {
    condition     = keys(output.files) == ["a"] && strcontains(output.config, "\n[dns]\nadmin = \"10.8.0.11:9201\"\nlisten = \"10.8.0.11:53\"\nzone_files = [\"zones/example.test.zone\"]\n")
    error_message = "a host that alone has a role lends its address"
  }
  assert {
    condition     = !strcontains(output.config, "null") && strcontains(output.config, "state_dir = \"/var/lib/spillway\"")
    error_message = "what is left out keeps the program's default"
  }
  assert {
    condition     = !anytrue([for path in keys(output.files.a) : strcontains(path, "keepalived") || strcontains(path, "plan.")])
    error_message = "nothing floats, and the host makes its own keys"
  }
  assert {
    condition     = local.hosts.a.keygen && local.hosts.a.other_units == ["spillway-aws"]
    error_message = "the agent's host makes the keys"
  }
  assert {
    condition     = keys(local.hosts.a.packages) == ["spillway", "spillway-agent", "spillway-balancer", "spillway-dns", "spillway-gateway", "spillway-one-code"]
    error_message = "packages follow the roles"
  }
}

run "one_host_and_a_vip" {
  command = plan
  assert {
    condition     = strcontains(output.files.a["/etc/keepalived/keepalived.conf"], "192.0.2.10/32") && !strcontains(output.files.a["/etc/keepalived/keepalived.conf"], "unicast")
    error_message = "a VIP that is not the host's own is carried, among nobody else"
  }
  assert {
    condition     = local.hosts.a.packages.keepalived.version == "any" && contains(local.hosts.a.units, "keepalived")
    error_message = "keepalived is installed and runs where something floats"
  }
}

run "two_hosts" {
  command = plan
  variables {
    hosts        = var.two
    keys         = { folder = "./tests/keys" }
    site         = merge(var.site, { vips = ["192.0.2.10", "2001:db8::10"], admin_address = "10.8.0.20" })
    site_set     = merge(var.site_set, { dns = merge(var.site_set.dns, { address = "10.8.0.53" }) })
    secret_files = { "/var/lib/spillway/.pgpass" = { content = "very secret", roles = ["service"] } }
  }
  assert {
    condition     = output.files.a["/etc/spillway/spillway.toml"] == output.files.b["/etc/spillway/spillway.toml"] && output.files.b["/etc/spillway/spillway.toml"] == output.config
    error_message = "all hosts have the same configuration"
  }
  assert {
    condition     = { for path, text in output.zone_files : "/etc/spillway/${path}" => text } == { for path, text in output.files.b : path => text if endswith(path, ".zone") } && keys(output.zone_files) == jsondecode(regex("zone_files = (.*)", output.config)[0])
    error_message = "the zones stand where the configuration has them"
  }
  assert {
    condition     = strcontains(output.config, "admin = \"10.8.0.20:9301\"\nlisten = \"[::]:443\"\nsources = [\"10.8.0.11\",\"10.8.0.12\"]\n")
    error_message = "the balancer takes both VIPs, is read where it floats, and is believed from both hosts"
  }
  assert {
    condition = strcontains(output.files.a["/etc/keepalived/keepalived.conf"], "priority 200") && strcontains(
      output.files.b["/etc/keepalived/keepalived.conf"], "priority 199") && strcontains(
    output.files.b["/etc/keepalived/keepalived.conf"], "unicast_src_ip 10.8.0.12\n    unicast_peer {\n        10.8.0.11\n    }")
    error_message = "two hosts tell each other who has the addresses"
  }
  assert {
    condition = strcontains(output.files.a["/etc/keepalived/keepalived.conf"], "virtual_ipaddress {\n        10.8.0.20/32\n        192.0.2.10/32\n    }\n    virtual_ipaddress_excluded {\n        2001:db8::10/128\n    }") && length(
      regexall("auth", output.files.a["/etc/keepalived/keepalived.conf"])) == 0 && strcontains(
    output.files.a["/etc/keepalived/keepalived.conf"], "healthy spillway-dns 10.8.0.53:9201")
    error_message = "an announcement is of one family and carries the other along; both roles float"
  }
  assert {
    condition     = contains(keys(local.hosts.a.secrets), "/var/lib/spillway/plan.key") && local.hosts.b.secrets == {} && !local.hosts.a.keygen
    error_message = "the signing key and secrets of a role go nowhere else"
  }
  assert {
    condition     = !strcontains(jsonencode(output.files), "very secret") && !strcontains(jsonencode(local.hosts), "very secret")
    error_message = "secrets are not rendered"
  }
  assert {
    condition     = contains(local.hosts.b.other_units, "spillway-agent") && !contains(keys(local.hosts.b.packages), "spillway-agent")
    error_message = "a host has its roles' packages and units only"
  }
}

# Drop-ins hold a digest of what a part reads, so they tell who is restarted.
run "another_queue" {
  command = plan
  variables {
    site = merge(var.site, { uplink = { bits_per_sec = 1000000000, queue_bytes = 65536 } })
  }
  assert {
    condition = [for path, content in output.files.a : path if content != run.one_host_and_a_vip.files.a[path]] == [
      "/etc/spillway/spillway.toml",
      "/etc/systemd/system/spillway-agent.service.d/50-site.conf",
    "/etc/systemd/system/spillway-balancer.service.d/50-site.conf"]
    error_message = "the uplink's queue concerns the balancer and the agent alone"
  }
}

run "another_zone" {
  command = plan
  variables {
    site_set = merge(var.site_set, { dns = { zones = { "example.test" = "@ SOA ns. admin. 2 2 3 4 5" } } })
  }
  assert {
    condition = [for path, content in output.files.a : path if content != run.one_host_and_a_vip.files.a[path]] == [
      "/etc/spillway/zones/example.test.zone",
    "/etc/systemd/system/spillway-dns.service.d/50-site.conf"]
    error_message = "a zone concerns the name server alone"
  }
}

run "west" {
  command = plan
  variables {
    hosts = { w = merge(var.hosts.a, { address = "10.9.0.11", roles = ["balancer", "gateway", "service"] }) }
    keys  = { public = "Zm9yIHRlc3RzIG9mIHRoZSBtb2R1bGUgb25seSwgIyE=" }
    site  = merge(var.site, { id = "west", vips = ["10.9.0.11"] })
    site_set = merge(var.site_set, { agent = { address = "10.8.0.11" }, dns = merge(var.site_set.dns, { address = "10.8.0.11" }),
    store = { shards = ["postgres://u@10.8.0.5/d"] } })
    other_sites = [run.one_host.site]
  }
  assert {
    condition     = length(regexall("\\[\\[site\\]\\]\nid = \"east\"", output.config)) == 1 && length(regexall("name = \"(a|w)-gateway\"", output.config)) == 2
    error_message = "a configuration describes all sites of its set"
  }
  assert {
    condition     = output.files.w["/var/lib/spillway/plan.pub"] == "Zm9yIHRlc3RzIG9mIHRoZSBtb2R1bGUgb25seSwgIyE=\n" && output.endpoints.agent == "10.8.0.11:9100"
    error_message = "a site without an agent follows the other's, by its public key"
  }
}

run "east_of_both" {
  command = plan
  variables {
    site = merge(var.site, { vips = ["10.8.0.11"] })
    site_set = merge(var.site_set, { agent = { address = "10.8.0.11" }, dns = merge(var.site_set.dns, { address = "10.8.0.11" }),
    store = { shards = ["postgres://u@10.8.0.5/d"] } })
    other_sites = [run.west.site]
  }
  assert {
    condition     = output.config == run.west.config
    error_message = "both sites have the same configuration"
  }
}

run "aws" {
  command = plan
  variables {
    hosts = { a = merge(var.hosts.a, { roles = ["agent", "aws", "dns", "balancer", "gateway", "service"] }) }
    site_set = merge(var.site_set, { plan = merge(var.site_set.plan, { mirrors = ["rediss://east-cache:6379"] }), cloud = merge(var.site_set.cloud, { aws = {
      region         = "eu-central-1"
      name           = "east"
      billing        = true
      cache          = "east-cache"
      capacity       = { load_balancer = "arn:aws:l", max_units = 500 }
      replicas       = { weighted_qps = 800, cache_max = 2 }
      alarm_endpoint = { certificate = "/etc/spillway/alarms.pem", key = "/etc/spillway/alarms.key", topics = ["arn:aws:t"] }
      gateways       = { autoscaling_group = "east-gateways", target_group = "arn:aws:g", weighted_qps = 1500, max = 8 }
      rules          = [{ arn = "arn:aws:r", target_group = "arn:aws:f" }]
      functions      = { alarm = { name = "east-alarm", program = "alarm" }, one-code = { name = "east-one-code", alias = "live", warm_max = 20, warm_qps = 40 } }
    } }) })
  }
  assert {
    condition = strcontains(output.config, join("\n", [
      "[cloud.aws]", "admin = \"10.8.0.11:9411\"", "billing = true", "cache = \"east-cache\"", "name = \"east\"", "region = \"eu-central-1\"", "",
      "[cloud.aws.gateways]", "autoscaling_group = \"east-gateways\"", "max = 8", "target_group = \"arn:aws:g\"", "weighted_qps = 1500", "",
      "[cloud.aws.capacity]", "load_balancer = \"arn:aws:l\"", "max_units = 500", "",
      "[cloud.aws.replicas]", "cache_max = 2", "weighted_qps = 800", "",
      "[cloud.aws.alarm_endpoint]", "certificate = \"/etc/spillway/alarms.pem\"", "key = \"/etc/spillway/alarms.key\"", "listen = \"10.8.0.11:9443\"", "topics = [\"arn:aws:t\"]", "",
      "[[cloud.aws.rule]]", "arn = \"arn:aws:r\"", "target_group = \"arn:aws:f\"", "",
      "[cloud.aws.functions.alarm]", "name = \"east-alarm\"", "program = \"alarm\"", "",
      "[cloud.aws.functions.one-code]", "alias = \"live\"", "name = \"east-one-code\"", "warm_max = 20", "warm_qps = 40", "",
    ]))
    error_message = "what module public gives out is in the configuration"
  }
  assert {
    condition     = strcontains(output.config, "[plan]\nmirrors = [\"rediss://east-cache:6379\"]\n")
    error_message = "functions read the plan where the agent writes it"
  }
  assert {
    condition     = contains(keys(local.hosts.a.packages), "spillway-aws") && contains(local.hosts.a.units, "spillway-aws")
    error_message = "the host with role aws runs what acts on plans"
  }
}

run "gateways_in_the_cloud" {
  command = plan
  variables {
    hosts          = { a = merge(var.hosts.a, { roles = ["agent", "aws", "dns", "balancer", "gateway", "service"] }) }
    site_set       = merge(var.site_set, { cloud = merge(var.site_set.cloud, { aws = { region = "eu-central-1", name = "east" } }) })
    keys           = { folder = "./tests/keys" }
    cloud_gateways = { port = 8082, admin_port = 9311, service = "other-service" }
  }
  assert {
    condition = strcontains(output.gateway_config, join("\n", [
      "[[site]]", "id = \"east-cloud\"", "vips = [\"192.0.2.10\"]", "",
      ])) && strcontains(output.gateway_config, join("\n", [
      "[[site.gateway]]", "admin = \"0.0.0.0:9311\"", "listen = \"0.0.0.0:8082\"", "name = \"cloud-gateway\"", "",
      "[[site.service]]", "admin = \"127.0.0.1:9321\"", "groups = [\"codes\"]", "listen = \"127.0.0.1:8083\"", "name = \"other-service\"", "",
      "[cloud]", "slb_addresses = [\"198.51.100.1\"]", "",
      "[[cloud.function]]",
    ]))
    error_message = "an EC2 gateway is a site of its own with a gateway and a service beside it, and moves no levers"
  }
  assert {
    condition     = alltrue([for table in ["service", "plan", "dns", "agent", "store"] : regex("(?s)\\[${table}\\]\n.*?\n\n", output.config) == regex("(?s)\\[${table}\\]\n.*?\n\n", output.gateway_config)]) && length(regexall("\\[\\[site\\]\\]", output.gateway_config)) == 1
    error_message = "all else is as at home"
  }
  assert {
    condition     = length(regexall("forwards = true", output.gateway_config)) == 1 && length(regexall("sources|forwards", "${output.gateway_config}${output.config}")) == 2
    error_message = "the load balancer says there who a client is, and nobody else"
  }
  assert {
    condition     = output.public_key == file("./tests/keys/plan.pub")
    error_message = "plans are verified with the same key"
  }
}

run "no_gateways_in_the_cloud" {
  command = plan
  assert {
    condition     = output.gateway_config == null && output.public_key == null
    error_message = "what nobody asks for is not rendered"
  }
}

run "only_rendered" {
  command = plan
  variables {
    install = false
  }
  assert {
    condition     = local.hosts == {} && length(output.files.a) > 0
    error_message = "nothing is installed, all is rendered"
  }
}
