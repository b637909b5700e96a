# The agent's identity and what it may do.

mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "111122223333" }
  }
  mock_data "aws_partition" {
    defaults = { partition = "aws", dns_suffix = "amazonaws.com" }
  }
  mock_data "aws_region" {
    defaults = { name = "eu-west-1" }
  }
  mock_resource "aws_rolesanywhere_trust_anchor" {
    defaults = { arn = "arn:aws:rolesanywhere:eu-west-1:111122223333:trust-anchor/a1" }
  }
  mock_resource "aws_rolesanywhere_profile" {
    defaults = { arn = "arn:aws:rolesanywhere:eu-west-1:111122223333:profile/p1" }
  }
  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::111122223333:role/shop-east-agent" }
  }
  mock_resource "aws_iam_policy" {
    defaults = { arn = "arn:aws:iam::111122223333:policy/any" }
  }
  mock_resource "aws_cloudwatch_log_group" {
    defaults = { arn = "arn:aws:logs:eu-west-1:111122223333:log-group:link" }
  }
}

variables {
  name = "shop"
  site = "east"
  network = {
    vpc_id                  = "vpc-1"
    cidr_block              = "10.64.0.0/16"
    private_subnet_ids      = ["subnet-1", "subnet-2"]
    private_route_table_ids = ["rtb-1"]
  }
  link = { kind = "vpn", site_cidr_blocks = ["10.20.0.0/16"], vpn = { customer_address = "198.51.100.1" } }
  agent = {
    ca_bundle_pem = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
    common_names  = ["agent.east"]
  }
  levers = {
    load_balancer = { arn = "arn:aws:elasticloadbalancing:eu-west-1:111122223333:loadbalancer/app/shop/1", rule_arns = { codes = "arn:aws:elasticloadbalancing:eu-west-1:111122223333:listener-rule/app/shop/1/2/3" } }
    target_groups = { gateways = { arn = "arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/shop-gateways/4" } }
    functions     = { one-code = { arn = "arn:aws:lambda:eu-west-1:111122223333:function:shop-one-code", alias_arn = "arn:aws:lambda:eu-west-1:111122223333:function:shop-one-code:live" } }
    gateways      = { asg_arn = "arn:aws:autoscaling:eu-west-1:111122223333:autoScalingGroup:u:autoScalingGroupName/shop-gateways", launch_template_id = "lt-1", security_group_id = "sg-1" }
    cache         = { replication_group_id = "shop" }
    database      = { cluster_id = "shop" }
  }
  alarm_queue = { arn = "arn:aws:sqs:eu-west-1:111122223333:shop-alarms", kms_key_arn = "arn:aws:kms:eu-west-1:111122223333:key/k1" }
}

run "roles_anywhere" {
  assert {
    condition = jsondecode(aws_iam_role.agent[0].assume_role_policy).Statement[0] == {
      Effect    = "Allow"
      Principal = { Service = "rolesanywhere.amazonaws.com" }
      Action    = ["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"]
      Condition = {
        StringEquals = { "aws:SourceAccount" = "111122223333", "aws:PrincipalTag/x509Subject/CN" = ["agent.east"] }
        ArnEquals    = { "aws:SourceArn" = "arn:aws:rolesanywhere:eu-west-1:111122223333:trust-anchor/a1" }
      }
    }
    error_message = "Only the named certificates of this trust anchor are the agent."
  }
  assert {
    condition     = output.agent.credential_process == "/usr/bin/aws_signing_helper credential-process --certificate /etc/spillway/agent.pem --private-key /etc/spillway/agent.key --trust-anchor-arn arn:aws:rolesanywhere:eu-west-1:111122223333:trust-anchor/a1 --profile-arn arn:aws:rolesanywhere:eu-west-1:111122223333:profile/p1 --role-arn arn:aws:iam::111122223333:role/shop-east-agent --region eu-west-1"
    error_message = "The line for the agent's configuration is whole."
  }
  assert {
    condition     = strcontains(output.site_files["/etc/spillway/aws.config"], "credential_process = /usr/bin/aws_signing_helper")
    error_message = "And it is in the file that the agent reads."
  }
  assert {
    condition     = length(aws_iam_instance_profile.agent) == 0 && aws_rolesanywhere_profile.agent[0].duration_seconds == 3600
    error_message = "Credentials of an hour, and no other way to them."
  }
}

run "least_privilege" {
  assert {
    condition     = keys(aws_iam_policy.agent) == ["data", "functions", "group", "observe", "queue", "traffic"]
    error_message = "One policy for each lever."
  }
  assert {
    condition = alltrue(flatten([for key, policy in aws_iam_policy.agent : [
      for statement in jsondecode(policy.policy).Statement : statement.Resource != "*" if key != "observe"
    ]]))
    error_message = "Outside of observe nothing is granted on all resources."
  }
  assert {
    condition = alltrue([for statement in jsondecode(aws_iam_policy.agent["observe"].policy).Statement : (
      statement.Resource != "*" || can(statement.Condition.StringEquals["aws:RequestedRegion"])
      ) && alltrue([for action in statement.Action :
        can(regex(":(Describe|Get|List)[A-Za-z]+$", action)) || action == "cloudwatch:PutMetricData"
    ])])
    error_message = "What is granted on all resources reads, and in this region only."
  }
  assert {
    condition = one([for statement in jsondecode(aws_iam_policy.agent["observe"].policy).Statement :
      statement.Condition.StringEquals["cloudwatch:namespace"] if contains(statement.Action, "cloudwatch:PutMetricData")
    ]) == "Spillway"
    error_message = "The agent publishes in its own namespace."
  }
  assert {
    condition = alltrue(flatten([for policy in aws_iam_policy.agent : [
      for statement in jsondecode(policy.policy).Statement : [for action in statement.Action : !strcontains(action, "*")]
    ]]))
    error_message = "Every action is named."
  }
  assert {
    condition = alltrue(flatten([for key, policy in aws_iam_policy.agent : [
      for statement in jsondecode(policy.policy).Statement : (
        try(statement.Condition.StringEquals["aws:ResourceTag/spillway:agent"], null) == "true" &&
        try(statement.Condition.StringEquals["aws:ResourceTag/spillway:site-set"], null) == "shop"
        ) || (
        try(statement.Condition.StringEquals["aws:RequestTag/spillway:agent"], null) == "true"
      ) if contains(["group", "traffic", "data"], key) && !startswith(statement.Sid, "Read")
    ]]))
    error_message = "What changes something changes only what is tagged for the agent of this site set."
  }
  assert {
    condition     = !strcontains(aws_iam_policy.agent["group"].policy, "RunInstances") && !strcontains(aws_iam_policy.agent["group"].policy, "UpdateAutoScalingGroup")
    error_message = "Where there is a group, the agent launches through it and within its bounds."
  }
  assert {
    condition     = strcontains(aws_iam_policy.agent["data"].policy, "arn:aws:rds:eu-west-1:111122223333:db:shop-replica-*") && strcontains(aws_iam_policy.agent["data"].policy, "arn:aws:elasticache:eu-west-1:111122223333:replicationgroup:shop\"")
    error_message = "Replicas by name."
  }
  assert {
    condition     = alltrue([for policy in aws_iam_policy.agent : length(policy.policy) < 6144])
    error_message = "IAM takes no longer policy."
  }
}

run "launches_without_a_group" {
  variables {
    levers = {
      gateways = { launch_template_id = "lt-1", security_group_id = "sg-1", role_arn = "arn:aws:iam::111122223333:role/shop-gateway" }
      keys     = { kms_key_arn = "arn:aws:kms:eu-west-1:111122223333:key/k2" }
    }
  }
  assert {
    condition     = keys(aws_iam_policy.agent) == ["group", "observe", "queue"]
    error_message = "Levers that were not given are not granted."
  }
  assert {
    condition = alltrue([for statement in jsondecode(aws_iam_policy.agent["group"].policy).Statement :
      try(statement.Condition.ArnEquals["ec2:LaunchTemplate"], "") == "arn:aws:ec2:eu-west-1:111122223333:launch-template/lt-1"
      if contains(statement.Action, "ec2:RunInstances") && statement.Sid != "LaunchFrom"
    ])
    error_message = "Only from the launch template."
  }
  assert {
    condition = alltrue([for statement in jsondecode(aws_iam_policy.agent["group"].policy).Statement :
      try(statement.Condition.StringEquals["aws:RequestTag/spillway:agent"], "") == "true" if statement.Sid == "LaunchTagged"
    ])
    error_message = "Only tagged, so that it can be found and ended again."
  }
  assert {
    condition = one([for statement in jsondecode(aws_iam_policy.agent["group"].policy).Statement : statement if statement.Sid == "GiveTheGatewaysRole"]) == {
      Sid       = "GiveTheGatewaysRole"
      Effect    = "Allow"
      Action    = ["iam:PassRole"]
      Resource  = ["arn:aws:iam::111122223333:role/shop-gateway"]
      Condition = { StringEquals = { "iam:PassedToService" = "ec2.amazonaws.com" } }
    }
    error_message = "It passes on one role, to EC2."
  }
  assert {
    condition     = length(aws_iam_policy.agent["group"].policy) < 6144
    error_message = "IAM takes no longer policy."
  }
}

run "agent_on_ec2" {
  variables {
    agent  = { trust = "ec2" }
    levers = {}
  }
  assert {
    condition     = jsondecode(aws_iam_role.agent[0].assume_role_policy).Statement[0].Principal.Service == "ec2.amazonaws.com" && length(aws_rolesanywhere_trust_anchor.site) == 0
    error_message = "An instance role, and no trust anchor."
  }
  assert {
    condition     = output.agent.credential_process == null && output.agent.instance_profile == "shop-east-agent" && !contains(keys(output.site_files), "/etc/spillway/aws.config")
    error_message = "It has its credentials from its instance."
  }
}

# The process names every call as IAM does, so its source says what it must be allowed. Where this folder is a copy without
# the source, there is nothing to compare.
run "what_the_agent_calls" {
  assert {
    condition = alltrue([for call in distinct(flatten([for path in fileset("../../../agent/aws/src", "**/*.rs") :
      regexall("\"((?:autoscaling|cloudwatch|ec2|elasticache|elasticloadbalancing|lambda|rds|servicequotas|sqs):[A-Z][A-Za-z0-9]+)\"", file("../../../agent/aws/src/${path}")) if !startswith(path, "deploy/") && !strcontains(path, "tests")
      ])) : contains(flatten([for statements in [
        local.observe, local.scale_group, local.launch, local.traffic, local.functions, local.cache, local.database, local.queue
    ] : jsondecode(statements)[*].Action]), call)])
    error_message = "the role must be allowed what agent/aws calls: compare the names in its source with grants*.tf"
  }
}

run "functions_that_are_called_now_and_then" {
  variables {
    levers = { functions = { alarm = { program = "alarm", arn = "arn:aws:lambda:eu-west-1:111122223333:function:shop-alarm", alias_arn = "arn:aws:lambda:eu-west-1:111122223333:function:shop-alarm:live" } } }
  }

  assert {
    condition     = !contains(keys(aws_iam_policy.agent), "functions")
    error_message = "what tells of alarms is kept warm for nobody"
  }
}
