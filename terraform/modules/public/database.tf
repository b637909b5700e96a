# Aurora PostgreSQL, when the site set wants data in the cloud: a cluster of its own, or the subscriber of the site's
# database by logical replication (Aurora cannot follow a foreign server's write-ahead log).

locals {
  serverless = try(var.database.instance_class, "") == "db.serverless"
}

resource "aws_db_subnet_group" "this" {
  count = local.database_on ? 1 : 0

  name        = var.name
  description = "Spillway ${var.name}"
  subnet_ids  = [for subnet in aws_subnet.private : subnet.id]
  tags        = local.tags
}

resource "aws_rds_cluster_parameter_group" "this" {
  count = local.database_on ? 1 : 0

  name        = "${var.name}-postgresql${split(".", var.database.engine_version)[0]}"
  family      = "aurora-postgresql${split(".", var.database.engine_version)[0]}"
  description = "Spillway ${var.name}"
  tags        = local.tags

  dynamic "parameter" {
    for_each = merge(
      { "rds.force_ssl" = "1", "log_statement" = "ddl", "log_min_duration_statement" = "1000" },
      var.database.follows_on_premises ? { "rds.logical_replication" = "1" } : {},
    )

    content {
      name  = parameter.key
      value = parameter.value
      # Some take hold at a restart alone; so all may.
      apply_method = "pending-reboot"
    }
  }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_rds_cluster" "this" {
  #checkov:skip=CKV2_AWS_8:Automatic backups are kept for as long as the variable says; a plan of AWS Backup is the account's business.
  #checkov:skip=CKV_AWS_139:Deletion protection is on unless the variable says otherwise.
  #checkov:skip=CKV2_AWS_27:The parameter group logs changes of the schema and slow statements; the check does not read its list.
  count = local.database_on ? 1 : 0

  cluster_identifier                  = var.name
  engine                              = "aurora-postgresql"
  engine_version                      = var.database.engine_version
  database_name                       = var.database.name
  port                                = local.database_port
  master_username                     = "spillway_admin"
  manage_master_user_password         = true
  master_user_secret_kms_key_id       = aws_kms_key.this.key_id
  iam_database_authentication_enabled = true
  db_subnet_group_name                = aws_db_subnet_group.this[0].name
  db_cluster_parameter_group_name     = aws_rds_cluster_parameter_group.this[0].name
  vpc_security_group_ids              = [aws_security_group.this["database"].id]
  storage_encrypted                   = true
  kms_key_id                          = aws_kms_key.this.arn
  backup_retention_period             = var.database.backup_days
  copy_tags_to_snapshot               = true
  deletion_protection                 = var.database.deletion_protection
  skip_final_snapshot                 = !var.database.deletion_protection
  final_snapshot_identifier           = var.database.deletion_protection ? "${var.name}-final" : null
  enabled_cloudwatch_logs_exports     = ["postgresql"]
  tags                                = merge(local.agent_tags, { Name = var.name })

  dynamic "serverlessv2_scaling_configuration" {
    for_each = local.serverless ? [var.database] : []

    content {
      min_capacity = serverlessv2_scaling_configuration.value.acu_min
      max_capacity = serverlessv2_scaling_configuration.value.acu_max
    }
  }
}

# The writer and the first readers. The agent's further readers are instances of its own, which the cluster counts and
# Terraform does not; `for_each` by number keeps the writer the writer when `readers` changes.
resource "aws_rds_cluster_instance" "this" {
  #checkov:skip=CKV_AWS_118:The cluster's own metrics suffice for steering; enhanced monitoring would need a role more.
  for_each = local.database_on ? toset([for index in range(1 + var.database.readers) : tostring(index)]) : toset([])

  identifier                      = "${var.name}-${each.key}"
  cluster_identifier              = aws_rds_cluster.this[0].id
  engine                          = "aurora-postgresql"
  instance_class                  = var.database.instance_class
  db_subnet_group_name            = aws_db_subnet_group.this[0].name
  publicly_accessible             = false
  auto_minor_version_upgrade      = true
  performance_insights_enabled    = true
  performance_insights_kms_key_id = aws_kms_key.this.arn
  promotion_tier                  = each.key == "0" ? 0 : 1
  tags                            = merge(local.agent_tags, { Name = "${var.name}-${each.key}" })
}
