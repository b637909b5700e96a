//! Record data from the fields of a master file's entry.
//!
//! Types that hold names or free octets are read here, so that names are relative to the origin,
//! keep their case, and escapes mean what RFC 1035 §5.1 says. hickory reads the rest.

use hickory_proto::rr::rdata::{CNAME, HINFO, MX, NS, NULL, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{Name, RData, RecordType};
use hickory_proto::serialize::binary::{BinDecodable as _, Restrict};
use hickory_proto::serialize::binary::{BinDecoder, BinEncodable, BinEncoder, NameEncoding};

use crate::master::{Field, time};
use crate::name;

/// Reads the data of one record.
pub(crate) fn parse(
    rtype: RecordType,
    fields: &[Field],
    origin: Option<&Name>,
) -> Result<RData, String> {
    if is_meta(rtype) {
        return Err(format!("{rtype} is no type of data and cannot stand in a zone"));
    }
    if fields.first().is_some_and(|f| !f.quoted && f.bytes == b"\\#") {
        return generic(rtype, &fields[1..]);
    }
    let mut f = Fields { rest: fields, origin };
    let data = match rtype {
        RecordType::A => RData::A(f.parsed("an IPv4 address")?),
        RecordType::AAAA => RData::AAAA(f.parsed("an IPv6 address")?),
        RecordType::NS => RData::NS(NS(f.name()?)),
        RecordType::CNAME => RData::CNAME(CNAME(f.name()?)),
        RecordType::PTR => RData::PTR(PTR(f.name()?)),
        RecordType::DNAME => dname(&f.name()?)?,
        RecordType::MX => RData::MX(MX::new(f.number()?, f.name()?)),
        RecordType::SRV => RData::SRV(SRV::new(f.number()?, f.number()?, f.number()?, f.name()?)),
        RecordType::SOA => RData::SOA(soa(&mut f)?),
        RecordType::TXT => {
            let mut texts = vec![f.text()?];
            while !f.rest.is_empty() {
                texts.push(f.text()?);
            }
            RData::TXT(TXT::from_bytes(texts.iter().map(Vec::as_slice).collect()))
        }
        RecordType::HINFO => RData::HINFO(HINFO::from_bytes(f.text()?.into(), f.text()?.into())),
        _ => return by_hickory(rtype, fields, origin),
    };
    match f.rest {
        [] => Ok(data),
        [extra, ..] => {
            Err(format!("`{}` stands after the end of the record's data", extra.shown()))
        }
    }
}

/// Types that only queries and messages have (RFC 6895 §3.1), and hickory's private ANAME.
fn is_meta(rtype: RecordType) -> bool {
    let code = u16::from(rtype);
    matches!(rtype, RecordType::OPT | RecordType::ANAME) || code == 0 || (128..=255).contains(&code)
}

fn soa(f: &mut Fields<'_>) -> Result<SOA, String> {
    let (mname, rname, serial) = (f.name()?, f.name()?, f.parsed("a serial number")?);
    let mut timer = || {
        let seconds = f.time()?;
        i32::try_from(seconds).map_err(|_| format!("{seconds} is too long a time"))
    };
    let (refresh, retry, expire) = (timer()?, timer()?, timer()?);
    Ok(SOA::new(mname, rname, serial, refresh, retry, expire, f.time()?))
}

/// DNAME (RFC 6672) is a name that must not be compressed; hickory carries it as opaque octets.
fn dname(target: &Name) -> Result<RData, String> {
    let mut octets = Vec::new();
    let mut encoder = BinEncoder::new(&mut octets);
    encoder.set_name_encoding(NameEncoding::Uncompressed);
    target.emit(&mut encoder).map_err(|e| e.to_string())?;
    Ok(RData::Unknown { code: RecordType::DNAME, rdata: NULL::with(octets) })
}

/// The target of DNAME data.
pub(crate) fn dname_target(data: &RData) -> Option<Name> {
    match data {
        RData::Unknown { code: RecordType::DNAME, rdata } => Name::from_bytes(&rdata.anything).ok(),
        _ => None,
    }
}

/// The generic form `\# LENGTH HEX…` (RFC 3597 §5).
fn generic(rtype: RecordType, fields: &[Field]) -> Result<RData, String> {
    let (length, hex) =
        fields.split_first().ok_or("`\\#` needs a length and hexadecimal digits")?;
    let digits: Vec<u8> = hex.iter().flat_map(|f| f.bytes.iter().copied()).collect();
    let octets: Option<Vec<u8>> = digits
        .chunks(2)
        .map(|pair| {
            let text = std::str::from_utf8(pair).ok().filter(|text| text.len() == 2)?;
            // `from_str_radix` alone would take a sign.
            text.bytes().all(|b| b.is_ascii_hexdigit()).then_some(())?;
            u8::from_str_radix(text, 16).ok()
        })
        .collect();
    let octets = octets.ok_or("`\\#` needs pairs of hexadecimal digits after the length")?;
    let length: u16 = length
        .shown()
        .parse()
        .ok()
        .filter(|length| usize::from(*length) == octets.len())
        .ok_or_else(|| {
            format!("`\\#` announces {} octets and has {}", length.shown(), octets.len())
        })?;
    if length == 0 {
        return Ok(RData::Unknown { code: rtype, rdata: NULL::new() });
    }
    RData::read(&mut BinDecoder::new(&octets), rtype, Restrict::new(length))
        .map_err(|e| format!("the octets are no {rtype} data: {e}"))
}

fn by_hickory(rtype: RecordType, fields: &[Field], origin: Option<&Name>) -> Result<RData, String> {
    let text = fields
        .iter()
        .map(|f| if f.quoted { format!("\"{}\"", f.shown()) } else { f.shown() })
        .collect::<Vec<_>>()
        .join(" ");
    let mut data = RData::try_from_str(rtype, &text).map_err(|e| {
        format!("bad {rtype} data: {e} (any type can be written as `\\# LENGTH HEX`)")
    })?;
    let target = match &mut data {
        RData::NAPTR(naptr) => &mut naptr.replacement,
        RData::SVCB(svcb) => &mut svcb.target_name,
        RData::HTTPS(https) => &mut https.0.target_name,
        _ => return Ok(data),
    };
    if !target.is_fqdn() {
        let origin = origin.ok_or("the target is relative and there is no $ORIGIN")?;
        *target = target.clone().append_domain(origin).map_err(|e| e.to_string())?;
    }
    Ok(data)
}

struct Fields<'f> {
    rest: &'f [Field],
    origin: Option<&'f Name>,
}

impl<'f> Fields<'f> {
    fn next(&mut self) -> Result<&'f Field, String> {
        let (field, rest) =
            self.rest.split_first().ok_or("the record's data ends too early".to_owned())?;
        self.rest = rest;
        Ok(field)
    }

    fn parsed<T: std::str::FromStr>(&mut self, what: &str) -> Result<T, String> {
        let text = self.next()?.shown();
        text.parse().map_err(|_| format!("`{text}` is not {what}"))
    }

    fn number(&mut self) -> Result<u16, String> {
        self.parsed("a number from 0 to 65535")
    }

    fn time(&mut self) -> Result<u32, String> {
        let text = self.next()?.shown();
        time(&text).ok_or_else(|| format!("`{text}` is not a time in seconds"))
    }

    fn name(&mut self) -> Result<Name, String> {
        name::parse(&self.next()?.bytes, self.origin)
    }

    /// A character-string (RFC 1035 §3.3): at most 255 octets.
    fn text(&mut self) -> Result<Vec<u8>, String> {
        let mut octets = Vec::new();
        let mut rest = self.next()?.bytes.as_slice();
        while let Some((&byte, after)) = rest.split_first() {
            rest = after;
            if byte == b'\\' {
                let (byte, after) = name::escape(rest)?;
                octets.push(byte);
                rest = after;
            } else {
                octets.push(byte);
            }
        }
        if octets.len() > 255 {
            return Err(format!("a string of {} octets; split it at 255", octets.len()));
        }
        Ok(octets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::master::read_text;
    use std::path::Path;

    fn data(text: &str) -> Result<RData, String> {
        read_text(format!("$ORIGIN e.test.\nx 5 IN {text}\n").as_bytes(), Path::new("z"))
            .map(|records| records[0].data.clone())
            .map_err(|e| e[0].to_string())
    }

    #[test]
    fn names_are_relative_to_the_origin_and_keep_case() {
        assert_eq!(data("NS My_ns").unwrap().to_string(), "My_ns.e.test.");
        assert_eq!(data("MX 10 @").unwrap().to_string(), "10 e.test.");
        assert_eq!(data("SRV 1 2 3 a.").unwrap().to_string(), "1 2 3 a.");
        let RData::HTTPS(https) = data("HTTPS 1 svc alpn=h2").unwrap() else { panic!("no HTTPS") };
        assert_eq!(https.0.target_name.to_string(), "svc.e.test.");
        let target = dname_target(&data("DNAME Other").unwrap()).unwrap();
        assert_eq!(target.to_string(), "Other.e.test.");
    }

    #[test]
    fn strings_are_octets() {
        let RData::TXT(txt) = data(r#"TXT "a\"\255\;" b"#).unwrap() else { panic!("no TXT") };
        assert_eq!(&*txt.txt_data[0], b"a\"\xff;");
        assert_eq!(&*txt.txt_data[1], b"b");
        assert!(data(&format!("TXT {}", "x".repeat(256))).unwrap_err().contains("split it at 255"));
    }

    #[test]
    fn any_type_in_generic_form() {
        assert_eq!(data(r"A \# 4 C000 0201").unwrap(), data("A 192.0.2.1").unwrap());
        let RData::Unknown { code, rdata } = data(r"TYPE731 \# 3 abcdef").unwrap() else {
            panic!("a known type")
        };
        assert_eq!((u16::from(code), rdata.anything), (731, vec![0xab, 0xcd, 0xef]));
        for bad in [r"A \# 3 C000 0201", r"A \# 3 C00002", r"TYPE731 \# 1 +f", r"A \#"] {
            assert!(data(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn other_types_through_hickory() {
        assert_eq!(data(r#"CAA 0 issue "ca.test""#).unwrap().record_type(), RecordType::CAA);
        assert!(data("TLSA 3 1 1 00").is_ok());
        assert!(data("ANY x").is_err());
        assert!(data("OPT x").is_err());
        assert!(data("ANAME x").is_err());
    }
}
