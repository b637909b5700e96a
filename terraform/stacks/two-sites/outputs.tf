# As those of stacks/one-site, by site.

output "cloud" {
  description = "What was made in the cloud: load balancer, functions, gateways, cache, database, buckets, secrets, the deployer's policy."
  value       = { east = module.east.cloud, west = module.west.cloud }
}

output "alarms" {
  description = "The queue that the agent reads, the topics, and what each alarm asks for."
  value       = { east = module.east.alarms, west = module.west.alarms }
}

output "link" {
  description = "The line, and the agent's identity in AWS."
  value       = { east = module.east.link, west = module.west.link }
}

output "edge_files" {
  description = "Files of the site's edge, where `link.hosts` does not name it: path -> content."
  value       = { east = module.east.edge_files, west = module.west.edge_files }
}

output "edge_secret_files" {
  description = "The same, of those with the tunnels' keys."
  sensitive   = true
  value       = { east = module.east.edge_secret_files, west = module.west.edge_secret_files }
}

output "config" {
  description = "The configuration of all of the site's parts: what `spillway deploy` packs with the functions' code."
  value       = { east = module.east.config, west = module.west.config }
}

output "zone_files" {
  description = "The zone files beside it, by their paths from there, which `spillway check` wants and `spillway deploy` does not."
  value       = { east = module.east.zone_files, west = module.west.zone_files }
}

output "endpoints" {
  description = "Where the site is asked: the agent's API, the name server, the VIPs."
  value       = { east = module.east.endpoints, west = module.west.endpoints }
}
