# The statements of each lever. Conditions on tags stand where the resource type has tag conditions in
# the Service Authorization Reference. An alias carries no tags of its own, so there the ARN is the limit.

locals {
  gateways = var.levers.gateways
  ec2      = "${local.arn}:ec2:${local.region}:${local.account}"

  template_arn = local.gateways == null ? null : "${local.ec2}:launch-template/${local.gateways.launch_template_id}"
  # Nothing in a launch may differ from the template, but for the subnet, which is one of ours.
  from_template = { "ec2:LaunchTemplate" = local.template_arn }

  # With a group, its bounds are the bounds of the agent; only where there is none may it launch.
  group = (local.gateways == null ? "[]" :
  local.gateways.asg_arn != null ? local.scale_group : local.launch)

  scale_group = local.gateways == null ? "[]" : jsonencode([
    {
      Sid    = "ScaleGroup"
      Effect = "Allow"
      Action = [
        "autoscaling:CompleteLifecycleAction",
        "autoscaling:RecordLifecycleActionHeartbeat",
        "autoscaling:SetDesiredCapacity",
        "autoscaling:SetInstanceProtection",
        "autoscaling:TerminateInstanceInAutoScalingGroup",
      ]
      Resource  = [local.gateways.asg_arn]
      Condition = { StringEquals = local.owned }
    },
  ])

  launch = local.gateways == null ? "[]" : jsonencode(concat([
    {
      Sid       = "LaunchTagged"
      Effect    = "Allow"
      Action    = ["ec2:RunInstances"]
      Resource  = ["${local.ec2}:instance/*"]
      Condition = { ArnEquals = local.from_template, StringEquals = local.requested }
    },
    {
      Sid    = "LaunchWith"
      Effect = "Allow"
      Action = ["ec2:RunInstances"]
      Resource = concat(["${local.ec2}:network-interface/*", "${local.ec2}:volume/*"], [
        for id in var.network.private_subnet_ids : "${local.ec2}:subnet/${id}"
      ])
      Condition = { ArnEquals = local.from_template }
    },
    {
      Sid      = "LaunchFrom"
      Effect   = "Allow"
      Action   = ["ec2:RunInstances"]
      Resource = [local.template_arn, "${local.ec2}:security-group/${local.gateways.security_group_id}"]
    },
    {
      Sid       = "LaunchTheTemplatesImage"
      Effect    = "Allow"
      Action    = ["ec2:RunInstances"]
      Resource  = ["${local.arn}:ec2:${local.region}::image/*", "${local.arn}:ec2:${local.region}::snapshot/*"]
      Condition = { ArnEquals = local.from_template, Bool = { "ec2:IsLaunchTemplateResource" = "true" } }
    },
    {
      Sid       = "TagAtLaunch"
      Effect    = "Allow"
      Action    = ["ec2:CreateTags"]
      Resource  = [for type in ["instance", "network-interface", "volume"] : "${local.ec2}:${type}/*"]
      Condition = { StringEquals = { "ec2:CreateAction" = "RunInstances" } }
    },
    {
      Sid       = "GiveTheGatewaysRole"
      Effect    = "Allow"
      Action    = ["iam:PassRole"]
      Resource  = [local.gateways.role_arn]
      Condition = { StringEquals = { "iam:PassedToService" = "ec2.${data.aws_partition.current.dns_suffix}" } }
    },
    {
      Sid       = "EndOwned"
      Effect    = "Allow"
      Action    = ["ec2:TerminateInstances"]
      Resource  = ["${local.ec2}:instance/*"]
      Condition = { StringEquals = local.owned }
    },
    ], var.levers.keys == null ? [] : [
    {
      Sid      = "EncryptVolumes"
      Effect   = "Allow"
      Action   = ["kms:CreateGrant", "kms:DescribeKey", "kms:GenerateDataKeyWithoutPlaintext"]
      Resource = [var.levers.keys.kms_key_arn]
      Condition = {
        StringEquals = { "kms:ViaService" = "ec2.${local.region}.${data.aws_partition.current.dns_suffix}" }
      }
    },
  ]))

  traffic = var.levers.load_balancer == null ? "[]" : jsonencode(concat([
    {
      Sid       = "WeighRules"
      Effect    = "Allow"
      Action    = ["elasticloadbalancing:ModifyRule"]
      Resource  = sort(values(var.levers.load_balancer.rule_arns))
      Condition = { StringEquals = local.owned }
    },
    {
      Sid       = "ReserveCapacity"
      Effect    = "Allow"
      Action    = ["elasticloadbalancing:ModifyCapacityReservation"]
      Resource  = [var.levers.load_balancer.arn]
      Condition = { StringEquals = local.owned }
    },
    ], try(var.levers.target_groups.gateways, null) == null ? [] : [
    {
      Sid       = "RegisterAndDrain"
      Effect    = "Allow"
      Action    = ["elasticloadbalancing:DeregisterTargets", "elasticloadbalancing:RegisterTargets"]
      Resource  = [var.levers.target_groups.gateways.arn]
      Condition = { StringEquals = local.owned }
    },
  ]))

  # Only the service's: what tells of alarms is called now and then, and kept warm for nobody.
  warmed = sort([for key, function in var.levers.functions : key if function.program == "one-code"])

  functions = length(local.warmed) == 0 ? "[]" : jsonencode([
    {
      Sid    = "KeepWarm"
      Effect = "Allow"
      Action = [
        "lambda:DeleteProvisionedConcurrencyConfig",
        "lambda:GetProvisionedConcurrencyConfig",
        "lambda:PutProvisionedConcurrencyConfig",
      ]
      Resource = [for key in local.warmed : var.levers.functions[key].alias_arn]
    },
    {
      Sid    = "ReadFunctions"
      Effect = "Allow"
      Action = [
        "lambda:GetAlias",
        "lambda:GetFunctionConcurrency",
        "lambda:GetFunctionConfiguration",
        "lambda:ListProvisionedConcurrencyConfigs",
      ]
      # An action asks for the ARN with the qualifier that it was called with.
      Resource = flatten([for key in local.warmed : [
        var.levers.functions[key].arn, var.levers.functions[key].alias_arn,
      ]])
    },
  ])
}
