# Fixed IPv4 addresses in front of the load balancer, for clients (and name servers' zones) that must know addresses.
# A network load balancer passes connections through; clients' addresses and TLS stay as they are. IPv6 clients need no
# such thing: they reach the load balancer by its name.

locals {
  fixed_subnets = var.load_balancer.fixed_addresses ? local.subnets : {}
  fixed_ports   = var.load_balancer.fixed_addresses ? toset(["80", "443"]) : toset([])
}

resource "aws_eip" "fixed" {
  #checkov:skip=CKV2_AWS_19:It belongs to a network load balancer, not to an instance.
  for_each = local.fixed_subnets

  domain = "vpc"
  tags   = merge(local.tags, { Name = "${var.name}-fixed-${each.key}" })
}

resource "aws_lb" "fixed" {
  #checkov:skip=CKV_AWS_91:It logs TLS listeners alone; the load balancer behind it logs every request.
  count = var.load_balancer.fixed_addresses ? 1 : 0

  name                             = "${var.name}-nlb"
  load_balancer_type               = "network"
  ip_address_type                  = "ipv4"
  enable_cross_zone_load_balancing = true
  enable_deletion_protection       = var.load_balancer.deletion_protection
  tags                             = merge(local.tags, { Name = "${var.name}-fixed" })

  dynamic "subnet_mapping" {
    for_each = aws_eip.fixed

    content {
      subnet_id     = aws_subnet.public[subnet_mapping.key].id
      allocation_id = subnet_mapping.value.id
    }
  }
}

resource "aws_lb_target_group" "fixed" {
  #checkov:skip=CKV_AWS_378:It passes the clients' own TLS through.
  for_each = local.fixed_ports

  name        = "${var.name}-nlb-${each.key}"
  target_type = "alb"
  vpc_id      = aws_vpc.this.id
  port        = tonumber(each.key)
  protocol    = "TCP"
  tags        = merge(local.tags, { Name = "${var.name}-nlb-${each.key}" })

  # The listener of port 443 answers 404 where no function's pattern matches, that of port 80 redirects: both live.
  health_check {
    protocol = each.key == "443" ? "HTTPS" : "HTTP"
    path     = "/"
    matcher  = "200-499"
  }
}

resource "aws_lb_target_group_attachment" "fixed" {
  for_each = local.fixed_ports

  target_group_arn = aws_lb_target_group.fixed[each.key].arn
  target_id        = aws_lb.this.arn
  port             = tonumber(each.key)

  # A balancer without a listener on the port is refused as a target.
  depends_on = [aws_lb_listener.https, aws_lb_listener.http]
}

resource "aws_lb_listener" "fixed" {
  #checkov:skip=CKV_AWS_2:It passes the clients' own TLS through, and port 80 to what redirects.
  #checkov:skip=CKV_AWS_103:The same.
  for_each = local.fixed_ports

  load_balancer_arn = aws_lb.fixed[0].arn
  port              = tonumber(each.key)
  protocol          = "TCP"
  tags              = merge(local.tags, { Name = "${var.name}-nlb-${each.key}" })

  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.fixed[each.key].arn
  }
}
