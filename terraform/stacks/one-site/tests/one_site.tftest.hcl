# The stack as a whole; what the modules tell one another is tested in modules/hybrid.

mock_provider "aws" {
  source = "../../modules/public/tests/mocks"
}

run "whole" {
  command = plan

  assert {
    condition     = output.endpoints.agent == "10.8.0.11:9100" && output.endpoints.vips == tolist(["192.0.2.10"])
    error_message = "the stack must say where the site is asked"
  }
}

run "region" {
  command = plan

  variables {
    region          = "Frankfurt"
    certificate_arn = "arn:aws:iam::123456789012:server-certificate/code"
  }

  expect_failures = [var.region]
}

run "certificate_of_another_region" {
  command = plan

  variables {
    certificate_arn = "arn:aws:acm:us-east-1:123456789012:certificate/1"
  }

  expect_failures = [var.certificate_arn]
}
