# The function that tells the agents of alarms, the policy of deployments, and what the configuration takes from here.

mock_provider "aws" {
  source = "./tests/mocks"
}

override_resource {
  target = aws_secretsmanager_secret.this["operator"]
  values = { arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:east/operator-2" }
}

override_resource {
  target = aws_lambda_function.this["alarm"]
  values = { arn = "arn:aws:lambda:eu-central-1:123456789012:function:east-alarm", version = "1" }
}

override_resource {
  target = aws_security_group.this["alarm"]
  values = { id = "sg-alarm" }
}

variables {
  name          = "east"
  network       = { on_premises = { cidr_blocks = ["10.8.0.0/16"], agents = ["10.8.0.11:9100", "[2001:db8:8::11]:9101"] } }
  load_balancer = { certificate_arn = "arn:aws:acm:eu-central-1:123456789012:certificate/1", fixed_addresses = true }
  functions = {
    one-code = { groups = ["codes", "scans"], path_patterns = ["/*"], reserved_concurrency = 50 }
    alarm    = { program = "alarm" }
  }
  database = {}
}

run "who_tells_of_alarms" {
  command = apply

  assert {
    condition     = [for made in [aws_lb_target_group.function, aws_lb_target_group_attachment.function, aws_lb_listener_rule.function, aws_lambda_permission.load_balancer] : keys(made)] == [["one-code"], ["one-code"], ["one-code"], ["one-code"]]
    error_message = "no client may reach it"
  }
  assert {
    condition = aws_lambda_function.this["alarm"].environment[0].variables == tomap({
      SPILLWAY_AGENTS     = "http://10.8.0.11:9100,http://[2001:db8:8::11]:9101"
      SPILLWAY_LOG_FORMAT = "json"
      SPILLWAY_TOKEN_ARN  = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:east/operator-2"
    })
    error_message = "it must be told who the agents are and where its token is, and nothing of the service"
  }
  assert {
    condition     = !contains(keys(aws_lambda_function.this["one-code"].environment[0].variables), "SPILLWAY_TOKEN_ARN") && startswith(aws_lambda_function.this["one-code"].environment[0].variables.ONE_CODE_SECRET_ARN, "arn:aws:secretsmanager:eu-central-1:123456789012:secret:east/service")
    error_message = "the service must not know where the operator's token is"
  }
  assert {
    condition = { for key, policy in aws_iam_role_policy.function : key => one([for s in jsondecode(policy.policy).Statement : s if s.Sid == "Secrets"]).Resource } == {
      alarm    = ["arn:aws:secretsmanager:eu-central-1:123456789012:secret:east/operator-2"]
      one-code = ["arn:aws:secretsmanager:eu-central-1:123456789012:secret:east/service-1"]
    }
    error_message = "each function must read its own secrets alone"
  }
  assert {
    condition     = one([for s in jsondecode(aws_iam_role_policy.gateway[0].policy).Statement : s if s.Sid == "Secrets"]).Resource == ["arn:aws:secretsmanager:eu-central-1:123456789012:secret:east/service-1"] && !strcontains(base64decode(aws_launch_template.gateway[0].user_data), "SPILLWAY_TOKEN")
    error_message = "gateways must not read the operator's token"
  }
  assert {
    condition     = aws_lambda_function.this["alarm"].vpc_config[0].security_group_ids == toset(["sg-alarm"]) && [for key, rule in aws_vpc_security_group_egress_rule.site : key if rule.security_group_id == "sg-alarm"] == ["alarm-10.8.0.11/32-9100", "alarm-2001:db8:8::11/128-9101"]
    error_message = "of the site it must reach the agents alone"
  }
  assert {
    condition     = [for key, rule in aws_vpc_security_group_egress_rule.arrow : key if rule.security_group_id == "sg-alarm"] == ["alarm-endpoints-443"]
    error_message = "of the cloud it must reach the endpoints alone"
  }
}

run "who_deploys" {
  command = apply

  assert {
    condition     = alltrue([for s in jsondecode(aws_iam_policy.deployer.policy).Statement : alltrue([for arn in s.Resource : startswith(arn, "arn:aws:lambda:eu-central-1:123456789012:function:east-")]) if s.Sid != "Watch"])
    error_message = "deployments must touch these functions and nothing else"
  }
  assert {
    condition     = alltrue([for s in jsondecode(aws_iam_policy.deployer.policy).Statement : alltrue([for arn in s.Resource : endswith(arn, ":*")]) if contains(s.Action, "lambda:DeleteFunction")])
    error_message = "deployments must delete versions, never a function"
  }
  assert {
    condition     = alltrue([for s in jsondecode(aws_iam_policy.deployer.policy).Statement : !strcontains(jsonencode(s.Action), "*")])
    error_message = "permissions of deployments must name their actions"
  }
  assert {
    # The program names every call as IAM does. Where this folder is a copy without its source, there is nothing to compare.
    condition = alltrue([for call in distinct(flatten([for path in fileset("../../../agent/aws/src", "deploy/*.rs") :
      regexall("\"((?:cloudwatch|lambda):[A-Z][A-Za-z0-9]+)\"", file("../../../agent/aws/src/${path}"))
    ])) : contains(flatten(jsondecode(aws_iam_policy.deployer.policy).Statement[*].Action), call)])
    error_message = "deployments must be allowed what agent/aws/src/deploy calls: compare the names there with deployer.tf"
  }
}

run "what_the_configuration_says" {
  command = apply

  assert {
    condition     = output.functions["one-code"].reserved_concurrency == 50 && output.functions["alarm"].reserved_concurrency == null && output.functions["alarm"].program == "alarm"
    error_message = "alarms must know what a function may have"
  }
  assert {
    condition     = keys(output.cloud.functions) == ["one-code"] && output.cloud.functions["one-code"].groups == tolist(["codes", "scans"]) && length(output.cloud.slb_addresses) == 2
    error_message = "the configuration must know the functions that serve, and the addresses in front of them"
  }
  assert {
    condition     = output.cloud.aws.functions == { alarm = { alias = "live", name = "east-alarm", program = "alarm" }, one-code = { alias = "live", name = "east-one-code", program = "one-code" } }
    error_message = "the configuration must know every function that is deployed"
  }
  assert {
    condition     = output.cloud.aws.region == "eu-central-1" && output.cloud.aws.name == "east" && output.cloud.aws.cache == "east" && output.cloud.aws.database == "east" && output.cloud.aws.gateways.max == 10 && output.cloud.aws.rules == [{ arn = aws_lb_listener_rule.function["one-code"].arn, target_group = aws_lb_target_group.function["one-code"].arn }]
    error_message = "the configuration must name the levers"
  }
  assert {
    condition     = output.plan.mirrors == [aws_lambda_function.this["one-code"].environment[0].variables.SPILLWAY_CACHE]
    error_message = "functions must read the plan where the agent writes it"
  }
}

run "without_levers" {
  command = apply

  variables {
    functions = { one-code = { groups = ["codes"], path_patterns = ["/*"] } }
    gateways  = null
    cache     = null
    database  = null
  }

  assert {
    condition     = output.cloud.aws.gateways == null && output.cloud.aws.rules == [] && output.cloud.aws.cache == null && output.cloud.aws.database == null && output.plan.mirrors == []
    error_message = "what is not there must not be named"
  }
  assert {
    condition     = keys(output.secrets.arns) == ["service"]
    error_message = "without a function that tells agents there is no operator's token"
  }
}
