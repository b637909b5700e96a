resource "aws_lb_target_group" "function" {
  #checkov:skip=CKV_AWS_261:A health check of a function would invoke it, for money, to learn what its errors tell.
  for_each = local.serving_functions

  name        = "${var.name}-${each.key}"
  target_type = "lambda"
  tags        = merge(local.agent_tags, { Name = "${var.name}-${each.key}" })

  # Headers that come more than once (Set-Cookie, Via) reach the function and the client as they are.
  lambda_multi_value_headers_enabled = true
}

resource "aws_lb_target_group_attachment" "function" {
  for_each = local.serving_functions

  target_group_arn = aws_lb_target_group.function[each.key].arn
  target_id        = aws_lambda_alias.live[each.key].arn

  depends_on = [aws_lambda_permission.load_balancer]
}

# There even while no gateway is wanted: the rules' targets are the agent's, so Terraform could not add it to them later.
resource "aws_lb_target_group" "gateways" {
  #checkov:skip=CKV_AWS_378:Gateways speak plain HTTP behind the load balancer; the VPC's instances encrypt between themselves, and a group admits the load balancer alone.
  name                          = "${var.name}-gw${local.gateway_port}"
  target_type                   = "instance"
  vpc_id                        = aws_vpc.this.id
  port                          = local.gateway_port
  protocol                      = "HTTP"
  load_balancing_algorithm_type = "least_outstanding_requests"
  deregistration_delay          = try(var.gateways.drain_secs, 30)
  tags                          = merge(local.agent_tags, { Name = "${var.name}-gw${local.gateway_port}" })

  # The admin listener answers 503 as soon as a gateway drains, before its client listener closes.
  health_check {
    path                = "/healthz"
    port                = tostring(try(var.gateways.admin_port, 9311))
    protocol            = "HTTP"
    matcher             = "200"
    interval            = 5
    timeout             = 2
    healthy_threshold   = 2
    unhealthy_threshold = 2
  }

  lifecycle {
    # Another port needs another group, which the rules must know before this one goes.
    create_before_destroy = true
  }
}
