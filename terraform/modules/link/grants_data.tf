# Replicas of the cache and of the database.

locals {
  elasticache = "${local.arn}:elasticache:${local.region}:${local.account}"
  rds         = "${local.arn}:rds:${local.region}:${local.account}"

  # Replicas that the agent makes have names of their own, so that it can end none that it did not make.
  database_replicas = "${local.rds}:db:${var.name}-replica-*"

  cache = var.levers.cache == null ? "[]" : jsonencode([
    {
      Sid       = "CacheReplicas"
      Effect    = "Allow"
      Action    = ["elasticache:DecreaseReplicaCount", "elasticache:IncreaseReplicaCount"]
      Resource  = ["${local.elasticache}:replicationgroup:${var.levers.cache.replication_group_id}"]
      Condition = { StringEquals = local.owned }
    },
    {
      Sid    = "ReadCache"
      Effect = "Allow"
      Action = ["elasticache:DescribeCacheClusters", "elasticache:DescribeReplicationGroups"]
      # The group's nodes are named after it.
      Resource = [
        "${local.elasticache}:replicationgroup:${var.levers.cache.replication_group_id}",
        "${local.elasticache}:cluster:${var.levers.cache.replication_group_id}-*",
      ]
    },
  ])

  database = var.levers.database == null ? "[]" : jsonencode([
    {
      Sid       = "MakeDatabaseReplica"
      Effect    = "Allow"
      Action    = ["rds:CreateDBInstance"]
      Resource  = [local.database_replicas]
      Condition = { StringEquals = local.requested }
    },
    {
      Sid       = "InThisCluster"
      Effect    = "Allow"
      Action    = ["rds:CreateDBInstance"]
      Resource  = ["${local.rds}:cluster:${var.levers.database.cluster_id}"]
      Condition = { StringEquals = local.owned }
    },
    {
      Sid       = "TagDatabaseReplica"
      Effect    = "Allow"
      Action    = ["rds:AddTagsToResource"]
      Resource  = [local.database_replicas]
      Condition = { StringEquals = local.requested }
    },
    {
      Sid       = "EndDatabaseReplica"
      Effect    = "Allow"
      Action    = ["rds:DeleteDBInstance"]
      Resource  = [local.database_replicas]
      Condition = { StringEquals = local.owned }
    },
    {
      Sid    = "ReadDatabase"
      Effect = "Allow"
      Action = ["rds:DescribeDBClusters", "rds:DescribeDBInstances"]
      # Asked for a cluster's instances, RDS wants the right to describe each instance there is.
      Resource = ["${local.rds}:cluster:${var.levers.database.cluster_id}", "${local.rds}:db:*"]
    },
  ])
}
