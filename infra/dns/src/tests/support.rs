//! Queries made and responses read with hickory's own types, as a client would.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::opt::{ClientSubnet, EdnsCode, EdnsOption};
use hickory_proto::rr::{Name, Record, RecordType};
use spillway_model::{Config, Plan, Share};

use crate::{Outcome, Snapshot, Steering, Transport, Zones, answer};

/// Two sites with addresses of both families, a cloud with IPv4 only.
pub(super) const CONFIG: &str = r#"
[service]
host = "code.example.test"
slb_host = "cloud.example.test"
port = 8080

[plan]
salt = "000102030405060708090a0b0c0d0e0f"
state_dir = "var"

[dns]
listen = "127.0.0.1:0"
admin = "127.0.0.1:0"
zone_files = ["example.test.zone"]
ttl_secs = 5

[agent]
listen = "127.0.0.1:1"

[store]
shards = ["sqlite:x.db"]

[[site]]
id = "east"
vips = ["192.0.2.1", "192.0.2.2", "2001:db8::1"]
uplink = { bits_per_sec = 1000000 }
capacity = { weighted_qps = 1, p95_ms = 1 }
balancer = { listen = "[::]:8080", admin = "127.0.0.1:2" }
gateway = [{ name = "g1", listen = "127.0.0.1:3", admin = "127.0.0.1:4" }]
service = [{ name = "s1", listen = "127.0.0.1:5", admin = "127.0.0.1:6", groups = ["a"] }]

[[site]]
id = "west"
vips = ["192.0.2.101"]
uplink = { bits_per_sec = 1000000 }
capacity = { weighted_qps = 1, p95_ms = 1 }
balancer = { listen = "192.0.2.101:8080", admin = "127.0.0.1:12" }
gateway = [{ name = "g2", listen = "127.0.0.1:13", admin = "127.0.0.1:14" }]
service = [{ name = "s2", listen = "127.0.0.1:15", admin = "127.0.0.1:16", groups = ["a"] }]

[cloud]
slb_addresses = ["198.51.100.1"]
function = [{ name = "f", groups = ["a"] }]

[[route]]
id = "r"
path = "/"
group = "a"
"#;

pub(super) fn config() -> Config {
    Config::parse(CONFIG, Path::new("")).unwrap_or_else(|problems| panic!("{problems}"))
}

pub(super) fn zones() -> Zones {
    let mut zones =
        Zones::parse(include_str!("../../testdata/example.test.zone"), Path::new("z")).unwrap();
    zones.steer("code.example.test").unwrap();
    zones.cloud("cloud.example.test", true, &config().cloud.slb_addresses).unwrap();
    zones
}

/// A plan in which both sites spill the same share.
pub(super) fn plan(generation: u64, share: f64) -> Plan {
    let config = config();
    let mut plan = Plan::initial(config.sites.iter().map(|site| site.id.clone()), 5);
    plan.generation = generation;
    for site in plan.sites.values_mut() {
        site.share = Share::clamped(share);
    }
    plan
}

pub(super) fn snapshot(share: f64) -> Snapshot {
    Snapshot::new(Arc::new(zones()), Steering::new(&config(), &plan(1, share)))
}

/// A query, with or without EDNS.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    pub(super) name: String,
    pub(super) rtype: RecordType,
    pub(super) source: IpAddr,
    pub(super) payload: Option<u16>,
    pub(super) subnet: Option<(IpAddr, u8)>,
    pub(super) transport: Transport,
}

impl Ask {
    pub(super) fn new(name: &str, rtype: RecordType) -> Self {
        Self {
            name: name.to_owned(),
            rtype,
            source: IpAddr::from([203, 0, 113, 1]),
            payload: None,
            subnet: None,
            transport: Transport::Udp,
        }
    }

    pub(super) fn subnet(mut self, address: impl Into<IpAddr>, bits: u8) -> Self {
        self.subnet = Some((address.into(), bits));
        self
    }

    pub(super) fn packet(&self) -> Vec<u8> {
        let mut message = Message::new(0x1234, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(Name::from_ascii(&self.name).unwrap(), self.rtype));
        if self.payload.is_some() || self.subnet.is_some() {
            let mut edns = Edns::new();
            edns.set_max_payload(self.payload.unwrap_or(1232));
            if let Some((address, bits)) = self.subnet {
                let option =
                    EdnsOption::Subnet(ClientSubnet::new(truncated(address, bits), bits, 0));
                edns.options_mut().insert(option);
            }
            message.set_edns(edns);
        }
        message.to_vec().unwrap()
    }

    pub(super) fn answer(&self, snapshot: &Snapshot) -> (Outcome, Message) {
        let mut out = Vec::new();
        let outcome = answer(&self.packet(), self.source, self.transport, snapshot, &mut out);
        (outcome, Message::from_vec(&out).unwrap())
    }
}

/// The first `bits` of an address.
pub(super) fn truncated(address: IpAddr, bits: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
            IpAddr::from((v4.to_bits() & mask).to_be_bytes())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
            IpAddr::from((v6.to_bits() & mask).to_be_bytes())
        }
    }
}

/// The client subnet of a response.
pub(super) fn echoed(message: &Message) -> Option<&ClientSubnet> {
    match message.edns.as_ref()?.option(EdnsCode::Subnet) {
        Some(EdnsOption::Subnet(subnet)) => Some(subnet),
        _ => None,
    }
}

pub(super) fn addresses(message: &Message) -> Vec<IpAddr> {
    message.answers.iter().filter_map(|record| record.data.ip_addr()).collect()
}

fn record(record: &Record) -> String {
    let data = crate::rdata::dname_target(&record.data)
        .map_or_else(|| record.data.to_string(), |target| target.to_string());
    format!("{} {} {} {data}", record.name, record.ttl, record.record_type()).trim_end().to_owned()
}

/// A response as text, one record a line.
pub(super) fn rendered(outcome: Outcome, message: &Message) -> String {
    let metadata = &message.metadata;
    let code = match metadata.response_code {
        ResponseCode::NoError => "NOERROR".to_owned(),
        other => format!("{other:?}").to_uppercase(),
    };
    let mut text = format!("{outcome:?} {code}");
    for (flag, set) in [
        (" aa", metadata.authoritative),
        (" tc", metadata.truncation),
        (" rd", metadata.recursion_desired),
        (" ra", metadata.recursion_available),
    ] {
        text += if set { flag } else { "" };
    }
    if let Some(edns) = &message.edns {
        text += &format!(" edns={}", edns.max_payload());
    }
    if let Some(subnet) = echoed(message) {
        let (address, source) = (subnet.addr(), subnet.source_prefix());
        text += &format!(" subnet={address}/{source}/{}", subnet.scope_prefix());
    }
    text.push('\n');
    for (section, records) in [
        ("answer", &message.answers),
        ("authority", &message.authorities),
        ("additional", &message.additionals),
    ] {
        for line in records {
            text += &format!("  {section} {}\n", record(line));
        }
    }
    text
}
