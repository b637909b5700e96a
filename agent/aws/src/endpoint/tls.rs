//! The endpoint's certificate: read again when its files change, so that a renewal needs no restart.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use spillway_part::{Shutdown, files};
use tokio_rustls::TlsAcceptor;

use crate::call::chain;
use crate::https::provider;

/// The files are looked at this often.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Why there is no endpoint.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Nothing can listen there.
    #[error("cannot listen on {0}, which is cloud.aws.alarm_endpoint.listen")]
    Listen(SocketAddr, #[source] io::Error),
    /// A file cannot be read.
    #[error("cannot read {0} of cloud.aws.alarm_endpoint")]
    Read(PathBuf, #[source] io::Error),
    /// A file holds something else.
    #[error("{0} of cloud.aws.alarm_endpoint holds no {1} in PEM")]
    Form(PathBuf, &'static str),
    /// They do not belong together, or TLS cannot use them.
    #[error("the certificate and the key of cloud.aws.alarm_endpoint cannot be used")]
    Use(#[from] rustls::Error),
}

/// When a file was changed last, and its length.
type Stamp = (Option<SystemTime>, u64);

/// A certificate that follows its files.
#[derive(Debug)]
pub(crate) struct Reloaded {
    certificate: PathBuf,
    key: PathBuf,
    held: Arc<Held>,
    config: Arc<ServerConfig>,
    stamps: [Stamp; 2],
}

/// What the next handshake is given.
#[derive(Debug)]
struct Held(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Held {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

impl Reloaded {
    /// Reads both files.
    ///
    /// # Errors
    /// When they cannot be used.
    pub(crate) fn read(certificate: PathBuf, key: PathBuf) -> Result<Self, TlsError> {
        let stamps = [stamp(&certificate), stamp(&key)];
        let held = Arc::new(Held(RwLock::new(Arc::new(load(&certificate, &key)?))));
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(held.clone());
        Ok(Self { certificate, key, held, config: Arc::new(config), stamps })
    }

    /// What makes TLS of a connection.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.config.clone())
    }

    /// Follows the files until `shutdown`.
    pub(crate) async fn keep(mut self, shutdown: &Shutdown) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = shutdown.cancelled() => return std::future::pending().await,
            }
            match self.look() {
                Ok(true) => tracing::info!("the alarm endpoint has a new certificate"),
                Ok(false) => {}
                Err(e) => {
                    tracing::error!(reason = chain(&e), "the certificate in use stays in use");
                }
            }
        }
    }

    /// Takes the files if they have changed since they were last looked at. Whether they have.
    ///
    /// # Errors
    /// When they cannot be used; the certificate before goes on.
    pub(crate) fn look(&mut self) -> Result<bool, TlsError> {
        let stamps = [stamp(&self.certificate), stamp(&self.key)];
        if stamps == self.stamps {
            return Ok(false);
        }
        self.stamps = stamps;
        let loaded = Arc::new(load(&self.certificate, &self.key)?);
        *self.held.0.write().unwrap_or_else(PoisonError::into_inner) = loaded;
        Ok(true)
    }
}

fn stamp(path: &Path) -> Stamp {
    std::fs::metadata(path).map_or((None, 0), |meta| (meta.modified().ok(), meta.len()))
}

fn load(certificate: &Path, key: &Path) -> Result<CertifiedKey, TlsError> {
    let read = |path: &Path| files::read(path).map_err(|e| TlsError::Read(path.to_owned(), e));
    let form = |path: &Path, what| TlsError::Form(path.to_owned(), what);
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(certificate)?).collect();
    let chain = chain.ok().filter(|chain| !chain.is_empty());
    let chain = chain.ok_or_else(|| form(certificate, "certificate"))?;
    let pem = read(key)?;
    let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|_| form(key, "private key"))?;
    Ok(CertifiedKey::from_der(chain, key, &provider())?)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use spillway_test_support::Certificate;

    use super::*;

    fn shown(reloaded: &Reloaded) -> Vec<u8> {
        reloaded.held.0.read().unwrap().cert[0].to_vec()
    }

    fn der(certificate: &Path) -> Vec<u8> {
        CertificateDer::from_pem_slice(&std::fs::read(certificate).unwrap()).unwrap().to_vec()
    }

    #[test]
    fn a_renewed_certificate_is_taken_and_a_broken_one_is_not() {
        let [folder, other] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let make = |folder: &tempfile::TempDir| {
            Certificate::make(folder.path(), Ipv4Addr::LOCALHOST.into())
        };
        let first = make(&folder);
        let (certificate, key) = (first.certificate().to_owned(), first.key().to_owned());
        let mut reloaded = Reloaded::read(certificate.clone(), key.clone()).unwrap();
        let before = shown(&reloaded);
        assert_eq!(before, der(&certificate));
        assert!(!reloaded.look().unwrap(), "nothing has changed");
        // Half of a renewal: a certificate without its key.
        let second = make(&other);
        std::fs::copy(second.certificate(), &certificate).unwrap();
        assert!(matches!(reloaded.look(), Err(TlsError::Use(_))));
        assert_eq!(shown(&reloaded), before);
        assert!(!reloaded.look().unwrap(), "said once");
        std::fs::copy(second.key(), &key).unwrap();
        assert!(reloaded.look().unwrap());
        assert_eq!(shown(&reloaded), der(second.certificate()));
        std::fs::write(&key, "nonsense that is no key").unwrap();
        assert!(matches!(reloaded.look(), Err(TlsError::Form(_, "private key"))));
        std::fs::remove_file(&certificate).unwrap();
        assert!(matches!(reloaded.look(), Err(TlsError::Read(..))));
        assert_eq!(shown(&reloaded), der(second.certificate()));
    }
}
