//! A small HTTP/1.1 client for what parts say to one another: load reports, plans, operator calls.
//! Not for user traffic.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client as Legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

/// Largest answer taken, in bytes.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// No answer in time.
    #[error("no answer from {0} within {1:?}")]
    Deadline(SocketAddr, Duration),
    /// No connection, or it broke.
    #[error("cannot reach {0}")]
    Unreachable(SocketAddr, #[source] Box<dyn std::error::Error + Send + Sync>),
    /// The call could not be put into words.
    #[error("cannot make the request")]
    Request(#[from] http::Error),
    /// The body cannot be written as JSON.
    #[error("cannot write the request's body")]
    Body(#[source] serde_json::Error),
    /// The answer is an error.
    #[error("{status}: {message}")]
    Status {
        /// Its status.
        status: StatusCode,
        /// What it says: the `error` of an [`spillway_model::api::ErrorBody`], or the body itself.
        message: String,
    },
    /// The answer is not what was asked for.
    #[error("cannot read the answer of {0}")]
    Answer(SocketAddr, #[source] serde_json::Error),
}

/// An answer, whole.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its header fields.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// The client. Clones share its connections.
#[derive(Debug, Clone)]
pub struct Client {
    inner: Legacy<HttpConnector, Full<Bytes>>,
    token: Option<String>,
}

impl Default for Client {
    fn default() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(Duration::from_secs(2)));
        connector.set_nodelay(true);
        let inner = Legacy::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(60))
            .pool_max_idle_per_host(4)
            .build(connector);
        Self { inner, token: None }
    }
}

impl Client {
    /// The same client, sending `Authorization: Bearer TOKEN`.
    #[must_use]
    pub fn with_token(mut self, token: String) -> Self {
        self.token = Some(token);
        self
    }

    /// Sends a request and takes the whole answer, whatever its status, within `deadline`.
    ///
    /// # Errors
    /// When no whole answer comes in time.
    pub async fn call(
        &self,
        method: Method,
        to: SocketAddr,
        path_and_query: &str,
        body: Bytes,
        deadline: Duration,
    ) -> Result<Answer, CallError> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("http://{to}{path_and_query}"))
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Full::new(body))?;
        let exchange = async {
            let response = self
                .inner
                .request(request)
                .await
                .map_err(|e| CallError::Unreachable(to, Box::new(e)))?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX)
                .collect()
                .await
                .map_err(|e| CallError::Unreachable(to, e))?
                .to_bytes();
            Ok(Answer { status: head.status, headers: head.headers, body })
        };
        tokio::time::timeout(deadline, exchange)
            .await
            .map_err(|_| CallError::Deadline(to, deadline))?
    }

    /// `GET`s JSON.
    ///
    /// # Errors
    /// When no answer comes in time, or it is an error, or not a `T`.
    pub async fn get<T: serde::de::DeserializeOwned>(
        &self,
        to: SocketAddr,
        path_and_query: &str,
        deadline: Duration,
    ) -> Result<T, CallError> {
        self.exchange(Method::GET, to, path_and_query, None::<&()>, deadline).await
    }

    /// Sends JSON (or nothing) with a method and reads JSON.
    ///
    /// # Errors
    /// When no answer comes in time, or it is an error, or not a `T`.
    pub async fn exchange<B: serde::Serialize, T: serde::de::DeserializeOwned>(
        &self,
        method: Method,
        to: SocketAddr,
        path_and_query: &str,
        body: Option<&B>,
        deadline: Duration,
    ) -> Result<T, CallError> {
        let bytes = match body {
            Some(body) => serde_json::to_vec(body).map_err(CallError::Body)?.into(),
            None => Bytes::new(),
        };
        let answer = self.call(method, to, path_and_query, bytes, deadline).await?;
        if !answer.status.is_success() {
            let message = serde_json::from_slice::<spillway_model::api::ErrorBody>(&answer.body)
                .map_or_else(|_| String::from_utf8_lossy(&answer.body).into_owned(), |e| e.error);
            return Err(CallError::Status { status: answer.status, message });
        }
        serde_json::from_slice(&answer.body).map_err(|e| CallError::Answer(to, e))
    }
}
