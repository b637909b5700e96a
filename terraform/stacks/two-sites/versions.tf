terraform {
  required_version = ">= 1.10"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.100"
    }
  }

  # As in stacks/one-site.
  backend "s3" {
    encrypt      = true
    use_lockfile = true
  }
}

provider "aws" {
  alias  = "east"
  region = var.east.region
}

provider "aws" {
  alias  = "west"
  region = var.west.region
}
