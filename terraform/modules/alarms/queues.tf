# The queue that the agent reads, and where what it could not read ends.

locals {
  queue_name        = "${var.name}-alarms"
  dead_letters_name = "${var.name}-alarms-dead-letters"

  # Who may put into a queue: topics and rules of this site set.
  senders = {
    Topics = { service = "sns", sources = local.topic_arns }
    Events = { service = "events", sources = local.rule_arns }
  }
}

resource "aws_sqs_queue" "dead_letters" {
  name                              = local.dead_letters_name
  kms_master_key_id                 = aws_kms_key.this.arn
  kms_data_key_reuse_period_seconds = 300
  message_retention_seconds         = 1209600 # two weeks, the longest there is
  tags                              = local.tags
}

resource "aws_sqs_queue" "this" {
  name                              = local.queue_name
  kms_master_key_id                 = aws_kms_key.this.arn
  kms_data_key_reuse_period_seconds = 300
  # A change older than this says nothing that DescribeAlarms does not, which the agent asks at its start.
  message_retention_seconds  = 14400
  visibility_timeout_seconds = 30
  receive_wait_time_seconds  = 20
  tags                       = merge(local.tags, { "spillway:agent" = "true" })

  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.dead_letters.arn
    maxReceiveCount     = 5
  })
}

resource "aws_sqs_queue_policy" "this" {
  for_each = { this = aws_sqs_queue.this, dead_letters = aws_sqs_queue.dead_letters }

  queue_url = each.value.url

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      [merge(local.over_tls_only, { Action = "sqs:*", Resource = each.value.arn })],
      [for sid, sender in local.senders : {
        Sid       = sid
        Effect    = "Allow"
        Principal = { Service = "${sender.service}.amazonaws.com" }
        Action    = "sqs:SendMessage"
        Resource  = each.value.arn
        Condition = { StringEquals = local.this_account, ArnLike = { "aws:SourceArn" = sender.sources } }
      }],
    )
  })
}
