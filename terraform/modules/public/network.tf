# The VPC: two zones, in each a public subnet (load balancers) and a private one (functions, gateways, data). A quarter
# of the block each way is kept free for what comes later.

data "aws_availability_zones" "available" {
  #checkov:skip=CKV_AWS_394:Only the first two are used, and a subnet that exists stays where it is.
  state = "available"

  filter {
    name   = "opt-in-status"
    values = ["opt-in-not-required"]
  }
}

locals {
  zones = var.network.zones != null ? var.network.zones : slice(sort(data.aws_availability_zones.available.names), 0, 2)

  # Keyed by place, not by name, so that a zone's name may be unknown when the plan is made.
  subnets      = { for index in [0, 1] : ["a", "b"][index] => index }
  nat_gateways = { none = toset([]), single = toset(["a"]), per_zone = toset(["a", "b"]) }[var.network.nat]
}

resource "aws_vpc" "this" {
  #checkov:skip=CKV2_AWS_11:The flow log is below; it can be switched off, which the check reads as its absence.
  cidr_block                       = var.network.cidr_block
  assign_generated_ipv6_cidr_block = var.network.ipv6
  enable_dns_support               = true
  enable_dns_hostnames             = true
  tags                             = merge(local.tags, { Name = var.name })
}

# Nothing uses the security group and the route table that a VPC is born with, so they allow nothing.
resource "aws_default_security_group" "this" {
  vpc_id = aws_vpc.this.id
  tags   = merge(local.tags, { Name = "${var.name}-default-unused" })
}

resource "aws_subnet" "private" {
  for_each = local.subnets

  vpc_id                          = aws_vpc.this.id
  availability_zone               = local.zones[each.value]
  cidr_block                      = cidrsubnet(aws_vpc.this.cidr_block, 3, each.value)
  ipv6_cidr_block                 = var.network.ipv6 ? cidrsubnet(aws_vpc.this.ipv6_cidr_block, 8, each.value) : null
  assign_ipv6_address_on_creation = var.network.ipv6
  tags                            = merge(local.tags, { Name = "${var.name}-private-${each.key}" })

  lifecycle {
    # A zone that AWS adds must not move a subnet, which would replace all that is in it.
    ignore_changes = [availability_zone]
  }
}

resource "aws_subnet" "public" {
  for_each = local.subnets

  vpc_id                          = aws_vpc.this.id
  availability_zone               = local.zones[each.value]
  cidr_block                      = cidrsubnet(aws_vpc.this.cidr_block, 3, 2 + each.value)
  ipv6_cidr_block                 = var.network.ipv6 ? cidrsubnet(aws_vpc.this.ipv6_cidr_block, 8, 2 + each.value) : null
  assign_ipv6_address_on_creation = var.network.ipv6
  map_public_ip_on_launch         = false
  tags                            = merge(local.tags, { Name = "${var.name}-public-${each.key}" })

  lifecycle {
    # As above.
    ignore_changes = [availability_zone]
  }
}

resource "aws_internet_gateway" "this" {
  vpc_id = aws_vpc.this.id
  tags   = merge(local.tags, { Name = var.name })
}

# Out over IPv6, never in: what private subnets need of the internet, without the price of a NAT gateway.
resource "aws_egress_only_internet_gateway" "this" {
  count = var.network.ipv6 ? 1 : 0

  vpc_id = aws_vpc.this.id
  tags   = merge(local.tags, { Name = var.name })
}

resource "aws_eip" "nat" {
  #checkov:skip=CKV2_AWS_19:It belongs to a NAT gateway, not to an instance.
  for_each = local.nat_gateways

  domain = "vpc"
  tags   = merge(local.tags, { Name = "${var.name}-nat-${each.key}" })
}

resource "aws_nat_gateway" "this" {
  for_each = local.nat_gateways

  allocation_id = aws_eip.nat[each.key].id
  subnet_id     = aws_subnet.public[each.key].id
  tags          = merge(local.tags, { Name = "${var.name}-${each.key}" })

  depends_on = [aws_internet_gateway.this]
}

# Routes are resources of their own, never lines of a table: the link adds its own to the same tables.
resource "aws_route_table" "public" {
  vpc_id = aws_vpc.this.id
  tags   = merge(local.tags, { Name = "${var.name}-public" })
}

resource "aws_route" "public_ipv4" {
  route_table_id         = aws_route_table.public.id
  destination_cidr_block = "0.0.0.0/0"
  gateway_id             = aws_internet_gateway.this.id
}

resource "aws_route" "public_ipv6" {
  count = var.network.ipv6 ? 1 : 0

  route_table_id              = aws_route_table.public.id
  destination_ipv6_cidr_block = "::/0"
  gateway_id                  = aws_internet_gateway.this.id
}

resource "aws_route_table_association" "public" {
  for_each = local.subnets

  subnet_id      = aws_subnet.public[each.key].id
  route_table_id = aws_route_table.public.id
}

resource "aws_route_table" "private" {
  for_each = local.subnets

  vpc_id = aws_vpc.this.id
  tags   = merge(local.tags, { Name = "${var.name}-private-${each.key}" })
}

resource "aws_route" "private_ipv4" {
  for_each = length(local.nat_gateways) > 0 ? local.subnets : {}

  route_table_id         = aws_route_table.private[each.key].id
  destination_cidr_block = "0.0.0.0/0"
  nat_gateway_id         = try(aws_nat_gateway.this[each.key], aws_nat_gateway.this["a"]).id
}

resource "aws_route" "private_ipv6" {
  for_each = var.network.ipv6 ? local.subnets : {}

  route_table_id              = aws_route_table.private[each.key].id
  destination_ipv6_cidr_block = "::/0"
  egress_only_gateway_id      = aws_egress_only_internet_gateway.this[0].id
}

resource "aws_route_table_association" "private" {
  for_each = local.subnets

  subnet_id      = aws_subnet.private[each.key].id
  route_table_id = aws_route_table.private[each.key].id
}

resource "aws_flow_log" "this" {
  count = var.network.flow_log ? 1 : 0

  vpc_id               = aws_vpc.this.id
  traffic_type         = "ALL"
  log_destination_type = "s3"
  log_destination      = aws_s3_bucket.logs.arn
  tags                 = merge(local.tags, { Name = var.name })

  depends_on = [aws_s3_bucket_policy.logs]
}
