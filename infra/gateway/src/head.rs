//! Judging a request's head before the HTTP implementation sees it.
//!
//! Request smuggling lives on heads that two implementations read differently (RFC 9112 §11.2).
//! hyper repairs some of them in silence: it lets `Transfer-Encoding` win over `Content-Length` and
//! folds equal lengths into one, after which nobody can tell. So each head is judged here in the
//! bytes it came in: what leaves no doubt passes, what could be read in two ways is refused, and a
//! field that is malformed but says nothing about the message's length or host is left out.

use http::StatusCode;

/// Longest method name; the longest one registered with IANA has 17 characters.
const METHOD_BYTES_MAX: usize = 24;

/// Why a request was refused before it was routed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// What to answer.
    pub status: StatusCode,
    /// What was wrong, for whoever sent it.
    pub reason: &'static str,
}

/// How long the body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// So many bytes; zero when there is none.
    Length(u64),
    /// Until the last chunk.
    Chunked,
}

/// A head that may pass.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Judged {
    pub(crate) framing: Framing,
    /// What to pass instead of the head as received, when something had to be left out.
    pub(crate) rewritten: Option<Vec<u8>>,
}

fn refuse<T>(status: StatusCode, reason: &'static str) -> Result<T, Refusal> {
    Err(Refusal { status, reason })
}

fn bad<T>(reason: &'static str) -> Result<T, Refusal> {
    refuse(StatusCode::BAD_REQUEST, reason)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    /// HTTP/0.9 by name or by having none; answered as HTTP/1.0.
    Ancient,
    Http10,
    Http11,
}

/// Judges a head: from the first byte of the request line to the empty line, both included. Every
/// line ends in CR LF, and neither stands elsewhere, nor does NUL.
pub(crate) fn judge(
    head: &[u8],
    headers_max: usize,
    target_bytes_max: usize,
) -> Result<Judged, Refusal> {
    let text = head.strip_suffix(b"\r\n\r\n").unwrap_or(head);
    let mut lines = text
        .split(|byte| *byte == b'\r')
        .enumerate()
        .map(|(i, line)| if i == 0 { line } else { line.get(1..).unwrap_or_default() });
    let request = RequestLine::read(lines.next().unwrap_or_default())?;
    if request.target.len() > target_bytes_max {
        return refuse(StatusCode::URI_TOO_LONG, "the request target is too long");
    }

    let mut fields = Fields::default();
    let mut kept = Vec::new();
    let mut dropped = false;
    for (i, line) in lines.enumerate() {
        if i >= headers_max {
            return refuse(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "too many header fields");
        }
        if fields.take(line)? {
            kept.push(line);
        } else {
            dropped = true;
        }
    }
    let framing = fields.framing(&request)?;
    fields.check_host(&request)?;

    let rewritten = (dropped || request.rewrite).then(|| {
        let version: &[u8] =
            if request.version == Version::Http11 { b"HTTP/1.1" } else { b"HTTP/1.0" };
        let mut head = [request.method, b" ", request.target, b" ", version, b"\r\n"].concat();
        for line in kept {
            head.extend_from_slice(line);
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(b"\r\n");
        head
    });
    Ok(Judged { framing, rewritten })
}

struct RequestLine<'a> {
    method: &'a [u8],
    target: &'a [u8],
    /// The authority of an absolute-form target.
    authority: Option<&'a [u8]>,
    version: Version,
    rewrite: bool,
}

impl<'a> RequestLine<'a> {
    fn read(line: &'a [u8]) -> Result<Self, Refusal> {
        let mut words = line.split(|byte| *byte == b' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let version = words.next().unwrap_or_default();
        if words.next().is_some() {
            return bad("the request line has more than three words");
        }
        if method.is_empty()
            || method.len() > METHOD_BYTES_MAX
            || !method.iter().copied().all(is_token)
        {
            return bad("the method is not a token");
        }
        let (version, rewrite) = match version {
            b"HTTP/1.1" => (Version::Http11, false),
            b"HTTP/1.0" => (Version::Http10, false),
            b"" | b"HTTP/0.9" => (Version::Ancient, true),
            // A later minor version is answered with the highest one known (RFC 9110 §2.5).
            [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'2'..=b'9'] => (Version::Http11, true),
            [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => {
                return refuse(
                    StatusCode::HTTP_VERSION_NOT_SUPPORTED,
                    "only HTTP/1 is spoken here",
                );
            }
            _ => return bad("the request line does not end in an HTTP version"),
        };
        if version == Version::Ancient && method != b"GET" {
            return bad("HTTP/0.9 has no method but GET");
        }
        if matches!(method, b"CONNECT" | b"TRACE") {
            return refuse(StatusCode::NOT_IMPLEMENTED, "CONNECT and TRACE are not offered");
        }
        let authority = Self::authority(method, target)?;
        Ok(Self { method, target, authority, version, rewrite })
    }

    /// Checks the form of the target (RFC 9112 §3.2); answers the authority of an absolute one.
    fn authority(method: &[u8], target: &'a [u8]) -> Result<Option<&'a [u8]>, Refusal> {
        if !target.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'#') {
            return bad("the request target holds a byte that must be percent-encoded");
        }
        if target.first() == Some(&b'/') || (target == b"*" && method == b"OPTIONS") {
            return Ok(None);
        }
        let (scheme, rest) = target.split_at(target.len().min(7));
        if !scheme.eq_ignore_ascii_case(b"http://") {
            return bad("the request target is neither a path nor an http URL");
        }
        let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
        Ok(Some(&rest[..end]))
    }

    fn bodyless(&self) -> bool {
        matches!(self.method, b"GET" | b"HEAD")
    }
}

/// What the fields say about length and host.
#[derive(Default)]
struct Fields<'a> {
    length: Option<&'a [u8]>,
    encoding: Option<&'a [u8]>,
    host: Option<&'a [u8]>,
}

impl<'a> Fields<'a> {
    /// Takes a line; answers whether it may pass.
    fn take(&mut self, line: &'a [u8]) -> Result<bool, Refusal> {
        if matches!(line.first(), Some(b' ' | b'\t')) {
            return bad("a header field is folded over two lines");
        }
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            return bad("a header line has no colon");
        };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if value.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
            return bad("a header value holds a control character");
        }
        if name.is_empty() {
            return bad("a header field has no name");
        }
        if !name.is_ascii() {
            return bad("a header name is not ASCII");
        }
        let place = if name.eq_ignore_ascii_case(b"content-length") {
            &mut self.length
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            &mut self.encoding
        } else if name.eq_ignore_ascii_case(b"host") {
            &mut self.host
        } else if resembles_framing(name) {
            return bad("a header name can be mistaken for one that frames the message");
        } else {
            // A malformed name that is none of ours to act on. RFC 9112 §5.1 asks to refuse white
            // space before the colon because a proxy that forwards it may be read differently
            // behind; a field that is left out cannot be read at all.
            return Ok(name.iter().copied().all(is_token));
        };
        if place.replace(value).is_some() {
            return bad("a header field that may stand once stands twice");
        }
        Ok(true)
    }

    fn framing(&self, request: &RequestLine<'_>) -> Result<Framing, Refusal> {
        let framing = match (self.length, self.encoding) {
            (Some(_), Some(_)) => {
                return bad("both Content-Length and Transfer-Encoding are given");
            }
            (None, None) => Framing::Length(0),
            (Some(length), None) => match digits(length) {
                Some(length) => Framing::Length(length),
                None => return bad("Content-Length is not a decimal number"),
            },
            (None, Some(encoding)) => {
                if request.version != Version::Http11 {
                    return bad("Transfer-Encoding needs HTTP/1.1");
                }
                if !encoding.eq_ignore_ascii_case(b"chunked") {
                    return bad("the only transfer encoding taken is `chunked`, once");
                }
                Framing::Chunked
            }
        };
        // RFC 9110 §9.3.1: content in a GET has no defined meaning and has served smuggling.
        if request.bodyless() && framing != Framing::Length(0) {
            return bad("GET and HEAD have no body here");
        }
        if request.version == Version::Ancient && self.length.is_some() {
            return bad("HTTP/0.9 has no body");
        }
        Ok(framing)
    }

    fn check_host(&self, request: &RequestLine<'_>) -> Result<(), Refusal> {
        match self.host {
            None if request.version == Version::Http11 => return bad("there is no Host header"),
            Some(host) if !is_host(host) => return bad("the Host header is not a host and port"),
            _ => {}
        }
        if let Some(authority) = request.authority {
            let same = self.host.is_none_or(|host| host.eq_ignore_ascii_case(authority));
            if !is_host(authority) || !same {
                return bad("the URL's host is not the Host header's");
            }
        }
        Ok(())
    }
}

/// A token character of RFC 9110 §5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Whether a name differs from one that frames the message in nothing but what is no letter.
fn resembles_framing(name: &[u8]) -> bool {
    let letters = || name.iter().filter(|byte| byte.is_ascii_alphanumeric());
    [b"contentlength".as_slice(), b"transferencoding", b"host"].iter().any(|known| {
        letters().count() == known.len()
            && letters().zip(*known).all(|(a, b)| a.eq_ignore_ascii_case(b))
    })
}

/// `1*DIGIT` within 63 bits: no sign, no space, no list.
fn digits(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 18 || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// `host [":" port]` with a host that is a name, an IPv4 address or a bracketed IPv6 address.
fn is_host(value: &[u8]) -> bool {
    let (host_ok, rest) = if let Some(inner) = value.strip_prefix(b"[") {
        let Some(end) = inner.iter().position(|byte| *byte == b']') else { return false };
        let address = std::str::from_utf8(&inner[..end]).ok();
        let is_v6 = address.is_some_and(|text| text.parse::<std::net::Ipv6Addr>().is_ok());
        (is_v6, &inner[end + 1..])
    } else {
        let end = value.iter().position(|byte| *byte == b':').unwrap_or(value.len());
        let named = value[..end]
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~'));
        (end > 0 && end <= 255 && named, &value[end..])
    };
    let port_ok = match rest {
        [] => true,
        [b':', port @ ..] => port.len() <= 5 && port.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    host_ok && port_ok
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(head: &str) -> Result<Judged, Refusal> {
        judge(head.as_bytes(), 100, 8 * 1024)
    }

    #[test]
    fn plain_requests_pass_untouched() {
        let get = "GET /a?b=c HTTP/1.1\r\nHost: code.example.test:8080\r\n\r\n";
        assert_eq!(judged(get), Ok(Judged { framing: Framing::Length(0), rewritten: None }));
        let post = "POST / HTTP/1.1\r\nhost: [::1]:80\r\nContent-length:  12 \r\n\r\n";
        assert_eq!(judged(post).unwrap().framing, Framing::Length(12));
        let chunked = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\n\r\n";
        assert_eq!(judged(chunked).unwrap().framing, Framing::Chunked);
        assert!(judged("GET http://h/x HTTP/1.1\r\nHost: H\r\n\r\n").is_ok());
        assert!(judged("GET / HTTP/1.0\r\n\r\n").is_ok());
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        let fields = [
            "Content-Length: 1\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked\r\nContent-Length: 1",
            "Content-Length: 1\r\nContent-Length: 1",
            "Content-Length: 1, 1",
            "Content-Length: +1",
            "Content-Length:",
            "Content-Length: 18446744073709551616",
            "Transfer-Encoding: xchunked",
            "Transfer-Encoding: chunked, chunked",
            "Transfer-Encoding: gzip, chunked",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked\x11",
            "Transfer-Encoding : chunked",
            "Transfer_Encoding: chunked",
            "Transfer-Encod\u{131}ng: chunked",
            "\u{1}Content-Length: 1",
            "X: y\r\n folded: z",
            " X: y",
            ": no name",
            "no colon",
            "Host: other",
            "Host : other",
        ];
        for fields in fields {
            let head = format!("POST / HTTP/1.1\r\nHost: h\r\n{fields}\r\n\r\n");
            let status = judged(&head).unwrap_err().status;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{fields:?}");
        }
    }

    #[test]
    fn bad_request_lines_and_hosts_are_refused() {
        let heads = [
            ("GET /  HTTP/1.1\r\nHost: h\r\n\r\n", 400),
            ("G\u{1}T / HTTP/1.1\r\nHost: h\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost:\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: u@h\r\n\r\n", 400),
            ("GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n", 400),
            ("GET http://u@a/ HTTP/1.1\r\nHost: u@a\r\n\r\n", 400),
            ("GET refused HTTP/1.1\r\nHost: refused\r\n\r\n", 400),
            ("GET /#f HTTP/1.1\r\nHost: h\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n", 400),
            ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
            ("CONNECT h:80 HTTP/1.1\r\nHost: h:80\r\n\r\n", 501),
            ("PRI * HTTP/2.0\r\n\r\n", 505),
        ];
        for (head, status) in heads {
            assert_eq!(judged(head).unwrap_err().status, status, "{head:?}");
        }
        let many = format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "a: b\r\n".repeat(100));
        assert_eq!(judged(&many).unwrap_err().status, 431);
        let long = format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "a".repeat(8 * 1024));
        assert_eq!(judged(&long).unwrap_err().status, 414);
    }

    #[test]
    fn harmless_faults_are_left_out() {
        let head = "GET / HTTP/1.2\r\nHost: h\r\nx-odd : 1\r\n\u{1}y: 2\r\nz: 3\r\n\r\n";
        let rewritten = judged(head).unwrap().rewritten.unwrap();
        assert_eq!(rewritten, b"GET / HTTP/1.1\r\nHost: h\r\nz: 3\r\n\r\n");
        let ancient = judged("GET / HTTP/0.9\r\nX: y\r\n\r\n").unwrap().rewritten.unwrap();
        assert_eq!(ancient, b"GET / HTTP/1.0\r\nX: y\r\n\r\n");
    }
}
