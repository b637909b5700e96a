# One site and its cloud in one region.

module "site" {
  source = "../../modules/hybrid"

  name            = var.name
  tags            = var.tags
  certificate_arn = var.certificate_arn
  public          = var.public
  link            = var.link
  alarms          = var.alarms
  private         = var.private
  site_set        = var.site_set
  secret_files    = var.secret_files
}
