//! Master files (RFC 1035 §5): entries, directives and defaults, with the line of each.
//!
//! hickory has a zone parser too, but its errors name no line, it knows no DNAME, takes `@` for an
//! owner only, and folds the case of names. What remains of it here is reading times and the record
//! data of the rarer types (see [`crate::rdata`]).

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hickory_proto::rr::{Name, RData, RecordType};
use hickory_proto::serialize::txt::parse_ttl;

use spillway_part::files;

use crate::{name, rdata};

/// How deep `$INCLUDE` may nest.
const INCLUDE_DEPTH_MAX: usize = 8;
/// Most bytes of a zone, with all that it includes, however often.
const BYTES_MAX: u64 = 64 * 1024 * 1024;
/// With so many mistakes in a zone, a person has enough to do.
const ERRORS_MAX: usize = 100;
/// Largest time to live (RFC 2181 §8).
const TTL_MAX: u32 = 0x7fff_ffff;

/// A line of a master file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    file: Arc<Path>,
    line: usize,
}

impl Place {
    /// The file.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The line, counted from 1.
    #[must_use]
    pub fn line(&self) -> usize {
        self.line
    }
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
    /// A zone as a whole is wrong.
    #[error("{path}: {reason}")]
    Zone {
        /// Its file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A name of the configuration does not fit the zones.
    #[error("{reason}")]
    Name {
        /// Which, as a path in the configuration.
        setting: &'static str,
        /// What is wrong.
        reason: String,
    },
}

impl ZoneError {
    pub(crate) fn at(place: &Place, reason: impl Into<String>) -> Self {
        Self::Line { place: place.clone(), reason: reason.into() }
    }

    /// The line that is wrong, if it is one.
    #[must_use]
    pub fn place(&self) -> Option<&Place> {
        match self {
            Self::Line { place, .. } => Some(place),
            _ => None,
        }
    }
}

/// All that is wrong with zones: file by file, by line. Never empty.
#[derive(Debug)]
pub struct ZoneErrors(pub Vec<ZoneError>);

impl fmt::Display for ZoneErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
            // A list has no one source to leave this to.
            if let ZoneError::Read { source, .. } = error {
                write!(f, ": {source}")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for ZoneErrors {}

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
pub(crate) fn read(path: &Path) -> Result<Vec<Placed>, Vec<ZoneError>> {
    let mut reader = Reader::default();
    reader.file(path, 0);
    reader.finish()
}

/// Reads a master file from memory; `path` is for messages and for relative `$INCLUDE`s.
pub(crate) fn read_text(text: &[u8], path: &Path) -> Result<Vec<Placed>, Vec<ZoneError>> {
    let mut reader = Reader::default();
    reader.text(text, path, 0);
    reader.finish()
}

#[derive(Default)]
struct Reader {
    origin: Option<Name>,
    owner: Option<Name>,
    default_ttl: Option<u32>,
    last_ttl: Option<u32>,
    records: Vec<Placed>,
    errors: Vec<ZoneError>,
    bytes: u64,
}

impl Reader {
    fn finish(self) -> Result<Vec<Placed>, Vec<ZoneError>> {
        if self.errors.is_empty() { Ok(self.records) } else { Err(self.errors) }
    }

    fn file(&mut self, path: &Path, depth: usize) {
        // Whatever is no regular file could go on for ever.
        match files::read_at_most(path, BYTES_MAX - self.bytes) {
            Ok(text) => {
                self.bytes += text.len() as u64;
                self.text(&text, path, depth);
            }
            Err(mut source) => {
                if source.kind() == io::ErrorKind::FileTooLarge {
                    let message = format!(
                        "a zone has at most {} MiB with all that it includes",
                        BYTES_MAX >> 20
                    );
                    source = io::Error::new(source.kind(), message);
                }
                self.errors.push(ZoneError::Read { path: path.to_owned(), source });
            }
        }
    }

    fn text(&mut self, text: &[u8], path: &Path, depth: usize) {
        let file: Arc<Path> = path.into();
        let place = |line| Place { file: file.clone(), line };
        let mut lexer = Lexer { text, line: 1 };
        while self.errors.len() < ERRORS_MAX {
            let entry = match lexer.next() {
                Ok(Some(entry)) => entry,
                Ok(None) => return,
                Err((line, reason)) => {
                    self.errors.push(ZoneError::at(&place(line), reason));
                    return;
                }
            };
            let place = place(entry.line);
            let read = if entry.fields[0].is("$INCLUDE") {
                self.include(&entry, &place, depth)
            } else {
                self.entry(&entry, &place)
            };
            if let Err(reason) = read {
                self.errors.push(ZoneError::at(&place, reason));
                // What the line should have set is made up, or each line after it would be told for
                // the want of it. No zone is built of what was read after a mistake.
                self.origin.get_or_insert_with(Name::root);
                self.owner.get_or_insert_with(Name::root);
                self.last_ttl.get_or_insert(0);
            }
        }
    }

    /// The owner and origin of the including file hold again after the included one (RFC 1035 §5.1).
    fn include(&mut self, entry: &Entry, place: &Place, depth: usize) -> Result<(), String> {
        let (file, origin) = match &entry.fields[1..] {
            [file] => (file, None),
            [file, origin] => (file, Some(origin)),
            _ => return Err("write $INCLUDE FILE [ORIGIN]".to_owned()),
        };
        if depth >= INCLUDE_DEPTH_MAX {
            return Err("$INCLUDE nests too deep; does a file include itself?".to_owned());
        }
        let before = (self.origin.clone(), self.owner.clone());
        if let Some(origin) = origin {
            self.origin = Some(name::parse(&origin.bytes, self.origin.as_ref())?);
        }
        let folder = place.file.parent().unwrap_or_else(|| Path::new(""));
        self.file(&folder.join(file.shown()), depth + 1);
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
        let errors = read_text(text.as_bytes(), Path::new("z")).unwrap_err();
        ZoneErrors(errors).to_string()
    }

    #[test]
    fn every_wrong_line_is_told_and_none_because_of_another() {
        let text = "a 5 A 1.2.3.4\n$ORIGIN e.test.\n@ A 1.2.3.4\n$TTL soon\nb AA x\nc..d 5 A 1.2.3.4\n\tA 1.2.3\ne TXT ( f\n";
        let expected = [
            "z:1: `a` is relative and there is no $ORIGIN",
            "z:4: `soon` is not a time to live from 0 to 2147483647 s",
            "z:5: `AA` is not a record type",
            "z:6: ",
            "z:7: `1.2.3` is not an IPv4 address",
            "z:8: `(` is never closed",
        ];
        let told = error(text);
        assert_eq!(told.lines().count(), expected.len(), "{told}");
        for (line, start) in told.lines().zip(expected) {
            assert!(line.starts_with(start), "{start}\n{told}");
        }
        assert_eq!(error(&"a 5 A x\n".repeat(5000)).lines().count(), ERRORS_MAX);
    }

    #[test]
    fn what_never_ends_is_no_zone_file() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let huge = folder.path().join("huge");
        std::fs::File::create(&huge).unwrap().set_len(BYTES_MAX + 1).unwrap();
        // Included often enough, a small file is large too.
        let (often, part) = (folder.path().join("often"), folder.path().join("part"));
        std::fs::write(&often, "$INCLUDE part .\n".repeat(3)).unwrap();
        std::fs::write(&part, vec![b'\n'; usize::try_from(BYTES_MAX / 2).unwrap()]).unwrap();
        for (path, expected) in [
            (&pipe, "it is not a regular file"),
            (&folder.path().to_owned(), "it is not a regular file"),
            (&PathBuf::from("/dev/zero"), "it is not a regular file"),
            (&huge, "at most 64 MiB"),
            (&often, "at most 64 MiB"),
        ] {
            let errors = ZoneErrors(read(path).unwrap_err()).to_string();
            assert!(errors.starts_with("cannot read the zone file "), "{errors}");
            assert!(errors.contains(expected), "{errors}");
        }
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
        let message = ZoneErrors(read(&main).unwrap_err()).to_string();
        assert!(message.ends_with("sub:1: $INCLUDE nests too deep; does a file include itself?"));
        std::fs::remove_file(folder.path().join("sub")).unwrap();
        assert!(matches!(
            read(&main).unwrap_err()[..],
            [ZoneError::Read { .. }, ZoneError::Read { .. }]
        ));
    }
}
