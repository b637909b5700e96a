# What goes to each host, and the hosts in their waves.

locals {
  units_of = { for name, host in var.hosts : name => [for role in sort(host.roles) : local.parts[role].unit] }

  # keepalived's own configuration is reloaded; the script it calls is read at every call.
  file_units = { for name, host in var.hosts : name => merge(
    { for path in keys(local.drop_ins[name]) : path => [trimsuffix(basename(dirname(path)), ".service.d")] },
    {
      "/etc/keepalived/keepalived.conf" = ["keepalived"]
      "/etc/sysctl.d/60-spillway.conf"  = ["systemd-sysctl"]
      "/var/lib/spillway/plan.pub"      = local.units_of[name]
    },
  ) }

  # The agent's host makes its own public key together with the private one.
  public_key = { for name, host in var.hosts : name => (
    var.keys.folder != null ? file("${var.keys.folder}/plan.pub") :
    contains(host.roles, "agent") ? null : "${var.keys.public}\n"
  ) }

  own_files = { for name, host in var.hosts : name => merge(
    { "/etc/spillway/spillway.toml" = local.config_toml },
    local.zone_files,
    local.drop_ins[name],
    local.floating_files[name],
    local.public_key[name] == null ? {} : { "/var/lib/spillway/plan.pub" = local.public_key[name] },
  ) }

  files = { for name, host in var.hosts : name => merge(
    { for path, content in local.own_files[name] : path => {
      content = content
      mode    = path == "/etc/spillway/healthy" ? "0755" : "0644"
      owner   = "root:root"
      units   = lookup(local.file_units[name], path, [])
    } },
    { for path, file in var.files : path => {
      content = file.content
      mode    = file.mode
      owner   = file.owner
      units   = sort(file.units)
    } if contains(file.hosts, name) || length(setintersection(file.roles, host.roles)) > 0 },
  ) }

  key_files = {
    agent   = ["plan.key", "operator.token"]
    service = ["one-code.key"]
  }

  # Paths and digests are not secret; what they are of never stands here.
  secret_paths = nonsensitive(keys(var.secret_files))
  secret_about = { for path in local.secret_paths : path => {
    sha256 = nonsensitive(sha256(local.secret_contents[path]))
    roles  = nonsensitive(var.secret_files[path].roles)
    hosts  = nonsensitive(var.secret_files[path].hosts)
    units  = nonsensitive(sort(var.secret_files[path].units))
    owner  = nonsensitive(var.secret_files[path].owner)
  } }

  secrets = { for name, host in var.hosts : name => merge(
    var.keys.folder == null ? {} : merge([for role, files in local.key_files : {
      for file in files : "${local.state_folder}/${file}" => {
        sha256 = filesha256("${var.keys.folder}/${file}")
        owner  = "spillway:spillway"
        units  = [local.parts[role].unit]
      } if contains(host.roles, role) && fileexists("${var.keys.folder}/${file}")
    }]...),
    { for path, about in local.secret_about : path => {
      sha256 = about.sha256
      owner  = about.owner
      units  = about.units
    } if contains(about.hosts, name) || length(setintersection(about.roles, host.roles)) > 0 },
  ) }
  secret_contents = merge(
    { for path in local.secret_paths : path => var.secret_files[path].source == null ? var.secret_files[path].content : file(var.secret_files[path].source) },
    var.keys.folder == null ? {} : { for file in flatten(values(local.key_files)) :
      "${local.state_folder}/${file}" => file("${var.keys.folder}/${file}") if fileexists("${var.keys.folder}/${file}")
    },
  )

  package_names = { for name, host in var.hosts : name => concat(
    sort(var.packages.common), [for role in sort(host.roles) : local.parts[role].package])
  }
  packages = { for name, host in var.hosts : name => merge(
    { for package in local.package_names[name] : package => {
      file    = lookup(var.packages.files, package, null)
      version = contains(keys(var.packages.files), package) ? null : var.packages.version
      units = contains(var.packages.common, package) ? local.units_of[name] : [
      for part in values(local.parts) : part.unit if part.package == package]
    } },
    # Of these any version will do.
    { for package in ["curl", "keepalived"] : package => { file = null, version = "any", units = [] } if length(local.floats[name]) > 0 },
  ) }

  hosts = { for name, host in var.hosts : name => {
    wave = host.wave
    connection = merge(host.ssh, {
      address = coalesce(host.ssh.address, host.address)
      timeout = var.ssh.timeout
      bastion = var.ssh.bastion
    })
    packages    = local.packages[name]
    files       = local.files[name]
    secrets     = local.secrets[name]
    units       = concat(local.units_of[name], length(local.floats[name]) > 0 ? ["keepalived"] : [])
    other_units = [for part in values(local.parts) : part.unit if !contains(local.units_of[name], part.unit)]
    keygen      = contains(host.roles, "agent") && var.keys.folder == null
  } if var.install }
}

module "wave_1" {
  source   = "./host"
  for_each = { for name, host in local.hosts : name => host if host.wave == 1 }

  connection       = each.value.connection
  private_key_file = var.ssh.private_key_file
  packages         = each.value.packages
  files            = each.value.files
  secrets          = each.value.secrets
  secret_contents  = local.secret_contents
  units            = each.value.units
  other_units      = each.value.other_units
  keygen           = each.value.keygen
}

# A host that fails stops the waves after its own.
module "wave_2" {
  source   = "./host"
  for_each = { for name, host in local.hosts : name => host if host.wave == 2 }

  connection       = each.value.connection
  private_key_file = var.ssh.private_key_file
  packages         = each.value.packages
  files            = each.value.files
  secrets          = each.value.secrets
  secret_contents  = local.secret_contents
  units            = each.value.units
  other_units      = each.value.other_units
  keygen           = each.value.keygen

  depends_on = [module.wave_1]
}

module "wave_3" {
  source   = "./host"
  for_each = { for name, host in local.hosts : name => host if host.wave == 3 }

  connection       = each.value.connection
  private_key_file = var.ssh.private_key_file
  packages         = each.value.packages
  files            = each.value.files
  secrets          = each.value.secrets
  secret_contents  = local.secret_contents
  units            = each.value.units
  other_units      = each.value.other_units
  keygen           = each.value.keygen

  depends_on = [module.wave_2]
}
