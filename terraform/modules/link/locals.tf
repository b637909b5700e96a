data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

data "aws_region" "current" {}

locals {
  account   = data.aws_caller_identity.current.account_id
  partition = data.aws_partition.current.partition
  region    = data.aws_region.current.name

  # Resources of one site; a site set has one of these modules for each.
  prefix = "${var.name}-${var.site}"

  tags = merge(var.tags, {
    "spillway:site-set" = var.name
    "spillway:site"     = var.site
  })

  # Kinds that end at a virtual private gateway of the VPC.
  private_gateway = var.link.kind != "transit-gateway"
  transit         = var.link.kind == "transit-gateway"
  direct_connect  = var.link.kind == "direct-connect"
  vpn             = var.link.vpn != null

  propagated = local.private_gateway && var.link.routes == "propagated"
}
