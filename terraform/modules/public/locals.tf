data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}
data "aws_region" "current" {}

locals {
  account   = data.aws_caller_identity.current.account_id
  partition = data.aws_partition.current.partition
  region    = data.aws_region.current.name

  tags = merge(var.tags, { "spillway:site-set" = var.name })

  # The agent's policy is limited by this tag: what does not carry it, it can neither change nor end.
  agent_tags = merge(local.tags, { "spillway:agent" = "true" })

  gateways_on = var.gateways != null
  # Known before the group is: its instances start with a configuration that follows from what else is named here.
  gateways_name = "${var.name}-gateway"
  cache_on      = var.cache != null
  database_on   = var.database != null

  # Those that clients reach, by the load balancer; and those that tell the agents of alarms.
  serving_functions = { for key, function in var.functions : key => function if function.program == "one-code" }
  alarm_functions   = { for key, function in var.functions : key => function if function.program == "alarm" }

  database_port = 5432
  cache_port    = 6379
  gateway_port  = try(var.gateways.port, 8080)
}
