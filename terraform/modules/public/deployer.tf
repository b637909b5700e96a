# What `spillway deploy` may do: to these functions and nothing else. It reads and ships their code, publishes versions,
# invokes the new one, moves the alias, watches, and deletes old versions; never a function itself.

locals {
  function_arns = [for key in sort(keys(aws_lambda_function.this)) : aws_lambda_function.this[key].arn]
  # A version's or an alias's ARN is the function's with one of these behind it.
  qualified_arns = [for arn in local.function_arns : "${arn}:*"]
}

resource "aws_iam_policy" "deployer" {
  name        = "${var.name}-deployer"
  description = "spillway deploy: ship the code of the functions of ${var.name}, and move what clients are served by."
  tags        = merge(local.tags, { Name = "${var.name}-deployer" })

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid    = "Look"
        Effect = "Allow"
        Action = [
          "lambda:GetAlias", "lambda:GetFunctionConfiguration", "lambda:GetProvisionedConcurrencyConfig",
          "lambda:ListAliases", "lambda:ListVersionsByFunction",
        ]
        # An action asks for the ARN with the qualifier that it was called with.
        Resource = concat(local.function_arns, local.qualified_arns)
      },
      {
        # Beside the alias, a second one of its name with `-before` remembers the version to go back to.
        Sid    = "Ship"
        Effect = "Allow"
        Action = ["lambda:CreateAlias", "lambda:PublishVersion", "lambda:UpdateAlias", "lambda:UpdateFunctionCode"]
        Resource = concat(local.function_arns, flatten([
          for key in sort(keys(aws_lambda_alias.live)) :
          [aws_lambda_alias.live[key].arn, "${aws_lambda_alias.live[key].arn}-before"]
        ]))
      },
      {
        # Only with a qualifier: without one, the first of these would delete the function.
        Sid      = "TryAndTidy"
        Effect   = "Allow"
        Action   = ["lambda:DeleteFunction", "lambda:InvokeFunction"]
        Resource = local.qualified_arns
      },
      {
        # AWS limits neither to a resource: DescribeAlarms leaves composite alarms out unless it is granted on all.
        Sid       = "Watch"
        Effect    = "Allow"
        Action    = ["cloudwatch:DescribeAlarms", "cloudwatch:GetMetricData"]
        Resource  = "*"
        Condition = { StringEquals = { "aws:RequestedRegion" = local.region } }
      },
    ]
  })
}
