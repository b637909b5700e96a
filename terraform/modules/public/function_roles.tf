# A role for each function, with what that function needs and nothing of another's.

resource "aws_iam_role" "function" {
  for_each = var.functions

  name = "${var.name}-${each.key}-function"
  tags = merge(local.tags, { Name = "${var.name}-${each.key}-function" })

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "lambda.amazonaws.com" }
      Action    = "sts:AssumeRole"
    }]
  })
}

resource "aws_iam_role_policy" "function" {
  #checkov:skip=CKV_AWS_355:The calls for network interfaces know no narrower resource; the statement below them takes them from the function's own code.
  #checkov:skip=CKV_AWS_290:The same.
  for_each = var.functions

  name = "function"
  role = aws_iam_role.function[each.key].id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "Log"
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
        Resource = "${aws_cloudwatch_log_group.function[each.key].arn}:*"
      },
      {
        Sid      = "DeadLetters"
        Effect   = "Allow"
        Action   = "sqs:SendMessage"
        Resource = aws_sqs_queue.dead_letters[each.key].arn
      },
      {
        Sid      = "Secrets"
        Effect   = "Allow"
        Action   = "secretsmanager:GetSecretValue"
        Resource = [for secret in keys(local.function_secrets[each.value.program]) : aws_secretsmanager_secret.this[secret].arn]
      },
      {
        # Only through the services that hold what is encrypted, and for the environment's variables.
        Sid      = "Key"
        Effect   = "Allow"
        Action   = ["kms:Decrypt", "kms:GenerateDataKey"]
        Resource = aws_kms_key.this.arn
        Condition = { StringEquals = { "kms:ViaService" = [
          for service in ["lambda", "secretsmanager", "sqs"] : "${service}.${local.region}.amazonaws.com"
        ] } }
      },
      {
        # Lambda attaches the function to the VPC with the function's role.
        Sid    = "NetworkInterfaces"
        Effect = "Allow"
        Action = [
          "ec2:AssignPrivateIpAddresses", "ec2:CreateNetworkInterface", "ec2:DeleteNetworkInterface",
          "ec2:DescribeNetworkInterfaces", "ec2:DescribeSubnets", "ec2:UnassignPrivateIpAddresses",
        ]
        Resource = "*"
      },
      {
        # The function's code never needs them: Lambda's own calls do not carry this key.
        Sid    = "NotByTheCode"
        Effect = "Deny"
        Action = [
          "ec2:AssignPrivateIpAddresses", "ec2:CreateNetworkInterface", "ec2:DeleteNetworkInterface",
          "ec2:DescribeNetworkInterfaces", "ec2:DescribeSubnets", "ec2:UnassignPrivateIpAddresses",
        ]
        Resource = "*"
        Condition = { ArnEquals = {
          "lambda:SourceFunctionArn" = "arn:${local.partition}:lambda:${local.region}:${local.account}:function:${var.name}-${each.key}"
        } }
      },
    ]
  })
}
