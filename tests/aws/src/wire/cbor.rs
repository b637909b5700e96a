//! CBOR (RFC 8949), as far as Smithy's RPC protocol uses it.

use serde_json::{Map, Number, Value};

use crate::time;

/// Deepest nesting that is read.
const DEPTH_MAX: u32 = 32;
/// The tag of a time in seconds since the epoch.
const EPOCH: u64 = 1;
/// The additional information of an item of indefinite length, and the byte that ends it.
const INDEFINITE: u8 = 31;
const BREAK: u8 = 0xff;

/// Reads one item; none when it is not one, or has an integer or a key that JSON has not.
pub(super) fn read(bytes: &[u8]) -> Option<Value> {
    Reader { rest: bytes }.item(DEPTH_MAX)
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(n)?;
        self.rest = rest;
        Some(taken)
    }

    fn unsigned(&mut self, bytes: usize) -> Option<u64> {
        Some(self.take(bytes)?.iter().fold(0, |n, byte| n << 8 | u64::from(*byte)))
    }

    /// The argument of an item's head; none in the inner place for an indefinite length.
    fn argument(&mut self, info: u8) -> Option<Option<u64>> {
        Some(match info {
            0..24 => Some(u64::from(info)),
            24 => Some(self.unsigned(1)?),
            25 => Some(self.unsigned(2)?),
            26 => Some(self.unsigned(4)?),
            27 => Some(self.unsigned(8)?),
            INDEFINITE => None,
            _ => return None,
        })
    }

    fn ends(&mut self) -> bool {
        let ends = self.rest.first() == Some(&BREAK);
        if ends {
            self.rest = &self.rest[1..];
        }
        ends
    }

    fn item(&mut self, depth: u32) -> Option<Value> {
        let depth = depth.checked_sub(1)?;
        let head = *self.take(1)?.first()?;
        let (major, info) = (head >> 5, head & 0x1f);
        if major == 7 {
            return self.simple(info);
        }
        let argument = self.argument(info)?;
        Some(match major {
            0 => Value::from(argument?),
            1 => Value::from(-1 - i64::try_from(argument?).ok()?),
            2 | 3 => Value::from(self.text(major, argument)?),
            4 => {
                let mut elements = Vec::new();
                while !self.is_over(argument, elements.len()) {
                    elements.push(self.item(depth)?);
                }
                Value::Array(elements)
            }
            5 => {
                let (mut members, mut read) = (Map::new(), 0);
                while !self.is_over(argument, read) {
                    let Value::String(name) = self.item(depth)? else { return None };
                    members.insert(name, self.item(depth)?);
                    read += 1;
                }
                Value::Object(members)
            }
            // What a tag adds is known from the API.
            _ => self.item(depth)?,
        })
    }

    fn is_over(&mut self, length: Option<u64>, read: usize) -> bool {
        match length {
            Some(length) => read as u64 >= length,
            None => self.ends(),
        }
    }

    fn text(&mut self, major: u8, length: Option<u64>) -> Option<String> {
        let mut bytes = Vec::new();
        match length {
            Some(length) => bytes.extend_from_slice(self.take(usize::try_from(length).ok()?)?),
            None => {
                while !self.ends() {
                    let head = *self.take(1)?.first()?;
                    let length = self.argument(head & 0x1f)?.filter(|_| head >> 5 == major)?;
                    bytes.extend_from_slice(self.take(usize::try_from(length).ok()?)?);
                }
            }
        }
        String::from_utf8(bytes).ok()
    }

    fn simple(&mut self, info: u8) -> Option<Value> {
        let real = |real: f64| Number::from_f64(real).map_or(Value::Null, Value::Number);
        Some(match info {
            20 => Value::Bool(false),
            21 => Value::Bool(true),
            22 | 23 => Value::Null,
            25 => real(half(self.unsigned(2)?)),
            26 => real(f64::from(f32::from_be_bytes(self.take(4)?.try_into().ok()?))),
            27 => real(f64::from_be_bytes(self.take(8)?.try_into().ok()?)),
            _ => return None,
        })
    }
}

/// The value of a half-precision number.
fn half(bits: u64) -> f64 {
    let exponent = i32::try_from(bits >> 10 & 0x1f).unwrap_or(0);
    let mantissa = f64::from(u16::try_from(bits & 0x3ff).unwrap_or(0));
    let size = match exponent {
        0 => mantissa * 2.0_f64.powi(-24),
        31 => f64::INFINITY,
        _ => (mantissa + 1_024.0) * 2.0_f64.powi(exponent - 25),
    };
    if bits >> 15 == 1 { -size } else { size }
}

/// Writes an answer: times as tagged seconds, lists plain, what is not there left out.
pub(super) fn write(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    item(&mut out, value);
    out
}

fn head(out: &mut Vec<u8>, major: u8, argument: u64) {
    // The longest form of a head is as right as the shortest.
    out.push(major << 5 | 27);
    out.extend_from_slice(&argument.to_be_bytes());
}

fn real(out: &mut Vec<u8>, real: f64) {
    out.push(7 << 5 | 27);
    out.extend_from_slice(&real.to_be_bytes());
}

fn item(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => out.push(0xf6),
        Value::Bool(truth) => out.push(if *truth { 0xf5 } else { 0xf4 }),
        Value::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(n), _) => head(out, 0, n),
            (None, Some(n)) => head(out, 1, n.unsigned_abs() - 1),
            (None, None) => real(out, number.as_f64().unwrap_or_default()),
        },
        Value::String(text) => {
            head(out, 3, text.len() as u64);
            out.extend_from_slice(text.as_bytes());
        }
        Value::Array(elements) => {
            head(out, 4, elements.len() as u64);
            elements.iter().for_each(|element| item(out, element));
        }
        Value::Object(members) => {
            if let Some(ms) = members.get(time::MARK).and_then(Value::as_f64) {
                head(out, 6, EPOCH);
                return real(out, ms / 1_000.0);
            }
            if let Some(elements) = members.get("$list").and_then(|list| list.get(1)) {
                return item(out, elements);
            }
            let there = members.iter().filter(|(_, value)| !value.is_null());
            head(out, 5, there.clone().count() as u64);
            there.for_each(|(name, value)| {
                item(out, &Value::String(name.clone()));
                item(out, value);
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::{head, read, write};

    #[test]
    fn examples_of_the_standard() {
        // RFC 8949, appendix A.
        for (hex, expected) in [
            ("1b000000e8d4a51000", json!(1_000_000_000_000_u64)),
            ("3903e7", json!(-1_000)),
            ("f93c00", json!(1.0)),
            ("f9c400", json!(-4.0)),
            ("fa47c35000", json!(100_000.0)),
            ("fb3ff199999999999a", json!(1.1)),
            ("c1fb41d452d9ec200000", json!(1_363_896_240.5)),
            ("7f657374726561646d696e67ff", json!("streaming")),
            ("bf61610161629f0203ffff", json!({ "a": 1, "b": [2, 3] })),
            ("a26161f66162f5", json!({ "a": null, "b": true })),
        ] {
            let bytes: Vec<u8> = (0..hex.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
                .collect();
            assert_eq!(read(&bytes), Some(expected), "{hex}");
            assert_eq!(read(&bytes[..bytes.len() - 1]), None, "cut off: {hex}");
        }
        let mut deep = Vec::new();
        (0..100).for_each(|_| head(&mut deep, 4, 1));
        assert_eq!(read(&deep), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(n: i64, m: u64, x in -1e9..1e9_f64, text: String, truth: bool) {
            let value = json!({ "n": n, "m": m, "x": [x, truth], "t": { "s": text } });
            prop_assert_eq!(read(&write(&value)), Some(value));
        }

        #[test]
        fn nothing_makes_it_panic(bytes: Vec<u8>) {
            let _ = read(&bytes);
        }
    }
}
