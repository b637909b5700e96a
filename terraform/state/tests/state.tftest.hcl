# The bucket of the remote state: what it keeps, and whom it keeps out.

mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
  mock_resource "aws_kms_key" {
    defaults = { arn = "arn:aws:kms:eu-central-1:123456789012:key/1" }
  }
  mock_resource "aws_s3_bucket" {
    defaults = { arn = "arn:aws:s3:::spillway-state-123456789012-eu-central-1" }
  }
}

variables {
  region = "eu-central-1"
}

run "by_default" {
  command = apply

  assert {
    condition     = aws_s3_bucket.this.bucket == "spillway-state-123456789012-eu-central-1" && !aws_s3_bucket.this.force_destroy
    error_message = "the bucket must be the account's and the region's, and never be emptied"
  }
  assert {
    condition     = aws_s3_bucket_versioning.this.versioning_configuration[0].status == "Enabled" && aws_s3_bucket_lifecycle_configuration.this.rule[0].noncurrent_version_expiration[0].newer_noncurrent_versions == 10
    error_message = "every state must have its history"
  }
  assert {
    condition     = one(aws_s3_bucket_server_side_encryption_configuration.this.rule).apply_server_side_encryption_by_default[0].kms_master_key_id == aws_kms_key.this.arn && aws_kms_key.this.enable_key_rotation
    error_message = "states must be encrypted with a key of their own"
  }
  assert {
    condition     = alltrue([for block in [aws_s3_bucket_public_access_block.this] : block.block_public_acls && block.block_public_policy && block.ignore_public_acls && block.restrict_public_buckets])
    error_message = "nothing in the bucket may be public"
  }
  assert {
    condition     = { for statement in jsondecode(aws_s3_bucket_policy.this.policy).Statement : statement.Sid => statement.Effect } == { TlsOnly = "Deny", Tls12 = "Deny", Protected = "Deny" }
    error_message = "the bucket must refuse what is not TLS 1.2, and the deletion of states"
  }
  assert {
    condition     = output.backend == "bucket     = \"spillway-state-123456789012-eu-central-1\"\nregion     = \"eu-central-1\"\nkms_key_id = \"arn:aws:kms:eu-central-1:123456789012:key/1\"\n"
    error_message = "stacks must be told where their state is"
  }
}

run "before_it_is_destroyed" {
  command = apply

  variables {
    protected = false
  }

  assert {
    condition     = jsondecode(aws_s3_bucket_policy.this.policy).Statement[*].Sid == ["Tls12", "TlsOnly"]
    error_message = "it must be possible to take the protection away, and nothing else with it"
  }
}

run "region" {
  command = plan

  variables {
    region = "Frankfurt"
  }

  expect_failures = [var.region]
}

run "name" {
  command = plan

  variables {
    name = "Spillway_State"
  }

  expect_failures = [var.name]
}

run "history" {
  command = plan

  variables {
    history_days = 7
  }

  expect_failures = [var.history_days]
}
