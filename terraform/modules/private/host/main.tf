# Brings one host to what is described, over SSH: packages are uploaded, each once; then one script
# compares, places what differs, and restarts what that concerns.

locals {
  inbox = ".spillway-setup" # in the home folder of the user who logs in

  package_lines = [for name, package in var.packages : join(" ", concat(
  ["package", name, coalesce(package.version, "-"), package.file == null ? "-" : filesha256(package.file)], package.units))]
  file_lines = [for path, file in var.files : join("\n", [
  join(" ", concat(["file", file.mode, file.owner, path], file.units, ["<<'END'"])), base64encode(file.content), "END"])]

  # Sent beside the script, as it is secret, and removed by it.
  secret_steps = join("\n", [for path, secret in var.secrets : join("\n", [
  join(" ", concat(["secret", secret.owner, path], secret.units, ["<<'END'"])), base64encode(var.secret_contents[path]), "END"])])

  script = templatefile("${path.module}/setup.sh.tftpl", {
    functions = file("${path.module}/setup.sh")
    steps = join("\n", concat(
      local.package_lines, ["packages"],
      local.file_lines, ["check", "place"],
      [". ./secrets"], var.keygen ? ["keys"] : [],
      [for unit in var.other_units : "stop ${unit}"], [for unit in var.units : "run ${unit}"], ["restart"],
    ))
  })
}

resource "terraform_data" "package" {
  for_each = { for name, package in var.packages : name => package if package.file != null }

  # A host that was installed anew has another key, and nothing in its inbox.
  triggers_replace = [filesha256(each.value.file), var.connection.address, var.connection.port, var.connection.host_key]

  connection {
    type                = "ssh"
    host                = var.connection.address
    port                = var.connection.port
    user                = var.connection.user
    host_key            = var.connection.host_key
    script_path         = "./.spillway-%RAND%.sh" # not in /tmp, where others may write
    private_key         = var.private_key_file == null ? null : file(var.private_key_file)
    timeout             = var.connection.timeout
    bastion_host        = try(var.connection.bastion.address, null)
    bastion_port        = try(var.connection.bastion.port, null)
    bastion_user        = try(var.connection.bastion.user, null)
    bastion_host_key    = try(var.connection.bastion.host_key, null)
    bastion_private_key = var.connection.bastion == null || var.private_key_file == null ? null : file(var.private_key_file)
  }

  provisioner "remote-exec" {
    inline = ["umask 077 && mkdir -p ${local.inbox}"]
  }

  provisioner "file" {
    source      = each.value.file
    destination = "${local.inbox}/${each.key}.deb"
  }
}

resource "terraform_data" "setup" {
  # What a plan shows when it changes: which files, packages and secrets are others now.
  triggers_replace = {
    connection = [var.connection.address, var.connection.port, var.connection.host_key]
    script     = sha256(local.script)
    files      = { for path, file in var.files : path => sha256(file.content) }
    packages   = { for name, package in var.packages : name => coalesce(package.version, try(basename(package.file), "")) }
    secrets    = { for path, secret in var.secrets : path => secret.sha256 }
  }

  connection {
    type                = "ssh"
    host                = var.connection.address
    port                = var.connection.port
    user                = var.connection.user
    host_key            = var.connection.host_key
    script_path         = "./.spillway-%RAND%.sh" # not in /tmp, where others may write
    private_key         = var.private_key_file == null ? null : file(var.private_key_file)
    timeout             = var.connection.timeout
    bastion_host        = try(var.connection.bastion.address, null)
    bastion_port        = try(var.connection.bastion.port, null)
    bastion_user        = try(var.connection.bastion.user, null)
    bastion_host_key    = try(var.connection.bastion.host_key, null)
    bastion_private_key = var.connection.bastion == null || var.private_key_file == null ? null : file(var.private_key_file)
  }

  provisioner "remote-exec" {
    inline = ["umask 077 && mkdir -p ${local.inbox}"]
  }

  provisioner "file" {
    content     = local.script
    destination = "${local.inbox}/setup"
  }

  provisioner "file" {
    content     = "${local.secret_steps}\n"
    destination = "${local.inbox}/secrets"
  }

  provisioner "remote-exec" {
    inline = ["cd ${local.inbox} && if [ \"$(id -u)\" = 0 ]; then bash setup; else sudo -n bash setup; fi"]
  }

  depends_on = [terraform_data.package]
}
