//! Domain names: reading them from text, and the form in which zones are keyed by them.
//!
//! The key of a name is its uncompressed wire form in lower case, so that an ancestor's key is a
//! suffix of it and a walk up the tree allocates nothing.

use hickory_proto::rr::Name;

/// Longest chain of labels a name can have (RFC 1035 §3.1: 255 octets).
pub(crate) const LABELS_MAX: usize = 128;

/// The key of a name.
pub(crate) fn key(name: &Name) -> Vec<u8> {
    let mut key = Vec::with_capacity(name.len() + 1);
    for label in name {
        // A label has at most 63 octets.
        key.push(u8::try_from(label.len()).unwrap_or(u8::MAX));
        key.extend(label.iter().map(u8::to_ascii_lowercase));
    }
    key.push(0);
    key
}

/// The key of the name one label up; `None` for the root.
pub(crate) fn parent(key: &[u8]) -> Option<&[u8]> {
    match key.first() {
        None | Some(0) => None,
        Some(length) => key.get(1 + usize::from(*length)..),
    }
}

/// A key and those of its ancestors, up to the root.
pub(crate) fn upwards(key: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::successors(Some(key), |key| parent(key))
}

/// Whether the name of `key` is `ancestor`'s or below it.
pub(crate) fn is_within(key: &[u8], ancestor: &[u8]) -> bool {
    key.len() >= ancestor.len() && upwards(key).any(|up| up == ancestor)
}

/// Reads a name in presentation form (RFC 1035 §5.1: `\.` and decimal `\DDD` escapes, `@`, relative
/// to `origin` unless it ends in a dot). hickory reads text through IDNA, which folds case, refuses
/// names like `my_host` and takes `\DDD` as octal, so it is not used for text.
pub(crate) fn parse(text: &[u8], origin: Option<&Name>) -> Result<Name, String> {
    let shown = || String::from_utf8_lossy(text).into_owned();
    let relative =
        || origin.ok_or_else(|| format!("`{}` is relative and there is no $ORIGIN", shown()));
    match text {
        b"@" => return relative().cloned(),
        b"." => return Ok(Name::root()),
        _ => {}
    }
    let mut labels: Vec<Vec<u8>> = Vec::new();
    let mut label = Vec::new();
    let mut absolute = false;
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        absolute = byte == b'.';
        rest = after;
        match byte {
            b'.' if label.is_empty() => return Err(format!("`{}` has an empty label", shown())),
            b'.' => labels.push(std::mem::take(&mut label)),
            b'\\' => {
                let (byte, after) = escape(rest)?;
                label.push(byte);
                rest = after;
            }
            byte => label.push(byte),
        }
    }
    if !absolute {
        labels.push(label);
    }
    let name = Name::from_labels(labels.iter().map(Vec::as_slice))
        .map_err(|e| format!("`{}` is not a domain name: {e}", shown()))?;
    if absolute {
        return Ok(name);
    }
    name.append_domain(relative()?).map_err(|e| format!("`{}` is not a domain name: {e}", shown()))
}

/// Reads what follows a backslash: three decimal digits, or any one octet taken as it is.
pub(crate) fn escape(rest: &[u8]) -> Result<(u8, &[u8]), String> {
    match rest {
        [a, b, c, after @ ..] if rest[..3].iter().all(u8::is_ascii_digit) => {
            let number = [a, b, c].iter().fold(0_u32, |n, d| n * 10 + u32::from(**d - b'0'));
            let byte = u8::try_from(number).map_err(|_| format!("`\\{number}` is above 255"))?;
            Ok((byte, after))
        }
        [digit, ..] if digit.is_ascii_digit() => {
            Err("a backslash and a digit start an escape of three digits".to_owned())
        }
        [byte, after @ ..] => Ok((*byte, after)),
        [] => Err("a backslash stands at the end".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_presentation_form() {
        let origin = parse(b"Example.test.", None).unwrap();
        let labels = |text: &[u8]| {
            let name = parse(text, Some(&origin)).unwrap();
            name.iter().map(<[u8]>::to_vec).collect::<Vec<_>>()
        };
        assert_eq!(labels(b"a.B"), [&b"a"[..], b"B", b"Example", b"test"]);
        assert_eq!(labels(b"a\\.b.c."), [&b"a.b"[..], b"c"]);
        assert_eq!(labels(b"\\065\\255."), [&b"A\xff"[..]]);
        assert_eq!(labels(b"my_host_.x."), [&b"my_host_"[..], b"x"]);
        assert_eq!(labels(b"a\\."), [&b"a."[..], b"Example", b"test"]);
        assert_eq!(labels(b"@"), [&b"Example"[..], b"test"]);
        assert!(labels(b".").is_empty());
        for bad in [&b"a..b."[..], b".a.", b"a\\256.", b"a\\1", b"a\\", &[b'x'; 64]] {
            assert!(parse(bad, Some(&origin)).is_err(), "{bad:?}");
        }
        assert!(parse(b"a", None).unwrap_err().contains("no $ORIGIN"));
    }

    #[test]
    fn keys_nest() {
        let key_of = |text: &str| key(&parse(text.as_bytes(), None).unwrap());
        assert_eq!(key_of("WWW.a."), b"\x03www\x01a\x00");
        assert!(is_within(&key_of("x.b.a."), &key_of("b.a.")));
        assert!(is_within(&key_of("b.a."), &key_of(".")));
        // The octets of "b.a." end those of "x\.b.a." without being an ancestor.
        assert!(!is_within(&key_of("xb.a."), &key_of("b.a.")));
        assert_eq!(upwards(&key_of("b.a.")).count(), 3);
    }
}
