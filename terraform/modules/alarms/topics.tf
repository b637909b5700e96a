# Two topics: `requests` carries alarms that ask for a tier, `notices` what only people need to know.

resource "aws_sns_topic" "this" {
  for_each = toset(["requests", "notices"])

  name              = "${var.name}-${each.key}"
  kms_master_key_id = aws_kms_key.this.arn
  # SHA-256; the agent verifies it before it believes a message that came over HTTPS.
  signature_version = 2
  tags              = local.tags
}

resource "aws_sns_topic_policy" "this" {
  for_each = aws_sns_topic.this

  arn = each.value.arn

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat([
      merge(local.over_tls_only, { Action = "sns:Publish", Resource = each.value.arn }),
      {
        Sid       = "Alarms"
        Effect    = "Allow"
        Principal = { Service = "cloudwatch.amazonaws.com" }
        Action    = "sns:Publish"
        Resource  = each.value.arn
        Condition = { StringEquals = local.this_account, ArnLike = { "aws:SourceArn" = local.alarm_arns } }
      },
      ], each.key != "notices" ? [] : [{
        Sid       = "Health"
        Effect    = "Allow"
        Principal = { Service = "events.amazonaws.com" }
        Action    = "sns:Publish"
        Resource  = each.value.arn
        Condition = { StringEquals = local.this_account, ArnLike = { "aws:SourceArn" = local.rule_arns } }
    }])
  })
}
