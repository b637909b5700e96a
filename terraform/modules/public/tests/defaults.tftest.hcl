# What the module makes of the fewest words: the defaults are the production ones.

mock_provider "aws" {
  source = "./tests/mocks"
}

# Another target group than the functions', so that weights can be told apart.
override_resource {
  target = aws_lb_target_group.gateways
  values = { arn = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/east-gateway/2" }
}

variables {
  name          = "east"
  tags          = { team = "codes" }
  load_balancer = { certificate_arn = "arn:aws:acm:eu-central-1:123456789012:certificate/1" }
  functions     = { one-code = { groups = ["codes", "scans"], path_patterns = ["/*"] } }
}

run "by_default" {
  command = apply

  assert {
    condition     = length(aws_subnet.private) == 2 && length(aws_subnet.public) == 2 && aws_subnet.private["a"].availability_zone != aws_subnet.private["b"].availability_zone
    error_message = "there must be a private and a public subnet in each of two zones"
  }
  assert {
    condition     = length(distinct(concat(values(aws_subnet.private)[*].cidr_block, values(aws_subnet.public)[*].cidr_block, values(aws_subnet.private)[*].ipv6_cidr_block, values(aws_subnet.public)[*].ipv6_cidr_block))) == 8
    error_message = "every subnet must have an IPv4 and an IPv6 block of its own"
  }
  assert {
    condition     = length(aws_nat_gateway.this) == 0 && length(aws_route.private_ipv4) == 0 && length(aws_route.private_ipv6) == 2
    error_message = "private subnets must reach out over IPv6 alone, and never be reached"
  }
  assert {
    condition     = alltrue([for subnet in aws_subnet.public : !subnet.map_public_ip_on_launch])
    error_message = "nothing may get a public address without being asked to"
  }
  assert {
    condition     = length(aws_default_security_group.this.ingress) == 0 && length(aws_default_security_group.this.egress) == 0
    error_message = "the VPC's default security group must allow nothing"
  }
  assert {
    condition     = keys(aws_vpc_endpoint.interface) == ["secretsmanager"] && alltrue([for endpoint in aws_vpc_endpoint.interface : jsondecode(endpoint.policy).Statement[0].Condition.StringEquals["aws:PrincipalAccount"] == "123456789012"])
    error_message = "the endpoints must admit this account alone"
  }

  # The load balancer.
  assert {
    condition     = aws_lb.this.ip_address_type == "dualstack" && aws_lb.this.drop_invalid_header_fields && aws_lb.this.enable_deletion_protection && aws_lb.this.access_logs[0].enabled
    error_message = "the load balancer must speak IPv6, drop invalid headers, be protected and log"
  }
  assert {
    condition     = aws_lb_listener.http.default_action[0].redirect[0].protocol == "HTTPS" && aws_lb_listener.https.default_action[0].fixed_response[0].status_code == "404"
    error_message = "HTTP must redirect; what no function wants is not found"
  }
  assert {
    condition     = { for group in aws_lb_listener_rule.function["one-code"].action[0].forward[0].target_group : group.arn => group.weight } == { (aws_lb_target_group.function["one-code"].arn) = 100, (aws_lb_target_group.gateways.arn) = 0 }
    error_message = "a rule must begin with all at the function and nothing at the gateways"
  }
  assert {
    condition     = aws_lb_listener_rule.function["one-code"].priority == 45000
    error_message = "a catch-all must come behind all other rules"
  }
  assert {
    condition     = output.load_balancer.rule_arns == { codes = aws_lb_listener_rule.function["one-code"].arn, scans = aws_lb_listener_rule.function["one-code"].arn }
    error_message = "every group must lead to its function's rule"
  }
  assert {
    condition     = output.load_balancer.addresses == [] && length(aws_lb.fixed) == 0 && length(aws_wafv2_web_acl.this) == 0
    error_message = "fixed addresses and the firewall are made on request alone"
  }

  # The function.
  assert {
    condition     = aws_lambda_function.this["one-code"].architectures == tolist(["arm64"]) && aws_lambda_function.this["one-code"].runtime == "provided.al2023" && aws_lambda_function.this["one-code"].publish && aws_lambda_function.this["one-code"].reserved_concurrent_executions == -1
    error_message = "a function must be an arm64 one on provided.al2023 that publishes version 1 and shares the account's concurrency"
  }
  assert {
    condition     = aws_lambda_alias.live["one-code"].name == "live" && aws_lambda_alias.live["one-code"].function_version == "1"
    error_message = "the alias `live` must begin at version 1"
  }
  assert {
    condition     = aws_lb_target_group_attachment.function["one-code"].target_id == aws_lambda_alias.live["one-code"].arn && aws_lambda_permission.load_balancer["one-code"].qualifier == "live" && aws_lambda_permission.load_balancer["one-code"].source_arn == aws_lb_target_group.function["one-code"].arn
    error_message = "the load balancer must invoke the alias, and no other target group may"
  }
  assert {
    condition     = aws_lambda_function.this["one-code"].dead_letter_config[0].target_arn == aws_sqs_queue.dead_letters["one-code"].arn && aws_sqs_queue.dead_letters["one-code"].kms_master_key_id == aws_kms_key.this.arn
    error_message = "a function must have an encrypted dead-letter queue of its own"
  }
  assert {
    condition     = aws_cloudwatch_log_group.function["one-code"].retention_in_days == 365 && aws_cloudwatch_log_group.function["one-code"].kms_key_id == aws_kms_key.this.arn
    error_message = "a function's log must be encrypted and end"
  }
  assert {
    condition     = startswith(aws_lambda_function.this["one-code"].environment[0].variables.SPILLWAY_CACHE, "rediss://") && aws_lambda_function.this["one-code"].environment[0].variables.SPILLWAY_FUNCTION == "one-code"
    error_message = "a function must be told its name in the configuration, and reach the cache over TLS"
  }

  assert {
    # The zip's header is 39 bytes long, a multiple of three, so what is stored behind it is readable in base64.
    condition     = substr(filebase64(aws_lambda_function.this["one-code"].filename), 52, 4 * floor(length(file("./package/bootstrap")) / 3)) == substr(base64encode(file("./package/bootstrap")), 0, 4 * floor(length(file("./package/bootstrap")) / 3))
    error_message = "package/not-deployed.zip must hold package/bootstrap as it is: see package/README.md"
  }

  # Nothing runs before the agent asks for it, and nothing is named or tagged as somebody else's.
  assert {
    condition     = aws_autoscaling_group.gateways[0].min_size == 0 && aws_autoscaling_group.gateways[0].desired_capacity == 0
    error_message = "no gateway may run unasked"
  }
  assert {
    condition     = output.database == null && output.cache.port == 6379 && output.secrets.database_admin_arn == null && !contains(keys(aws_lambda_function.this["one-code"].environment[0].variables), "SPILLWAY_REPLICAS") && !strcontains(base64decode(aws_launch_template.gateway[0].user_data), "SPILLWAY_REPLICAS")
    error_message = "the cache is there by default, the database and its readers are not"
  }
  assert {
    condition     = alltrue([for tags in [aws_vpc.this.tags, aws_lb.this.tags, aws_kms_key.this.tags, aws_s3_bucket.logs.tags, aws_lambda_function.this["one-code"].tags] : tags["spillway:site-set"] == "east" && tags.team == "codes"])
    error_message = "every resource must carry the site set's tag and the caller's"
  }
  assert {
    condition = alltrue([for tags in [
      aws_lb.this.tags, aws_lb_listener.https.tags, aws_lb_listener_rule.function["one-code"].tags, aws_lb_target_group.function["one-code"].tags, aws_lb_target_group.gateways.tags,
      aws_lambda_function.this["one-code"].tags, aws_launch_template.gateway[0].tags, aws_launch_template.gateway[0].tag_specifications[0].tags, aws_elasticache_replication_group.this[0].tags
    ] : tags["spillway:agent"] == "true"])
    error_message = "what the agent touches must carry the agent's tag"
  }
  assert {
    condition     = alltrue([for tags in [aws_vpc.this.tags, aws_kms_key.this.tags, aws_s3_bucket.artifacts.tags, aws_secretsmanager_secret.this["service"].tags, aws_iam_role.function["one-code"].tags] : !contains(keys(tags), "spillway:agent")])
    error_message = "what the agent has no business with must not carry its tag"
  }
}

run "without_what_is_optional" {
  command = apply

  variables {
    network  = { ipv6 = false, flow_log = false, interface_endpoints = [] }
    gateways = null
    cache    = null
  }

  assert {
    condition     = output.gateways == null && output.cache == null && output.network.ipv6_cidr_block == null
    error_message = "what is switched off must be null"
  }
  assert {
    condition     = length(aws_launch_template.gateway) + length(aws_iam_role.gateway) + length(aws_elasticache_subnet_group.this) + length(aws_flow_log.this) + length(aws_vpc_endpoint.interface) + length(aws_egress_only_internet_gateway.this) == 0
    error_message = "what is switched off must leave nothing behind"
  }
  assert {
    condition     = length(aws_lb_listener_rule.function["one-code"].action[0].forward[0].target_group) == 2 && aws_lb.this.ip_address_type == "ipv4"
    error_message = "rules must know the gateways' group even without gateways: Terraform could not add it later"
  }
  assert {
    condition     = keys(aws_security_group.this) == ["functions", "load_balancer"] && !contains(keys(aws_lambda_function.this["one-code"].environment[0].variables), "SPILLWAY_CACHE")
    error_message = "no group and no variable may speak of what is not there"
  }
}
