//! As much of an X.509 certificate (RFC 5280 §4.1) as verifying SNS needs: its time and its RSA key. That
//! it is SNS's is known by where it was fetched from.

use ring::signature::{
    RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY as SHA1, RSA_PKCS1_2048_8192_SHA256 as SHA256,
    UnparsedPublicKey,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use spillway_alarm::moment;
use spillway_model::UnixMillis;

use super::Version;

/// The object identifier of RSA keys, 1.2.840.113549.1.1.1, as DER has it.
const RSA: [u8; 9] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OBJECT: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
/// `[0] EXPLICIT Version`.
const VERSION: u8 = 0xa0;

/// Why a certificate is not good.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadCertificate {
    /// It is no certificate with an RSA key.
    #[error("it is no certificate with an RSA key")]
    Form,
    /// It is good at another time.
    #[error("it is good from {0} to {1} only")]
    Time(UnixMillis, UnixMillis),
}

/// A certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Certificate {
    /// From when to when it is good.
    time: (UnixMillis, UnixMillis),
    /// `RSAPublicKey` of RFC 8017 §A.1.1.
    key: Vec<u8>,
}

impl Certificate {
    /// Reads the first certificate of a PEM file.
    ///
    /// # Errors
    /// When there is none, or its key is of another kind.
    pub(crate) fn read(pem: &[u8]) -> Result<Self, BadCertificate> {
        let der = CertificateDer::from_pem_slice(pem).map_err(|_| BadCertificate::Form)?;
        of_der(&der).ok_or(BadCertificate::Form)
    }

    /// Whether it is good at a time.
    ///
    /// # Errors
    /// When it is not.
    pub(crate) fn check(&self, now: UnixMillis) -> Result<(), BadCertificate> {
        let (from, to) = self.time;
        if from <= now && now <= to { Ok(()) } else { Err(BadCertificate::Time(from, to)) }
    }

    /// Whether its key signed a text.
    pub(crate) fn signed(&self, version: Version, text: &[u8], signature: &[u8]) -> bool {
        let algorithm = match version {
            Version::One => &SHA1,
            Version::Two => &SHA256,
        };
        UnparsedPublicKey::new(algorithm, &self.key).verify(text, signature).is_ok()
    }
}

fn of_der(der: &[u8]) -> Option<Certificate> {
    let mut certificate = Der(Der(der).one(SEQUENCE)?);
    let mut fields = Der(certificate.one(SEQUENCE)?);
    if fields.0.first() == Some(&VERSION) {
        fields.one(VERSION)?;
    }
    fields.one(INTEGER)?; // serial number
    fields.one(SEQUENCE)?; // algorithm
    fields.one(SEQUENCE)?; // issuer
    let mut validity = Der(fields.one(SEQUENCE)?);
    let time = (validity.time()?, validity.time()?);
    fields.one(SEQUENCE)?; // subject
    let mut info = Der(fields.one(SEQUENCE)?);
    let mut algorithm = Der(info.one(SEQUENCE)?);
    if algorithm.one(OBJECT)? != RSA {
        return None;
    }
    // The first byte counts the bits that the last one lacks.
    let (0, key) = info.one(BIT_STRING)?.split_first().map(|(n, key)| (*n, key))? else {
        return None;
    };
    Some(Certificate { time, key: key.to_owned() })
}

/// Elements of DER (X.690): each a tag, a length and so many bytes.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&[tag, length], rest) = self.0.split_first_chunk::<2>()?;
        let (length, rest) = match length {
            0..=0x7f => (usize::from(length), rest),
            // Nothing here is longer than two bytes can say.
            0x81 => rest.split_first().map(|(n, rest)| (usize::from(*n), rest))?,
            0x82 => {
                let (n, rest) = rest.split_first_chunk::<2>()?;
                (usize::from(u16::from_be_bytes(*n)), rest)
            }
            _ => return None,
        };
        let (value, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, value))
    }

    fn one(&mut self, wanted: u8) -> Option<&'a [u8]> {
        self.next().filter(|(tag, _)| *tag == wanted).map(|(_, value)| value)
    }

    /// `YYMMDDhhmmssZ`, where 50 is 1950, or `YYYYMMDDhhmmssZ`.
    fn time(&mut self) -> Option<UnixMillis> {
        let (tag, text) = self.next()?;
        let text = std::str::from_utf8(text).ok().filter(|text| text.is_ascii())?;
        let text = match tag {
            UTC_TIME if text >= "50" => format!("19{text}"),
            UTC_TIME => format!("20{text}"),
            GENERALIZED_TIME => text.to_owned(),
            _ => return None,
        };
        if text.len() != 15 {
            return None;
        }
        let [year, rest] = [&text[..4], &text[4..]];
        let [month, day, hour, minute] = [0, 2, 4, 6].map(|at| &rest[at..at + 2]);
        moment(&format!("{year}-{month}-{day}T{hour}:{minute}:{}", &rest[8..]))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tests::sns::SNS;

    #[test]
    fn a_certificate_is_good_for_its_time() {
        let certificate = Certificate::read(&SNS.pem()).unwrap();
        let (from, to) = certificate.time;
        assert_eq!(to.millis_since(from), 30 * 86_400_000);
        assert!(certificate.check(from).is_ok() && certificate.check(to).is_ok());
        assert!(certificate.check(UnixMillis(from.0 - 1)).is_err());
        assert!(certificate.check(UnixMillis(to.0 + 1)).is_err());
    }

    #[test]
    fn another_kind_of_key_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let address = std::net::Ipv4Addr::LOCALHOST.into();
        let elliptic = spillway_test_support::Certificate::make(folder.path(), address);
        let pem = std::fs::read(elliptic.certificate()).unwrap();
        assert_eq!(Certificate::read(&pem), Err(BadCertificate::Form));
        assert_eq!(Certificate::read(b"<html>"), Err(BadCertificate::Form));
    }

    proptest! {
        #[test]
        fn no_bytes_break_the_reader(
            at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>(),
        ) {
            let mut der = CertificateDer::from_pem_slice(&SNS.pem()).unwrap().to_vec();
            let at = at.index(der.len());
            der[at] = byte;
            let _ = of_der(&der);
            der.truncate(cut.index(der.len()));
            let _ = of_der(&der);
        }
    }
}
