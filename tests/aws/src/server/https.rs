//! Requests over TLS, to servers that a test vouches for.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Why a server cannot be vouched for.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// Its certificate cannot be read.
    #[error("cannot read the certificate")]
    Read(#[from] rustls::pki_types::pem::Error),
    /// It cannot be used.
    #[error("cannot use the certificate")]
    Use(#[from] rustls::Error),
}

/// What connects to the server of a certificate, in PEM, and to no other.
pub(super) fn connector(certificate: &Path) -> Result<TlsConnector, TrustError> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certificate)?)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Sends a request on a connection of its own. No answer is as good as any reason for it.
pub(super) async fn send(
    tls: &TlsConnector,
    mut request: Request<Full<Bytes>>,
) -> Option<Response<Incoming>> {
    let uri = request.uri().clone();
    let (host, port) = (uri.host()?, uri.port_u16().unwrap_or(443));
    let stream = TcpStream::connect((host, port)).await.ok()?;
    let stream = tls.connect(ServerName::try_from(host.to_owned()).ok()?, stream).await.ok()?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
    // It ends with the answer, or with whoever waits for it.
    tokio::spawn(connection);
    let authority = HeaderValue::from_str(uri.authority()?.as_str()).ok()?;
    request.headers_mut().insert(header::HOST, authority);
    *request.uri_mut() = uri.path_and_query()?.as_str().parse().ok()?;
    sender.send_request(request).await.ok()
}
