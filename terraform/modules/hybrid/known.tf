# Conversion to an object type drops what the type does not know, so a misspelt setting would be a default in silence.
# What was written is therefore compared with what the modules understood of it (their outputs `settings`), name by name:
# there is no second list of names. Beside a value that only the apply makes known, what is deeper is compared then.

locals {
  # Zones are text, in which another site's addresses may not be known yet; what else is in `dns` is no object.
  written_site_set = merge(var.site_set, { dns = { for key, value in lookup(var.site_set, "dns", {}) : key => null } })
  # Names alone are not secret.
  written_secret_files = nonsensitive({ for path, file in var.secret_files : path => { for key in keys(file) : key => null } })

  written = [
    { at = "public", written = var.public, understood = module.public.settings },
    { at = "link", written = var.link, understood = merge(module.link.settings, { hosts = local.edge }) },
    { at = "alarms", written = var.alarms, understood = module.alarms.settings },
    { at = "private", written = var.private, understood = { for key, value in module.private.settings : key => value if !contains(["site_set", "secret_files"], key) } },
    { at = "site_set", written = local.written_site_set, understood = module.private.settings.site_set },
    { at = "secret_files", written = local.written_secret_files, understood = module.private.settings.secret_files },
  ]

  # Names alone.
  unknown = nonsensitive(concat(module.level_1.unknown, module.level_2.unknown, module.level_3.unknown, module.level_4.unknown, module.level_5.unknown))
}

module "level_1" {
  source = "./level"
  pairs  = local.written
}

module "level_2" {
  source = "./level"
  pairs  = module.level_1.inner
}

module "level_3" {
  source = "./level"
  pairs  = module.level_2.inner
}

module "level_4" {
  source = "./level"
  pairs  = module.level_3.inner
}

# As deep as names go: `site_set.cloud.aws.functions.NAME.warm_max`.
module "level_5" {
  source = "./level"
  pairs  = module.level_4.inner
}
