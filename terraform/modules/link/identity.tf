# Who the agent is. On-prem it holds a certificate of the site's own CA, and trades it for credentials
# that last an hour; what is stolen from its disk is useless once the CA or the profile says so.

locals {
  agent          = var.agent != null
  roles_anywhere = try(var.agent.trust, "") == "roles-anywhere"

  # Written as text because the two differ in shape.
  trust_statement = local.roles_anywhere ? jsonencode({
    Effect    = "Allow"
    Principal = { Service = "rolesanywhere.amazonaws.com" }
    Action    = ["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"]
    Condition = {
      StringEquals = {
        "aws:SourceAccount"               = local.account
        "aws:PrincipalTag/x509Subject/CN" = var.agent.common_names
      }
      ArnEquals = { "aws:SourceArn" = one(aws_rolesanywhere_trust_anchor.site[*].arn) }
    }
    }) : jsonencode({
    Effect    = "Allow"
    Principal = { Service = "ec2.${data.aws_partition.current.dns_suffix}" }
    Action    = "sts:AssumeRole"
  })
}

resource "aws_rolesanywhere_trust_anchor" "site" {
  count = local.roles_anywhere ? 1 : 0

  name    = "${local.prefix}-agent"
  enabled = true
  tags    = local.tags

  source {
    source_type = "CERTIFICATE_BUNDLE"
    source_data {
      x509_certificate_data = var.agent.ca_bundle_pem
    }
  }

  # AWS says 45 days before that the CA or a certificate of it ends.
  notification_settings {
    channel   = "ALL"
    enabled   = true
    event     = "CA_CERTIFICATE_EXPIRY"
    threshold = 45
  }

  notification_settings {
    channel   = "ALL"
    enabled   = true
    event     = "END_ENTITY_CERTIFICATE_EXPIRY"
    threshold = 45
  }
}

resource "aws_iam_role" "agent" {
  count = local.agent ? 1 : 0

  name                 = "${local.prefix}-agent"
  description          = "The agent of site ${var.site}: observes the cloud side of ${var.name} and moves its levers."
  max_session_duration = 3600
  tags                 = local.tags

  assume_role_policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [jsondecode(local.trust_statement)]
  })
}

resource "aws_rolesanywhere_profile" "agent" {
  count = local.roles_anywhere ? 1 : 0

  name             = "${local.prefix}-agent"
  enabled          = true
  duration_seconds = var.agent.session_secs
  role_arns        = [aws_iam_role.agent[0].arn]
  tags             = local.tags
}

resource "aws_iam_instance_profile" "agent" {
  count = local.agent && !local.roles_anywhere ? 1 : 0

  name = aws_iam_role.agent[0].name
  role = aws_iam_role.agent[0].name
  tags = local.tags
}

resource "aws_iam_policy" "agent" {
  for_each = local.agent ? local.grants : {}

  name        = "${local.prefix}-agent-${each.key}"
  description = each.value.purpose
  tags        = local.tags

  policy = jsonencode({
    Version   = "2012-10-17"
    Statement = local.statements[each.key]
  })
}

resource "aws_iam_role_policy_attachment" "agent" {
  for_each = aws_iam_policy.agent

  role       = aws_iam_role.agent[0].name
  policy_arn = each.value.arn
}
