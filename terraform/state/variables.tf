variable "region" {
  description = "The AWS region of the bucket; stacks of any region may keep their state in it."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z]{2,}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "Write `region` as AWS does: \"eu-central-1\"."
  }
}

variable "name" {
  description = "Beginning of the bucket's name; account and region follow."
  type        = string
  default     = "spillway-state"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,30}[a-z0-9]$", var.name))
    error_message = "Write `name` as 3 to 32 lower-case letters, digits and hyphens, beginning with a letter: \"spillway-state\"."
  }
}

variable "tags" {
  description = "Tags of every resource."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "history_days" {
  description = "How long a superseded state is kept; the last ten of each stack always are."
  type        = number
  default     = 365
  nullable    = false

  validation {
    condition     = var.history_days >= 30 && floor(var.history_days) == var.history_days
    error_message = "Write `history_days` as a whole number of at least 30: a mistake in a state may be noticed late."
  }
}

variable "protected" {
  description = "Whether nobody may delete the bucket or a superseded state. Apply with false before `terraform destroy`."
  type        = bool
  default     = true
  nullable    = false
}
