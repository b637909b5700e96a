terraform {
  required_version = ">= 1.10"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.100"
    }
  }

  # Where the state is: `terraform init -backend-config=backend.hcl`, with bucket, region and KMS key as terraform/state
  # gives them out, and a key of this stack's own. The lock is a file beside it, so no table is needed.
  backend "s3" {
    encrypt      = true
    use_lockfile = true
  }
}

provider "aws" {
  region = var.region
}
