# One level of what was written beside what was understood of it: which names are unknown there, and what is inside of
# the others. Terraform knows no recursion, so modules/hybrid/known.tf calls this once for each level.

variable "pairs" {
  description = "Objects, maps and lists: `at` is where each was `written`, and what a module has `understood` of it."
  type        = any
}

locals {
  # Who is given nothing has nothing to compare; what an object has stands in its type, even while its values are unknown.
  pairs = [for pair in var.pairs : merge(pair, { names = [for name, value in pair.understood : tostring(name)] }) if pair.understood != null]
}

output "unknown" {
  description = "What nobody knows, each with the names that there are instead."
  value = flatten([for pair in local.pairs : [
    for name, value in pair.written : "`${pair.at}.${name}` (there are ${join(", ", sort(pair.names))})" if !contains(pair.names, tostring(name))
  ]])
}

output "inner" {
  description = "The next level: whatever has names in it, or a list of such."
  value = flatten([for pair in local.pairs : [
    for name, value in pair.written : { at = "${pair.at}.${name}", written = value, understood = pair.understood[name] }
    if contains(pair.names, tostring(name)) && (can(keys(value)) || can(keys(value[0])))
  ]])
}
