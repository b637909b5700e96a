variable "agent" {
  description = <<-EOT
    The agent's identity in AWS; null makes none. With trust "roles-anywhere" the on-prem agent proves
    itself by an X.509 certificate of the given CA and gets credentials of an hour: no long-lived key
    exists. With trust "ec2" the role is an instance role, for an agent that itself runs on EC2.
  EOT
  type = object({
    trust         = optional(string, "roles-anywhere")
    ca_bundle_pem = optional(string)           # certificates of the CA that signs the agents
    common_names  = optional(list(string), []) # CN of the certificates that may be the agent
    session_secs  = optional(number, 3600)
    certificate   = optional(string, "/etc/spillway/agent.pem") # on the agent's host
    private_key   = optional(string, "/etc/spillway/agent.key")
    helper        = optional(string, "/usr/bin/aws_signing_helper")
  })
  default = null

  validation {
    condition     = alltrue([for agent in var.agent[*] : contains(["roles-anywhere", "ec2"], agent.trust)])
    error_message = "Write agent.trust as \"roles-anywhere\" (on-prem) or \"ec2\" (an agent on EC2)."
  }

  validation {
    condition = alltrue([for agent in var.agent[*] :
      can(regex("-----BEGIN CERTIFICATE-----[\\s\\S]+-----END CERTIFICATE-----", agent.ca_bundle_pem)) if agent.trust == "roles-anywhere"
    ])
    error_message = "Roles Anywhere needs agent.ca_bundle_pem: the PEM text of the CA's certificates, like file(\"ca.pem\"). Never a private key."
  }

  validation {
    condition     = !can(regex("PRIVATE KEY", var.agent.ca_bundle_pem))
    error_message = "agent.ca_bundle_pem has a private key in it: write only the certificates."
  }

  validation {
    condition     = alltrue([for agent in var.agent[*] : length(agent.common_names) > 0 if agent.trust == "roles-anywhere"])
    error_message = "Write agent.common_names: the common names of the agents' certificates, like [\"agent.east\"]. Without them each certificate of the CA could be the agent."
  }

  validation {
    condition     = alltrue([for agent in var.agent[*] : agent.session_secs >= 900 && agent.session_secs <= 3600])
    error_message = "Write agent.session_secs from 900 to 3600."
  }
}

variable "levers" {
  description = "What the agent may move: the outputs of module public, whole (`levers = module.public`). Parts that are null are not granted."
  type = object({
    load_balancer = optional(object({ arn = string, rule_arns = map(string) }))
    target_groups = optional(object({ gateways = optional(object({ arn = string })) }))
    functions     = optional(map(object({ arn = string, alias_arn = string, program = optional(string, "one-code") })), {})
    gateways = optional(object({
      asg_arn            = optional(string)
      launch_template_id = string
      security_group_id  = string
      role_arn           = optional(string) # of the instance profile; needed where there is no group
    }))
    cache    = optional(object({ replication_group_id = string }))
    database = optional(object({ cluster_id = string }))
    keys     = optional(object({ kms_key_arn = string })) # of the volumes, where there is no group
  })
  default = {}

  validation {
    condition     = alltrue([for gateways in var.levers.gateways[*] : gateways.asg_arn != null || gateways.role_arn != null])
    error_message = "Gateways without an Auto Scaling group are launched by the agent, which must then give them their role: write levers.gateways.asg_arn, or levers.gateways.role_arn."
  }
}

variable "alarm_queue" {
  description = "The queue of alarms that the agent reads: output `queue` of module alarms. Null: it reads none."
  type = object({
    arn         = string
    kms_key_arn = string
  })
  default = null
}
