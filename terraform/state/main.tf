# The bucket that stacks keep their state in. A state names everything and holds the tunnels' keys, so it is encrypted with
# a key of its own, every version is kept for a while, and nothing but TLS reaches it.

data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}

locals {
  account = data.aws_caller_identity.current.account_id
}

resource "aws_kms_key" "this" {
  description             = "Terraform state of Spillway"
  enable_key_rotation     = true
  deletion_window_in_days = 30
  tags                    = merge(var.tags, { Name = var.name })

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      # Without this statement nobody could mend the key's policy again; who may what is said in IAM.
      Sid       = "Account"
      Effect    = "Allow"
      Principal = { AWS = "arn:${data.aws_partition.current.partition}:iam::${local.account}:root" }
      Action    = "kms:*"
      Resource  = "*"
    }]
  })
}

resource "aws_kms_alias" "this" {
  name          = "alias/${var.name}"
  target_key_id = aws_kms_key.this.key_id
}

resource "aws_s3_bucket" "this" {
  #checkov:skip=CKV_AWS_18:Who reads and writes states is in the account's trail (data events); a bucket of logs would need a bucket of logs.
  #checkov:skip=CKV_AWS_144:A region that is gone takes what its states describe along; what is in others is found again by `import`.
  #checkov:skip=CKV2_AWS_62:Nobody waits for a state.
  bucket = "${var.name}-${local.account}-${var.region}"
  tags   = merge(var.tags, { Name = var.name })

  # S3 deletes no bucket that has something in it, and this one is never emptied by `destroy`.
  force_destroy = false
}

resource "aws_s3_bucket_ownership_controls" "this" {
  bucket = aws_s3_bucket.this.id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_public_access_block" "this" {
  bucket                  = aws_s3_bucket.this.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_versioning" "this" {
  bucket = aws_s3_bucket.this.id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "this" {
  bucket = aws_s3_bucket.this.id

  rule {
    bucket_key_enabled = true

    apply_server_side_encryption_by_default {
      sse_algorithm     = "aws:kms"
      kms_master_key_id = aws_kms_key.this.arn
    }
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "this" {
  bucket = aws_s3_bucket.this.id

  # Of the lock, which every run makes and deletes, only versions and their delete markers would stay.
  rule {
    id     = "superseded"
    status = "Enabled"

    filter {}

    noncurrent_version_expiration {
      noncurrent_days           = var.history_days
      newer_noncurrent_versions = 10
    }

    expiration {
      expired_object_delete_marker = true
    }

    abort_incomplete_multipart_upload {
      days_after_initiation = 7
    }
  }

  # Rules on versions hold once there are versions.
  depends_on = [aws_s3_bucket_versioning.this]
}

resource "aws_s3_bucket_policy" "this" {
  bucket = aws_s3_bucket.this.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat([for sid, condition in {
      TlsOnly = { Bool = { "aws:SecureTransport" = "false" } }
      Tls12   = { NumericLessThan = { "s3:TlsVersion" = "1.2" } }
      } : {
      Sid       = sid
      Effect    = "Deny"
      Principal = { AWS = "*" }
      Action    = "s3:*"
      Resource  = [aws_s3_bucket.this.arn, "${aws_s3_bucket.this.arn}/*"]
      Condition = condition
      }], [for sid in var.protected ? ["Protected"] : [] : {
      # A lock is deleted by whoever holds it, which leaves its version; versions go by age alone.
      Sid       = sid
      Effect    = "Deny"
      Principal = { AWS = "*" }
      Action    = ["s3:DeleteBucket", "s3:DeleteObjectVersion"]
      Resource  = [aws_s3_bucket.this.arn, "${aws_s3_bucket.this.arn}/*"]
    }])
  })

  depends_on = [aws_s3_bucket_public_access_block.this]
}
