# What the agent may do, one policy for each lever. A lever that was not given is not granted. Actions
# that AWS can limit to a resource are limited to its ARN, and to the agent's tag where the resource
# type knows tags; `observe` has those that it cannot.

locals {
  grants = { for key, grant in {
    observe = {
      purpose = "Read what AWS lets no policy limit to a resource; publish the site's own metrics."
      given   = true
    }
    group = {
      purpose = "Size the Auto Scaling group of gateways, and end its instances one by one."
      given   = var.levers.gateways != null
    }
    traffic = {
      purpose = "Weigh listener rules, register and drain gateways, reserve load balancer capacity."
      given   = var.levers.load_balancer != null
    }
    functions = {
      purpose = "Keep environments of the functions' aliases warm."
      given   = length(local.warmed) > 0
    }
    data = {
      purpose = "Add and remove replicas of the cache and the database."
      given   = var.levers.cache != null || var.levers.database != null
    }
    queue = {
      purpose = "Read the queue of alarms."
      given   = var.alarm_queue != null
    }
  } : key => grant if grant.given }

  arn = "arn:${local.partition}"

  # Both tags: another site set of the account, with an agent of its own, stays out of reach.
  owned = {
    "aws:ResourceTag/spillway:agent"    = "true"
    "aws:ResourceTag/spillway:site-set" = var.name
  }
  requested = {
    "aws:RequestTag/spillway:agent"    = "true"
    "aws:RequestTag/spillway:site-set" = var.name
  }

  # Statements are of different shapes, so each lever's are one JSON text until they are chosen.
  statements = {
    observe   = jsondecode(local.observe)
    group     = jsondecode(local.group)
    traffic   = jsondecode(local.traffic)
    functions = jsondecode(local.functions)
    data      = concat(jsondecode(local.cache), jsondecode(local.database))
    queue     = jsondecode(local.queue)
  }

  observe = jsonencode([
    {
      Sid    = "Describe"
      Effect = "Allow"
      # The Service Authorization Reference names no resource type for any of these. DescribeAlarms
      # has one, but leaves composite alarms out of its answer unless it is granted on all.
      Action = [
        "autoscaling:DescribeAccountLimits",
        "autoscaling:DescribeAutoScalingGroups",
        "autoscaling:DescribeScalingActivities",
        "cloudwatch:DescribeAlarms",
        "cloudwatch:ListMetrics",
        "ec2:DescribeAccountAttributes",
        "ec2:DescribeInstanceStatus",
        "ec2:DescribeInstanceTypes",
        "ec2:DescribeInstances",
        "ec2:DescribeLaunchTemplateVersions",
        "ec2:DescribeVpnConnections",
        "elasticloadbalancing:DescribeAccountLimits",
        "elasticloadbalancing:DescribeCapacityReservation",
        "elasticloadbalancing:DescribeListeners",
        "elasticloadbalancing:DescribeLoadBalancers",
        "elasticloadbalancing:DescribeRules",
        "elasticloadbalancing:DescribeTags",
        "elasticloadbalancing:DescribeTargetGroupAttributes",
        "elasticloadbalancing:DescribeTargetGroups",
        "elasticloadbalancing:DescribeTargetHealth",
        "lambda:GetAccountSettings",
        "rds:DescribeAccountAttributes",
      ]
      Resource  = "*"
      Condition = { StringEquals = { "aws:RequestedRegion" = local.region } }
    },
    {
      Sid    = "ReadMetrics"
      Effect = "Allow"
      Action = ["cloudwatch:GetMetricData"]
      # Spend is a metric that AWS publishes in one region for all.
      Resource  = "*"
      Condition = { StringEquals = { "aws:RequestedRegion" = distinct([local.region, "us-east-1"]) } }
    },
    {
      Sid       = "PublishOwnMetrics"
      Effect    = "Allow"
      Action    = ["cloudwatch:PutMetricData"]
      Resource  = "*"
      Condition = { StringEquals = { "cloudwatch:namespace" = "Spillway", "aws:RequestedRegion" = local.region } }
    },
    {
      Sid      = "AlarmHistory"
      Effect   = "Allow"
      Action   = ["cloudwatch:DescribeAlarmHistory"]
      Resource = ["${local.arn}:cloudwatch:${local.region}:${local.account}:alarm:${var.name}/*"]
    },
  ])

  queue = var.alarm_queue == null ? "[]" : jsonencode([
    {
      Sid    = "ReadAlarms"
      Effect = "Allow"
      Action = [
        "sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:GetQueueUrl", "sqs:ReceiveMessage",
      ]
      Resource = [var.alarm_queue.arn]
    },
    {
      Sid       = "DecryptAlarms"
      Effect    = "Allow"
      Action    = ["kms:Decrypt"]
      Resource  = [var.alarm_queue.kms_key_arn]
      Condition = { StringEquals = { "kms:ViaService" = "sqs.${local.region}.${data.aws_partition.current.dns_suffix}" } }
    },
  ])
}
