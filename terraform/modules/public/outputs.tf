output "network" {
  description = "For `link` (routes, attachments) and whatever else joins the VPC."
  value = {
    vpc_id                  = aws_vpc.this.id
    cidr_block              = aws_vpc.this.cidr_block
    ipv6_cidr_block         = var.network.ipv6 ? aws_vpc.this.ipv6_cidr_block : null
    private_subnet_ids      = [for key in sort(keys(local.subnets)) : aws_subnet.private[key].id]
    public_subnet_ids       = [for key in sort(keys(local.subnets)) : aws_subnet.public[key].id]
    private_route_table_ids = [for key in sort(keys(local.subnets)) : aws_route_table.private[key].id]
  }
}

output "load_balancer" {
  description = "The application load balancer; `rule_arns` by route group, `addresses` the fixed ones, if any."
  value = {
    arn               = aws_lb.this.arn
    arn_suffix        = aws_lb.this.arn_suffix
    dns_name          = aws_lb.this.dns_name
    zone_id           = aws_lb.this.zone_id
    listener_arn      = aws_lb_listener.https.arn
    security_group_id = aws_security_group.this["load_balancer"].id
    addresses         = [for key in sort(keys(aws_eip.fixed)) : aws_eip.fixed[key].public_ip]
    rule_arns = merge([for key, function in local.serving_functions :
      { for group in function.groups : group => aws_lb_listener_rule.function[key].arn }
    ]...)
  }
}

output "target_groups" {
  description = "Of each function, and of the EC2 gateways."
  value = {
    functions = { for key, group in aws_lb_target_group.function : key => { arn = group.arn, arn_suffix = group.arn_suffix } }
    gateways  = { arn = aws_lb_target_group.gateways.arn, arn_suffix = aws_lb_target_group.gateways.arn_suffix }
  }
}

output "functions" {
  description = "By the names of the configuration; `name` is Lambda's. `reserved_concurrency` is null where the account's is shared."
  value = { for key, function in aws_lambda_function.this : key => {
    program              = var.functions[key].program
    name                 = function.function_name
    arn                  = function.arn
    alias_name           = aws_lambda_alias.live[key].name
    alias_arn            = aws_lambda_alias.live[key].arn
    reserved_concurrency = var.functions[key].reserved_concurrency
    log_group_name       = aws_cloudwatch_log_group.function[key].name
    role_arn             = aws_iam_role.function[key].arn
    dead_letters_arn     = aws_sqs_queue.dead_letters[key].arn
  } }
}

output "gateways" {
  description = "The EC2 gateways, or null."
  value = one([for group in aws_autoscaling_group.gateways : {
    asg_name           = group.name
    asg_arn            = group.arn
    launch_template_id = aws_launch_template.gateway[0].id
    security_group_id  = aws_security_group.this["gateways"].id
    role_arn           = aws_iam_role.gateway[0].arn
  }])
}

output "cache" {
  description = "The replication group, or null."
  value = one([for cache in aws_elasticache_replication_group.this : {
    replication_group_id = cache.replication_group_id
    primary_endpoint     = cache.primary_endpoint_address
    security_group_id    = aws_security_group.this["cache"].id
    port                 = local.cache_port
  }])
}

output "database" {
  description = "The Aurora cluster, or null. `instance_class` is what the agent makes further readers of."
  value = one([for cluster in aws_rds_cluster.this : {
    cluster_id      = cluster.cluster_identifier
    endpoint        = cluster.endpoint
    reader_endpoint = cluster.reader_endpoint
    port            = local.database_port
    instance_class  = var.database.instance_class
  }])
}

output "keys" {
  description = "The key that what the site set keeps is encrypted with."
  value       = { kms_key_arn = aws_kms_key.this.arn }
}

output "storage" {
  description = "Names of the buckets, keys of what gateways start from as far as it was put in here, and its digest."
  value = {
    artifacts_bucket = aws_s3_bucket.artifacts.bucket
    artifacts        = sort(keys(aws_s3_object.gateway))
    artifacts_digest = local.gateway_digest
    logs_bucket      = aws_s3_bucket.logs.bucket
  }
}

output "secrets" {
  description = "Where secrets are to be put, by name; and where the database keeps its administrator's, if there is one. `arns.operator` is there with a function of program \"alarm\": put the agent's operator.token in."
  value = {
    service_arn        = aws_secretsmanager_secret.this["service"].arn
    arns               = { for key, secret in aws_secretsmanager_secret.this : key => secret.arn }
    database_admin_arn = one(flatten([for cluster in aws_rds_cluster.this : cluster.master_user_secret[*].secret_arn]))
  }
}

output "deployer" {
  description = "The policy of whoever runs `spillway deploy`: attach it to that person's or pipeline's role."
  value       = { policy_arn = aws_iam_policy.deployer.arn }
}

# What the configuration says of all this. `site_set` of module private takes both as they are: `cloud`, once the queue of
# module alarms is added, and `plan`, beside the salt.
output "cloud" {
  description = "The configuration's `[cloud]`, `[[cloud.function]]` and `[cloud.aws]` as far as this module knows them: names and ARNs, no figures."
  value = {
    slb_addresses = [for key in sort(keys(aws_eip.fixed)) : aws_eip.fixed[key].public_ip]
    functions     = { for key, function in local.serving_functions : key => { groups = function.groups } }
    aws = {
      region   = local.region
      name     = var.name
      cache    = one(aws_elasticache_replication_group.this[*].replication_group_id)
      database = one(aws_rds_cluster.this[*].cluster_identifier)
      functions = { for key, function in aws_lambda_function.this : key => {
        name    = function.function_name
        alias   = aws_lambda_alias.live[key].name
        program = var.functions[key].program
      } }
      # Nothing here may wait for the group, as its instances wait for what is made of this.
      gateways = one([for gateways in var.gateways[*] : {
        autoscaling_group = local.gateways_name
        target_group      = aws_lb_target_group.gateways.arn
        max               = gateways.max
      }])
      # Without gateways there is nothing to divide.
      rules = [for key in(local.gateways_on ? sort(keys(local.serving_functions)) : []) : {
        arn          = aws_lb_listener_rule.function[key].arn
        target_group = aws_lb_target_group.function[key].arn
      }]
    }
  }
}

output "plan" {
  description = "The configuration's `[plan]` as far as this module knows it: where functions read the plan."
  value       = { mirrors = local.cache_urls }
}

output "settings" {
  description = "The variables as they were understood, with their defaults: what is not in here was not known, see modules/hybrid/known.tf."
  value = {
    network       = var.network
    load_balancer = var.load_balancer
    functions     = var.functions
    gateways      = var.gateways
    cache         = var.cache
    database      = var.database
    secrets       = var.secrets
    logs          = var.logs
    storage       = var.storage
  }
}
