output "backend" {
  description = "What stacks are initialised with: `terraform output -raw backend >../backend.hcl`."
  value       = <<-EOT
    bucket     = "${aws_s3_bucket.this.bucket}"
    region     = "${var.region}"
    kms_key_id = "${aws_kms_key.this.arn}"
  EOT
}
