# The same files in a folder on this machine, for those who bring them to the hosts by other means.

locals {
  rendered = var.render_to == null ? {} : merge([for name, files in local.files : {
    for path, file in files : "${name}${path}" => file.content
  }]...)
}

resource "terraform_data" "rendered" {
  for_each = local.rendered

  triggers_replace = ["${var.render_to}/${each.key}", sha256(each.value)]

  provisioner "local-exec" {
    command     = "mkdir -p \"$(dirname \"$FILE\")\" && printf '%s' \"$CONTENT\" >\"$FILE\""
    interpreter = ["/bin/sh", "-ec"]
    environment = {
      FILE    = "${var.render_to}/${each.key}"
      CONTENT = each.value
    }
  }
}
