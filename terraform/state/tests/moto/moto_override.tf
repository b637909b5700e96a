# Copied beside the stack where it is applied against moto: what moto gives back otherwise than it was written, or cannot.

# Forgets how many superseded versions to keep.
resource "aws_s3_bucket_lifecycle_configuration" "this" {
  rule {
    id     = "superseded"
    status = "Enabled"

    filter {}

    noncurrent_version_expiration {
      noncurrent_days = var.history_days
    }
  }
}

# Reads no conditions: what is denied without TLS is denied altogether.
resource "aws_s3_bucket_policy" "this" {
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = var.protected ? "Deny" : "Allow"
      Principal = { AWS = "*" }
      Action    = ["s3:DeleteBucket", "s3:DeleteObjectVersion"]
      Resource  = [aws_s3_bucket.this.arn, "${aws_s3_bucket.this.arn}/*"]
    }]
  })
}
