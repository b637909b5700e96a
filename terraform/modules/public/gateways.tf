# The EC2 gateways. Nothing runs until the agent asks for it: the group's desired size begins at its least, by default
# none. The launch template is enough for RunInstances too, where the agent does without the group.

resource "aws_launch_template" "gateway" {
  count = local.gateways_on ? 1 : 0

  name                                 = local.gateways_name
  description                          = "EC2 gateway of Spillway ${var.name}"
  image_id                             = var.gateways.image_id
  instance_type                        = var.gateways.instance_types[0]
  ebs_optimized                        = true
  instance_initiated_shutdown_behavior = "terminate"
  update_default_version               = true
  tags                                 = merge(local.agent_tags, { Name = "${var.name}-gateway" })

  user_data = base64encode(templatefile("${path.module}/templates/gateway.sh.tftpl", {
    bucket   = aws_s3_bucket.artifacts.bucket
    region   = local.region
    digest   = local.gateway_digest
    packages = var.gateways.packages
    config   = var.gateways.config
    key      = var.gateways.public_key
    units    = var.gateways.units
    cache    = one(local.cache_urls)
    replicas = local.replicas
    secrets  = { for secret, variable in var.secrets : variable => aws_secretsmanager_secret.this[secret].arn }
  }))

  iam_instance_profile {
    arn = aws_iam_instance_profile.gateway[0].arn
  }

  network_interfaces {
    associate_public_ip_address = false
    delete_on_termination       = true
    security_groups             = [aws_security_group.this["gateways"].id]
  }

  # A token for each session and one hop: a request that a service is tricked into making cannot fetch credentials.
  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
    instance_metadata_tags      = "enabled"
  }

  monitoring {
    enabled = true
  }

  # The account's own EBS key: the disk holds the package and the configuration, and a key of ours would need a grant
  # for each launcher.
  block_device_mappings {
    device_name = var.gateways.root_device

    ebs {
      volume_size           = var.gateways.volume_gib
      volume_type           = "gp3"
      encrypted             = true
      delete_on_termination = true
    }
  }

  dynamic "tag_specifications" {
    for_each = ["instance", "volume", "network-interface"]

    content {
      resource_type = tag_specifications.value
      tags          = merge(local.agent_tags, { Name = "${var.name}-gateway" })
    }
  }
}

resource "aws_autoscaling_group" "gateways" {
  count = local.gateways_on ? 1 : 0

  name                      = local.gateways_name
  min_size                  = var.gateways.min
  max_size                  = var.gateways.max
  desired_capacity          = var.gateways.min
  vpc_zone_identifier       = [for subnet in aws_subnet.private : subnet.id]
  target_group_arns         = [aws_lb_target_group.gateways.arn]
  health_check_type         = "ELB"
  health_check_grace_period = var.gateways.boot_secs
  default_instance_warmup   = var.gateways.boot_secs
  enabled_metrics           = ["GroupDesiredCapacity", "GroupInServiceInstances", "GroupPendingInstances", "GroupTerminatingInstances"]

  # A plan must not wait for what the agent decides.
  wait_for_capacity_timeout = "0"

  # In the listed order: in a peak the first type may be sold out in a zone.
  mixed_instances_policy {
    launch_template {
      launch_template_specification {
        launch_template_id = aws_launch_template.gateway[0].id
        version            = aws_launch_template.gateway[0].latest_version
      }

      dynamic "override" {
        for_each = var.gateways.instance_types

        content {
          instance_type = override.value
        }
      }
    }

    instances_distribution {
      on_demand_allocation_strategy            = "prioritized"
      on_demand_percentage_above_base_capacity = 100
    }
  }

  # A new launch template reaches instances that run, a few at a time, each replaced before it ends.
  instance_refresh {
    strategy = "Rolling"

    preferences {
      min_healthy_percentage = 100
      max_healthy_percentage = 110
    }
  }

  dynamic "tag" {
    for_each = merge(local.agent_tags, { Name = "${var.name}-gateway" })

    content {
      key                 = tag.key
      value               = tag.value
      propagate_at_launch = true
    }
  }

  lifecycle {
    # The agent sets the size, every few seconds if need be.
    ignore_changes = [desired_capacity]
  }
}
