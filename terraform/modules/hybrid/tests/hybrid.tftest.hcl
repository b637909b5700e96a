# What the four modules are told of one another.

mock_provider "aws" {
  source = "../public/tests/mocks"
}

# What the configuration shows, and the tunnels.
override_resource {
  target = module.alarms.aws_sqs_queue.this
  values = { arn = "arn:aws:sqs:eu-central-1:123456789012:shop-east-alarms", url = "https://sqs.eu-central-1.amazonaws.com/123456789012/shop-east-alarms" }
}
override_resource {
  target = module.public.aws_elasticache_replication_group.this
  values = { primary_endpoint_address = "master.shop-east.example.test" }
}
override_resource {
  target = module.public.aws_eip.fixed
  values = { public_ip = "203.0.113.9" }
}
override_resource {
  target = module.link.aws_vpn_connection.this
  values = {
    id                         = "vpn-1"
    tunnel1_address            = "198.51.100.101"
    tunnel1_cgw_inside_address = "169.254.10.2"
    tunnel1_vgw_inside_address = "169.254.10.1"
    tunnel1_preshared_key      = "key-of-tunnel-1"
    tunnel2_address            = "198.51.100.102"
    tunnel2_cgw_inside_address = "169.254.11.2"
    tunnel2_vgw_inside_address = "169.254.11.1"
    tunnel2_preshared_key      = "key-of-tunnel-2"
  }
}

run "told_of_one_another" {
  command = apply

  # The configuration has the names and ARNs of what was made, and the figures of the site set.
  assert {
    condition = strcontains(output.config, join("\n", [
      "[cloud]", "slb_addresses = [\"203.0.113.9\",\"203.0.113.9\"]", "",
      "[cloud.aws]", "admin = \"10.8.0.11:9411\"", "alarm_queue = \"https://sqs.eu-central-1.amazonaws.com/123456789012/shop-east-alarms\"",
      "billing = true", "cache = \"shop-east\"", "name = \"shop-east\"", "region = \"eu-central-1\"", "",
      "[cloud.aws.gateways]", "autoscaling_group = \"shop-east-gateway\"", "boot_secs = 30", "max = 10",
      "target_group = \"arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/east/1\"", "weighted_qps = 1500", "",
      "[cloud.aws.capacity]", "load_balancer = \"arn:aws:elasticloadbalancing:eu-central-1:123456789012:loadbalancer/app/east-alb/1\"", "max_units = 500", "",
      "[cloud.aws.alarm_endpoint]", "certificate = \"/etc/spillway/alarms.pem\"", "key = \"/etc/spillway/alarms.key\"", "listen = \"10.8.0.11:9443\"",
      "topics = [\"arn:aws:sns:eu-central-1:123456789012:east-requests\"]", "",
      "[[cloud.aws.rule]]", "arn = \"arn:aws:elasticloadbalancing:eu-central-1:123456789012:listener-rule/app/east-alb/1/2/3\"",
      "target_group = \"arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/east/1\"", "",
      "[cloud.aws.functions.alarm]", "alias = \"live\"", "name = \"shop-east-alarm\"", "program = \"alarm\"", "",
      "[cloud.aws.functions.one-code]", "alias = \"live\"", "name = \"shop-east-one-code\"", "program = \"one-code\"", "warm_max = 50", "warm_qps = 40", "",
      "[[cloud.function]]", "groups = [\"codes\"]", "name = \"one-code\"", "",
    ]))
    error_message = "nobody must have to copy a name into the configuration"
  }
  assert {
    condition     = strcontains(output.config, "[plan]\nmirrors = [\"rediss://master.shop-east.example.test:6379\"]\nsalt = ")
    error_message = "the agent must write the plan where functions read it"
  }

  # To the gateways in the cloud, which start without the names of levers.
  assert {
    condition     = output.cloud.storage.artifacts == tolist(["config/plan.pub", "config/spillway.toml"]) && module.private.public_key == "${var.private.keys.public}\n"
    error_message = "gateways must find their configuration and key"
  }
  assert {
    condition     = strcontains(module.private.gateway_config, "listen = \"0.0.0.0:8080\"\nname = \"cloud-gateway\"\n") && strcontains(module.private.gateway_config, "slb_addresses = [\"203.0.113.9\",\"203.0.113.9\"]") && !strcontains(module.private.gateway_config, "cloud.aws")
    error_message = "their configuration must be theirs"
  }

  # Over the link.
  assert {
    condition     = local.agents == ["10.8.0.11:9100"] && module.public.functions["alarm"].program == "alarm"
    error_message = "function alarm must know the agent's host"
  }
  assert {
    condition     = module.public.settings.network.on_premises.ports == toset([5432, 6379, 9100]) && tolist(module.public.settings.network.on_premises.agents) == tolist(local.agents)
    error_message = "functions and gateways must reach the site's database and cache, and the agent, whom gateways ask for the plan"
  }
  assert {
    condition     = output.alarms.queue.arn == "arn:aws:sqs:eu-central-1:123456789012:shop-east-alarms" && contains(keys(output.link.agent.policy_arns), "queue") && contains(keys(output.link.agent.policy_arns), "functions")
    error_message = "the agent must be allowed what it is told of"
  }
  assert {
    condition     = contains(keys(output.alarms.requests), "shop-east/link-down-east") && contains(keys(output.alarms.requests), "shop-east/untold") && contains(keys(output.alarms.requests), "shop-east/busy-one-code")
    error_message = "link and functions must be watched"
  }

  # To the hosts.
  assert {
    condition = [for path in ["/etc/spillway/aws.config", "/etc/swanctl/conf.d/spillway.conf", "/etc/frr/daemons"] : [
      for host in ["east-a", "east-b"] : host if contains(keys(output.files[host]), path)
    ]] == [["east-a"], ["east-b"], ["east-b"]]
    error_message = "the identity must come to the host that acts on AWS, the link's end to the edge"
  }
  assert {
    condition     = keys(local.link_files) == ["/etc/frr/daemons", "/etc/frr/frr.conf", "/etc/spillway/aws.config", "/etc/spillway/link.nft", "/etc/swanctl/conf.d/spillway.conf", "/etc/sysctl.d/60-spillway-link.conf", "/etc/systemd/system/spillway-link.service"]
    error_message = "every file of the link must have a unit that it restarts"
  }
  assert {
    condition     = nonsensitive(keys(local.link_secret_files)) == ["/etc/swanctl/conf.d/spillway-secrets.conf"] && !strcontains(jsonencode(output.files), "key-of-tunnel")
    error_message = "the tunnels' keys must come as secrets"
  }
}

run "without_what_is_optional" {
  command = apply

  variables {
    public   = { functions = var.public.functions }
    link     = { link = var.link.link }
    alarms   = {}
    private  = merge(var.private, { hosts = { east-a = merge(var.private.hosts.east-a, { roles = ["agent", "dns", "balancer", "gateway", "service"] }) } })
    site_set = { for key, value in var.site_set : key => value if key != "cloud" }
  }

  assert {
    condition     = !strcontains(output.config, "[cloud.aws]") && strcontains(output.config, "mirrors = []")
    error_message = "without a host that acts on AWS nothing of AWS must be in the configuration"
  }
  assert {
    condition     = module.private.gateway_config == null && length(output.cloud.storage.artifacts) == 0 && output.link.agent == null && local.link_files == {} && length(output.edge_files) > 0 && output.cloud.gateways == null && output.cloud.cache == null && output.cloud.database == null
    error_message = "what was not asked for must not be there"
  }
}

run "addresses_of_ones_own" {
  command = apply

  variables {
    public   = { functions = var.public.functions, load_balancer = { fixed_addresses = false } }
    site_set = merge(var.site_set, { cloud = { slb_addresses = ["192.0.2.77"] } })
  }

  assert {
    condition     = strcontains(output.config, "slb_addresses = [\"192.0.2.77\"]")
    error_message = "without fixed addresses those that were written must be answered"
  }
}

run "ports_of_ones_own" {
  command = apply

  variables {
    public  = merge(var.public, { network = { on_premises = { ports = [5433] } } })
    private = merge(var.private, { site = merge(var.private.site, { ports = { agent = 9108 } }) })
  }

  assert {
    condition     = module.public.settings.network.on_premises.ports == toset([5433, 9108]) && local.agents == ["10.8.0.11:9108"]
    error_message = "the agent must be reached where it listens, beside what was written and nothing else"
  }
}

run "packages_of_the_site" {
  command = apply

  variables {
    public = merge(var.public, { gateways = { units = ["spillway-one-code@code.service", "spillway-gateway@gw.service"], port = 9311, admin_port = 9312 } })
    private = merge(var.private, {
      packages = { version = "1.0.0", files = { spillway = "../public/tests/packages/spillway_1.0.0_arm64.deb", spillway-gateway = "../public/tests/packages/spillway_1.0.0_amd64.deb" } }
    })
  }

  assert {
    condition     = output.cloud.storage.artifacts == tolist(["config/plan.pub", "config/spillway.toml", "packages/spillway.deb"])
    error_message = "those for the instances must be there"
  }
  assert {
    condition     = strcontains(module.private.gateway_config, "listen = \"0.0.0.0:9311\"\nname = \"gw\"\n") && strcontains(module.private.gateway_config, "name = \"code\"\n")
    error_message = "gateway and service must be called as their units are"
  }
}
