# What gateways start from is put where they look for it, and reaches those that run.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  name          = "east"
  load_balancer = { certificate_arn = "arn:aws:acm:eu-central-1:123456789012:certificate/1" }
  functions     = { one-code = { groups = ["codes"], path_patterns = ["/*"] } }
  gateways      = {}
  arm           = "./tests/packages/spillway_1.0.0_arm64.deb"
  amd           = "./tests/packages/spillway_1.0.0_amd64.deb"
}

run "by_hand" {
  command = apply

  assert {
    condition     = length(output.storage.artifacts) == 0 && !strcontains(base64decode(aws_launch_template.gateway[0].user_data), "# Of contents")
    error_message = "what is not given is put there by hand"
  }
}

run "from_the_site" {
  command = apply

  variables {
    from_site = { texts = { config = "# the configuration", public_key = "the key" }, packages = { spillway = var.arm, spillway-gateway = var.amd, spillway-dns = var.arm } }
  }

  assert {
    condition     = output.storage.artifacts == tolist(["config/plan.pub", "config/spillway.toml", "packages/spillway.deb"])
    error_message = "what gateways ask for must be there, and no package of another machine or of another part"
  }
  assert {
    condition     = aws_s3_object.gateway["config/spillway.toml"].content == "# the configuration" && aws_s3_object.gateway["packages/spillway.deb"].source == var.arm && alltrue([for object in aws_s3_object.gateway : object.kms_key_id == aws_kms_key.this.arn])
    error_message = "each must be what it is called, encrypted with the site set's key"
  }
  assert {
    condition     = strcontains(base64decode(aws_launch_template.gateway[0].user_data), "\n# Of contents ${local.gateway_digest}: ")
    error_message = "the template must change with them"
  }
}

# Most resources take fifty tags, an object ten.
run "many_tags" {
  command = apply

  variables {
    tags      = { for i in range(12) : "tag-${i}" => "value" }
    from_site = { texts = { config = "# the configuration", public_key = "the key" }, packages = { spillway = var.arm } }
  }

  assert {
    condition     = length(aws_s3_object.gateway) == 3 && alltrue([for object in aws_s3_object.gateway : object.tags == tomap({ "spillway:site-set" = "east" })])
    error_message = "an object must not have more tags than S3 takes, whatever the caller's are"
  }
  assert {
    condition     = length(aws_s3_bucket.artifacts.tags) == 14
    error_message = "what takes them must have the caller's tags"
  }
}

run "another_configuration" {
  command = apply

  variables {
    from_site = { texts = { config = "# another configuration", public_key = "the key" }, packages = { spillway = var.arm } }
  }

  assert {
    condition     = !strcontains(base64decode(aws_launch_template.gateway[0].user_data), run.from_the_site.storage.artifacts_digest)
    error_message = "another configuration must make another template, and so new instances"
  }
}

run "files_of_ones_own" {
  command = apply

  variables {
    gateways  = { instance_types = ["c7i.large"], image_id = "resolve:ssm:/aws/service/debian/release/12/latest/amd64", package_files = { "packages/spillway.deb" = var.amd } }
    from_site = { packages = { spillway = var.arm } }
  }

  assert {
    condition     = aws_s3_object.gateway["packages/spillway.deb"].source == var.amd
    error_message = "files that are named for gateways come before the site's"
  }
}

run "no_gateways" {
  command = apply

  variables {
    gateways  = null
    from_site = { texts = { config = "# the configuration" }, packages = { spillway = var.arm } }
  }

  assert {
    condition     = length(output.storage.artifacts) == 0
    error_message = "without gateways nobody asks for it"
  }
}

run "another_machine" {
  command = plan

  variables {
    gateways = { package_files = { "packages/spillway.deb" = var.amd } }
  }

  expect_failures = [aws_s3_object.gateway]
}

run "file_that_is_not_there" {
  command = plan

  variables {
    gateways = { package_files = { "packages/spillway.deb" = "./tests/packages/none.deb" } }
  }

  expect_failures = [var.gateways]
}

run "key_that_nobody_asks_for" {
  command = plan

  variables {
    gateways = { package_files = { "packages/other.deb" = var.arm } }
  }

  expect_failures = [var.gateways]
}

run "text_that_nobody_asks_for" {
  command = plan

  variables {
    from_site = { texts = { private_key = "never" } }
  }

  expect_failures = [var.from_site]
}
