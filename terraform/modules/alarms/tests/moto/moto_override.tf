# Copied beside the module where it is applied against moto, which forgets a topic's signature version
# and writes a queue's redrive policy with other white space.
resource "aws_sns_topic" "this" {
  #checkov:skip=CKV_AWS_26:the resource that this overrides is encrypted
  lifecycle {
    ignore_changes = [signature_version]
  }
}

resource "aws_sqs_queue" "this" {
  #checkov:skip=CKV_AWS_27:the resource that this overrides is encrypted
  lifecycle {
    ignore_changes = [redrive_policy]
  }
}
