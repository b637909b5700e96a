# The Lambda functions. Terraform makes them with a package that answers 503; `spillway deploy` ships the real code,
# publishes versions and moves the alias. Provisioned concurrency is nowhere declared: the agent makes it on the alias
# before a peak and deletes it after, and a resource that comes and goes cannot be Terraform's.

locals {
  # SHARD=REPLICA: a shard of the configuration that is this cluster is read at its reader endpoint, by functions and
  # gateways alike. One that is another database is not.
  replicas = one([for cluster in aws_rds_cluster.this : "${cluster.endpoint}=${cluster.reader_endpoint}"])
}

resource "aws_lambda_function" "this" {
  #checkov:skip=CKV_AWS_272:Code is shipped by digest by a role that alone may update it; a signing profile would sign the same bytes.
  for_each = var.functions

  function_name = "${var.name}-${each.key}"
  description   = "Spillway ${var.name}: ${each.value.program == "alarm" ? "tells the agents of alarms" : join(", ", each.value.groups)}"
  role          = aws_iam_role.function[each.key].arn
  tags          = merge(local.agent_tags, { Name = "${var.name}-${each.key}", "spillway:function" = each.key })

  runtime          = "provided.al2023"
  handler          = "bootstrap"
  architectures    = [each.value.architecture]
  filename         = "${path.module}/package/not-deployed.zip"
  source_code_hash = filebase64sha256("${path.module}/package/not-deployed.zip")
  publish          = true

  memory_size                    = each.value.memory_mb
  timeout                        = each.value.timeout_secs
  reserved_concurrent_executions = coalesce(each.value.reserved_concurrency, -1)
  kms_key_arn                    = aws_kms_key.this.arn

  environment {
    # The names of secrets, never their values, which would be in Terraform's state.
    variables = merge(
      { SPILLWAY_LOG_FORMAT = "json" },
      { for secret, variable in local.function_secrets[each.value.program] : "${variable}_ARN" => aws_secretsmanager_secret.this[secret].arn },
      each.value.program == "alarm" ? { SPILLWAY_AGENTS = join(",", [for agent in var.network.on_premises.agents : "http://${agent}"]) } : {},
      each.value.program == "one-code" ? { SPILLWAY_CONFIG = "/var/task/spillway.toml", SPILLWAY_FUNCTION = each.key } : {},
      each.value.program == "one-code" && local.cache_on ? { SPILLWAY_CACHE = local.cache_urls[0] } : {},
      each.value.program == "one-code" && local.database_on ? { SPILLWAY_REPLICAS = local.replicas } : {},
      each.value.env,
    )
  }

  vpc_config {
    subnet_ids                  = [for subnet in aws_subnet.private : subnet.id]
    security_group_ids          = [aws_security_group.this[each.value.program == "alarm" ? "alarm" : "functions"].id]
    ipv6_allowed_for_dual_stack = var.network.ipv6
  }

  dead_letter_config {
    target_arn = aws_sqs_queue.dead_letters[each.key].arn
  }

  logging_config {
    log_format = "JSON"
    log_group  = aws_cloudwatch_log_group.function[each.key].name
  }

  # Traced when the caller's request is; a sample of its own would need a permission more.
  tracing_config {
    mode = "PassThrough"
  }

  lifecycle {
    # `spillway deploy` ships the code.
    ignore_changes = [filename, source_code_hash, s3_bucket, s3_key, s3_object_version]
  }

  depends_on = [aws_iam_role_policy.function]
}

resource "aws_lambda_alias" "live" {
  for_each = var.functions

  name             = "live"
  description      = "What clients are served by"
  function_name    = aws_lambda_function.this[each.key].function_name
  function_version = aws_lambda_function.this[each.key].version

  lifecycle {
    # `spillway deploy` moves the alias, by weights while a canary runs.
    ignore_changes = [function_version, routing_config]
  }
}

resource "aws_lambda_permission" "load_balancer" {
  for_each = local.serving_functions

  statement_id  = "load-balancer"
  action        = "lambda:InvokeFunction"
  principal     = "elasticloadbalancing.amazonaws.com"
  function_name = aws_lambda_function.this[each.key].function_name
  qualifier     = aws_lambda_alias.live[each.key].name
  source_arn    = aws_lb_target_group.function[each.key].arn
}

# An event that nobody waits for (an alarm's) is tried again for ten minutes; later it would raise a tier for a peak
# that is over.
resource "aws_lambda_function_event_invoke_config" "live" {
  for_each = var.functions

  function_name                = aws_lambda_function.this[each.key].function_name
  qualifier                    = aws_lambda_alias.live[each.key].name
  maximum_event_age_in_seconds = 600
  maximum_retry_attempts       = 2
}

resource "aws_sqs_queue" "dead_letters" {
  for_each = var.functions

  name                      = "${var.name}-${each.key}-dead-letters"
  message_retention_seconds = 14 * 24 * 3600
  kms_master_key_id         = aws_kms_key.this.arn
  tags                      = merge(local.tags, { Name = "${var.name}-${each.key}-dead-letters" })
}

resource "aws_cloudwatch_log_group" "function" {
  for_each = var.functions

  name              = "/aws/lambda/${var.name}-${each.key}"
  retention_in_days = var.logs.retention_days
  kms_key_id        = aws_kms_key.this.arn
  tags              = local.tags
}
