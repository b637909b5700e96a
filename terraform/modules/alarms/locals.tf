data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

data "aws_region" "current" {}

locals {
  account   = data.aws_caller_identity.current.account_id
  partition = data.aws_partition.current.partition
  region    = data.aws_region.current.name

  tags = merge(var.tags, { "spillway:site-set" = var.name })

  # Alarms are found by how their names begin. No site set has a `/` in its name, but one can have all of
  # another's in it.
  alarm_begins = "${var.name}/"

  # By name, because the key's and the topics' policies are there before what they name.
  alarm_arns = "arn:${local.partition}:cloudwatch:${local.region}:${local.account}:alarm:${local.alarm_begins}*"
  rule_arns  = "arn:${local.partition}:events:${local.region}:${local.account}:rule/${var.name}-*"
  topic_arns = "arn:${local.partition}:sns:${local.region}:${local.account}:${var.name}-*"

  # Who may publish is said of the account first: a name alone could be another account's.
  this_account = { "aws:SourceAccount" = local.account }
  over_tls_only = {
    Sid       = "OnlyOverTls"
    Effect    = "Deny"
    Principal = "*"
    Condition = { Bool = { "aws:SecureTransport" = "false" } }
  }
}
