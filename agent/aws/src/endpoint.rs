//! The HTTPS endpoint that SNS delivers alarms to.
//!
//! ```text
//!  POST /v1/alarms ─▶ sns: topic, age, signature ─▶ what is read from the queue, too ─▶ the agent
//!                        │ certificate, at most one fetched a second      200: SNS is done
//!                        └─▶ GET of SigningCertURL, SubscribeURL          503: SNS tries again
//! ```
//!
//! Anybody can reach it, so everything is bounded, and nothing is fetched from anywhere but SNS.

mod tls;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::routing::post;
use http::StatusCode;
use spillway_model::UnixMillis;
use spillway_model::config::AwsAlarmEndpoint;
use spillway_part::Shutdown;
use spillway_part::serve::{self, Limits};
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::alarms::Teller;
use crate::call::chain;
use crate::https::{GetError, Https};
use crate::sns::{Certificate, Envelope, Refused, Said, Trust};

pub use tls::TlsError;

/// Largest message: SNS has 256 KB, envelope included.
const BYTES_MAX: usize = 256 * 1024;
/// Certificates that are remembered. SNS has one, and a new one now and then.
const CERTIFICATES_MAX: usize = 8;
/// SNS is asked at most this often, whatever is posted here.
const FETCH_EVERY: Duration = Duration::from_secs(1);
/// What is refused is said at most this often, by reason.
const SAY_EVERY: Duration = Duration::from_secs(60);
/// Bounds of the listener: SNS has few connections, and is quick.
const LIMITS: Limits = Limits {
    connections_max: 64,
    first_head: Duration::from_secs(5),
    step: Duration::from_secs(20),
    drain: Duration::from_secs(5),
};

/// How messages ended, by name.
#[derive(Debug, Default)]
pub(crate) struct Outcomes(Mutex<BTreeMap<&'static str, (u64, Option<Instant>)>>);

impl Outcomes {
    /// Counts one. Whether it is to be said.
    fn count(&self, name: &'static str, now: Instant) -> bool {
        let mut outcomes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (count, said) = outcomes.entry(name).or_default();
        *count += 1;
        let say = said.is_none_or(|said| now.duration_since(said) >= SAY_EVERY);
        if say {
            *said = Some(now);
        }
        say
    }

    /// Counts of all, in the Prometheus text exposition format.
    pub(crate) fn metrics(&self) -> String {
        let outcomes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut page = String::new();
        if !outcomes.is_empty() {
            page.push_str(
                "# HELP spillway_aws_endpoint_messages_total Messages posted to the alarm endpoint by how they ended.\n\
                 # TYPE spillway_aws_endpoint_messages_total counter\n",
            );
        }
        for (name, (count, _)) in outcomes.iter() {
            // Writing to a string cannot fail.
            let _ = writeln!(
                page,
                "spillway_aws_endpoint_messages_total{{outcome=\"{name}\"}} {count}"
            );
        }
        page
    }
}

/// Why a message was not taken, beside those of [`Refused`].
#[derive(Debug, thiserror::Error)]
enum Untaken {
    #[error("it is larger than {BYTES_MAX} bytes, or breaks off")]
    Body(#[source] axum::Error),
    #[error("a message is refused")]
    Refused(#[from] Refused),
    #[error("SNS has just been asked for another certificate; this message is to come again")]
    Paced,
    #[error("SNS's certificate cannot be fetched")]
    Fetch(#[source] GetError),
    #[error("the subscription cannot be confirmed")]
    Confirm(#[source] GetError),
    #[error("the message tells of an alarm in a way that is not understood: {0}")]
    Read(String),
    #[error("the agent refuses an alarm: {0}")]
    Agent(String),
    #[error("the agent cannot be told of an alarm: {0}")]
    Untold(String),
}

impl Untaken {
    /// What SNS is answered, and what it is counted as.
    fn told(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Body(_) => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
            Self::Refused(refused) => match refused {
                Refused::Form(_) | Refused::Kind => (StatusCode::BAD_REQUEST, "malformed"),
                Refused::Topic => (StatusCode::FORBIDDEN, "topic"),
                Refused::Age => (StatusCode::FORBIDDEN, "age"),
                Refused::Url(_) => (StatusCode::FORBIDDEN, "url"),
                Refused::Signature | Refused::Certificate(_) | Refused::Forged => {
                    (StatusCode::FORBIDDEN, "signature")
                }
            },
            Self::Paced => (StatusCode::SERVICE_UNAVAILABLE, "paced"),
            Self::Fetch(_) | Self::Confirm(_) => (StatusCode::SERVICE_UNAVAILABLE, "sns"),
            // SNS would only send the same again.
            Self::Read(_) | Self::Agent(_) => (StatusCode::UNPROCESSABLE_ENTITY, "not_understood"),
            Self::Untold(_) => (StatusCode::SERVICE_UNAVAILABLE, "agent"),
        }
    }
}

/// The endpoint, while it serves.
struct Endpoint {
    trust: Trust,
    https: Https,
    teller: Arc<Teller>,
    outcomes: Arc<Outcomes>,
    now: fn() -> UnixMillis,
    /// By URL.
    certificates: Mutex<BTreeMap<String, Certificate>>,
    /// When SNS was last asked for one. Whoever asks holds it; the certificates that are there are at
    /// hand meanwhile.
    asked: tokio::sync::Mutex<Option<Instant>>,
}

/// A listener that is ready to serve.
pub(crate) struct Ready {
    listener: TcpListener,
    certificates: tls::Reloaded,
    endpoint: Arc<Endpoint>,
}

/// Makes everything that can fail at the start.
///
/// # Errors
/// When the certificate, its key or the address cannot be used.
pub(crate) async fn prepare(
    config: &AwsAlarmEndpoint,
    path: impl Fn(&std::path::Path) -> std::path::PathBuf,
    teller: Arc<Teller>,
    outcomes: Arc<Outcomes>,
    now: fn() -> UnixMillis,
) -> Result<Ready, TlsError> {
    let certificates = tls::Reloaded::read(path(&config.certificate), path(&config.key))?;
    let listener =
        TcpListener::bind(config.listen).await.map_err(|e| TlsError::Listen(config.listen, e))?;
    let endpoint = Endpoint {
        trust: Trust::new(config.topics.clone(), config.stand_in.clone()),
        https: Https::new()?,
        teller,
        outcomes,
        now,
        certificates: Mutex::default(),
        asked: tokio::sync::Mutex::default(),
    };
    Ok(Ready { listener, certificates, endpoint: Arc::new(endpoint) })
}

impl Ready {
    /// Where it listens.
    ///
    /// # Errors
    /// When the system does not say.
    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `shutdown`.
    ///
    /// # Errors
    /// When the listener breaks.
    pub(crate) async fn serve(self, shutdown: Shutdown) -> io::Result<()> {
        tracing::info!(at = %self.address()?, "the alarm endpoint listens");
        let app = Router::new().route("/v1/alarms", post(take)).with_state(self.endpoint);
        let acceptor = self.certificates.acceptor();
        let wrap = move |stream| acceptor.accept(stream);
        let ended = shutdown.clone();
        let serving = serve::over(self.listener, wrap, app, LIMITS, shutdown);
        tokio::select! {
            served = serving => served,
            () = self.certificates.keep(&ended) => Ok(()),
        }
    }
}

async fn take(State(endpoint): State<Arc<Endpoint>>, body: Body) -> (StatusCode, String) {
    match endpoint.take(body).await {
        Ok(what) => {
            endpoint.outcomes.count(what, Instant::now());
            (StatusCode::OK, String::new())
        }
        Err(untaken) => {
            let (status, name) = untaken.told();
            if endpoint.outcomes.count(name, Instant::now()) {
                tracing::warn!(reason = chain(&untaken), "the alarm endpoint takes no message");
            }
            // Strangers need not know why.
            (status, String::new())
        }
    }
}

impl Endpoint {
    async fn take(&self, body: Body) -> Result<&'static str, Untaken> {
        let body = axum::body::to_bytes(body, BYTES_MAX).await.map_err(Untaken::Body)?;
        let now = (self.now)();
        let envelope = self.trust.read(&body, now)?;
        let certificate = self.certificate(&envelope).await?;
        match envelope.verify(&certificate, now)? {
            Said::Notified(message) => self.notified(message).await,
            Said::Confirm(url) => {
                self.https.get(url).await.map_err(Untaken::Confirm)?;
                tracing::info!(topic = envelope.topic(), "the alarm endpoint is subscribed");
                Ok("confirmed")
            }
            Said::Unsubscribed => {
                tracing::warn!(
                    topic = envelope.topic(),
                    "the alarm endpoint is not subscribed any more"
                );
                Ok("unsubscribed")
            }
        }
    }

    /// The certificate that a message names; one at a time is fetched.
    async fn certificate(&self, envelope: &Envelope) -> Result<Certificate, Untaken> {
        let url = envelope.certificate_url();
        if let Some(certificate) = self.held(url) {
            return Ok(certificate);
        }
        let mut asked = self.asked.lock().await;
        // Whoever asked before may have asked for this one.
        if let Some(certificate) = self.held(url) {
            return Ok(certificate);
        }
        let now = Instant::now();
        if asked.is_some_and(|asked| now.duration_since(asked) < FETCH_EVERY) {
            return Err(Untaken::Paced);
        }
        *asked = Some(now);
        let pem = self.https.get(url).await.map_err(Untaken::Fetch)?;
        let certificate = Certificate::read(&pem).map_err(Refused::Certificate)?;
        certificate.check((self.now)()).map_err(Refused::Certificate)?;
        let mut held = self.certificates.lock().unwrap_or_else(PoisonError::into_inner);
        if held.len() >= CERTIFICATES_MAX {
            held.pop_first();
        }
        held.insert(url.to_owned(), certificate.clone());
        Ok(certificate)
    }

    fn held(&self, url: &str) -> Option<Certificate> {
        let held = self.certificates.lock().unwrap_or_else(PoisonError::into_inner);
        held.get(url).cloned()
    }

    async fn notified(&self, message: &str) -> Result<&'static str, Untaken> {
        let mut refused = None;
        for change in spillway_alarm::read(message.as_bytes()) {
            match change {
                Ok(change) => match self.teller.tell(&change).await {
                    Ok(()) => {
                        tracing::info!(alarm = change.alarm, state = ?change.state, "told the agent, from SNS");
                    }
                    Err(e) if e.refused() => refused = Some(Untaken::Agent(chain(&e))),
                    Err(e) => return Err(Untaken::Untold(chain(&e))),
                },
                Err(e) => refused = Some(Untaken::Read(chain(&e))),
            }
        }
        refused.map_or(Ok("told"), Err)
    }
}
