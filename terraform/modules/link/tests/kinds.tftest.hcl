# Each kind of link: its gateway, its routes, what may pass, and what the site's end is told.

mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "111122223333" }
  }
  mock_data "aws_partition" {
    defaults = { partition = "aws", dns_suffix = "amazonaws.com" }
  }
  mock_data "aws_region" {
    defaults = { name = "eu-west-1" }
  }
  mock_resource "aws_vpn_connection" {
    defaults = {
      id                         = "vpn-0a1b2c"
      tunnel1_address            = "203.0.113.11"
      tunnel1_cgw_inside_address = "169.254.10.2"
      tunnel1_vgw_inside_address = "169.254.10.1"
      tunnel1_preshared_key      = "first.Secret_1"
      tunnel2_address            = "203.0.113.12"
      tunnel2_cgw_inside_address = "169.254.11.2"
      tunnel2_vgw_inside_address = "169.254.11.1"
      tunnel2_preshared_key      = "second.Secret_2"
    }
  }
  mock_resource "aws_cloudwatch_log_group" {
    defaults = { arn = "arn:aws:logs:eu-west-1:111122223333:log-group:link" }
  }
  mock_resource "aws_dx_private_virtual_interface" {
    defaults = { bgp_auth_key = "line.Secret_3" }
  }
}

variables {
  name = "shop"
  site = "east"
  network = {
    vpc_id                  = "vpc-1"
    cidr_block              = "10.64.0.0/16"
    private_subnet_ids      = ["subnet-1", "subnet-2"]
    private_route_table_ids = ["rtb-1", "rtb-2"]
  }
  link = {
    kind             = "vpn"
    site_cidr_blocks = ["10.20.0.0/16", "10.21.0.0/16"]
    vpn              = { customer_address = "198.51.100.1" }
  }
  access = {
    gateways = { security_group_id = "sg-gateways", port = 8080 }
    store    = { security_group_id = "sg-functions", port = 5432, direction = "egress" }
  }
}

run "vpn" {
  assert {
    condition     = aws_vpn_connection.this[0].vpn_gateway_id == aws_vpn_gateway.this[0].id && aws_vpn_connection.this[0].transit_gateway_id == null
    error_message = "The tunnels end at the VPC's own gateway."
  }
  assert {
    condition     = length(aws_vpn_gateway_route_propagation.this) == 2 && length(aws_route.site) == 0
    error_message = "Each private table learns the routes; none is written down."
  }
  assert {
    condition     = aws_vpn_connection.this[0].tunnel1_ike_versions == toset(["ikev2"]) && aws_vpn_connection.this[0].tunnel2_phase2_dh_group_numbers == toset([20])
    error_message = "Only IKEv2 and one strong suite, in both tunnels."
  }
  assert {
    condition     = aws_customer_gateway.this[0].bgp_asn == "65010" && aws_customer_gateway.this[0].bgp_asn_extended == null
    error_message = "A small ASN is in the small field."
  }
  assert {
    condition     = keys(aws_vpc_security_group_ingress_rule.site) == ["gateways 10.20.0.0/16", "gateways 10.21.0.0/16"]
    error_message = "One rule for each block of the site, and for nobody else."
  }
  assert {
    condition     = aws_vpc_security_group_ingress_rule.site["gateways 10.20.0.0/16"].to_port == 8080 && length(aws_vpc_security_group_egress_rule.site) == 2
    error_message = "One port, unless port_to is given; egress rules are egress rules."
  }
  assert {
    condition     = aws_vpn_gateway.this[0].tags["spillway:site-set"] == "shop" && aws_vpn_gateway.this[0].tags["spillway:site"] == "east"
    error_message = "Resources carry the site set and the site."
  }
  assert {
    condition     = output.connection.vpn.connection_id == "vpn-0a1b2c" && output.connection.direct_connect == null && output.agent == null
    error_message = "The output says which link it is; no agent was asked for."
  }
}

run "vpn_site_end" {
  assert {
    condition = keys(output.site_files) == [
      "/etc/frr/daemons", "/etc/frr/frr.conf", "/etc/spillway/link.nft", "/etc/swanctl/conf.d/spillway.conf",
      "/etc/sysctl.d/60-spillway-link.conf", "/etc/systemd/system/spillway-link.service",
    ]
    error_message = "The edge gets its tunnels, its routing and its interfaces."
  }
  assert {
    condition     = !strcontains(join("", values(output.site_files)), "Secret")
    error_message = "No pre-shared key outside the secret files."
  }
  assert {
    condition     = strcontains(output.site_secret_files["/etc/swanctl/conf.d/spillway-secrets.conf"], "secret = \"second.Secret_2\"")
    error_message = "The secret file has the keys."
  }
  assert {
    condition = alltrue([for line in ["remote_addrs = 203.0.113.11", "if_id_out = 402", "local_addrs = %any", "id = 198.51.100.1"] :
      strcontains(output.site_files["/etc/swanctl/conf.d/spillway.conf"], line)
    ])
    error_message = "strongSwan's end names AWS's endpoints and the site's identity."
  }
  assert {
    condition = alltrue([for line in [
      "router bgp 65010", "neighbor 169.254.10.1 remote-as 64512", "network 10.21.0.0/16", "maximum-paths 1",
      "ip prefix-list CLOUD seq 5 permit 10.64.0.0/16", "set local-preference 100", "set metric 200",
    ] : strcontains(output.site_files["/etc/frr/frr.conf"], line)])
    error_message = "FRR announces the site's blocks, takes only the VPC's, and prefers the first tunnel."
  }
  assert {
    condition     = strcontains(output.site_files["/etc/systemd/system/spillway-link.service"], "address add 169.254.11.2/30 dev spill2")
    error_message = "The interfaces have the inside addresses."
  }
}

run "static_routes" {
  command = plan
  variables {
    link = { kind = "vpn", routes = "static", site_cidr_blocks = ["10.20.0.0/16", "10.21.0.0/16"], vpn = { customer_address = "198.51.100.1" } }
  }
  assert {
    condition     = length(aws_vpn_gateway_route_propagation.this) == 0 && length(aws_route.site) == 4
    error_message = "Each block in each table."
  }
}

run "transit_gateway_with_vpn" {
  variables {
    link = {
      kind             = "transit-gateway"
      site_cidr_blocks = ["10.20.0.0/16"]
      site_asn         = 4200000001
      transit_gateway  = { id = "tgw-1", route_table_id = "tgw-rtb-1" }
      vpn              = { customer_address = "198.51.100.1", inside_cidr_blocks = ["169.254.10.0/30", "169.254.11.0/30"] }
    }
  }
  assert {
    condition     = length(aws_vpn_gateway.this) == 0 && aws_vpn_connection.this[0].transit_gateway_id == "tgw-1"
    error_message = "The tunnels end at the transit gateway."
  }
  assert {
    condition     = !aws_ec2_transit_gateway_vpc_attachment.this[0].transit_gateway_default_route_table_association && length(aws_ec2_transit_gateway_route_table_association.this) == 1
    error_message = "A table of its own, and not the default one as well."
  }
  assert {
    condition     = aws_route.site["1 10.20.0.0/16"].transit_gateway_id == "tgw-1" && aws_route.site["1 10.20.0.0/16"].gateway_id == null
    error_message = "A transit gateway propagates to no VPC table: the routes are written down."
  }
  assert {
    condition     = strcontains(output.site_files["/etc/frr/frr.conf"], "maximum-paths 2") && !strcontains(output.site_files["/etc/frr/frr.conf"], "set metric 200")
    error_message = "Both tunnels at once."
  }
  assert {
    condition     = aws_customer_gateway.this[0].bgp_asn == null && aws_customer_gateway.this[0].bgp_asn_extended == "4200000001"
    error_message = "A large ASN is in the large field."
  }
}

run "transit_gateway_alone" {
  variables {
    link = { kind = "transit-gateway", site_cidr_blocks = ["10.20.0.0/16"], transit_gateway = { id = "tgw-1" } }
  }
  assert {
    condition     = length(output.site_files) == 0 && length(output.site_secret_files) == 0 && output.connection.vpn == null
    error_message = "Who runs the transit gateway runs the site's end."
  }
}

run "direct_connect_with_spare_vpn" {
  variables {
    link = {
      kind             = "direct-connect"
      site_cidr_blocks = ["10.20.0.0/16"]
      vpn              = { customer_address = "198.51.100.1" }
      direct_connect = {
        gateway_id        = "dxgw-1"
        connection_id     = "dxcon-1"
        virtual_interface = { vlan = 101, amazon_address = "169.254.255.1/30", customer_address = "169.254.255.2/30" }
      }
    }
  }
  assert {
    condition     = aws_dx_gateway_association.this[0].allowed_prefixes == toset(["10.64.0.0/16"])
    error_message = "Only this VPC is announced over the line."
  }
  assert {
    condition     = !contains(keys(output.site_files), "/etc/frr/frr.conf") && strcontains(output.site_secret_files["/etc/frr/frr.conf"], "neighbor 169.254.255.1 password line.Secret_3")
    error_message = "With a BGP password FRR's file is secret."
  }
  assert {
    condition     = strcontains(output.site_secret_files["/etc/frr/frr.conf"], "set local-preference 300") && strcontains(output.site_files["/etc/frr/daemons"], "bfdd=yes")
    error_message = "The line is preferred to the tunnels, and its loss is seen at once."
  }
  assert {
    condition     = output.connection.direct_connect.connection_id == "dxcon-1"
    error_message = "Module alarms watches the line."
  }
}
