# The secrets' places. Their values are put in by hand, so they are in no plan and no state.

locals {
  # Each program's, by the variable that a function finds it by.
  function_secrets = {
    one-code = var.secrets
    alarm    = { operator = "SPILLWAY_TOKEN" }
  }
  secrets = merge(var.secrets, length(local.alarm_functions) > 0 ? local.function_secrets.alarm : {})
}

resource "aws_secretsmanager_secret" "this" {
  #checkov:skip=CKV2_AWS_57:Changing the service's key ends every token, so a person decides when; the database's own password rotates.
  for_each = local.secrets

  name                    = "${var.name}/${each.key}"
  description             = "Spillway ${var.name}: ${each.value}"
  kms_key_id              = aws_kms_key.this.arn
  recovery_window_in_days = 7
  tags                    = merge(local.tags, { Name = "${var.name}/${each.key}" })
}
