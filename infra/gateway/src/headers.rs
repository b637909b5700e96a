//! Header fields that a gateway takes out, sets and names.

use std::net::{IpAddr, SocketAddr};

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

/// Names a request in logs here and behind.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Who answered: a site, `cloud`, or `redirect`.
pub(crate) const SERVED_BY: HeaderName = HeaderName::from_static("x-spillway-served-by");
/// Generation of the plan that decided.
pub(crate) const GENERATION: HeaderName = HeaderName::from_static("x-spillway-generation");
/// Tier of the knob that shed a request.
pub(crate) const TIER: HeaderName = HeaderName::from_static("x-spillway-tier");
/// The knob itself.
pub(crate) const KNOB: HeaderName = HeaderName::from_static("x-spillway-knob");
/// Set on what a gateway forwards to the cloud: it is not to be spilled again.
pub(crate) const HOP: HeaderName = HeaderName::from_static("x-spillway-hop");

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Fields for one connection only, whether or not `Connection` names them (RFC 9110 §7.6.1), and
/// `Expect`: hyper's server answers it and its client would not wait for the answer.
const HOP_BY_HOP: [HeaderName; 10] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::TE,
    header::TRAILER,
    header::EXPECT,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Fields that stay even when `Connection` names them: a client must not be able to take away what
/// says where a message ends or whom it is for.
const NEVER_NAMED: [HeaderName; 2] = [header::CONTENT_LENGTH, header::HOST];

/// Takes out what is for one connection only.
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .filter(|name| !NEVER_NAMED.contains(name))
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// Whom a load balancer says to have forwarded for: it adds the client's address at the end, with its port
/// where it is told to. What stands before that the client wrote itself.
pub(crate) fn forwarded(headers: &HeaderMap) -> Option<IpAddr> {
    let last = headers.get_all(FORWARDED_FOR).iter().next_back()?.to_str().ok()?;
    let last = last.rsplit(',').next().unwrap_or(last).trim();
    last.parse().or_else(|_| last.parse().map(|with_port: SocketAddr| with_port.ip())).ok()
}

/// Says who asked. A gateway is where requests enter, so what the client says of itself is replaced; the
/// protocol stays where a load balancer said it, who is believed.
pub(crate) fn set_forwarded(headers: &mut HeaderMap, client: IpAddr, believed: bool) {
    headers.remove(header::FORWARDED);
    headers.remove("x-real-ip");
    if let Ok(address) = HeaderValue::from_str(&client.to_canonical().to_string()) {
        headers.insert(FORWARDED_FOR, address);
    }
    let https = believed && headers.get(FORWARDED_PROTO).is_some_and(|proto| proto == "https");
    let proto = if https { "https" } else { "http" };
    headers.insert(FORWARDED_PROTO, HeaderValue::from_static(proto));
    match headers.get(header::HOST).cloned() {
        Some(host) => headers.insert(FORWARDED_HOST, host),
        None => headers.remove(FORWARDED_HOST),
    };
}

/// A client's request id, if it is one that can stand in a log line.
pub(crate) fn sane_request_id(headers: &HeaderMap) -> Option<&str> {
    let id = headers.get(REQUEST_ID)?.to_str().ok()?;
    let sane = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    ((1..=64).contains(&id.len()) && id.bytes().all(sane)).then_some(id)
}

/// The host of a `host[:port]`, without the port and without the dot that ends a full name.
pub(crate) fn host_name(host: &str) -> &str {
    if host.starts_with('[') {
        return host.split_inclusive(']').next().unwrap_or(host);
    }
    let host = host.split(':').next().unwrap_or(host);
    host.strip_suffix('.').filter(|host| !host.is_empty()).unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn what_connection_names_goes_but_not_the_framing() {
        let mut headers = map(&[
            ("connection", "close, X-Secret , content-length,Host"),
            ("x-secret", "1"),
            ("content-length", "3"),
            ("host", "h"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("expect", "100-continue"),
            ("keep-alive", "timeout=5"),
            ("accept", "*/*"),
        ]);
        strip_hop_by_hop(&mut headers);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["accept", "content-length", "host"]);
    }

    #[test]
    fn the_client_cannot_say_who_it_is() {
        let mut headers = map(&[
            ("host", "h:1"),
            ("x-forwarded-for", "1.1.1.1"),
            ("forwarded", "for=1.1.1.1"),
            ("x-forwarded-proto", "https"),
        ]);
        set_forwarded(&mut headers, "::ffff:192.0.2.1".parse().unwrap(), false);
        assert_eq!(headers["x-forwarded-for"], "192.0.2.1");
        assert_eq!(headers["x-forwarded-host"], "h:1");
        assert_eq!(headers["x-forwarded-proto"], "http");
        assert!(!headers.contains_key("forwarded"));
    }

    #[test]
    fn a_load_balancer_says_it_at_the_end() {
        for (values, client) in [
            (&["192.0.2.1"][..], Some("192.0.2.1")),
            (&["1.1.1.1, 192.0.2.1"], Some("192.0.2.1")),
            (&["1.1.1.1", "2.2.2.2,2001:db8::1"], Some("2001:db8::1")),
            (&["192.0.2.1:443"], Some("192.0.2.1")),
            (&["[2001:db8::1]:443"], Some("2001:db8::1")),
            (&["192.0.2.1, "], None),
            (&["somebody"], None),
            (&[], None),
        ] {
            let values: Vec<_> = values.iter().map(|value| ("x-forwarded-for", *value)).collect();
            let client = client.map(|client| client.parse::<IpAddr>().unwrap());
            assert_eq!(forwarded(&map(&values)), client, "{values:?}");
        }
        for (said, told) in [("https", "https"), ("gopher", "http")] {
            let mut headers = map(&[("x-forwarded-proto", said), ("x-forwarded-for", "1.1.1.1")]);
            set_forwarded(&mut headers, "192.0.2.1".parse().unwrap(), true);
            assert_eq!(headers["x-forwarded-proto"], told);
            assert_eq!(headers["x-forwarded-for"], "192.0.2.1");
        }
    }

    #[test]
    fn request_ids_and_hosts() {
        assert_eq!(sane_request_id(&map(&[("x-request-id", "a-b_c.9")])), Some("a-b_c.9"));
        for bad in ["", "a b", "a\"b", "é"] {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_bytes(bad.as_bytes()).unwrap());
            assert_eq!(sane_request_id(&headers), None, "{bad}");
        }
        for (host, name) in
            [("h.test:80", "h.test"), ("h.test.:80", "h.test"), (".", "."), ("[::1]:80", "[::1]")]
        {
            assert_eq!(host_name(host), name);
        }
    }
}
