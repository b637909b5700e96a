output "cloud" {
  description = "What was made in the cloud, by module public's outputs."
  value = {
    load_balancer = module.public.load_balancer
    network       = module.public.network
    functions     = module.public.functions
    gateways      = module.public.gateways
    cache         = module.public.cache
    database      = module.public.database
    storage       = module.public.storage
    secrets       = module.public.secrets
    deployer      = module.public.deployer
  }
}

# By itself, as another site's zones name them: what its gateways start from must not wait for the gateways of this one.
output "slb_addresses" {
  description = "The load balancer's fixed addresses, if any."
  value       = module.public.load_balancer.addresses
}

output "alarms" {
  description = "The queue that the agent reads, the topics, and what each alarm asks for."
  value = {
    queue     = module.alarms.queue
    topics    = module.alarms.topics
    requests  = module.alarms.requests
    dashboard = module.alarms.dashboard
  }
}

output "link" {
  description = "The line and the agent's identity in AWS."
  value       = { connection = module.link.connection, agent = module.link.agent }
}

output "edge_files" {
  description = "Files of the site's edge: path -> content. Nothing in it is secret."
  value       = module.link.site_files
}

output "edge_secret_files" {
  description = "Files of the site's edge that hold the tunnels' keys: path -> content."
  sensitive   = true
  value       = module.link.site_secret_files
}

output "config" {
  description = "The configuration of all parts: what `spillway deploy` packs with the functions' code."
  value       = module.private.config

  precondition {
    condition     = length(local.unknown) == 0
    error_message = "Correct what nobody knows: ${join("; ", local.unknown)}."
  }
}

output "zone_files" {
  description = "What stands beside the configuration: path from there -> content. `spillway check` wants it; functions need none."
  value       = module.private.zone_files
}

output "files" {
  description = "The hosts' files: host -> path -> content. Nothing in them is secret."
  value       = module.private.files
}

output "endpoints" {
  description = "Where the site is asked."
  value       = module.private.endpoints
}
