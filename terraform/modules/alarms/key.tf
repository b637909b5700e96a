# What topics and queues are encrypted with. A key of its own, because its policy lets services in that
# have no business with anything else: an alarm whose topic's key refuses CloudWatch is silently lost.

resource "aws_kms_key" "this" {
  description             = "Spillway site set ${var.name}: topics and queues of alarms"
  enable_key_rotation     = true
  deletion_window_in_days = 30
  tags                    = merge(local.tags, { Name = "${var.name}-alarms" })

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat([{
      # Without this statement nobody could mend the key's policy again; who may what is said in IAM.
      Sid       = "Account"
      Effect    = "Allow"
      Principal = { AWS = "arn:${local.partition}:iam::${local.account}:root" }
      Action    = "kms:*"
      Resource  = "*"
      }], [for service, sources in {
      cloudwatch = local.alarm_arns # to topics
      events     = local.rule_arns  # to queues and topics
      sns        = local.topic_arns # to queues
      } : {
      Sid       = title(service)
      Effect    = "Allow"
      Principal = { Service = "${service}.amazonaws.com" }
      Action    = ["kms:Decrypt", "kms:GenerateDataKey*"]
      Resource  = "*"
      Condition = { StringEquals = local.this_account, ArnLike = { "aws:SourceArn" = sources } }
    }])
  })
}

resource "aws_kms_alias" "this" {
  name          = "alias/${var.name}-alarms"
  target_key_id = aws_kms_key.this.key_id
}
