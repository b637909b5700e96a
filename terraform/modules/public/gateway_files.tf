# What gateways start from is in the artifacts bucket before an instance asks for it: the launch template names a digest of
# it, so that whatever changes reaches those that run, too, by an instance refresh.

locals {
  # Amazon's own processors have a g behind the generation: c7g, m6gd, t4g.
  gateway_architecture = can(regex("^([a-z]+[0-9]+g|a1\\.)", try(var.gateways.instance_types[0], ""))) ? "arm64" : "amd64"
  other_architectures  = local.gateway_architecture == "arm64" ? ["_amd64.deb", "_x86_64.tar.gz"] : ["_arm64.deb", "_aarch64.tar.gz"]

  gateway_packages = !local.gateways_on ? {} : merge(
    { for key in var.gateways.packages : key => var.from_site.packages[trimsuffix(basename(key), ".deb")]
      if contains(keys(var.from_site.packages), trimsuffix(basename(key), ".deb")) && !anytrue([
    for other in local.other_architectures : endswith(lookup(var.from_site.packages, trimsuffix(basename(key), ".deb"), ""), other)]) },
    var.gateways.package_files,
  )
  gateway_texts = { for name, text in var.from_site.texts : { config = var.gateways.config, public_key = var.gateways.public_key }[name] => text if local.gateways_on }

  # Null where all of it is put in by hand.
  gateway_digest = length(aws_s3_object.gateway) == 0 ? null : sha256(jsonencode({ for key, object in aws_s3_object.gateway : key => object.source_hash }))
}

resource "aws_s3_object" "gateway" {
  for_each = toset(concat(keys(local.gateway_packages), keys(local.gateway_texts)))

  bucket      = aws_s3_bucket.artifacts.bucket
  key         = each.value
  source      = lookup(local.gateway_packages, each.value, null)
  content     = lookup(local.gateway_texts, each.value, null)
  source_hash = contains(keys(local.gateway_packages), each.value) ? filesha256(local.gateway_packages[each.value]) : sha256(local.gateway_texts[each.value])
  kms_key_id  = aws_kms_key.this.arn
  # An object has ten tags at most.
  tags = { "spillway:site-set" = var.name }

  # Versions are kept from the first one on.
  depends_on = [aws_s3_bucket_versioning.artifacts, aws_s3_bucket_server_side_encryption_configuration.artifacts, aws_s3_bucket_policy.artifacts]

  lifecycle {
    precondition {
      condition     = !anytrue([for other in local.other_architectures : endswith(lookup(local.gateway_packages, each.value, ""), other)])
      error_message = "Write a package for ${local.gateway_architecture} into `gateways.package_files`, which `gateways.instance_types` ask for, or other types with an `image_id` for them."
    }
  }
}
