# What moto gives back otherwise than it was written, so that a second plan would not be empty. Each block repeats the
# module's own ignored attributes, which an override replaces.

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
