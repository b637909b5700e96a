# What nobody knows is refused by its path, wherever it stands, while what is there by names of one's own is not.

mock_provider "aws" {
  source = "../public/tests/mocks"
}

run "settings_of_the_objects" {
  command = plan

  variables {
    public       = merge(var.public, { gatways = {} })
    link         = merge(var.link, { acess = {} })
    alarms       = { email = ["on-call@example.test"] }
    private      = merge(var.private, { instal = true })
    site_set     = merge(var.site_set, { knob = {} })
    secret_files = { "/etc/spillway/alarms.key" = { content = "secret", roles = ["aws"], group = "spillway" } }
  }

  assert {
    condition = [for one in local.unknown : split("`", one)[1]] == [
      "public.gatways", "link.acess", "alarms.email", "private.instal", "site_set.knob", "secret_files./etc/spillway/alarms.key.group",
    ]
    error_message = "each must be named: ${join("; ", local.unknown)}"
  }

  expect_failures = [output.config]
}

run "settings_within" {
  command = plan

  variables {
    public = merge(var.public, {
      network       = { on_premises = { port = [5432] } }
      load_balancer = { waf = { requests_per_5_mins = 100 } }
      functions     = { one-code = merge(var.public.functions.one-code, { memory = 512, env = { ANY_NAME = "is fine" } }) }
      gateways      = { maxx = 8 }
      storage       = { log_day = 90 }
    })
    alarms = { alarms = { slow = { treshold = 2 } } }
    private = merge(var.private, {
      hosts    = { for name, host in var.private.hosts : name => merge(host, { ssh = merge(host.ssh, { prot = 22 }) }) if name == "east-a" }
      packages = { version = "1.0.0", file = {} }
      site     = merge(var.private.site, { uplink = { bits_per_sec = 1000000000, queue = 1 }, ports = { gatway = 1 } })
      files    = { "/etc/motd" = { content = "hello", roles = ["agent"], moed = "0644" } }
    })
    link = merge(var.link, {
      hosts = []
      link  = merge(var.link.link, { vpn = { customer_address = "198.51.100.1", local_adress = "10.0.0.1" } })
      agent = merge(var.link.agent, { session_sec = 900 })
    })
    site_set = merge(var.site_set, {
      service = merge(var.site_set.service, { ports = 443 })
      agent   = { tick = 1000 }
      dns     = merge(var.site_set.dns, { ttl = 30 })
      cloud   = { aws = merge(var.site_set.cloud.aws, { functions = { one-code = { warm_max = 1, warm_qps = 1, warm = 1 } }, gateways = { weighted_qps = 1500, after = 1 } }) }
      routes  = { any-name = { path = "/v1/qr", group = "codes", wieght = 2 } }
      knobs   = { any-name = { tier = 1, owner = "us", users_see = "less", releases = 0.1, shed = ["any-name"] } }
    })
  }

  assert {
    condition = toset([for one in local.unknown : split("`", one)[1]]) == toset([
      "public.network.on_premises.port", "public.load_balancer.waf.requests_per_5_mins", "public.functions.one-code.memory",
      "public.gateways.maxx", "public.storage.log_day",
      "link.link.vpn.local_adress", "link.agent.session_sec",
      "alarms.alarms.slow.treshold",
      "private.hosts.east-a.ssh.prot", "private.packages.file", "private.site.uplink.queue", "private.site.ports.gatway", "private.files./etc/motd.moed",
      "site_set.service.ports", "site_set.agent.tick", "site_set.dns.ttl", "site_set.cloud.aws.functions.one-code.warm",
      "site_set.cloud.aws.gateways.after", "site_set.routes.any-name.wieght", "site_set.knobs.any-name.shed",
    ])
    error_message = "each must be named, and nothing else: ${join("; ", local.unknown)}"
  }
  assert {
    condition     = contains(local.unknown, "`alarms.alarms.slow.treshold` (there are breaching, enabled, lease, periods, threshold, tier)")
    error_message = "what could have been meant must be said"
  }

  expect_failures = [output.config]
}
