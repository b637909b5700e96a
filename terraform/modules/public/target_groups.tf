resource "aws_lb_target_group" "function" {
  #checkov:skip=CKV_AWS_261:A health check of a function would invoke it, for money, to learn what its errors tell.
  for_each = var.functions

  name        = "${var.name}-${each.key}"
  target_type = "lambda"
  tags        = merge(local.agent_tags, { Name = "${var.name}-${each.key}" })

  # Headers that come more than once (Set-Cookie, Via) reach the function and the client as they are.
  lambda_multi_value_headers_enabled = true
}

resource "aws_lb_target_group_attachment" "function" {
  for_each = var.functions

  target_group_arn = aws_lb_target_group.function[each.key].arn
  target_id        = aws_lambda_alias.live[each.key].arn

  depends_on = [aws_lambda_permission.load_balancer]
}

resource "aws_lb_target_group" "gateways" {
  #checkov:skip=CKV_AWS_378:Gateways speak plain HTTP behind the load balancer; the VPC's instances encrypt between themselves, and a group admits the load balancer alone.
  count = local.gateways_on ? 1 : 0

  name                          = "${var.name}-gateway"
  target_type                   = "instance"
  vpc_id                        = aws_vpc.this.id
  port                          = var.gateways.port
  protocol                      = "HTTP"
  load_balancing_algorithm_type = "least_outstanding_requests"
  deregistration_delay          = var.gateways.drain_secs
  tags                          = merge(local.agent_tags, { Name = "${var.name}-gateway" })

  # The admin listener answers 503 as soon as a gateway drains, before its client listener closes.
  health_check {
    path                = "/healthz"
    port                = tostring(var.gateways.admin_port)
    protocol            = "HTTP"
    matcher             = "200"
    interval            = 5
    timeout             = 2
    healthy_threshold   = 2
    unhealthy_threshold = 2
  }
}
