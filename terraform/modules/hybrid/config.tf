# What the configuration says of the cloud: names and ARNs come from the modules that made them, so nobody copies one;
# figures (how much a gateway carries, how much may be kept warm) from `site_set.cloud.aws`.

locals {
  figures = try(var.site_set.cloud.aws, {})
  made    = module.public.cloud.aws

  # Without a host that acts on AWS there is nobody to tell.
  acts_on_aws = anytrue([for host in values(var.private.hosts) : contains(host.roles, "aws")])

  aws = merge(local.figures, local.made, {
    alarm_queue = module.alarms.queue.url
    functions   = { for key, function in local.made.functions : key => merge(try(local.figures.functions[key], {}), function) }
    gateways = one([for gateways in local.made.gateways[*] : merge({ max = gateways.max }, try(local.figures.gateways, {}), {
      autoscaling_group = gateways.autoscaling_group
      target_group      = gateways.target_group
    })])
    capacity = one([for capacity in try(local.figures.capacity, null)[*] : merge(capacity, {
      load_balancer = module.public.load_balancer.arn
    })])
    alarm_endpoint = one([for endpoint in try(local.figures.alarm_endpoint, null)[*] : merge(endpoint, {
      topics = [module.alarms.topics.requests]
    })])
  })

  site_set = merge(var.site_set, {
    plan = merge(var.site_set.plan, module.public.plan)
    cloud = {
      slb_addresses  = try(coalescelist(module.public.cloud.slb_addresses, var.site_set.cloud.slb_addresses), module.public.cloud.slb_addresses)
      backhaul_bytes = try(var.site_set.cloud.backhaul_bytes, null)
      budget         = try(var.site_set.cloud.budget, null)
      functions      = module.public.cloud.functions
      aws            = one([for aws in [local.aws] : aws if local.acts_on_aws])
    }
  })

  edge = coalesce(lookup(var.link, "hosts", null), [])

  # The link's end goes to the hosts that are the site's edge, if there are any; the agent's AWS identity to the host that
  # acts on AWS. What a file's change restarts is named by its folder.
  restarted_by = {
    "/etc/swanctl"  = "strongswan"
    "/etc/systemd"  = "spillway-link"
    "/etc/sysctl.d" = "systemd-sysctl"
    "/etc/frr"      = "frr"
    "/etc/spillway" = "spillway-link"
  }
  link_files = { for path, content in module.link.site_files : path => {
    content = content
    hosts   = path == "/etc/spillway/aws.config" ? [] : local.edge
    roles   = path == "/etc/spillway/aws.config" ? ["aws"] : []
    units   = path == "/etc/spillway/aws.config" ? ["spillway-aws"] : [local.restarted_by[regex("^/etc/[^/]+", path)]]
  } if path == "/etc/spillway/aws.config" ? local.acts_on_aws : length(local.edge) > 0 }
  link_secret_files = { for path, content in module.link.site_secret_files : path => {
    source  = null
    content = content
    roles   = []
    hosts   = local.edge
    units   = [local.restarted_by[regex("^/etc/[^/]+", path)]]
    owner   = "root:root"
  } if length(local.edge) > 0 }
}
