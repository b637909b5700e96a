//! A Secrets Manager that knows one caller, looks at its signatures, and answers as it is told.

use std::collections::HashMap;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;

const ACCESS_KEY: &str = "ASIAEXAMPLE";
const SECRET_KEY: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const SESSION: &str = "session/token+of=the/environment";

/// A Secrets Manager of the region `eu-central-1`. It ends when dropped.
#[derive(Debug)]
pub struct SecretsManager {
    state: Arc<Mutex<Told>>,
    url: String,
    serving: tokio::task::JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Told {
    answers: HashMap<String, (StatusCode, Value)>,
    /// Answers to the next calls, whatever they ask for.
    first: Vec<(StatusCode, Value)>,
    calls: usize,
}

impl SecretsManager {
    /// Starts one without a secret.
    ///
    /// # Panics
    /// When it cannot listen.
    pub async fn start() -> Self {
        let state = Arc::new(Mutex::new(Told::default()));
        let app = Router::new().route("/", post(answer)).with_state(state.clone());
        let Ok(listener) = TcpListener::bind("127.0.0.1:0").await else { panic!("no free port") };
        let Ok(address) = listener.local_addr() else { panic!("a listener has an address") };
        let serving = tokio::spawn(async move {
            if let Err(e) = axum::serve(listener, app).await {
                panic!("the Secrets Manager broke: {e}");
            }
        });
        Self { state, url: format!("http://{address}"), serving }
    }

    /// Keeps a secret from now on, and returns its ARN.
    pub fn keep(&self, name: &str, value: &str) -> String {
        self.answers(name, StatusCode::OK, json!({ "SecretString": value }))
    }

    /// Answers so when this secret is asked for, and returns its ARN.
    pub fn answers(&self, name: &str, status: StatusCode, answer: Value) -> String {
        let arn = format!("arn:aws:secretsmanager:eu-central-1:123456789012:secret:{name}-AbCdEf");
        self.told().answers.insert(arn.clone(), (status, answer));
        arn
    }

    /// Answers the next call so, whatever it asks for.
    pub fn answers_once(&self, status: StatusCode, answer: Value) {
        self.told().first.push((status, answer));
    }

    /// How many calls there were.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.told().calls
    }

    /// The variables of a process that may call it.
    #[must_use]
    pub fn variables(&self) -> [(&'static str, String); 4] {
        [
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", SECRET_KEY.to_owned()),
            ("AWS_SESSION_TOKEN", SESSION.to_owned()),
            ("AWS_ENDPOINT_URL_SECRETS_MANAGER", self.url.clone()),
        ]
    }

    /// Gives a process these variables.
    pub fn environment(&self, process: &mut Command) {
        process.envs(self.variables());
    }

    fn told(&self) -> std::sync::MutexGuard<'_, Told> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for SecretsManager {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn refusal(kind: &str, message: &str) -> (StatusCode, Value) {
    (StatusCode::BAD_REQUEST, json!({ "__type": kind, "message": message }))
}

async fn answer(
    State(state): State<Arc<Mutex<Told>>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut told = state.lock().unwrap_or_else(PoisonError::into_inner);
    told.calls += 1;
    let (status, answer) = if let Err(why) = signed(&headers, &body) {
        refusal("InvalidSignatureException", &why)
    } else if headers.get("x-amz-target").is_none_or(|to| to != "secretsmanager.GetSecretValue") {
        refusal("UnknownOperationException", "")
    } else if told.first.is_empty() {
        let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
        let kept = asked["SecretId"].as_str().and_then(|arn| told.answers.get(arn)).cloned();
        let none = "Secrets Manager can\u{2019}t find the specified secret.";
        kept.unwrap_or_else(|| refusal("ResourceNotFoundException", none))
    } else {
        told.first.remove(0)
    };
    (status, answer.to_string()).into_response()
}

/// Whether a request is signed by the caller, by Signature Version 4: its signature is made again from
/// what came.
fn signed(headers: &HeaderMap, body: &[u8]) -> Result<(), String> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let authorization = header("authorization").ok_or("there is no authorization")?;
    let part = |key: &str| {
        let from = authorization.find(key)? + key.len();
        authorization[from..].split([',', ' ']).next()
    };
    let (credential, names, signature) = (
        part("Credential=").ok_or("no credential")?,
        part("SignedHeaders=").ok_or("no signed headers")?,
        part("Signature=").ok_or("no signature")?,
    );
    let at = header("x-amz-date").ok_or("no x-amz-date")?;
    let day = at.get(..8).ok_or("no day")?;
    let scope = format!("{day}/eu-central-1/secretsmanager/aws4_request");
    if credential != format!("{ACCESS_KEY}/{scope}") {
        return Err(format!("the credential is `{credential}`"));
    }
    for must in ["host", "x-amz-date", "x-amz-target", "x-amz-security-token"] {
        if !names.split(';').any(|name| name == must) {
            return Err(format!("`{must}` is not signed"));
        }
    }
    if header("x-amz-security-token") != Some(SESSION) {
        return Err("the session is another".to_owned());
    }
    let lines: Option<String> =
        names.split(';').map(|name| Some(format!("{name}:{}\n", header(name)?.trim()))).collect();
    let lines = lines.ok_or("a signed header is missing")?;
    let canonical = format!("POST\n/\n\n{lines}\n{names}\n{}", hex(&Sha256::digest(body)));
    let text = format!("AWS4-HMAC-SHA256\n{at}\n{scope}\n{}", hex(&Sha256::digest(canonical)));
    let key = ["eu-central-1", "secretsmanager", "aws4_request"]
        .iter()
        .fold(mac(format!("AWS4{SECRET_KEY}").as_bytes(), day), |key, part| mac(&key, part));
    if hex(&mac(&key, &text)) == signature {
        Ok(())
    } else {
        Err("the signature is not that of what came".to_owned())
    }
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { panic!("any key will do") };
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
