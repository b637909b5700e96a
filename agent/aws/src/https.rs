//! One GET at a time, of something small, from a server that an authority of this machine vouches for.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// An answer comes whole within this.
const DEADLINE: Duration = Duration::from_secs(5);
/// Most bytes of one: a certificate has two thousand.
const BYTES_MAX: usize = 64 * 1024;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GetError {
    /// The URL names no server.
    #[error("it names no server")]
    Url,
    /// The server cannot be reached, or nobody vouches for it.
    #[error("it cannot be reached")]
    Reach(#[source] io::Error),
    /// It breaks off, or speaks something else.
    #[error("it does not speak HTTP")]
    Http(#[source] hyper::Error),
    /// Its answer breaks off, or is too long.
    #[error("its answer cannot be read")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It answers something else.
    #[error("it answers {0}")]
    Status(StatusCode),
    /// It takes too long.
    #[error("it does not answer within {DEADLINE:?}")]
    Late,
}

/// A client. URLs of scheme `http` are asked for without TLS, as tests do.
pub(crate) struct Https(TlsConnector);

impl Https {
    /// A client that trusts the authorities that this machine trusts.
    ///
    /// # Errors
    /// When the cryptography is not there, which is a mistake of the build.
    pub(crate) fn new() -> Result<Self, rustls::Error> {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        let (good, _) = roots.add_parsable_certificates(found.certs);
        if good == 0 {
            tracing::warn!(
                "no authority is trusted here, so SNS cannot be: install ca-certificates"
            );
        }
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }

    /// What a URL leads to. No redirection is followed.
    ///
    /// # Errors
    /// When it answers anything but 200, not in time, or too much.
    pub(crate) async fn get(&self, url: &str) -> Result<Bytes, GetError> {
        let uri: Uri = url.parse().map_err(|_| GetError::Url)?;
        tokio::time::timeout(DEADLINE, self.ask(&uri)).await.unwrap_or(Err(GetError::Late))
    }

    async fn ask(&self, uri: &Uri) -> Result<Bytes, GetError> {
        let (host, tls) = (uri.host().ok_or(GetError::Url)?, uri.scheme_str() == Some("https"));
        let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let stream = TcpStream::connect((host, port)).await.map_err(GetError::Reach)?;
        if !tls {
            return exchange(stream, uri).await;
        }
        let name = ServerName::try_from(host.to_owned()).map_err(|_| GetError::Url)?;
        exchange(self.0.connect(name, stream).await.map_err(GetError::Reach)?, uri).await
    }
}

async fn exchange<S>(stream: S, uri: &Uri) -> Result<Bytes, GetError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(GetError::Http)?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let host = uri.authority().map_or("", |authority| authority.as_str());
    let request = Request::get(path).header(header::HOST, host).body(Empty::<Bytes>::new());
    let request = request.map_err(|_| GetError::Url)?;
    let asked = async {
        let answer = sender.send_request(request).await.map_err(GetError::Http)?;
        if answer.status() != StatusCode::OK {
            return Err(GetError::Status(answer.status()));
        }
        let body = Limited::new(answer.into_body(), BYTES_MAX).collect().await;
        Ok(body.map_err(GetError::Body)?.to_bytes())
    };
    // The connection is driven for as long as the answer takes, and dropped with it.
    let driven = async {
        let ended = connection.await;
        // What was read before it ended is still to be taken.
        match ended {
            Ok(()) => std::future::pending().await,
            Err(e) => GetError::Http(e),
        }
    };
    tokio::select! {
        biased;
        answer = asked => answer,
        error = driven => Err(error),
    }
}

/// What all TLS here is made of.
pub(crate) fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
