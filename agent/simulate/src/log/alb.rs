//! The access log of an Application Load Balancer. Its fields, in their order
//! (<https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-access-logs.html>):
//!
//! ```text
//!  0 type                        8 elb_status_code      16 target_group_arn
//!  1 time                        9 target_status_code   17 trace_id
//!  2 elb                        10 received_bytes       18 domain_name
//!  3 client:port                11 sent_bytes           19 chosen_cert_arn
//!  4 target:port                12 request              20 matched_rule_priority
//!  5 request_processing_time    13 user_agent           21 request_creation_time
//!  6 target_processing_time     14 ssl_cipher           22 actions_executed, and more
//!  7 response_processing_time   15 ssl_protocol
//! ```

use std::borrow::Cow;

use spillway_model::UnixMillis;

use super::combined::status;
use super::words::{Word, Words, seconds};
use super::{BadLine, Entry, request, survey, whole};

const TYPES: [&str; 6] = ["http", "https", "h2", "grpcs", "ws", "wss"];
/// Fields that are read.
const FIELDS: usize = 22;

pub(super) fn parse(line: &str) -> Result<Entry<'_>, BadLine> {
    let mut fields = [Word { text: "", quoted: false }; FIELDS];
    for (field, word) in fields.iter_mut().zip(Words(line)) {
        *field = word;
    }
    let text = |place: usize| fields.get(place).map_or("", |field| field.text);
    let end: Option<UnixMillis> = text(1).parse().ok();
    let end = end.filter(|_| TYPES.contains(&text(0)));
    let end = end.ok_or(BadLine::Field("does not begin with a type and a time"))?;
    let status = status(text(8)).ok_or(BadLine::Field("has no status as its ninth field"))?;
    let bytes = text(11).parse().ok();
    let bytes = bytes.ok_or(BadLine::Field("has no number of bytes as its twelfth field"))?;
    if !fields[12].quoted {
        return Err(BadLine::Field("has no request in quotes as its thirteenth field"));
    }
    // They are -1 where there was no target, or it did not answer.
    let times = [5, 6, 7].map(|place| seconds(text(place)));
    let took: f64 = times.iter().flatten().sum();
    let at = text(21).parse().unwrap_or(UnixMillis(end.0.saturating_sub(survey::millis(took))));
    let mut request = request::parse(text(12));
    if let Some(request) = &mut request {
        // What TLS asked for, else what the request did.
        request.host = request::host(text(18)).map(Cow::Borrowed).or(request.host.take());
    }
    Ok(Entry {
        at,
        request,
        route: None,
        status,
        bytes,
        service_secs: times[1],
        // Without a target the load balancer answered by itself.
        answered: whole(status) && times[1].is_some(),
    })
}
