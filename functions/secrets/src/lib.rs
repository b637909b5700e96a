//! What a Lambda function needs before its first event: its secrets, and a way to say why it cannot
//! begin.
//!
//! The value of a secret called `NAME` stands in the variable `NAME`; or the variable `NAME_ARN` names a
//! secret of Secrets Manager, whose current value is fetched once, as the environment begins:
//!
//! ```text
//! NAME ──────────────────────────────────▶ value
//! NAME_ARN ─▶ GetSecretValue, signed (SigV4) ─▶ value, kept for the life of the environment
//! ```
//!
//! | variable | meaning |
//! | --- | --- |
//! | `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN` | the function's role, as Lambda sets them |
//! | `AWS_ENDPOINT_URL_SECRETS_MANAGER`, `AWS_ENDPOINT_URL` | where else to ask, `https://…` or `http://…` |
//!
//! The region is that of the ARN. Certificates are verified by the roots of the machine
//! (`SSL_CERT_FILE` names others).

mod begin;
mod manager;
mod sign;

use std::time::Duration;

use tokio::time::Instant;

pub use begin::report_init_error;
pub use manager::{Fault, Refusal};

use manager::Manager;

/// How long fetching all secrets may take, tries again included. Lambda gives a function ten seconds to
/// begin, and who waits for its first answer has less patience.
const DEADLINE: Duration = Duration::from_secs(2);

/// Why a secret was not to be had.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    /// A variable that should name a secret does not.
    #[error(
        "{variable} is `{arn}`, which names no secret: write arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME"
    )]
    Arn {
        /// Which.
        variable: String,
        /// What stands there.
        arn: String,
    },
    /// Who asks is not known.
    #[error(
        "the secret {arn} cannot be asked for, since {variable} is not set: Lambda sets it to what the function's role may use"
    )]
    Credentials {
        /// Which secret.
        arn: String,
        /// Which variable.
        variable: &'static str,
    },
    /// The endpoint is none.
    #[error(
        "the endpoint `{0}` of Secrets Manager is none: write https://HOST or http://HOST:PORT"
    )]
    Endpoint(String),
    /// The role may not read it.
    #[error(
        "the secret {arn} may not be read: allow the function's role secretsmanager:GetSecretValue on it, and kms:Decrypt on the key that encrypts it"
    )]
    Denied {
        /// Which secret.
        arn: String,
        /// What Secrets Manager says.
        #[source]
        source: Refusal,
    },
    /// There is no such secret, or it has no value yet.
    #[error(
        "the secret {arn} does not exist or has no value: `aws secretsmanager put-secret-value --secret-id {arn} --secret-string VALUE` gives it one"
    )]
    NotFound {
        /// Which secret.
        arn: String,
        /// What Secrets Manager says.
        #[source]
        source: Refusal,
    },
    /// Its value is not text.
    #[error("the secret {arn} holds no text: give it a value with --secret-string")]
    NoText {
        /// Which secret.
        arn: String,
    },
    /// Secrets Manager refuses otherwise.
    #[error("the secret {arn} is refused")]
    Refused {
        /// Which secret.
        arn: String,
        /// What Secrets Manager says.
        #[source]
        source: Refusal,
    },
    /// It does not answer in time.
    #[error(
        "the secret {arn} was not to be had within {DEADLINE:?}: see that the function's subnets reach Secrets Manager, by an endpoint of the VPC or a NAT gateway"
    )]
    NoAnswer {
        /// Which secret.
        arn: String,
        /// How the last try failed.
        #[source]
        source: Fault,
    },
}

/// The values of secrets, from the variables that `lookup` gives: `None` for one that neither `NAME` nor
/// `NAME_ARN` tells of. `NAME` goes before `NAME_ARN`. Takes two seconds at most.
///
/// # Errors
/// When one that is named is not to be had.
pub async fn resolve<const N: usize>(
    names: [&'static str; N],
    lookup: impl Fn(&str) -> Option<String>,
) -> Result<[Option<String>; N], SecretsError> {
    let end = Instant::now() + DEADLINE;
    let lookup = |name: &str| lookup(name).filter(|value| !value.trim().is_empty());
    let mut manager = Manager::default();
    let mut values = [const { None }; N];
    for (name, value) in names.into_iter().zip(&mut values) {
        let variable = format!("{name}_ARN");
        *value = match (lookup(name), lookup(&variable)) {
            (Some(value), _) => Some(value),
            (None, None) => None,
            (None, Some(arn)) => Some(manager.fetch(&variable, arn.trim(), &lookup, end).await?),
        };
    }
    Ok(values)
}
