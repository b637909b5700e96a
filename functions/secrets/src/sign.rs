//! Signature Version 4 of one call, as AWS documents it
//! (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>).
//!
//! The one call there is needs no more than this, and a crate for it would bring twenty others.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use spillway_model::UnixMillis;

/// Who signs.
#[derive(Clone)]
pub(crate) struct Credentials {
    pub(crate) key_id: String,
    pub(crate) secret: String,
    pub(crate) session: Option<String>,
}

/// A `POST` to `/`.
pub(crate) struct Call<'a> {
    pub(crate) service: &'a str,
    pub(crate) region: &'a str,
    /// `HOST` or `HOST:PORT`, as in the request.
    pub(crate) host: &'a str,
    pub(crate) target: &'a str,
    pub(crate) content_type: &'a str,
    pub(crate) body: &'a [u8],
    pub(crate) at: UnixMillis,
}

/// The header fields of a call, its signature among them.
pub(crate) fn signed(call: &Call<'_>, credentials: &Credentials) -> Vec<(&'static str, String)> {
    let at = amz_date(call.at);
    let scope = format!("{}/{}/{}/aws4_request", &at[..8], call.region, call.service);
    // In the order of their names, as they are signed.
    let mut fields = vec![
        ("content-type", call.content_type.to_owned()),
        ("host", call.host.to_owned()),
        ("x-amz-date", at.clone()),
    ];
    fields.extend(credentials.session.clone().map(|token| ("x-amz-security-token", token)));
    fields.push(("x-amz-target", call.target.to_owned()));
    let names = fields.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
    let lines: String = fields.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    let canonical = format!("POST\n/\n\n{lines}\n{names}\n{}", hex(&Sha256::digest(call.body)));
    let signature = signature(&at, &scope, &canonical, &credentials.secret);
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
        credentials.key_id
    );
    fields.push(("authorization", authorization));
    fields
}

/// The signature of a canonical request under `DAY/REGION/SERVICE/aws4_request`.
fn signature(at: &str, scope: &str, canonical: &str, secret: &str) -> String {
    let text = format!("AWS4-HMAC-SHA256\n{at}\n{scope}\n{}", hex(&Sha256::digest(canonical)));
    let key = scope
        .split('/')
        .fold(format!("AWS4{secret}").into_bytes(), |key, part| mac(&key, part).to_vec());
    hex(&mac(&key, &text))
}

fn mac(key: &[u8], text: &str) -> [u8; 32] {
    // A longer key counts as its digest (RFC 2104 §2).
    let mut block = [0; 64];
    if key.len() > block.len() {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let mut mac = Hmac::<Sha256>::new(&block.into());
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().into()
}

/// `20261123T170440Z`.
fn amz_date(at: UnixMillis) -> String {
    let text = at.to_string();
    let seconds = text.split('.').next().unwrap_or_default().trim_end_matches('Z');
    seconds.chars().filter(|c| !matches!(c, '-' | ':')).chain(['Z']).collect()
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example that AWS documents.
    #[test]
    fn the_documented_example_has_its_signature() {
        let canonical = "GET\n/\nAction=ListUsers&Version=2010-05-08\n\
            content-type:application/x-www-form-urlencoded; charset=utf-8\n\
            host:iam.amazonaws.com\nx-amz-date:20150830T123600Z\n\n\
            content-type;host;x-amz-date\n\
            e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let scope = "20150830/us-east-1/iam/aws4_request";
        let secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
        assert_eq!(
            signature("20150830T123600Z", scope, canonical, secret),
            "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
        );
    }

    #[test]
    fn times_are_written_without_marks() {
        assert_eq!(amz_date(UnixMillis(1_440_938_160_000)), "20150830T123600Z");
        assert_eq!(amz_date(UnixMillis(1_440_938_160_999)), "20150830T123600Z");
    }
}
