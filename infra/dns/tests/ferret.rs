//! The cases of `testdata/ferret`: each answer is one that BIND, NSD, Knot or PowerDNS gives too.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::BinDecodable as _;
use serde::Deserialize;
use spillway_dns::{Snapshot, Steering, Transport, Zones, answer};
use spillway_model::{Config, Plan};

/// Cases in which no reference server is right, by identifier, with the reason.
const EXCEPTIONS: &[(u64, &str)] = &[];

#[derive(Deserialize)]
struct Case {
    id: u64,
    zone: String,
    tests: Vec<Asked>,
}

#[derive(Deserialize)]
struct Asked {
    query: Question,
    expected: Vec<Expected>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Question {
    name: String,
    #[serde(rename = "Type")]
    rtype: String,
}

#[derive(Deserialize)]
struct Expected {
    servers: Vec<String>,
    response: Vec<String>,
}

/// What is compared: response code, AA, and the three sections.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    code: String,
    authoritative: bool,
    sections: [BTreeSet<String>; 3],
}

impl Answer {
    /// From lines as dig prints them.
    fn told(lines: &[String]) -> Self {
        let field = |name: &str| {
            let found = lines.iter().find_map(|line| line.strip_prefix(name)).map(str::trim);
            found.unwrap_or_else(|| panic!("no {name} in {lines:?}"))
        };
        let mut sections = [const { BTreeSet::new() }; 3];
        let mut section = None;
        for line in lines {
            match line.as_str() {
                ";QUESTION" => section = None,
                ";ANSWER" => section = Some(0),
                ";AUTHORITY" => section = Some(1),
                ";ADDITIONAL" => section = Some(2),
                record => {
                    let section = section.and_then(|at: usize| sections.get_mut(at));
                    section.map(|section| section.insert(record.replace('"', "").to_lowercase()));
                }
            }
        }
        Self {
            code: field("rcode").to_owned(),
            authoritative: field("flags").split(' ').any(|flag| flag == "AA"),
            sections,
        }
    }

    fn given(octets: &[u8]) -> Self {
        let message = Message::from_vec(octets).unwrap();
        let set = |records: &[Record]| records.iter().map(text).collect();
        let (answers, authorities) = (set(&message.answers), set(&message.authorities));
        Self {
            code: match message.metadata.response_code {
                ResponseCode::NoError => "NOERROR".to_owned(),
                other => format!("{other:?}").to_uppercase(),
            },
            authoritative: message.metadata.authoritative,
            sections: [answers, authorities, set(&message.additionals)],
        }
    }
}

/// A record as a line of dig, in lower case.
fn text(record: &Record) -> String {
    let data = match &record.data {
        RData::Unknown { code: RecordType::DNAME, rdata } => {
            Name::from_bytes(&rdata.anything).unwrap().to_string()
        }
        data => data.to_string(),
    };
    format!("{} {} IN {} {data}", record.name, record.ttl, record.record_type()).to_lowercase()
}

/// Steering by an example that no case's zone has to do with.
fn steering() -> Steering {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/spillway.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let config =
        Config::parse(&text, Path::new("")).unwrap_or_else(|problems| panic!("{problems}"));
    let plan = Plan::initial(config.sites.iter().map(|site| site.id.clone()), 5);
    Steering::new(&config, &plan)
}

/// Asks over TCP, so that nothing is left out for want of space.
fn ask(zone: &str, question: &Question, steering: &Steering) -> Answer {
    let zones = Zones::parse(zone, Path::new("zone")).unwrap_or_else(|e| panic!("{e}\n{zone}"));
    let snapshot = Snapshot::new(Arc::new(zones), steering.clone());
    let mut message = Message::new(1, MessageType::Query, OpCode::Query);
    let name = Name::from_ascii(&question.name).unwrap();
    message.add_query(Query::query(name, question.rtype.parse().unwrap()));
    let mut out = Vec::new();
    let source = IpAddr::from([192, 0, 2, 1]);
    answer(&message.to_vec().unwrap(), source, Transport::Tcp, &snapshot, &mut out);
    Answer::given(&out)
}

#[test]
fn every_case_is_answered_as_a_reference_server_answers() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/ferret/cases.jsonl.gz");
    let mut cases = String::new();
    let file = std::fs::File::open(file).unwrap();
    flate2::read::GzDecoder::new(file).read_to_string(&mut cases).unwrap();
    let steering = steering();
    let exceptions: BTreeMap<_, _> = EXCEPTIONS.iter().copied().collect();
    let (mut asked, mut wrong) = (0, Vec::new());
    for line in cases.lines() {
        let case: Case = serde_json::from_str(line).unwrap();
        for test in &case.tests {
            asked += 1;
            let given = ask(&case.zone, &test.query, &steering);
            let met = test.expected.iter().any(|e| Answer::told(&e.response) == given);
            let shown = || {
                let (id, zone, q) = (case.id, &case.zone, &test.query);
                let mut shown =
                    format!("case {id}: {} {}\n{zone}ours: {given:#?}\n", q.name, q.rtype);
                for e in &test.expected {
                    shown +=
                        &format!("{}: {:#?}\n", e.servers.join(", "), Answer::told(&e.response));
                }
                shown
            };
            match (met, exceptions.get(&case.id)) {
                (true, None) | (false, Some(_)) => {}
                (false, None) => wrong.push(shown()),
                (true, Some(why)) => {
                    wrong.push(format!("no exception any more ({why}): {}", shown()))
                }
            }
        }
    }
    assert_eq!(asked, 6337);
    let first = wrong.iter().take(5).cloned().collect::<String>();
    assert!(wrong.is_empty(), "{} of {asked} are wrong, the first of them:\n{first}", wrong.len());
}
