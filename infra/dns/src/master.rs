//! Master files (RFC 1035 §5): entries, directives and defaults, with the line of each.
//!
//! hickory has a zone parser too, but its errors name no line, it knows no DNAME, takes `@` for an
//! owner only, and folds the case of names. What remains of it here is reading times and the record
//! data of the rarer types (see [`crate::rdata`]).

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hickory_proto::rr::{Name, RData, RecordType};
use hickory_proto::serialize::txt::parse_ttl;

use crate::{name, rdata};

/// How deep `$INCLUDE` may nest.
const INCLUDE_DEPTH_MAX: usize = 8;
/// Largest time to live (RFC 2181 §8).
const TTL_MAX: u32 = 0x7fff_ffff;

/// A line of a master file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    file: Arc<Path>,
    line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

/// Why a zone was refused.
#[derive(Debug, thiserror::Error)]
pub enum ZoneError {
    /// A master file cannot be read.
    #[error("cannot read the zone file {path}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A line is wrong.
    #[error("{place}: {reason}")]
    Line {
        /// Which line.
        place: Place,
        /// What is wrong and, where it is not obvious, what to write.
        reason: String,
    },
    /// The zones as a whole are wrong.
    #[error("{0}")]
    Whole(String),
}

impl ZoneError {
    pub(crate) fn at(place: &Place, reason: impl Into<String>) -> Self {
        Self::Line { place: place.clone(), reason: reason.into() }
    }
}

/// One record and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Placed {
    pub(crate) place: Place,
    pub(crate) owner: Name,
    pub(crate) ttl: u32,
    pub(crate) data: RData,
}

/// One field of an entry, its escapes unread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) bytes: Vec<u8>,
    pub(crate) quoted: bool,
}

impl Field {
    /// The field for a message.
    pub(crate) fn shown(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    fn is(&self, word: &str) -> bool {
        !self.quoted && self.bytes.eq_ignore_ascii_case(word.as_bytes())
    }
}

/// Reads a master file and those it includes.
pub(crate) fn read(path: &Path) -> Result<Vec<Placed>, ZoneError> {
    let mut reader = Reader::default();
    reader.file(path, 0)?;
    Ok(reader.records)
}

/// Reads a master file from memory; `path` is for messages and for relative `$INCLUDE`s.
pub(crate) fn read_text(text: &[u8], path: &Path) -> Result<Vec<Placed>, ZoneError> {
    let mut reader = Reader::default();
    reader.text(text, path, 0)?;
    Ok(reader.records)
}

#[derive(Default)]
struct Reader {
    origin: Option<Name>,
    owner: Option<Name>,
    default_ttl: Option<u32>,
    last_ttl: Option<u32>,
    records: Vec<Placed>,
}

impl Reader {
    fn file(&mut self, path: &Path, depth: usize) -> Result<(), ZoneError> {
        let text = std::fs::read(path)
            .map_err(|source| ZoneError::Read { path: path.to_owned(), source })?;
        self.text(&text, path, depth)
    }

    fn text(&mut self, text: &[u8], path: &Path, depth: usize) -> Result<(), ZoneError> {
        let file: Arc<Path> = path.into();
        let place = |line| Place { file: file.clone(), line };
        let mut lexer = Lexer { text, line: 1 };
        while let Some(entry) =
            lexer.next().map_err(|(line, reason)| ZoneError::at(&place(line), reason))?
        {
            let place = place(entry.line);
            if entry.fields[0].is("$INCLUDE") {
                self.include(&entry, &place, depth)?;
            } else {
                self.entry(&entry, &place).map_err(|reason| ZoneError::at(&place, reason))?;
            }
        }
        Ok(())
    }

    /// The owner and origin of the including file hold again after the included one (RFC 1035 §5.1).
    fn include(&mut self, entry: &Entry, place: &Place, depth: usize) -> Result<(), ZoneError> {
        let (file, origin) = match &entry.fields[1..] {
            [file] => (file, None),
            [file, origin] => (file, Some(origin)),
            _ => return Err(ZoneError::at(place, "write $INCLUDE FILE [ORIGIN]")),
        };
        if depth >= INCLUDE_DEPTH_MAX {
            return Err(ZoneError::at(
                place,
                "$INCLUDE nests too deep; does a file include itself?",
            ));
        }
        let before = (self.origin.clone(), self.owner.clone());
        if let Some(origin) = origin {
            let origin = name::parse(&origin.bytes, self.origin.as_ref())
                .map_err(|reason| ZoneError::at(place, reason))?;
            self.origin = Some(origin);
        }
        let folder = place.file.parent().unwrap_or_else(|| Path::new(""));
        self.file(&folder.join(file.shown()), depth + 1)?;
        (self.origin, self.owner) = before;
        Ok(())
    }

    fn entry(&mut self, entry: &Entry, place: &Place) -> Result<(), String> {
        let mut fields = entry.fields.as_slice();
        let first = &fields[0];
        if !first.quoted && first.bytes.starts_with(b"$") {
            return self.directive(first, &fields[1..]);
        }
        if !entry.indented {
            self.owner = Some(name::parse(&first.bytes, self.origin.as_ref())?);
            fields = &fields[1..];
        }
        let owner = self.owner.clone().ok_or("the first record has no owner name")?;
        let (ttl, rtype, fields) = self.head(fields)?;
        let data = rdata::parse(rtype, fields, self.origin.as_ref())?;
        let ttl = ttl
            .or(self.default_ttl)
            .or(self.last_ttl)
            .ok_or("the record has no time to live, and there is no $TTL above it")?;
        self.last_ttl = Some(ttl);
        if rtype == RecordType::SOA && self.origin.is_none() {
            self.origin = Some(owner.clone());
        }
        self.records.push(Placed { place: place.clone(), owner, ttl, data });
        Ok(())
    }

    fn directive(&mut self, first: &Field, rest: &[Field]) -> Result<(), String> {
        match rest {
            [value] if first.is("$ORIGIN") => {
                self.origin = Some(name::parse(&value.bytes, self.origin.as_ref())?);
                Ok(())
            }
            [value] if first.is("$TTL") => {
                let ttl = time(&value.shown());
                self.default_ttl = Some(ttl.ok_or_else(|| {
                    format!("`{}` is not a time to live from 0 to 2147483647 s", value.shown())
                })?);
                Ok(())
            }
            _ if first.is("$ORIGIN") || first.is("$TTL") => {
                Err(format!("{} takes one value", first.shown()))
            }
            _ => Err(format!(
                "`{}` is not supported; the directives are $ORIGIN, $TTL and $INCLUDE",
                first.shown()
            )),
        }
    }

    /// Time to live and class, either, both or none in any order, then the type.
    fn head<'f>(
        &self,
        mut fields: &'f [Field],
    ) -> Result<(Option<u32>, RecordType, &'f [Field]), String> {
        let mut ttl = None;
        let mut class_seen = false;
        while let Some((field, rest)) = fields.split_first() {
            fields = rest;
            let word = field.shown().to_ascii_uppercase();
            if !class_seen && matches!(word.as_str(), "IN" | "CH" | "HS" | "CS") {
                if word != "IN" {
                    return Err(format!("class {word} is not served; write IN"));
                }
                class_seen = true;
            } else if ttl.is_none() && word.starts_with(|c: char| c.is_ascii_digit()) {
                ttl = Some(time(&word).ok_or_else(|| {
                    format!("`{word}` is not a time to live from 0 to 2147483647 s")
                })?);
            } else {
                let rtype = record_type(&word)
                    .ok_or_else(|| format!("`{}` is not a record type", field.shown()))?;
                return Ok((ttl, rtype, rest));
            }
        }
        Err("the entry has no record type".to_owned())
    }
}

/// A time in seconds, or with units as in `1h30m`.
pub(crate) fn time(text: &str) -> Option<u32> {
    parse_ttl(text).ok().filter(|ttl| *ttl <= TTL_MAX)
}

/// A record type by mnemonic or as `TYPE123` (RFC 3597 §5).
fn record_type(word: &str) -> Option<RecordType> {
    match word.strip_prefix("TYPE").map(str::parse::<u16>) {
        Some(Ok(code)) => Some(RecordType::from(code)),
        _ => word.parse().ok(),
    }
}

#[derive(Debug)]
struct Entry {
    line: usize,
    indented: bool,
    fields: Vec<Field>,
}

struct Lexer<'t> {
    text: &'t [u8],
    line: usize,
}

impl Lexer<'_> {
    /// The next entry that has fields. Parentheses continue it over line ends. An error carries the
    /// line that it belongs to.
    fn next(&mut self) -> Result<Option<Entry>, (usize, String)> {
        let mut entry = Entry { line: self.line, indented: false, fields: Vec::new() };
        let mut opened_at = None;
        let mut at_start = true;
        while let Some((&byte, rest)) = self.text.split_first() {
            let starts = std::mem::replace(&mut at_start, false);
            match byte {
                b'\n' => {
                    self.text = rest;
                    self.line += 1;
                    if opened_at.is_some() {
                        continue;
                    }
                    if !entry.fields.is_empty() {
                        return Ok(Some(entry));
                    }
                    entry.line = self.line;
                    entry.indented = false;
                    at_start = true;
                }
                b' ' | b'\t' | b'\r' => {
                    self.text = rest;
                    entry.indented |= starts && byte != b'\r';
                }
                b';' => {
                    let end = rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len());
                    self.text = &rest[end..];
                }
                b'(' if opened_at.is_some() => {
                    return Err((self.line, "`(` inside parentheses".to_owned()));
                }
                b'(' => {
                    opened_at = Some(self.line);
                    self.text = rest;
                }
                b')' => {
                    opened_at
                        .take()
                        .ok_or_else(|| (self.line, "`)` without a `(` before it".to_owned()))?;
                    self.text = rest;
                }
                b'"' => {
                    self.text = rest;
                    let field = self.quoted()?;
                    entry.fields.push(field);
                }
                _ => {
                    let end = word_length(self.text);
                    let (word, rest) = self.text.split_at(end);
                    entry.fields.push(Field { bytes: word.to_vec(), quoted: false });
                    self.text = rest;
                }
            }
        }
        if let Some(line) = opened_at {
            return Err((line, "`(` is never closed".to_owned()));
        }
        Ok((!entry.fields.is_empty()).then_some(entry))
    }

    fn quoted(&mut self) -> Result<Field, (usize, String)> {
        let mut at = 0;
        loop {
            match self.text.get(at) {
                Some(b'"') => break,
                Some(b'\\') => at += 2,
                None | Some(b'\n') => {
                    return Err((self.line, "`\"` is never closed on its line".to_owned()));
                }
                Some(_) => at += 1,
            }
        }
        let bytes = self.text[..at].to_vec();
        self.text = &self.text[at + 1..];
        Ok(Field { bytes, quoted: true })
    }
}

/// Length of the unquoted field that `text` starts with.
fn word_length(text: &[u8]) -> usize {
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' | b';' | b'(' | b')' | b'"' => break,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    at.min(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(text: &str) -> Vec<String> {
        read_text(text.as_bytes(), Path::new("z"))
            .unwrap()
            .iter()
            .map(|r| format!("{} {} {} {}", r.owner, r.ttl, r.data.record_type(), r.data))
            .collect()
    }

    fn error(text: &str) -> String {
        read_text(text.as_bytes(), Path::new("z")).unwrap_err().to_string()
    }

    #[test]
    fn defaults_and_continuations() {
        let text = "$ORIGIN e.test. ; comment\n$TTL 1h\n\
            @ IN SOA ns hostmaster ( 1 ; serial\n  1d 2h\n 4w 5 )\n\
            \t IN NS ns\n\
            \t NS @\n\
            ns 60 IN A 192.0.2.1\n\
            IN.e.test. IN 60 A 192.0.2.2\n\
            t TXT \"a;b\" c ( \"d\"\n \"e\" )";
        assert_eq!(
            records(text),
            [
                "e.test. 3600 SOA ns.e.test. hostmaster.e.test. 1 86400 7200 2419200 5",
                "e.test. 3600 NS ns.e.test.",
                "e.test. 3600 NS e.test.",
                "ns.e.test. 60 A 192.0.2.1",
                "IN.e.test. 60 A 192.0.2.2",
                "t.e.test. 3600 TXT a;bcde",
            ]
        );
    }

    #[test]
    fn without_an_origin_the_soa_gives_it() {
        let text = "e.test. 5 IN SOA ns.e.test. h.e.test. 1 2 3 4 5\nwww IN A 192.0.2.1\n";
        assert_eq!(records(text)[1], "www.e.test. 5 A 192.0.2.1");
    }

    #[test]
    fn errors_name_the_line() {
        let cases = [
            ("$ORIGIN e.\n\nwww 5 IN A 1.2.3\n", "z:3: `1.2.3` is not an IPv4 address"),
            ("www 5 IN A 1.2.3.4\n", "z:1: `www` is relative and there is no $ORIGIN"),
            (
                "a. IN A 1.2.3.4\n",
                "z:1: the record has no time to live, and there is no $TTL above it",
            ),
            ("a. 5 IN AA 1.2.3.4\n", "z:1: `AA` is not a record type"),
            ("a. 5 CH A 1.2.3.4\n", "z:1: class CH is not served; write IN"),
            ("a. 5 IN A 1.2.3.4 x\n", "z:1: `x` stands after the end of the record's data"),
            ("a. 5 IN MX 10\n", "z:1: the record's data ends too early"),
            ("\na. 5 IN TXT ( a\nb\n", "z:2: `(` is never closed"),
            ("a. 5 IN TXT \"a\nb\"\n", "z:1: `\"` is never closed on its line"),
            ("a. 5 IN TXT )\n", "z:1: `)` without a `(` before it"),
            (" 5 IN A 1.2.3.4\n", "z:1: the first record has no owner name"),
            (
                "$GENERATE 1-2 a A 1.2.3.4\n",
                "z:1: `$GENERATE` is not supported; the directives are $ORIGIN, $TTL and $INCLUDE",
            ),
            (
                "a. 3000000000 IN A 1.2.3.4\n",
                "z:1: `3000000000` is not a time to live from 0 to 2147483647 s",
            ),
            ("a. 5 IN\n", "z:1: the entry has no record type"),
        ];
        for (text, expected) in cases {
            assert_eq!(error(text), expected);
        }
    }

    #[test]
    fn includes_keep_the_including_origin() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("sub"), "$ORIGIN x.y.\na 5 IN A 192.0.2.9\n").unwrap();
        let main = folder.path().join("main");
        std::fs::write(&main, "$ORIGIN e.\n$INCLUDE sub\nb 5 IN A 192.0.2.1\n$INCLUDE sub z\n")
            .unwrap();
        let owners =
            |records: Vec<Placed>| records.iter().map(|r| r.owner.to_string()).collect::<Vec<_>>();
        assert_eq!(owners(read(&main).unwrap()), ["a.x.y.", "b.e.", "a.x.y."]);
        std::fs::write(folder.path().join("sub"), "$INCLUDE sub\n").unwrap();
        let message = read(&main).unwrap_err().to_string();
        assert!(message.ends_with("sub:1: $INCLUDE nests too deep; does a file include itself?"));
        std::fs::remove_file(folder.path().join("sub")).unwrap();
        assert!(matches!(read(&main), Err(ZoneError::Read { .. })));
    }
}
