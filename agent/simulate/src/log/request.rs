//! A request's first line: method, target, version.

use std::borrow::Cow;

use super::Request;

/// Longest path that is looked at, in bytes.
const PATH_BYTES_MAX: usize = 512;

/// What `GET https://host:443/path?query HTTP/1.1` asks for; `None` when it is no such line.
pub(super) fn parse(line: &str) -> Option<Request<'_>> {
    let mut words = line.split_ascii_whitespace();
    let (method, target) = (words.next()?, words.next()?);
    let is_method = method.len() <= 20 && method.bytes().all(|byte| byte.is_ascii_alphabetic());
    let is_version = words.next().is_none_or(|version| version.starts_with("HTTP/"));
    if !is_method || !is_version {
        return None;
    }
    let (host, path) = match target.split_once("://") {
        Some((scheme, rest)) if !scheme.contains('/') => {
            let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
            (host(&rest[..end]), &rest[end..])
        }
        _ => (None, target),
    };
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let path = cut(if path.is_empty() { "/" } else { path });
    // Besides paths there is `*`, which OPTIONS asks for, and what CONNECT does.
    (path.starts_with('/') || path == "*").then_some(Request {
        method: Cow::Borrowed(method),
        host: host.map(Cow::Borrowed),
        path: Cow::Borrowed(path),
    })
}

/// A host without its port.
pub(super) fn host(authority: &str) -> Option<&str> {
    let host = match authority.rsplit_once(':') {
        // Not within an IPv6 address.
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    (!host.is_empty() && host != "-").then_some(host)
}

/// A path of which no more is kept than is looked at, cut between characters.
pub(super) fn cut(path: &str) -> &str {
    let mut end = path.len().min(PATH_BYTES_MAX);
    while !path.is_char_boundary(end) {
        end -= 1;
    }
    &path[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_in_all_forms() {
        let read = |line| {
            parse(line).map(|request| {
                let host = request.host.map(Cow::into_owned);
                (request.method.into_owned(), host, request.path.into_owned())
            })
        };
        let of = |method: &str, host: Option<&str>, path: &str| {
            Some((method.to_owned(), host.map(str::to_owned), path.to_owned()))
        };
        assert_eq!(read("GET /a/b?c=d HTTP/1.1"), of("GET", None, "/a/b"));
        assert_eq!(read("GET /"), of("GET", None, "/"));
        assert_eq!(read("GET http://h.test:80?x HTTP/1.1"), of("GET", Some("h.test"), "/"));
        assert_eq!(read("GET https://[::1]:443/a HTTP/2.0"), of("GET", Some("[::1]"), "/a"));
        assert_eq!(read("GET /to?url=http://x/y HTTP/1.1"), of("GET", None, "/to"));
        assert_eq!(read("GET /to/http://x/y HTTP/1.1"), of("GET", None, "/to/http://x/y"));
        assert_eq!(read("OPTIONS * HTTP/1.1"), of("OPTIONS", None, "*"));
        for bad in
            ["", "-", "\\x16\\x03\\x01 /", "GET", "GET / x", "CONNECT h.test:443 HTTP/1.1", "- - -"]
        {
            assert_eq!(read(bad), None, "{bad}");
        }
        let long = format!("GET /{} HTTP/1.1", "é".repeat(1000));
        assert!(read(&long).is_some_and(|(_, _, path)| path.len() == 511));
    }
}
