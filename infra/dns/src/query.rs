//! A query as it arrives: header, question, EDNS and client subnet, read without copying and
//! without trusting a length.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, RecordType};
use hickory_proto::serialize::binary::{BinDecodable as _, BinDecoder};
use spillway_model::ClientPrefix;

/// Length of a header (RFC 1035 §4.1.1).
pub(crate) const HEADER: usize = 12;
/// EDNS option code of Client Subnet (RFC 7871 §6).
pub(crate) const SUBNET: u16 = 8;

const RESPONSE: u8 = 0x80;
const OPCODE: u8 = 0x78;

/// A query, as far as it could be read.
#[derive(Debug)]
pub(crate) struct Query {
    /// Its identifier.
    pub(crate) id: [u8; 2],
    /// Opcode and RD bit, in their places in the third octet: what a response copies.
    pub(crate) copied: u8,
    /// Present unless it could not be read.
    pub(crate) question: Option<Question>,
    /// Present if there is a readable OPT record.
    pub(crate) edns: Option<Edns>,
    /// Why it cannot be answered.
    pub(crate) fault: Option<ResponseCode>,
}

/// What is asked.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) name: Name,
    pub(crate) rtype: RecordType,
    pub(crate) class: u16,
}

/// The OPT record (RFC 6891 §6.1).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Edns {
    pub(crate) payload: u16,
    pub(crate) version: u8,
    pub(crate) dnssec_ok: bool,
    pub(crate) subnet: Option<Subnet>,
}

/// A Client Subnet option that is well-formed (RFC 7871 §6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Subnet {
    pub(crate) family: u16,
    pub(crate) source_bits: u8,
    octets: [u8; 16],
}

impl Query {
    /// Reads a packet. `None` if it is not to be answered at all: shorter than a header, or a
    /// response, which might be an answer to a forged query.
    pub(crate) fn read(packet: &[u8]) -> Option<Self> {
        let header: &[u8; HEADER] = packet.first_chunk()?;
        if header[2] & RESPONSE != 0 {
            return None;
        }
        let mut query = Self {
            id: [header[0], header[1]],
            copied: header[2] & (OPCODE | 1),
            question: None,
            edns: None,
            fault: None,
        };
        if header[2] & OPCODE != 0 {
            query.fault = Some(ResponseCode::NotImp);
        } else if query.body(packet, header).is_none() {
            query.fault = Some(ResponseCode::FormErr);
        } else if query.edns.is_some_and(|edns| edns.version != 0) {
            query.fault = Some(ResponseCode::BADVERS);
        }
        Some(query)
    }

    /// Everything after the header. `None` where it is malformed; what was read until then stays.
    fn body(&mut self, packet: &[u8], header: &[u8; HEADER]) -> Option<()> {
        let count = |at: usize| u32::from(u16::from_be_bytes([header[at], header[at + 1]]));
        // RFC 9619: a query has one question.
        (count(4) == 1).then_some(())?;
        let mut reader = Reader { packet, at: HEADER };
        let start = reader.at;
        reader.name(Pointers::Refused)?;
        let name = Name::read(&mut BinDecoder::new(packet.get(start..reader.at)?)).ok()?;
        let (rtype, class) = (RecordType::from(reader.u16()?), reader.u16()?);
        self.question = Some(Question { name, rtype, class });
        for _ in 0..count(6) + count(8) {
            reader.record()?;
        }
        for _ in 0..count(10) {
            let record = reader.record()?;
            if record.rtype != u16::from(RecordType::OPT) {
                continue;
            }
            // RFC 6891 §6.1.1: one OPT at most, owned by the root.
            (record.at_root && self.edns.is_none()).then_some(())?;
            let [_, version, flags, _] = record.ttl;
            let edns = self.edns.insert(Edns {
                payload: record.class,
                version,
                dnssec_ok: flags & 0x80 != 0,
                subnet: None,
            });
            // What the options of another version mean is unknown.
            if version == 0 {
                options(record.data, edns)?;
            }
        }
        (reader.at == packet.len()).then_some(())
    }
}

fn options(mut data: &[u8], edns: &mut Edns) -> Option<()> {
    while !data.is_empty() {
        let (&[a, b, c, d], rest) = data.split_first_chunk()?;
        let length = usize::from(u16::from_be_bytes([c, d]));
        let (value, rest) = rest.split_at_checked(length)?;
        if u16::from_be_bytes([a, b]) == SUBNET {
            edns.subnet.is_none().then_some(())?;
            edns.subnet = Some(Subnet::read(value)?);
        }
        data = rest;
    }
    Some(())
}

impl Subnet {
    /// Reads the option's value; `None` where RFC 7871 wants FORMERR: a family that has no address
    /// format, a scope in a query, a prefix too long, too many or too few octets, or bits set past
    /// the prefix. Family 0 with no prefix is what `dig +subnet=0` sends, and passes.
    fn read(value: &[u8]) -> Option<Self> {
        let (&[a, b, source_bits, scope_bits], address) = value.split_first_chunk()?;
        let family = u16::from_be_bytes([a, b]);
        let bits_max = match family {
            0 => 0,
            1 => 32,
            2 => 128,
            _ => return None,
        };
        let length = usize::from(source_bits.div_ceil(8));
        if scope_bits != 0 || source_bits > bits_max || address.len() != length {
            return None;
        }
        if let (Some(last), 1..) = (address.last(), source_bits % 8) {
            (last & (0xff >> (source_bits % 8)) == 0).then_some(())?;
        }
        let mut octets = [0; 16];
        octets[..length].copy_from_slice(address);
        Some(Self { family, source_bits, octets })
    }

    /// The prefix's octets as sent.
    pub(crate) fn address(&self) -> &[u8] {
        &self.octets[..usize::from(self.source_bits.div_ceil(8))]
    }

    /// The client it names; `None` when it names none (a prefix of length 0).
    pub(crate) fn client(&self) -> Option<ClientPrefix> {
        let [a, b, c, d, ..] = self.octets;
        match (self.source_bits, self.family) {
            (0, _) => None,
            (_, 1) => Some(IpAddr::from(Ipv4Addr::new(a, b, c, d)).into()),
            (_, 2) => Some(IpAddr::from(Ipv6Addr::from(self.octets)).into()),
            _ => None,
        }
    }

    /// The scope of an answer steered by [`Subnet::client`].
    ///
    /// A source prefix shorter than the client prefix names many clients, of which the answer is
    /// right for those of its first client prefix only. RFC 7871 §7.2.1 has a scope longer than the
    /// source say just that: a resolver then asks again with more bits. The address padded with
    /// zeros to the scope is that first prefix, so all addresses in the scope get this answer.
    ///
    /// Family 2 also contains IPv4-mapped addresses, which are clients of IPv4: their /24 is a /120
    /// there, and the /48 that they lie in is cut down to the /96 beside them.
    pub(crate) fn scope_bits(&self) -> u8 {
        match (self.family, self.client()) {
            (_, None) => 0,
            (2, Some(ClientPrefix::V4(_))) => 96 + ClientPrefix::V4_BITS,
            (2, Some(ClientPrefix::V6([0, 0, 0, 0, 0, 0]))) => 96,
            (_, Some(client)) => client.bits(),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Pointers {
    Refused,
    Skipped,
}

struct Record<'p> {
    at_root: bool,
    rtype: u16,
    class: u16,
    ttl: [u8; 4],
    data: &'p [u8],
}

struct Reader<'p> {
    packet: &'p [u8],
    at: usize,
}

impl<'p> Reader<'p> {
    fn take(&mut self, length: usize) -> Option<&'p [u8]> {
        let octets = self.packet.get(self.at..)?.get(..length)?;
        self.at += length;
        Some(octets)
    }

    fn u16(&mut self) -> Option<u16> {
        let octets: &[u8; 2] = self.take(2)?.first_chunk()?;
        Some(u16::from_be_bytes(*octets))
    }

    /// Passes over a name. There is nothing before a question that a pointer could point to, and
    /// the names of other records are of no interest.
    fn name(&mut self, pointers: Pointers) -> Option<()> {
        let start = self.at;
        loop {
            let &[length] = self.take(1)?.first_chunk()?;
            match length {
                0 => return Some(()),
                1..=63 => {
                    self.take(usize::from(length))?;
                    // RFC 1035 §3.1: 255 octets, the root's included.
                    (self.at - start < 255).then_some(())?;
                }
                0xc0.. if pointers == Pointers::Skipped => {
                    self.take(1)?;
                    return Some(());
                }
                _ => return None,
            }
        }
    }

    fn record(&mut self) -> Option<Record<'p>> {
        let at_root = self.packet.get(self.at) == Some(&0);
        self.name(Pointers::Skipped)?;
        let (rtype, class) = (self.u16()?, self.u16()?);
        let ttl = *self.take(4)?.first_chunk()?;
        let length = self.u16()?;
        Some(Record { at_root, rtype, class, ttl, data: self.take(usize::from(length))? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(family: u16, source: u8, scope: u8, address: &[u8]) -> Option<Subnet> {
        let mut value = family.to_be_bytes().to_vec();
        value.extend([source, scope]);
        value.extend(address);
        Subnet::read(&value)
    }

    #[test]
    fn subnets_are_checked_to_the_bit() {
        assert!(subnet(1, 24, 0, &[192, 0, 2]).is_some());
        assert!(subnet(1, 20, 0, &[192, 0, 0x10]).is_some());
        assert!(subnet(1, 0, 0, &[]).is_some());
        assert!(subnet(0, 0, 0, &[]).is_some());
        assert!(subnet(2, 48, 0, &[0x20, 1, 0xd, 0xb8, 0, 1]).is_some());
        for (bad, why) in [
            (subnet(3, 8, 0, &[1]), "unknown family"),
            (subnet(0, 8, 0, &[1]), "a prefix of no family"),
            (subnet(1, 33, 0, &[1, 2, 3, 4, 0]), "prefix too long"),
            (subnet(2, 129, 0, &[0; 17]), "prefix too long"),
            (subnet(1, 20, 0, &[192, 0, 0x11]), "bits past the prefix"),
            (subnet(1, 24, 0, &[192, 0, 2, 0]), "too many octets"),
            (subnet(1, 24, 0, &[192, 0]), "too few octets"),
            (subnet(1, 24, 24, &[192, 0, 2]), "a scope in a query"),
            (Subnet::read(&[0, 1, 0]), "cut short"),
        ] {
            assert_eq!(bad, None, "{why}");
        }
    }

    #[test]
    fn scopes_are_as_deep_as_the_answer() {
        let scope = |family, source, address: &[u8]| {
            subnet(family, source, 0, address).unwrap().scope_bits()
        };
        assert_eq!(scope(1, 32, &[192, 0, 2, 1]), 24);
        assert_eq!(scope(1, 8, &[10]), 24);
        assert_eq!(scope(1, 0, &[]), 0);
        assert_eq!(scope(2, 56, &[0x20, 1, 0xd, 0xb8, 0, 0, 1]), 48);
        let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1];
        assert_eq!(scope(2, 128, &mapped), 120);
        assert_eq!(scope(2, 8, &[0]), 96);
    }
}
