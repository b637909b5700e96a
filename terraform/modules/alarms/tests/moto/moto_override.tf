# Copied beside the module where it is applied against moto, which forgets a topic's signature version
# and writes a queue's redrive policy with other white space.
resource "aws_sns_topic" "this" {
  lifecycle {
    ignore_changes = [signature_version]
  }
}

resource "aws_sqs_queue" "this" {
  lifecycle {
    ignore_changes = [redrive_policy]
  }
}
