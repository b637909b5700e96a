# Least privilege, the optional parts, and what stays the agent's when the configuration changes.

mock_provider "aws" {
  source = "./tests/mocks"
}

override_resource {
  target = aws_lb_target_group.gateways
  values = { arn = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/east-gateway/2" }
}

variables {
  name    = "east"
  network = { nat = "single", on_premises = { cidr_blocks = ["10.8.0.0/16", "2001:db8:8::/48"], ports = [5432] } }
  load_balancer = {
    certificate_arn             = "arn:aws:acm:eu-central-1:123456789012:certificate/1"
    additional_certificate_arns = ["arn:aws:acm:eu-central-1:123456789012:certificate/2"]
    fixed_addresses             = true
    waf                         = { requests_per_5_min = 2000 }
  }
  functions = {
    codes = { groups = ["codes"], path_patterns = ["/v1/users*"], reserved_concurrency = 50, env = { SPILLWAY_LOG = "debug" } }
    scans = { groups = ["scans", "venues"], path_patterns = ["/v1/scans*", "/v1/venues/*"], priority = 7, architecture = "x86_64" }
  }
  secrets  = { service = "ONE_CODE_SECRET", database = "PGPASSWORD" }
  gateways = { session_manager = true }
  database = { follows_on_premises = true }
}

run "everything" {
  command = apply

  # Functions.
  assert {
    condition     = aws_iam_role.function["codes"].name != aws_iam_role.function["scans"].name && aws_sqs_queue.dead_letters["codes"].name != aws_sqs_queue.dead_letters["scans"].name
    error_message = "each function must have a role and a dead-letter queue of its own"
  }
  assert {
    condition     = alltrue([for statement in jsondecode(aws_iam_role_policy.function["codes"].policy).Statement : statement.Resource != "*" || contains(["NetworkInterfaces", "NotByTheCode"], statement.Sid)])
    error_message = "a function's permissions must name their resources, but for network interfaces"
  }
  assert {
    condition     = alltrue([for statement in jsondecode(aws_iam_role_policy.function["codes"].policy).Statement : !strcontains(jsonencode(statement.Action), "*")])
    error_message = "a function's permissions must name their actions"
  }
  assert {
    condition = one([for s in jsondecode(aws_iam_role_policy.function["codes"].policy).Statement : s if s.Sid == "NotByTheCode"]).Condition == {
      ArnEquals = { "lambda:SourceFunctionArn" = "arn:aws:lambda:eu-central-1:123456789012:function:east-codes" }
    }
    error_message = "a function's code must not make network interfaces"
  }
  assert {
    condition     = one([for s in jsondecode(aws_iam_role_policy.function["codes"].policy).Statement : s if s.Sid == "Key"]).Condition.StringEquals["kms:ViaService"] == ["lambda.eu-central-1.amazonaws.com", "secretsmanager.eu-central-1.amazonaws.com", "sqs.eu-central-1.amazonaws.com"]
    error_message = "a function must use the key through services alone"
  }
  assert {
    condition     = aws_lambda_function.this["codes"].reserved_concurrent_executions == 50 && aws_lambda_function.this["scans"].architectures == tolist(["x86_64"]) && aws_lambda_function.this["codes"].environment[0].variables.SPILLWAY_LOG == "debug" && startswith(aws_lambda_function.this["codes"].environment[0].variables.PGPASSWORD_ARN, "arn:")
    error_message = "a function must be as it was asked for"
  }
  assert {
    condition     = aws_lb_listener_rule.function["scans"].priority == 14 && aws_lb_listener_rule.function["codes"].priority >= 2000 && aws_lb_listener_rule.function["codes"].priority < 42000
    error_message = "a rule's place must be the given one, or one drawn from the name before all catch-alls"
  }
  assert {
    condition = aws_lb_listener_rule.function_alone["scans"].priority == 13 && alltrue([for key, rule in aws_lb_listener_rule.function_alone :
      rule.priority == aws_lb_listener_rule.function[key].priority - 1 && one(rule.action).target_group_arn == aws_lb_target_group.function[key].arn
    && contains(flatten(rule.condition[*].query_string[*].value), "functions")])
    error_message = "what gateways have no room for must be for the function alone, before the rule that may give it to them"
  }
  assert {
    condition     = keys(output.load_balancer.rule_arns) == ["codes", "scans", "venues"]
    error_message = "every group must have a rule"
  }

  # Gateways.
  assert {
    condition     = aws_launch_template.gateway[0].metadata_options[0].http_tokens == "required" && aws_launch_template.gateway[0].metadata_options[0].http_put_response_hop_limit == 1
    error_message = "instance metadata must want a token and stay on the instance"
  }
  assert {
    condition     = aws_launch_template.gateway[0].block_device_mappings[0].ebs[0].encrypted == "true" && aws_launch_template.gateway[0].network_interfaces[0].associate_public_ip_address == "false"
    error_message = "a gateway's disk must be encrypted and its address private"
  }
  assert {
    condition     = toset([for spec in aws_launch_template.gateway[0].tag_specifications : spec.resource_type if spec.tags["spillway:agent"] == "true" && spec.tags["spillway:site-set"] == "east"]) == toset(["instance", "network-interface", "volume"])
    error_message = "an instance that the agent launches by itself must be tagged with all that comes with it"
  }
  assert {
    condition = alltrue([for words in ["fetch \"packages/spillway-gateway.deb\"", "fetch \"config/spillway.toml\" /etc/spillway/spillway.toml", "fetch \"config/plan.pub\" /var/lib/spillway/plan.pub", "systemctl enable --now spillway-one-code@cloud-service.service spillway-gateway@cloud-gateway.service", "X-aws-ec2-metadata-token", "echo 'SPILLWAY_CACHE=rediss://", "secret ONE_CODE_SECRET \"arn:", "secret PGPASSWORD \"arn:", "$${BASH_REMATCH[1]}"] :
      strcontains(base64decode(aws_launch_template.gateway[0].user_data), replace(words, "$$", "$"))
    ])
    error_message = "an instance must fetch its packages and configuration with its role, and start its units"
  }
  assert {
    condition     = one([for s in jsondecode(aws_iam_role_policy.gateway[0].policy).Statement : s if s.Sid == "Packages"]) == { Sid = "Packages", Effect = "Allow", Action = "s3:GetObject", Resource = [for key in ["packages/spillway.deb", "packages/spillway-gateway.deb", "packages/spillway-one-code.deb", "config/spillway.toml", "config/plan.pub"] : "${aws_s3_bucket.artifacts.arn}/${key}"] }
    error_message = "a gateway must read what it installs and nothing else"
  }
  assert {
    condition     = alltrue([for s in jsondecode(aws_iam_role_policy.gateway[0].policy).Statement : s.Resource != "*" && !strcontains(jsonencode(s.Action), "*")])
    error_message = "a gateway's permissions must name actions and resources"
  }
  assert {
    condition     = [for override in aws_autoscaling_group.gateways[0].mixed_instances_policy[0].launch_template[0].override : override.instance_type] == ["c7g.large", "c6g.large", "m7g.large"]
    error_message = "where the first instance type is sold out the others must stand in"
  }
  assert {
    condition = [for refresh in aws_autoscaling_group.gateways[0].instance_refresh : [
      refresh.strategy, refresh.preferences[0].min_healthy_percentage, refresh.preferences[0].max_healthy_percentage
    ]] == [["Rolling", 100, 110]]
    error_message = "another template must reach those that run, each replaced before it ends and a tenth of them at a time"
  }

  assert {
    condition     = keys(aws_vpc_endpoint.interface) == ["secretsmanager", "ssm", "ssmmessages"] && keys(aws_iam_role_policy_attachment.gateway) == ["arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore"]
    error_message = "Session Manager must have its endpoints and its policy"
  }

  # Who talks to whom.
  assert {
    condition = keys(aws_vpc_security_group_ingress_rule.arrow) == [
      "functions-cache-6379", "functions-database-5432", "functions-endpoints-443", "gateways-cache-6379", "gateways-database-5432", "gateways-endpoints-443",
      "load_balancer-gateways-8080", "load_balancer-gateways-9311",
    ] && keys(aws_vpc_security_group_ingress_rule.arrow) == keys(aws_vpc_security_group_egress_rule.arrow)
    error_message = "the arrows between groups must be these, at both ends"
  }
  assert {
    condition     = sort(keys(aws_vpc_security_group_egress_rule.site)) == sort(flatten([for from in ["database", "functions", "gateways"] : ["${from}-10.8.0.0/16-5432", "${from}-2001:db8:8::/48-5432"]]))
    error_message = "functions, gateways and the database must reach the site's port and no other"
  }
  assert {
    condition     = alltrue([for rule in aws_vpc_security_group_ingress_rule.site : rule.cidr_ipv4 != "0.0.0.0/0" && rule.cidr_ipv6 != "::/0"]) && sort(keys(aws_vpc_security_group_ingress_rule.site)) == sort(flatten([for to in ["cache-%s-6379", "gateways-%s-9311"] : [for block in ["10.8.0.0/16", "2001:db8:8::/48"] : format(to, block)]]))
    error_message = "the site, and only it, must reach the gateways' two ports and the cache over the link"
  }

  # Data.
  assert {
    condition     = aws_elasticache_replication_group.this[0].transit_encryption_mode == "required" && aws_elasticache_replication_group.this[0].at_rest_encryption_enabled == "true" && aws_elasticache_replication_group.this[0].multi_az_enabled && aws_elasticache_replication_group.this[0].num_cache_clusters == 2
    error_message = "the cache must be encrypted both ways and stand in two zones"
  }
  assert {
    condition     = aws_rds_cluster.this[0].storage_encrypted && aws_rds_cluster.this[0].manage_master_user_password && aws_rds_cluster.this[0].deletion_protection && length(aws_rds_cluster_instance.this) == 2
    error_message = "the database must be encrypted, keep its password itself, be protected and have a reader"
  }
  assert {
    condition     = { for parameter in aws_rds_cluster_parameter_group.this[0].parameter : parameter.name => parameter.value }["rds.logical_replication"] == "1" && { for parameter in aws_rds_cluster_parameter_group.this[0].parameter : parameter.name => parameter.value }["rds.force_ssl"] == "1"
    error_message = "a database that follows the site must speak logical replication, and TLS alone"
  }

  assert {
    condition = alltrue([for key in ["codes", "scans"] :
      aws_lambda_function.this[key].environment[0].variables.SPILLWAY_REPLICAS == "${aws_rds_cluster.this[0].endpoint}=${aws_rds_cluster.this[0].reader_endpoint}"
    ]) && strcontains(base64decode(aws_launch_template.gateway[0].user_data), "echo 'SPILLWAY_REPLICAS=${aws_rds_cluster.this[0].endpoint}=${aws_rds_cluster.this[0].reader_endpoint}'")
    error_message = "functions and gateways must read at the cluster's reader endpoint where it is a shard"
  }

  # Storage, key, edge.
  assert {
    condition = alltrue([for policy in [aws_s3_bucket_policy.artifacts.policy, aws_s3_bucket_policy.logs.policy] :
      [for s in jsondecode(policy).Statement : s.Sid if s.Effect == "Deny"] == ["TlsOnly", "Tls12"]
    ])
    error_message = "both buckets must refuse what does not come over TLS 1.2"
  }
  assert {
    condition     = alltrue([for s in jsondecode(aws_s3_bucket_policy.logs.policy).Statement : can(s.Principal.Service) && can(s.Condition) if s.Effect == "Allow"])
    error_message = "services alone may write logs, each on this account's behalf"
  }
  assert {
    condition     = [for s in jsondecode(aws_kms_key.this.policy).Statement : s.Sid if !can(s.Condition)] == ["Account"] && aws_kms_key.this.enable_key_rotation
    error_message = "the key must rotate, and serve services under a condition alone"
  }
  assert {
    condition     = length(aws_eip.fixed) == 2 && length(output.load_balancer.addresses) == 2 && keys(aws_lb_listener.fixed) == ["443", "80"] && aws_lb_target_group.fixed["443"].target_type == "alb"
    error_message = "fixed addresses must be one a zone, in front of both listeners"
  }
  assert {
    condition     = length(aws_wafv2_web_acl.this[0].rule) == 4 && toset(flatten(aws_wafv2_web_acl_logging_configuration.this[0].redacted_fields[*].single_header[*].name)) == toset(["authorization", "cookie"])
    error_message = "the firewall must have its four rules and log no token"
  }
  assert {
    condition     = length(aws_nat_gateway.this) == 1 && length(aws_route.private_ipv4) == 2
    error_message = "one NAT gateway must serve both zones"
  }
}

# The same state, other beginnings: what is the agent's by then must not move, what is not must.
run "beginnings_are_beginnings" {
  command = apply

  variables {
    gateways = { min = 2, max = 20 }
    cache    = { replicas = 3 }
  }

  assert {
    condition     = aws_autoscaling_group.gateways[0].desired_capacity == 0 && aws_autoscaling_group.gateways[0].min_size == 2 && aws_autoscaling_group.gateways[0].max_size == 20
    error_message = "the desired size is the agent's, its bounds are not"
  }
  assert {
    condition     = aws_elasticache_replication_group.this[0].num_cache_clusters == 2
    error_message = "the number of replicas is the agent's"
  }
}

run "another_port_of_the_gateways" {
  command = apply

  variables {
    gateways = { port = 8443 }
  }

  assert {
    condition     = aws_lb_target_group.gateways.port == 8443 && aws_lb_target_group.gateways.name == "east-gw8443"
    error_message = "another port must make another target group"
  }
}
