# Two buckets: what gateways start from (packages, configuration) and what is logged.

locals {
  buckets = {
    artifacts = aws_s3_bucket.artifacts
    logs      = aws_s3_bucket.logs
  }

  # Every bucket's policy begins with it: nobody, over nothing older than TLS 1.2.
  tls_only = { for key, bucket in local.buckets : key => [
    {
      Sid       = "TlsOnly"
      Effect    = "Deny"
      Principal = { AWS = "*" }
      Action    = "s3:*"
      Resource  = [bucket.arn, "${bucket.arn}/*"]
      Condition = { Bool = { "aws:SecureTransport" = "false" } }
    },
    {
      Sid       = "Tls12"
      Effect    = "Deny"
      Principal = { AWS = "*" }
      Action    = "s3:*"
      Resource  = [bucket.arn, "${bucket.arn}/*"]
      Condition = { NumericLessThan = { "s3:TlsVersion" = "1.2" } }
    },
  ] }
}

resource "aws_s3_bucket" "artifacts" {
  #checkov:skip=CKV_AWS_144:What is in it can be built again; a second region has a bucket of its own.
  #checkov:skip=CKV2_AWS_62:Nobody waits for an object: gateways fetch what is there when they start.
  bucket        = "${var.name}-artifacts-${local.account}-${local.region}"
  force_destroy = var.storage.force_destroy
  tags          = merge(local.tags, { Name = "${var.name}-artifacts" })
}

resource "aws_s3_bucket" "logs" {
  #checkov:skip=CKV_AWS_144:Logs of this region are of use in this region.
  #checkov:skip=CKV2_AWS_62:Nobody waits for a log.
  #checkov:skip=CKV_AWS_18:A log of who reads logs would log itself.
  #checkov:skip=CKV_AWS_145:Load balancers can write to no bucket that is encrypted with a customer's key; S3's own encrypts it.
  bucket        = "${var.name}-logs-${local.account}-${local.region}"
  force_destroy = var.storage.force_destroy
  tags          = merge(local.tags, { Name = "${var.name}-logs" })
}

resource "aws_s3_bucket_ownership_controls" "this" {
  for_each = local.buckets

  bucket = each.value.id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_public_access_block" "artifacts" {
  bucket                  = aws_s3_bucket.artifacts.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_public_access_block" "logs" {
  bucket                  = aws_s3_bucket.logs.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_versioning" "artifacts" {
  bucket = aws_s3_bucket.artifacts.id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_versioning" "logs" {
  bucket = aws_s3_bucket.logs.id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "artifacts" {
  bucket = aws_s3_bucket.artifacts.id

  rule {
    # One data key for many objects instead of a call to KMS for each.
    bucket_key_enabled = true

    apply_server_side_encryption_by_default {
      sse_algorithm     = "aws:kms"
      kms_master_key_id = aws_kms_key.this.arn
    }
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "logs" {
  bucket = aws_s3_bucket.logs.id

  rule {
    apply_server_side_encryption_by_default {
      sse_algorithm = "AES256"
    }
  }
}

resource "aws_s3_bucket_logging" "artifacts" {
  bucket        = aws_s3_bucket.artifacts.id
  target_bucket = aws_s3_bucket.logs.id
  target_prefix = "s3/artifacts/"

  depends_on = [aws_s3_bucket_policy.logs]
}
