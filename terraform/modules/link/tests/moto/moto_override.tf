# Copied beside the module where it is applied against moto, which forgets an attachment's tags.
resource "aws_ec2_transit_gateway_vpc_attachment" "this" {
  lifecycle {
    ignore_changes = [tags, tags_all]
  }
}
