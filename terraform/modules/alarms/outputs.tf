output "queue" {
  description = "What the agent reads; module link lets it (`alarm_queue = module.alarms.queue`)."
  value = {
    arn              = aws_sqs_queue.this.arn
    url              = aws_sqs_queue.this.url
    dead_letters_arn = aws_sqs_queue.dead_letters.arn
    kms_key_arn      = aws_kms_key.this.arn
  }
}

output "topics" {
  description = "`requests` carries alarms that ask for a tier, `notices` what only people need to know."
  value       = { for key, topic in aws_sns_topic.this : key => topic.arn }
}

output "requests" {
  description = "Every alarm by name, with what it asks for: tier (0: nothing), lease, site (null: all)."
  value = { for alarm in values(merge(local.metric_alarms, local.composite_alarms, local.spend_alarms)) : alarm.name => {
    tier  = alarm.tier
    lease = alarm.lease
    site  = alarm.site
  } }
}

output "dashboard" {
  description = "Name of the dashboard."
  value       = aws_cloudwatch_dashboard.this.dashboard_name
}

output "settings" {
  description = "The variables as they were understood, with their defaults: what is not in here was not known, see modules/hybrid/known.tf."
  value = {
    alarms            = var.alarms
    composite_alarms  = var.composite_alarms
    concurrency_limit = var.concurrency_limit
    spend             = var.spend
    agent_endpoint    = var.subscribers.agent_endpoint
    emails            = var.subscribers.emails
  }
}
