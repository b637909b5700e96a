# The application load balancer: HTTPS for clients, rules for each function, a redirect from HTTP.

locals {
  # Rules keep their place when functions come and go: it is drawn from the name, catch-alls behind all others. Each has two
  # places, the first for what its gateways have no room for.
  priorities = { for key, function in local.serving_functions : key => 2 * (
    function.priority != null ? function.priority :
    (contains(function.path_patterns, "/*") ? 22500 : 1000 + parseint(substr(sha256(key), 0, 6), 16) % 20000)
  ) }
}

resource "aws_lb" "this" {
  #checkov:skip=CKV2_AWS_28:The firewall is optional: it costs by request, and a burst is what this is for.
  #checkov:skip=CKV2_AWS_76:The firewall has that rule set, in a list that the check does not read.
  name                       = "${var.name}-alb"
  load_balancer_type         = "application"
  ip_address_type            = var.network.ipv6 ? "dualstack" : "ipv4"
  subnets                    = [for subnet in aws_subnet.public : subnet.id]
  security_groups            = [aws_security_group.this["load_balancer"].id]
  drop_invalid_header_fields = true
  desync_mitigation_mode     = "defensive"
  enable_http2               = true
  idle_timeout               = var.load_balancer.idle_timeout_secs
  enable_deletion_protection = var.load_balancer.deletion_protection
  tags                       = merge(local.agent_tags, { Name = var.name })

  access_logs {
    bucket  = aws_s3_bucket.logs.bucket
    prefix  = "alb"
    enabled = var.load_balancer.access_logs
  }

  lifecycle {
    # The agent reserves capacity before a known peak and gives it back.
    ignore_changes = [minimum_load_balancer_capacity]
  }

  depends_on = [aws_s3_bucket_policy.logs]
}

resource "aws_lb_listener" "https" {
  load_balancer_arn = aws_lb.this.arn
  port              = 443
  protocol          = "HTTPS"
  ssl_policy        = var.load_balancer.ssl_policy
  certificate_arn   = var.load_balancer.certificate_arn
  tags              = merge(local.agent_tags, { Name = "${var.name}-https" })

  # What no function's pattern matches is nobody's.
  default_action {
    type = "fixed-response"

    fixed_response {
      content_type = "text/plain"
      message_body = "not found\n"
      status_code  = "404"
    }
  }
}

resource "aws_lb_listener_certificate" "additional" {
  for_each = var.load_balancer.additional_certificate_arns

  listener_arn    = aws_lb_listener.https.arn
  certificate_arn = each.value
}

resource "aws_lb_listener" "http" {
  load_balancer_arn = aws_lb.this.arn
  port              = 80
  protocol          = "HTTP"
  tags              = merge(local.tags, { Name = "${var.name}-http" })

  default_action {
    type = "redirect"

    redirect {
      port        = "443"
      protocol    = "HTTPS"
      status_code = "HTTP_301"
    }
  }
}

resource "aws_lb_listener_rule" "function" {
  for_each = local.serving_functions

  listener_arn = aws_lb_listener.https.arn
  priority     = local.priorities[each.key]
  tags         = merge(local.agent_tags, { Name = "${var.name}-${each.key}", "spillway:function" = each.key })

  condition {
    path_pattern {
      values = each.value.path_patterns
    }
  }

  action {
    type = "forward"

    forward {
      target_group {
        arn    = aws_lb_target_group.function[each.key].arn
        weight = 100
      }

      target_group {
        arn    = aws_lb_target_group.gateways.arn
        weight = 0
      }
    }
  }

  lifecycle {
    # The agent moves weight to the gateways when a burst lasts, and back.
    ignore_changes = [action[0].forward[0].target_group]

    # Weights are ignored, so a rule would keep a target group that is gone.
    replace_triggered_by = [aws_lb_target_group.gateways.arn]

    precondition {
      condition     = length(local.priorities) == length(toset(values(local.priorities)))
      error_message = "Two functions have the same priority: give one of them another `priority` from 1 to 25000."
    }
  }
}

# A gateway that has no room for a request sends its client here again, for the function alone.
resource "aws_lb_listener_rule" "function_alone" {
  for_each = local.gateways_on ? local.serving_functions : {}

  listener_arn = aws_lb_listener.https.arn
  priority     = local.priorities[each.key] - 1
  tags         = merge(local.tags, { Name = "${var.name}-${each.key}-alone" })

  condition {
    path_pattern {
      values = each.value.path_patterns
    }
  }

  condition {
    query_string {
      key   = "spillway"
      value = "functions"
    }
  }

  action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.function[each.key].arn
  }

  lifecycle {
    precondition {
      condition     = length(each.value.path_patterns) <= 4
      error_message = "Write at most four `path_patterns` into function ${each.key} where there are EC2 gateways: a rule takes five values, and one says that a request is for functions alone."
    }
  }
}
