# One key for what the site set keeps: artifacts, secrets, logs, queues, cache and database. The services named below
# use it without a role of ours, each for this account alone.
resource "aws_kms_key" "this" {
  description             = "Spillway site set ${var.name}: artifacts, secrets, logs, queues, cache, database"
  enable_key_rotation     = true
  deletion_window_in_days = 30
  tags                    = merge(local.tags, { Name = var.name })

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        # Without this statement nobody could mend the key's policy again; who may what is said in IAM.
        Sid       = "Account"
        Effect    = "Allow"
        Principal = { AWS = "arn:${local.partition}:iam::${local.account}:root" }
        Action    = "kms:*"
        Resource  = "*"
      },
      {
        Sid       = "Logs"
        Effect    = "Allow"
        Principal = { Service = "logs.${local.region}.amazonaws.com" }
        Action    = ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"]
        Resource  = "*"
        Condition = {
          ArnLike = {
            "kms:EncryptionContext:aws:logs:arn" = [
              for prefix in ["/aws/lambda/${var.name}-", "aws-waf-logs-${var.name}", "/spillway/${var.name}/"] :
              "arn:${local.partition}:logs:${local.region}:${local.account}:log-group:${prefix}*"
            ]
          }
        }
      },
    ]
  })
}

resource "aws_kms_alias" "this" {
  name          = "alias/${var.name}"
  target_key_id = aws_kms_key.this.key_id
}
