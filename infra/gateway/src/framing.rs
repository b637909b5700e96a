//! Following where each request of a connection ends, so that every head is judged and nothing else
//! is taken for one. A pure state machine over bytes:
//!
//! ```text
//! Head ──no body──▶ Head          Head ──Content-Length──▶ Length ──▶ Head
//! Head ──chunked──▶ ChunkSize ──▶ ChunkData ──▶ ChunkEnd ──▶ ChunkSize
//!                   ChunkSize ──size 0──▶ Trailers ──▶ Head
//! ```
//!
//! What comes out is stricter than what the HTTP implementation behind takes, so the two cannot
//! disagree: chunk extensions and trailers are left out (RFC 9112 §7.1.1 and RFC 9110 §6.5.1 allow it).

use bytes::BytesMut;
use http::StatusCode;

use crate::head::{self, Framing, Judged, Refusal};

/// Longest chunk-size line, extensions included.
const CHUNK_LINE_BYTES_MAX: usize = 256;
/// Most bytes of trailers.
const TRAILER_BYTES_MAX: usize = 4096;
/// Empty lines tolerated before a request line (RFC 9112 §2.2 asks for at least one).
const EMPTY_LINES_MAX: u32 = 2;

/// Why a connection's bytes cannot be followed any further.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A head is refused; the next thing to write is the answer that says so.
    Head(Refusal),
    /// A body is malformed; its request is already under way.
    Body(&'static str),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Head,
    Length(u64),
    ChunkSize,
    ChunkData(u64),
    /// The CR LF behind a chunk's data.
    ChunkEnd,
    Trailers,
}

/// The state machine of one connection.
#[derive(Debug)]
pub(crate) struct Framer {
    state: State,
    /// The head, chunk-size line or trailer line that is not complete yet.
    held: Vec<u8>,
    empty_lines: u32,
    trailer_bytes: usize,
    heads: u64,
    head_bytes_max: usize,
    headers_max: usize,
    target_bytes_max: usize,
}

impl Framer {
    pub(crate) fn new(head_bytes_max: usize, headers_max: usize, target_bytes_max: usize) -> Self {
        Self {
            state: State::Head,
            held: Vec::new(),
            empty_lines: 0,
            trailer_bytes: 0,
            heads: 0,
            head_bytes_max,
            headers_max,
            target_bytes_max,
        }
    }

    /// Takes all of `input` and appends what may pass to `out`. After a fault nothing more may be fed.
    pub(crate) fn feed(&mut self, mut input: &[u8], out: &mut BytesMut) -> Result<(), Fault> {
        while let [first, ..] = *input {
            let taken = match self.state {
                State::Head => self.head(input, out).map_err(Fault::Head)?,
                State::Length(left) | State::ChunkData(left) => {
                    let n = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
                    out.extend_from_slice(&input[..n]);
                    self.passed(n as u64);
                    n
                }
                State::ChunkEnd => {
                    let expected = if self.held.is_empty() { b'\r' } else { b'\n' };
                    if first != expected {
                        return Err(Fault::Body("a chunk is longer than its size says"));
                    }
                    self.held.push(first);
                    if self.held.len() == 2 {
                        self.held.clear();
                        out.extend_from_slice(b"\r\n");
                        self.state = State::ChunkSize;
                    }
                    1
                }
                State::ChunkSize | State::Trailers => self.line(input, out).map_err(Fault::Body)?,
            };
            input = &input[taken..];
        }
        Ok(())
    }

    /// How many bytes of a body of known length may pass without being fed.
    pub(crate) fn may_pass(&self) -> u64 {
        if let State::Length(left) = self.state { left } else { 0 }
    }

    /// Tells that so many bytes passed. At most what the state has left.
    pub(crate) fn passed(&mut self, n: u64) {
        self.state = match self.state {
            State::Length(left) if left > n => State::Length(left - n),
            State::Length(_) => State::Head,
            State::ChunkData(left) if left > n => State::ChunkData(left - n),
            State::ChunkData(_) => State::ChunkEnd,
            other => other,
        };
    }

    /// Whether a head has begun and not ended.
    pub(crate) fn in_head(&self) -> bool {
        self.state == State::Head && !self.held.is_empty()
    }

    /// Whether a request has begun and not ended.
    pub(crate) fn mid_request(&self) -> bool {
        self.state != State::Head || !self.held.is_empty()
    }

    /// How many heads have passed.
    pub(crate) fn heads(&self) -> u64 {
        self.heads
    }

    fn head(&mut self, input: &[u8], out: &mut BytesMut) -> Result<usize, Refusal> {
        for (i, byte) in input.iter().copied().enumerate() {
            if !line_byte(self.held.last().copied(), byte) {
                let reason = "the head holds a line end that is not CR LF, or NUL";
                return Err(Refusal { status: StatusCode::BAD_REQUEST, reason });
            }
            self.held.push(byte);
            if byte == b'\n' && self.held.len() == 2 {
                self.held.clear();
                self.empty_lines += 1;
                if self.empty_lines > EMPTY_LINES_MAX {
                    let reason = "there are only empty lines where a request should begin";
                    return Err(Refusal { status: StatusCode::BAD_REQUEST, reason });
                }
            } else if byte == b'\n' && self.held.ends_with(b"\r\n\r\n") {
                let Judged { framing, rewritten } =
                    head::judge(&self.held, self.headers_max, self.target_bytes_max)?;
                out.extend_from_slice(rewritten.as_deref().unwrap_or(&self.held));
                self.held.clear();
                self.empty_lines = 0;
                self.heads += 1;
                self.state = match framing {
                    Framing::Length(0) => State::Head,
                    Framing::Length(n) => State::Length(n),
                    Framing::Chunked => State::ChunkSize,
                };
                return Ok(i + 1);
            } else if self.held.len() >= self.head_bytes_max {
                let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
                return Err(Refusal { status, reason: "the head is too large" });
            }
        }
        Ok(input.len())
    }

    /// A chunk-size or trailer line.
    fn line(&mut self, input: &[u8], out: &mut BytesMut) -> Result<usize, &'static str> {
        let sizing = self.state == State::ChunkSize;
        for (i, byte) in input.iter().copied().enumerate() {
            if !line_byte(self.held.last().copied(), byte) {
                return Err("a chunk's line does not end in CR LF");
            }
            self.held.push(byte);
            if sizing && self.held.len() > CHUNK_LINE_BYTES_MAX {
                return Err("a chunk's size line is too long");
            }
            if !sizing {
                self.trailer_bytes += 1;
                if self.trailer_bytes > TRAILER_BYTES_MAX {
                    return Err("the trailers are too large");
                }
            }
            if byte != b'\n' {
                continue;
            }
            if sizing {
                let digits = chunk_size(&self.held).ok_or("a chunk's size is not hexadecimal")?;
                out.extend_from_slice(format!("{digits:x}\r\n").as_bytes());
                self.state = if digits == 0 { State::Trailers } else { State::ChunkData(digits) };
                self.trailer_bytes = 0;
            } else if self.held.len() == 2 {
                out.extend_from_slice(b"\r\n");
                self.state = State::Head;
            }
            self.held.clear();
            return Ok(i + 1);
        }
        Ok(input.len())
    }
}

/// Whether a byte may follow another in lines that end in CR LF.
fn line_byte(before: Option<u8>, byte: u8) -> bool {
    byte != 0 && (before == Some(b'\r')) == (byte == b'\n')
}

/// `1*15HEXDIG [ ";" extensions ] CR LF`.
fn chunk_size(line: &[u8]) -> Option<u64> {
    let text = line.strip_suffix(b"\r\n")?;
    let end = text.iter().position(|byte| *byte == b';').unwrap_or(text.len());
    let digits = &text[..end];
    let hex = (1..=15).contains(&digits.len()) && digits.iter().all(u8::is_ascii_hexdigit);
    let sound = text[end..].iter().all(|byte| !byte.is_ascii_control() || *byte == b'\t');
    if !(hex && sound) {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PIPELINE: &str = "\r\nPOST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello\
        POST /b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n\
        00A;x=y\r\n0123456789\r\n1\r\n!\r\n0\r\nTrailer: t\r\n\r\n\
        GET /c HTTP/1.1\r\nHost: h\r\nbad name: dropped\r\n\r\n";
    const PASSED: &str = "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello\
        POST /b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n\
        a\r\n0123456789\r\n1\r\n!\r\n0\r\n\r\n\
        GET /c HTTP/1.1\r\nHost: h\r\n\r\n";

    fn feed(pieces: &[&[u8]]) -> (Result<(), Fault>, BytesMut, Framer) {
        let mut framer = Framer::new(1024, 100, 1024);
        let mut out = BytesMut::new();
        let fed = pieces.iter().try_for_each(|piece| framer.feed(piece, &mut out));
        (fed, out, framer)
    }

    proptest! {
        #[test]
        fn the_cuts_between_reads_do_not_matter(mut cuts in prop::collection::vec(0..PIPELINE.len(), 0..8)) {
            cuts.sort_unstable();
            let mut pieces = Vec::new();
            let mut start = 0;
            for cut in cuts {
                pieces.push(&PIPELINE.as_bytes()[start..cut]);
                start = cut;
            }
            pieces.push(&PIPELINE.as_bytes()[start..]);
            let (fed, out, framer) = feed(&pieces);
            prop_assert_eq!(fed, Ok(()));
            prop_assert_eq!(out.as_ref(), PASSED.as_bytes());
            prop_assert!(!framer.mid_request());
            prop_assert_eq!(framer.heads(), 3);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = feed(&[b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n", &bytes]);
            let _ = feed(&[&bytes]);
        }
    }

    #[test]
    fn malformed_chunks_are_faults() {
        let head = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
        let bodies: [&[u8]; 7] = [
            b"5\r\nhelloX",
            b"5 \r\n",
            b"0x5\r\n",
            b"-1\r\n",
            b"\r\n",
            b"5\nhello",
            b"fffffffffffffffff\r\n",
        ];
        for body in bodies {
            assert!(matches!(feed(&[head, body]).0, Err(Fault::Body(_))), "{body:?}");
        }
    }

    #[test]
    fn line_ends_are_strict_and_heads_bounded() {
        let long = [b"GET / HTTP/1.1\r\nx: ".as_slice(), &[b'a'; 1100]].concat();
        let heads: [(&[u8], u16); 5] = [
            (b"GET / HTTP/1.1\nHost: h\n\n", 400),
            (b"GET / HTTP/1.1\r\nHost: h\rx: y\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\nHost: h\0\r\n\r\n", 400),
            (b"\r\n\r\n\r\n", 400),
            (&long, 431),
        ];
        for (head, status) in heads {
            let Err(Fault::Head(refusal)) = feed(&[head]).0 else { panic!("{head:?} passed") };
            assert_eq!(refusal.status, status);
        }
    }
}
