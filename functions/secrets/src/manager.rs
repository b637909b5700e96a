//! Asking Secrets Manager: one connection for all secrets of a region, and tries again while there is
//! time.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use spillway_part::clock;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_rustls::TlsConnector;

use crate::SecretsError;
use crate::sign::{Call, Credentials, signed};

/// How long one try may take. An answer usually takes some hundredths of a second.
const TRY: Duration = Duration::from_millis(700);
/// Largest answer taken, in bytes: a secret has 64 KiB at most.
const ANSWER_BYTES_MAX: usize = 256 * 1024;
/// What marks a call to Secrets Manager.
const TARGET: &str = "secretsmanager.GetSecretValue";

/// How a try failed.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// No connection.
    #[error("cannot connect to {0}")]
    Connect(String, #[source] io::Error),
    /// The connection broke.
    #[error("the connection broke")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// No answer in time.
    #[error("{0} does not answer")]
    Late(String),
    /// It has too much to do, or is broken.
    #[error("it cannot answer now")]
    Busy(#[source] Refusal),
}

/// What Secrets Manager says when it refuses.
#[derive(Debug, thiserror::Error)]
#[error("{status} {kind}: {message}")]
pub struct Refusal {
    status: StatusCode,
    kind: String,
    message: String,
}

/// Secrets Manager, as one function asks it.
#[derive(Default)]
pub(crate) struct Manager {
    tls: Option<TlsConnector>,
    open: Option<(Endpoint, SendRequest<Full<Bytes>>)>,
}

impl Manager {
    /// The current value of the secret that `variable` names, if it is to be had until `end`.
    pub(crate) async fn fetch(
        &mut self,
        variable: &str,
        arn: &str,
        lookup: &impl Fn(&str) -> Option<String>,
        end: Instant,
    ) -> Result<String, SecretsError> {
        let Some((partition, region)) = place(arn) else {
            return Err(SecretsError::Arn { variable: variable.to_owned(), arn: arn.to_owned() });
        };
        let needed = |variable: &'static str| {
            let missing = SecretsError::Credentials { arn: arn.to_owned(), variable };
            lookup(variable).ok_or(missing)
        };
        let credentials = Credentials {
            key_id: needed("AWS_ACCESS_KEY_ID")?,
            secret: needed("AWS_SECRET_ACCESS_KEY")?,
            session: lookup("AWS_SESSION_TOKEN"),
        };
        let endpoint = ["AWS_ENDPOINT_URL_SECRETS_MANAGER", "AWS_ENDPOINT_URL"]
            .into_iter()
            .find_map(lookup)
            .map_or_else(
                || Ok(Endpoint::of_region(partition, region)),
                |url| Endpoint::read(&url).ok_or(SecretsError::Endpoint(url)),
            )?;
        loop {
            let fault = match self.ask(&endpoint, region, arn, &credentials, end).await {
                Ok((status, body)) => match read(arn, status, &body)? {
                    Ok(value) => return Ok(value),
                    Err(refusal) => Fault::Busy(refusal),
                },
                Err(fault) => fault,
            };
            self.open = None;
            let pause = pause();
            if Instant::now() + pause >= end {
                return Err(SecretsError::NoAnswer { arn: arn.to_owned(), source: fault });
            }
            tracing::debug!(arn, fault = &fault as &dyn std::error::Error, "asking once more");
            sleep(pause).await;
        }
    }

    async fn ask(
        &mut self,
        endpoint: &Endpoint,
        region: &str,
        arn: &str,
        credentials: &Credentials,
        end: Instant,
    ) -> Result<(StatusCode, Bytes), Fault> {
        let end = end.min(Instant::now() + TRY);
        let late = |_| Fault::Late(endpoint.host_and_port.clone());
        let mut sender = match self.open.take() {
            Some((to, sender)) if to == *endpoint => sender,
            _ => timeout_at(end, self.connect(endpoint)).await.map_err(late)??,
        };
        let body = serde_json::json!({ "SecretId": arn }).to_string();
        let call = Call {
            service: "secretsmanager",
            region,
            host: &endpoint.host_header,
            target: TARGET,
            content_type: "application/x-amz-json-1.1",
            body: body.as_bytes(),
            at: clock::now(),
        };
        let mut request = Request::post("/");
        for (name, value) in signed(&call, credentials) {
            request = request.header(name, value);
        }
        let request = request.body(Full::from(body)).map_err(|e| Fault::Broken(e.into()))?;
        let exchange = async {
            let answer = sender.send_request(request).await.map_err(|e| Fault::Broken(e.into()))?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
            Ok((head.status, body.map_err(Fault::Broken)?.to_bytes()))
        };
        let answer = timeout_at(end, exchange).await.map_err(late)??;
        self.open = Some((endpoint.clone(), sender));
        Ok(answer)
    }

    async fn connect(&mut self, to: &Endpoint) -> Result<SendRequest<Full<Bytes>>, Fault> {
        let failed = |e| Fault::Connect(to.host_and_port.clone(), e);
        let stream = TcpStream::connect(&to.host_and_port).await.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        if !to.tls {
            return open(stream).await;
        }
        let name = ServerName::try_from(to.host.clone())
            .map_err(|e| failed(io::Error::new(io::ErrorKind::InvalidInput, e)))?;
        let tls = match &self.tls {
            Some(tls) => tls.clone(),
            None => self.tls.insert(tls().map_err(failed)?).clone(),
        };
        open(tls.connect(name, stream).await.map_err(failed)?).await
    }
}

async fn open<S>(stream: S) -> Result<SendRequest<Full<Bytes>>, Fault>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) =
        handshake(TokioIo::new(stream)).await.map_err(|e| Fault::Broken(e.into()))?;
    // It ends with its sender; what breaks it, the sender tells.
    tokio::spawn(async move {
        let _ = connection.await;
    });
    Ok(sender)
}

fn tls() -> io::Result<TlsConnector> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = found.errors.first().map_or_else(String::new, |e| format!(": {e}"));
        return Err(io::Error::other(format!("this machine trusts no certificate at all{why}")));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Some twentieths of a second, so that functions that begin together do not ask together again.
fn pause() -> Duration {
    let random = getrandom::u32().unwrap_or_default();
    Duration::from_millis(50 + u64::from(random % 100))
}

/// The value; or a refusal that may be another answer a moment later.
fn read(
    arn: &str,
    status: StatusCode,
    body: &[u8],
) -> Result<Result<String, Refusal>, SecretsError> {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let arn = arn.to_owned();
    if status.is_success() {
        // A line that was put in from a file ends as lines do.
        let text = body["SecretString"].as_str().map(|text| text.trim_end_matches(['\r', '\n']));
        return text.map(|text| Ok(text.to_owned())).ok_or(SecretsError::NoText { arn });
    }
    let text = |names: [&str; 2]| {
        let found = names.into_iter().find_map(|name| body[name].as_str());
        found.unwrap_or_default().chars().take(500).collect::<String>()
    };
    let kind = text(["__type", "code"]);
    let kind = kind.rsplit('#').next().unwrap_or_default().to_owned();
    let source = Refusal { status, message: text(["message", "Message"]), kind };
    match source.kind.as_str() {
        _ if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => Ok(Err(source)),
        "ThrottlingException" | "TooManyRequestsException" => Ok(Err(source)),
        "AccessDeniedException" | "DecryptionFailure" => Err(SecretsError::Denied { arn, source }),
        "ResourceNotFoundException" => Err(SecretsError::NotFound { arn, source }),
        _ => Err(SecretsError::Refused { arn, source }),
    }
}

/// Partition and region of a secret's ARN.
fn place(arn: &str) -> Option<(&str, &str)> {
    let parts: Vec<&str> = arn.splitn(7, ':').collect();
    match parts[..] {
        ["arn", partition, "secretsmanager", region, account, "secret", name]
            if ![partition, region, account, name].contains(&"")
                && region.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') =>
        {
            Some((partition, region))
        }
        _ => None,
    }
}

/// Where Secrets Manager is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Endpoint {
    tls: bool,
    host: String,
    host_and_port: String,
    host_header: String,
}

impl Endpoint {
    fn of_region(partition: &str, region: &str) -> Self {
        let domain = if partition == "aws-cn" { "amazonaws.com.cn" } else { "amazonaws.com" };
        let host = format!("secretsmanager.{region}.{domain}");
        Self { tls: true, host_and_port: format!("{host}:443"), host_header: host.clone(), host }
    }

    /// Of an URL without a path.
    fn read(url: &str) -> Option<Self> {
        let uri: Uri = url.trim().parse().ok()?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return None,
        };
        let authority = uri.authority().filter(|to| !to.as_str().contains('@'))?;
        if uri.path_and_query().is_some_and(|path| path != "/") {
            return None;
        }
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        Some(Self {
            tls,
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            host_and_port: format!("{}:{port}", authority.host()),
            host_header: authority.to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arn_says_where_to_ask() {
        let arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:east/service-AbCdEf";
        assert_eq!(place(arn), Some(("aws", "eu-central-1")));
        for bad in [
            "east/service",
            "arn:aws:ssm:eu-central-1:123456789012:parameter:x",
            "arn:aws:secretsmanager::123456789012:secret:x",
            "arn:aws:secretsmanager:eu.evil/:123456789012:secret:x",
            "arn:aws:secretsmanager:eu-central-1:123456789012:secret:",
        ] {
            assert_eq!(place(bad), None, "{bad}");
        }
        let of = |partition| Endpoint::of_region(partition, "cn-north-1").host_and_port;
        assert_eq!(of("aws"), "secretsmanager.cn-north-1.amazonaws.com:443");
        assert_eq!(of("aws-cn"), "secretsmanager.cn-north-1.amazonaws.com.cn:443");
    }

    #[test]
    fn an_endpoint_is_a_url_without_a_path() {
        let read = |url| Endpoint::read(url).map(|to| (to.tls, to.host, to.host_and_port));
        let to = |tls, host: &str, port: &str| Some((tls, host.to_owned(), port.to_owned()));
        assert_eq!(read("http://127.0.0.1:4566"), to(false, "127.0.0.1", "127.0.0.1:4566"));
        assert_eq!(read("https://[::1]/"), to(true, "::1", "[::1]:443"));
        assert_eq!(
            read("https://vpce-1.example"),
            to(true, "vpce-1.example", "vpce-1.example:443")
        );
        for bad in ["127.0.0.1:4566", "ftp://h", "https://h/path", "https://u:p@h", ""] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
