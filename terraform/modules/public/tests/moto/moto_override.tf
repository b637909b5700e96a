# Copied beside the module where it is applied against moto: what moto gives back otherwise than it was written, so that a
# second plan would not be empty. Each block repeats the module's own ignored attributes, which an override replaces.

# Forgets how many superseded versions to keep.
resource "aws_s3_bucket_lifecycle_configuration" "artifacts" {
  rule {
    id     = "superseded"
    status = "Enabled"

    filter {}

    noncurrent_version_expiration {
      noncurrent_days = 30
    }
  }
}

# Forgets the instances' warm-up.
resource "aws_autoscaling_group" "gateways" {
  lifecycle {
    ignore_changes = [desired_capacity, default_instance_warmup]
  }
}

# Forgets dead letters and the log's configuration.
resource "aws_lambda_function" "this" {
  lifecycle {
    ignore_changes = [filename, source_code_hash, s3_bucket, s3_key, s3_object_version, dead_letter_config, logging_config]
  }
}

# Gives the template's own tags back as if they were its instances'.
resource "aws_launch_template" "gateway" {
  lifecycle {
    ignore_changes = [tag_specifications]
  }
}

# Forgets the addresses that were asked for.
resource "aws_lb" "fixed" {
  lifecycle {
    ignore_changes = [subnet_mapping, subnets]
  }
}

# Makes up the scaling of the first serverless generation.
resource "aws_rds_cluster" "this" {
  lifecycle {
    ignore_changes = [scaling_configuration]
  }
}

# Forgets performance insights.
resource "aws_rds_cluster_instance" "this" {
  lifecycle {
    ignore_changes = [performance_insights_enabled, performance_insights_kms_key_id]
  }
}

# Forgets what rules between groups are for.
resource "aws_vpc_security_group_ingress_rule" "arrow" {
  lifecycle {
    ignore_changes = [description]
  }
}

resource "aws_vpc_security_group_egress_rule" "arrow" {
  lifecycle {
    ignore_changes = [description]
  }
}

resource "aws_vpc_security_group_egress_rule" "packages" {
  lifecycle {
    ignore_changes = [description]
  }
}
