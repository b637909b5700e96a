//! The pure core: a packet in, a packet out.

use std::net::IpAddr;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{DNSClass, RecordType};

use crate::lookup::{self, Found};
use crate::query::{Query, Question};
use crate::reply::{self, PAYLOAD};
use crate::steer::Snapshot;

/// Largest UDP response to a client without EDNS (RFC 1035 §4.2.1).
const PAYLOAD_PLAIN: u16 = 512;

/// How a query came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// A response has at most 512 octets, or what the client offers, up to 1,232.
    Udp,
    /// A response has at most 65,535 octets.
    Tcp,
}

/// What became of a packet, for counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// No query: there is no response, and nothing in the buffer.
    Dropped,
    /// Malformed; answered FORMERR.
    Malformed,
    /// Answered, whoever asks.
    Plain,
    /// Answered with the addresses of a site.
    ToSite,
    /// Answered with the addresses of the cloud.
    ToCloud,
}

/// Answers a packet from `source`. The response replaces what `out` held; after
/// [`Outcome::Dropped`] it is empty.
///
/// The client is steered by its EDNS Client Subnet (RFC 7871) if the query has one that names a
/// prefix, and by `source` if not.
pub fn answer(
    packet: &[u8],
    source: IpAddr,
    transport: Transport,
    snapshot: &Snapshot,
    out: &mut Vec<u8>,
) -> Outcome {
    out.clear();
    let Some(query) = Query::read(packet) else { return Outcome::Dropped };
    let limit = match (transport, query.edns) {
        (Transport::Tcp, _) => u16::MAX,
        (Transport::Udp, None) => PAYLOAD_PLAIN,
        (Transport::Udp, Some(edns)) => edns.payload.clamp(PAYLOAD_PLAIN, PAYLOAD),
    };
    let found = match (query.fault, &query.question) {
        (Some(code), _) => Found::empty(code),
        (None, None) => Found::empty(ResponseCode::FormErr),
        (None, Some(question)) => find(&query, question, source, snapshot),
    };
    reply::write(&query, &found, limit, out);
    match found.steered {
        _ if found.code == ResponseCode::FormErr => Outcome::Malformed,
        Some(choice) if !found.answer.is_empty() && found.authority.is_empty() => {
            if choice.to_cloud { Outcome::ToCloud } else { Outcome::ToSite }
        }
        _ => Outcome::Plain,
    }
}

fn find<'a>(
    query: &Query,
    question: &'a Question,
    source: IpAddr,
    snapshot: &'a Snapshot,
) -> Found<'a> {
    let class = DNSClass::from(question.class);
    if !matches!(class, DNSClass::IN | DNSClass::ANY) {
        return Found::empty(ResponseCode::Refused);
    }
    match question.rtype {
        // Zone transfers are not offered.
        RecordType::AXFR | RecordType::IXFR => return Found::empty(ResponseCode::Refused),
        // Types of records that messages have and zones do not (RFC 6895 §3.1).
        RecordType::OPT | RecordType::TSIG => return Found::empty(ResponseCode::FormErr),
        _ => {}
    }
    let subnet = query.edns.and_then(|edns| edns.subnet);
    let client = subnet.and_then(|subnet| subnet.client()).unwrap_or_else(|| source.into());
    lookup::find(snapshot, &question.name, question.rtype, client)
}
