# The same for the other modules, where a test tries them together with this one.

mock_resource "aws_sns_topic" {
  defaults = { arn = "arn:aws:sns:eu-central-1:123456789012:east-requests" }
}

mock_resource "aws_iam_policy" {
  defaults = { arn = "arn:aws:iam::123456789012:policy/east" }
}

mock_resource "aws_rolesanywhere_trust_anchor" {
  defaults = { arn = "arn:aws:rolesanywhere:eu-central-1:123456789012:trust-anchor/a1" }
}

mock_resource "aws_rolesanywhere_profile" {
  defaults = { arn = "arn:aws:rolesanywhere:eu-central-1:123456789012:profile/p1" }
}

mock_resource "aws_autoscaling_group" {
  defaults = { arn = "arn:aws:autoscaling:eu-central-1:123456789012:autoScalingGroup:u:autoScalingGroupName/east-gateway" }
}

mock_resource "aws_lb_listener_rule" {
  defaults = { arn = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:listener-rule/app/east-alb/1/2/3" }
}
