output "cloud" {
  description = "What was made in the cloud: load balancer, functions, gateways, cache, database, buckets, secrets, the deployer's policy."
  value       = module.site.cloud
}

output "alarms" {
  description = "The queue that the agent reads, the topics, and what each alarm asks for."
  value       = module.site.alarms
}

output "link" {
  description = "The line, and the agent's identity in AWS."
  value       = module.site.link
}

output "edge_files" {
  description = "Files of the site's edge, where `link.hosts` does not name it: path -> content."
  value       = module.site.edge_files
}

output "edge_secret_files" {
  description = "The same, of those with the tunnels' keys."
  sensitive   = true
  value       = module.site.edge_secret_files
}

output "config" {
  description = "The configuration of all parts: `terraform output -raw config` is what `spillway deploy` packs with the functions' code."
  value       = module.site.config
}

output "zone_files" {
  description = "The zone files beside it, by their paths from there, which `spillway check` wants and `spillway deploy` does not."
  value       = module.site.zone_files
}

output "endpoints" {
  description = "Where the site is asked: the agent's API, the name server, the VIPs."
  value       = module.site.endpoints
}
