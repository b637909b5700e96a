//! Signatures of notifications, by `openssl` and with a key of this stand-in's own.
//!
//! What is signed, and how: <https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html>.

use std::path::Path;
use std::process::Stdio;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::sync::OnceCell;

use crate::sns::{Notice, Protocol};

/// Where the certificate is served.
pub(crate) const CERTIFICATE_PATH: &str = "/SimpleNotificationService-0123456789abcdef.pem";

/// Why nothing could be signed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SignError {
    #[error("cannot run openssl")]
    Run(#[from] std::io::Error),
    #[error("openssl refuses: {0}")]
    Refused(String),
}

/// A key and its certificate, made when they are first asked for.
#[derive(Debug, Default)]
pub(crate) struct Signer {
    folder: OnceCell<TempDir>,
}

impl Signer {
    async fn folder(&self) -> Result<&Path, SignError> {
        let made = self.folder.get_or_try_init(|| async {
            let folder = tempfile::tempdir()?;
            let mut command = Command::new("openssl");
            command.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30"]);
            command.args(["-subj", "/CN=sns.amazonaws.com", "-keyout", "key.pem"]);
            command.args(["-out", "certificate.pem"]).current_dir(folder.path());
            run(command, &[]).await?;
            Ok::<_, SignError>(folder)
        });
        Ok(made.await?.path())
    }

    /// The certificate, as PEM.
    pub(crate) async fn certificate(&self) -> Result<Vec<u8>, SignError> {
        Ok(tokio::fs::read(self.folder().await?.join("certificate.pem")).await?)
    }

    async fn signature(&self, text: &str, version: u8) -> Result<String, SignError> {
        let digest = if version == 2 { "-sha256" } else { "-sha1" };
        let mut command = Command::new("openssl");
        command.args(["dgst", digest, "-sign", "key.pem"]).current_dir(self.folder().await?);
        Ok(BASE64_STANDARD.encode(run(command, text.as_bytes()).await?))
    }

    /// What is delivered: the message alone, its signed envelope, or a function's event with it.
    pub(crate) async fn body(&self, notice: &Notice, endpoint: &str) -> Result<String, SignError> {
        if notice.raw && notice.kind == "Notification" && notice.protocol != Protocol::Lambda {
            return Ok(notice.message.clone());
        }
        let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let confirm = notice.token.as_ref().map(|token| {
            let topic = encode(&notice.topic);
            format!("{endpoint}/?Action=ConfirmSubscription&TopicArn={topic}&Token={token}")
        });
        let fields = [
            ("Message", Some(notice.message.clone())),
            ("MessageId", Some(notice.id.clone())),
            ("Subject", notice.subject.clone()),
            ("SubscribeURL", confirm),
            ("Timestamp", Some(notice.timestamp.clone())),
            ("Token", notice.token.clone()),
            ("TopicArn", Some(notice.topic.clone())),
            ("Type", Some(notice.kind.to_owned())),
        ];
        let mut signed = String::new();
        let mut envelope = json!({});
        for (name, value) in fields {
            if let Some(value) = value {
                signed.push_str(&format!("{name}\n{value}\n"));
                envelope[name] = json!(value);
            }
        }
        let version = notice.signature_version;
        let signature = self.signature(&signed, version).await?;
        let certificate = format!("{endpoint}{CERTIFICATE_PATH}");
        let subscription = encode(&notice.subscription);
        let leave = format!("{endpoint}/?Action=Unsubscribe&SubscriptionArn={subscription}");
        envelope["SignatureVersion"] = json!(version.to_string());
        envelope["Signature"] = json!(signature);
        if notice.protocol == Protocol::Lambda {
            envelope["SigningCertUrl"] = json!(certificate);
            envelope["UnsubscribeUrl"] = json!(leave);
            envelope["MessageAttributes"] = json!({});
            return Ok(event(notice, &envelope).to_string());
        }
        envelope["SigningCertURL"] = json!(certificate);
        if notice.token.is_none() {
            envelope["UnsubscribeURL"] = json!(leave);
        }
        Ok(envelope.to_string())
    }
}

/// The event with which a topic invokes a function.
fn event(notice: &Notice, envelope: &Value) -> Value {
    json!({ "Records": [{
        "EventSource": "aws:sns",
        "EventVersion": "1.0",
        "EventSubscriptionArn": notice.subscription,
        "Sns": envelope,
    }] })
}

async fn run(mut command: Command, input: &[u8]) -> Result<Vec<u8>, SignError> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input).await?;
    }
    let output = child.wait_with_output().await?;
    if output.status.success() {
        Ok(output.stdout)
    } else {
        Err(SignError::Refused(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
    }
}
