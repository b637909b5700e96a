# The public side against moto, an AWS API server for tests. What moto lacks is switched off by variable: the cache, and
# IPv6 of subnets. What it gives back otherwise than it was written is in `modules/public/tests/moto/moto_override.tf`,
# which a test copies beside the module in a copy of its own.

terraform {
  required_version = ">= 1.9"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.100"
    }
  }
}

# The endpoint and the keys come by AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.
provider "aws" {
  region                      = "eu-central-1"
  s3_use_path_style           = true
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  max_retries                 = 3
}

resource "aws_acm_certificate" "this" {
  domain_name       = "code.example.test"
  validation_method = "DNS"
}

module "public" {
  source = "../../../modules/public"

  name = "east"
  tags = { team = "codes" }

  network = {
    ipv6        = false
    nat         = "single"
    on_premises = { cidr_blocks = ["10.8.0.0/16"] }
  }

  load_balancer = {
    certificate_arn     = aws_acm_certificate.this.arn
    fixed_addresses     = true
    deletion_protection = false
    waf                 = { requests_per_5_min = 2000 }
  }

  functions = {
    codes    = { groups = ["codes"], path_patterns = ["/v1/users/*/code", "/v1/users/*/qr", "/v1/users"], priority = 10, reserved_concurrency = 50 }
    one-code = { groups = ["scans", "venues", "notices"], path_patterns = ["/*"], memory_mb = 512, env = { SPILLWAY_LOG = "info" } }
  }

  gateways = { session_manager = true }
  cache    = null
  database = { deletion_protection = false }
  storage  = { force_destroy = true }
}

output "public" {
  value = module.public
}
