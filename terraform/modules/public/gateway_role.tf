# What an EC2 gateway may: fetch its packages and configuration and read the service's secrets.

resource "aws_iam_role" "gateway" {
  count = local.gateways_on ? 1 : 0

  name = "${var.name}-gateway"
  tags = merge(local.tags, { Name = "${var.name}-gateway" })

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "ec2.amazonaws.com" }
      Action    = "sts:AssumeRole"
    }]
  })
}

resource "aws_iam_role_policy" "gateway" {
  count = local.gateways_on ? 1 : 0

  name = "gateway"
  role = aws_iam_role.gateway[0].id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "Packages"
        Effect   = "Allow"
        Action   = "s3:GetObject"
        Resource = [for key in concat(var.gateways.packages, [var.gateways.config, var.gateways.public_key]) : "${aws_s3_bucket.artifacts.arn}/${key}"]
      },
      {
        Sid      = "Secrets"
        Effect   = "Allow"
        Action   = "secretsmanager:GetSecretValue"
        Resource = [for secret in keys(var.secrets) : aws_secretsmanager_secret.this[secret].arn]
      },
      {
        Sid      = "Key"
        Effect   = "Allow"
        Action   = "kms:Decrypt"
        Resource = aws_kms_key.this.arn
        Condition = { StringEquals = { "kms:ViaService" = [
          for service in ["s3", "secretsmanager"] : "${service}.${local.region}.amazonaws.com"
        ] } }
      },
    ]
  })
}

# A shell by Session Manager instead of SSH: no port, no key, and every session in the account's trail.
resource "aws_iam_role_policy_attachment" "gateway" {
  for_each = setunion(
    local.gateways_on ? var.gateways.more_policy_arns : [],
    try(var.gateways.session_manager, false) ? ["arn:${local.partition}:iam::aws:policy/AmazonSSMManagedInstanceCore"] : [],
  )

  role       = aws_iam_role.gateway[0].name
  policy_arn = each.value
}

resource "aws_iam_instance_profile" "gateway" {
  count = local.gateways_on ? 1 : 0

  name = "${var.name}-gateway"
  role = aws_iam_role.gateway[0].name
  tags = local.tags
}
