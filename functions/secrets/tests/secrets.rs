//! Secrets fetched from a server that verifies signatures by making them again.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use spillway_secrets::{SecretsError, report_init_error, resolve};
use spillway_test_support::{Certificate, RuntimeApi, SecretsManager};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

type Variables = Vec<(&'static str, String)>;

async fn fetch(variables: &Variables) -> Result<[Option<String>; 2], SecretsError> {
    resolve(["KEY", "WORD"], |name| {
        variables.iter().find(|(n, _)| *n == name).map(|(_, value)| value.clone())
    })
    .await
}

fn with(manager: &SecretsManager, more: &[(&'static str, &str)]) -> Variables {
    let more = more.iter().map(|(name, value)| (*name, (*value).to_owned()));
    manager.variables().into_iter().chain(more).collect()
}

fn chain(error: &dyn Error) -> String {
    let causes = std::iter::successors(error.source(), |e| (*e).source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[tokio::test]
async fn a_value_or_its_arn() {
    let manager = SecretsManager::start().await;
    let key = manager.keep("east/service", "the key\n");
    let word = manager.keep("east/database", "p\"ss wörd");
    let values = fetch(&with(&manager, &[("KEY_ARN", &key), ("WORD_ARN", &word)])).await.unwrap();
    assert_eq!(values, [Some("the key".to_owned()), Some("p\"ss wörd".to_owned())]);
    assert_eq!(manager.calls(), 2);

    // What is there already is not asked for, and nothing is nothing.
    let values = fetch(&with(&manager, &[("KEY", "mine"), ("KEY_ARN", &key), ("WORD", " ")])).await;
    assert_eq!(values.unwrap(), [Some("mine".to_owned()), None]);
    assert_eq!(fetch(&Vec::new()).await.unwrap(), [None, None]);
    assert_eq!(manager.calls(), 2);
}

#[tokio::test]
async fn a_refusal_names_the_secret_and_the_remedy() {
    let manager = SecretsManager::start().await;
    let denied = json!({
        "__type": "com.amazonaws.secretsmanager#AccessDeniedException",
        "Message": "User: arn:aws:sts::1:assumed-role/east is not authorized",
    });
    let denied = manager.answers("denied", StatusCode::BAD_REQUEST, denied);
    let binary = manager.answers("binary", StatusCode::OK, json!({ "SecretBinary": "AAAA" }));
    let there = manager.keep("there", "value");
    let none = there.replace("there", "elsewhere");
    for (arn, says) in [
        (&denied, "secretsmanager:GetSecretValue on it, and kms:Decrypt on the key"),
        (&denied, "is not authorized"),
        (&binary, "holds no text"),
        (&none, "does not exist or has no value: `aws secretsmanager put-secret-value"),
        (&none, "ResourceNotFoundException"),
    ] {
        let said = chain(&fetch(&with(&manager, &[("WORD_ARN", arn)])).await.unwrap_err());
        assert!(said.contains(arn.as_str()) && said.contains(says), "{said}");
    }
    assert_eq!(manager.calls(), 5, "no refusal is asked for again");

    let mut stranger = with(&manager, &[("KEY_ARN", &there)]);
    stranger[1].1 = "another key".to_owned();
    let said = chain(&fetch(&stranger).await.unwrap_err());
    assert!(said.contains("InvalidSignatureException"), "{said}");
    assert!(!said.contains("another key"), "{said}");
    stranger.remove(1);
    let said = chain(&fetch(&stranger).await.unwrap_err());
    assert!(said.contains("AWS_SECRET_ACCESS_KEY is not set"), "{said}");
    let said = chain(&fetch(&vec![("KEY_ARN", "service".to_owned())]).await.unwrap_err());
    assert!(said.starts_with("KEY_ARN is `service`, which names no secret: write arn:"), "{said}");
}

#[tokio::test]
async fn what_passes_is_tried_again() {
    let manager = SecretsManager::start().await;
    let arn = manager.keep("service", "value");
    manager.answers_once(StatusCode::INTERNAL_SERVER_ERROR, json!("?"));
    let throttled = json!({ "__type": "ThrottlingException", "message": "Rate exceeded" });
    manager.answers_once(StatusCode::BAD_REQUEST, throttled);
    let values = fetch(&with(&manager, &[("KEY_ARN", &arn)])).await.unwrap();
    assert_eq!(values[0].as_deref(), Some("value"));
    assert_eq!(manager.calls(), 3);
}

#[tokio::test]
async fn who_does_not_answer_is_waited_for_two_seconds() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let manager = SecretsManager::start().await;
    let arn = manager.keep("service", "value");
    let mut variables = with(&manager, &[("KEY_ARN", &arn)]);
    variables[3].1 = format!("http://{}", silent.local_addr().unwrap());
    let in_time = tokio::time::timeout(Duration::from_secs(10), fetch(&variables));
    let said = chain(&in_time.await.unwrap().unwrap_err());
    assert!(said.contains(&arn) && said.contains("within 2s"), "{said}");
    drop(silent);
    let said = chain(&fetch(&variables).await.unwrap_err());
    assert!(said.contains("cannot connect to 127.0.0.1"), "{said}");
}

/// Puts TLS in front of a server; returns the port.
async fn tls(server: SocketAddr, certificate: &Certificate) -> u16 {
    let chain = CertificateDer::pem_file_iter(certificate.certificate()).unwrap();
    let key = PrivateKeyDer::from_pem_file(certificate.key()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain.map(Result::unwrap).collect(), key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let Ok(mut client) = acceptor.accept(client).await else { continue };
            let mut server = TcpStream::connect(server).await.unwrap();
            tokio::spawn(async move {
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    port
}

/// The roots of a machine are read from a file that a variable of the process names, so what trusts the
/// test's certificate is a process of its own: this test again.
#[tokio::test]
async fn over_tls_the_server_must_be_vouched_for() {
    if let Ok(arn) = std::env::var("KEY_ARN") {
        let values = resolve(["KEY"], |name| std::env::var(name).ok()).await;
        assert_eq!(values.unwrap(), [Some("value".to_owned())], "{arn}");
        return;
    }
    let manager = SecretsManager::start().await;
    let arn = manager.keep("service", "value");
    let folder = tempfile::tempdir().unwrap();
    let certificate = Certificate::make(folder.path(), IpAddr::V4(Ipv4Addr::LOCALHOST));
    let mut variables = with(&manager, &[("KEY_ARN", &arn)]);
    let server = variables[3].1.strip_prefix("http://").unwrap().parse().unwrap();
    variables[3].1 = format!("https://127.0.0.1:{}", tls(server, &certificate).await);
    let said = chain(&fetch(&variables).await.unwrap_err());
    assert!(said.contains("certificate"), "{said}");
    assert_eq!(manager.calls(), 0);

    let mut trusting = tokio::process::Command::new(std::env::current_exe().unwrap());
    trusting.args(["over_tls_the_server_must_be_vouched_for", "--exact"]).envs(variables);
    let done = trusting.env("SSL_CERT_FILE", certificate.certificate()).output().await.unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
    assert_eq!(manager.calls(), 1);
}

#[tokio::test]
async fn the_runtime_api_hears_why_a_function_cannot_begin() {
    let mut api = RuntimeApi::start().await;
    let mut process = std::process::Command::new("true");
    api.environment("any", &mut process);
    let variables: Vec<(String, String)> = process
        .get_envs()
        .map(|(n, v)| (n.to_str().unwrap().to_owned(), v.unwrap().to_str().unwrap().to_owned()))
        .collect();
    let lookup = |name: &str| variables.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone());
    let error = SecretsError::Endpoint("here".to_owned());
    let (told, ()) =
        tokio::join!(api.invoke(json!({})), report_init_error(lookup, "NotBegun", &error));
    let told = told.unwrap_err();
    assert_eq!(told["errorType"], "NotBegun");
    assert!(told["errorMessage"].as_str().unwrap().contains("the endpoint `here`"), "{told}");
}
