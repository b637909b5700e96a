//! Writing a response, within its limit.
//!
//! The OPT record's room is set aside before anything else is written, so that a truncated response
//! still has it (RFC 6891 §7).

use hickory_proto::ProtoError;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{DNSClass, RecordType};
use hickory_proto::serialize::binary::{BinEncodable as _, BinEncoder};

use crate::lookup::{Found, Rr};
use crate::query::{Edns, HEADER, Query, SUBNET};

/// The UDP payload we take and send at most: 1,280, what every IPv6 path carries, less its headers.
pub(crate) const PAYLOAD: u16 = 1232;
/// OPT without options.
const OPT_BARE: usize = 11;

const QR: u8 = 0x80;
const AA: u8 = 0x04;
const TC: u8 = 0x02;

/// Writes the response to a query into `out`, replacing what it held.
pub(crate) fn write(query: &Query, found: &Found<'_>, limit: u16, out: &mut Vec<u8>) {
    out.clear();
    let opt = query.edns.map(|edns| opt(&edns, found)).unwrap_or_default();
    let opt_length = u16::try_from(opt.len()).unwrap_or(u16::MAX);
    let mut encoder = BinEncoder::new(out);
    encoder.set_max_size(limit.saturating_sub(opt_length));
    let (mut counts, end) = match body(&mut encoder, query, found) {
        Ok(written) => written,
        // Not even header and question: no limit is below 512, so this does not happen; and a
        // record that cannot be written was refused with its zone.
        Err(_) => (Counts::default(), Ending::Failed),
    };
    let written = encoder.len();
    if matches!(end, Ending::Failed) && written < HEADER {
        out.resize(HEADER, 0);
    }
    if !opt.is_empty() {
        out.extend(opt);
        counts.additional += 1;
    }
    let code = match end {
        Ending::Failed => ResponseCode::ServFail,
        Ending::Whole | Ending::Truncated => found.code,
    };
    let aa = if found.authoritative && !matches!(end, Ending::Failed) { AA } else { 0 };
    let tc = if matches!(end, Ending::Truncated) { TC } else { 0 };
    let [q0, q1] = counts.question.to_be_bytes();
    let [n0, n1] = counts.answer.to_be_bytes();
    let [u0, u1] = counts.authority.to_be_bytes();
    let [d0, d1] = counts.additional.to_be_bytes();
    let [id0, id1] = query.id;
    let flags = QR | query.copied | aa | tc;
    out[..HEADER].copy_from_slice(&[id0, id1, flags, code.low(), q0, q1, n0, n1, u0, u1, d0, d1]);
}

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    question: u16,
    answer: u16,
    authority: u16,
    additional: u16,
}

#[derive(Debug, Clone, Copy)]
enum Ending {
    Whole,
    /// Something that was needed did not fit.
    Truncated,
    /// Something could not be written at all.
    Failed,
}

fn body(
    encoder: &mut BinEncoder<'_>,
    query: &Query,
    found: &Found<'_>,
) -> Result<(Counts, Ending), ProtoError> {
    let mut counts = Counts::default();
    encoder.emit_vec(&[0; HEADER])?;
    if let Some(question) = &query.question {
        question.name.emit(encoder)?;
        question.rtype.emit(encoder)?;
        encoder.emit_u16(question.class)?;
        counts.question = 1;
    }
    let question_end = encoder.offset();
    let needed = (|| {
        counts.answer = all(encoder, &found.answer)?;
        counts.authority = all(encoder, &found.authority)?;
        // Sections stand in order, so what is spare in authority is tried before the glue; there is
        // never both.
        counts.authority += fitting(encoder, &found.spare_authority)?;
        counts.additional = all(encoder, &found.glue)?;
        counts.additional += fitting(encoder, &found.spare_additional)?;
        Ok(())
    })();
    let end = match needed {
        Ok(()) => return Ok((counts, Ending::Whole)),
        Err(ProtoError::MaxBufferSizeExceeded(_)) => Ending::Truncated,
        Err(_) => Ending::Failed,
    };
    // A part of a set would pass for the whole, so a truncated response has no records.
    encoder.set_offset(question_end);
    encoder.trim();
    Ok((Counts { question: counts.question, ..Counts::default() }, end))
}

/// Writes all records.
fn all(encoder: &mut BinEncoder<'_>, records: &[Rr<'_>]) -> Result<u16, ProtoError> {
    let mut count = 0;
    for record in records {
        one(encoder, record)?;
        count += 1;
    }
    Ok(count)
}

/// Writes the sets that fit, whole (RFC 2181 §9: no part of a set).
fn fitting(encoder: &mut BinEncoder<'_>, records: &[Rr<'_>]) -> Result<u16, ProtoError> {
    let same_set =
        |a: &Rr<'_>, b: &Rr<'_>| a.owner == b.owner && a.data.record_type() == b.data.record_type();
    let mut count = 0;
    for set in records.chunk_by(same_set) {
        let start = encoder.offset();
        match all(encoder, set) {
            Ok(written) => count += written,
            Err(ProtoError::MaxBufferSizeExceeded(_)) => {
                encoder.set_offset(start);
                encoder.trim();
            }
            Err(other) => return Err(other),
        }
    }
    Ok(count)
}

fn one(encoder: &mut BinEncoder<'_>, record: &Rr<'_>) -> Result<(), ProtoError> {
    record.owner.emit(encoder)?;
    record.data.record_type().emit(encoder)?;
    DNSClass::IN.emit(encoder)?;
    encoder.emit_u32(record.ttl)?;
    let place = encoder.place::<u16>()?;
    record.data.emit(encoder)?;
    let length = encoder.len_since_place(&place);
    place.replace(encoder, u16::try_from(length).unwrap_or(u16::MAX))
}

/// The OPT record of a response (RFC 6891 §6.1), with the client subnet echoed (RFC 7871 §7.2.1).
fn opt(edns: &Edns, found: &Found<'_>) -> Vec<u8> {
    let mut opt = Vec::with_capacity(OPT_BARE + 24);
    opt.push(0);
    opt.extend(u16::from(RecordType::OPT).to_be_bytes());
    opt.extend(PAYLOAD.to_be_bytes());
    opt.extend([found.code.high(), 0, if edns.dnssec_ok { 0x80 } else { 0 }, 0]);
    let Some(subnet) = edns.subnet else {
        opt.extend([0, 0]);
        return opt;
    };
    // What does not depend on the client is good for all clients: scope 0.
    let scope = found.steered.map_or(0, |_| subnet.scope_bits());
    let address = subnet.address();
    // Four octets and at most 16 of address.
    let length = u16::try_from(4 + address.len()).unwrap_or(4);
    opt.extend((length + 4).to_be_bytes());
    opt.extend(SUBNET.to_be_bytes());
    opt.extend(length.to_be_bytes());
    opt.extend(subnet.family.to_be_bytes());
    opt.extend([subnet.source_bits, scope]);
    opt.extend(address);
    opt
}
