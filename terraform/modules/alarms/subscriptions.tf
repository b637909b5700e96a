# Who hears of alarms. The queue, the function and the endpoint get the same message with the same
# envelope: whichever comes first acts, and the others say what is known already.

resource "aws_sns_topic_subscription" "queue" {
  topic_arn = aws_sns_topic.this["requests"].arn
  protocol  = "sqs"
  endpoint  = aws_sqs_queue.this.arn

  redrive_policy = jsonencode({ deadLetterTargetArn = aws_sqs_queue.dead_letters.arn })

  depends_on = [aws_sqs_queue_policy.this]
}

resource "aws_lambda_permission" "topic" {
  count = var.subscribers.function != null ? 1 : 0

  statement_id   = "${var.name}-alarms"
  action         = "lambda:InvokeFunction"
  function_name  = var.subscribers.function.name
  qualifier      = var.subscribers.function.alias_name
  principal      = "sns.amazonaws.com"
  source_arn     = aws_sns_topic.this["requests"].arn
  source_account = local.account
}

resource "aws_sns_topic_subscription" "function" {
  count = var.subscribers.function != null ? 1 : 0

  topic_arn = aws_sns_topic.this["requests"].arn
  protocol  = "lambda"
  # By its alias, so that a deployment moves what is called together with all else.
  endpoint = coalesce(var.subscribers.function.alias_arn, var.subscribers.function.arn)

  redrive_policy = jsonencode({ deadLetterTargetArn = aws_sqs_queue.dead_letters.arn })

  depends_on = [aws_lambda_permission.topic]
}

resource "aws_sns_topic_subscription" "agent" {
  count = var.subscribers.agent_endpoint != null ? 1 : 0

  topic_arn                       = aws_sns_topic.this["requests"].arn
  protocol                        = "https"
  endpoint                        = var.subscribers.agent_endpoint
  endpoint_auto_confirms          = true
  confirmation_timeout_in_minutes = 5

  # Fast and few: an agent that is away reads the queue when it is back.
  delivery_policy = jsonencode({
    healthyRetryPolicy = {
      numRetries         = 5
      numNoDelayRetries  = 1
      minDelayTarget     = 1
      maxDelayTarget     = 10
      numMinDelayRetries = 1
      numMaxDelayRetries = 0
      backoffFunction    = "exponential"
    }
  })

  redrive_policy = jsonencode({ deadLetterTargetArn = aws_sqs_queue.dead_letters.arn })
}

resource "aws_sns_topic_subscription" "email" {
  for_each = { for pair in setproduct(["requests", "notices"], var.subscribers.emails) : "${pair[0]} ${pair[1]}" => pair }

  topic_arn = aws_sns_topic.this[each.value[0]].arn
  protocol  = "email"
  endpoint  = each.value[1]
}
