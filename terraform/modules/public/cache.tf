# Redis: the plan's mirror, which functions read, and the service's cache.

locals {
  # The endpoint names the primary of the day.
  cache_urls = [for cache in aws_elasticache_replication_group.this : "rediss://${cache.primary_endpoint_address}:${local.cache_port}"]
}

resource "aws_elasticache_subnet_group" "this" {
  count = local.cache_on ? 1 : 0

  name        = var.name
  description = "Spillway ${var.name}"
  subnet_ids  = [for subnet in aws_subnet.private : subnet.id]
  tags        = local.tags
}

resource "aws_elasticache_parameter_group" "this" {
  count = local.cache_on ? 1 : 0

  name        = "${var.name}-redis7"
  family      = "redis7"
  description = "Spillway ${var.name}"
  tags        = local.tags

  # A full cache forgets what was used least instead of refusing writes.
  parameter {
    name  = "maxmemory-policy"
    value = "allkeys-lru"
  }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_elasticache_replication_group" "this" {
  #checkov:skip=CKV_AWS_31:Encrypted both ways; a password would be in Terraform's state. Two security groups alone reach it, plans carry a signature, and the rest can be lost.
  count = local.cache_on ? 1 : 0

  replication_group_id       = var.name
  description                = "Spillway ${var.name}: plan mirror and cache"
  engine                     = "redis"
  engine_version             = var.cache.engine_version
  node_type                  = var.cache.node_type
  num_cache_clusters         = 1 + var.cache.replicas
  port                       = local.cache_port
  parameter_group_name       = aws_elasticache_parameter_group.this[0].name
  subnet_group_name          = aws_elasticache_subnet_group.this[0].name
  security_group_ids         = [aws_security_group.this["cache"].id]
  automatic_failover_enabled = true
  multi_az_enabled           = true
  at_rest_encryption_enabled = true
  transit_encryption_enabled = true
  transit_encryption_mode    = "required"
  kms_key_id                 = aws_kms_key.this.arn
  snapshot_retention_limit   = var.cache.snapshot_days
  auto_minor_version_upgrade = true
  tags                       = merge(local.agent_tags, { Name = var.name })

  lifecycle {
    # The agent adds replicas for a peak and takes them away.
    ignore_changes = [num_cache_clusters]
  }
}
