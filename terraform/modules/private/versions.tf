# Only what Terraform itself brings: a site is made of hosts that have addresses, not of anybody's API.
terraform {
  required_version = ">= 1.9"
}
