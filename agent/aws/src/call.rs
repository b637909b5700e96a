//! What every call of AWS goes through: a rate limit, a deadline, a class for its error, and a count.
//!
//! A fault is logged when it begins and when it ends, not at each call in between; in between it stands
//! in the warnings that the agent shows.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_ec2::config::http::HttpResponse;
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use tokio::time::Instant;

use crate::memory::Outcome;
use crate::place::{Place, Places};

/// Calls go out at most this often, but for [`BURST`] of them.
const INTERVAL: Duration = Duration::from_millis(150);
/// Calls that may go out at once after a pause: one look at AWS is about ten.
const BURST: u32 = 20;
/// The end of a call, its retries and its credentials included. The SDK's own deadlines come before.
const DEADLINE: Duration = Duration::from_secs(30);
/// Most characters told of what AWS said: a denial can hold kilobytes of encoded policy.
const MESSAGE_CHARS_MAX: usize = 200;
/// Most of them up to the permission that a denial names: an ARN can have 2,048.
const NAMED_CHARS_MAX: usize = 2_500;
/// What stands before that permission.
const PERMISSION: &str = "not authorized to perform: ";

/// Why a call failed, as far as it matters to what is done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    /// Too many calls.
    Throttled,
    /// The identity lacks the permission.
    Denied,
    /// There is no identity.
    NoCredentials,
    /// A quota or a sold-out zone.
    Exhausted,
    /// What was named is not there.
    Missing,
    /// What was named cannot be changed just now.
    Busy,
    /// No answer, half an answer, or a fault of AWS: whether it was done is not known.
    Unclear,
    /// AWS refuses the call as such.
    Refused,
}

impl Class {
    fn name(self) -> &'static str {
        match self {
            Self::Throttled => "throttled",
            Self::Denied => "denied",
            Self::NoCredentials => "no_credentials",
            Self::Exhausted => "exhausted",
            Self::Missing => "missing",
            Self::Busy => "busy",
            Self::Unclear => "unclear",
            Self::Refused => "refused",
        }
    }
}

/// A call that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) struct CallError {
    /// The permission that it needs, which is also its name: `ec2:RunInstances`.
    pub operation: &'static str,
    /// What kind of failure it is.
    pub class: Class,
    /// AWS's own word for it, if it said one.
    pub code: Option<String>,
    /// What AWS said.
    pub message: String,
}

impl CallError {
    /// How an act that failed so ended.
    #[must_use]
    pub(crate) fn outcome(&self) -> Outcome {
        match self.class {
            Class::Throttled | Class::Busy => Outcome::Failed,
            Class::Missing => Outcome::Absent,
            Class::Unclear => Outcome::Unknown,
            Class::Denied | Class::NoCredentials | Class::Exhausted | Class::Refused => {
                Outcome::Refused
            }
        }
    }
}

impl CallError {
    /// Whether the same would be answered again until a person does something.
    #[must_use]
    pub(crate) fn lasts(&self) -> bool {
        match self.class {
            Class::Throttled | Class::Busy | Class::Unclear => false,
            Class::Denied
            | Class::NoCredentials
            | Class::Exhausted
            | Class::Missing
            | Class::Refused => true,
        }
    }

    /// AWS answered, but without what the configuration names.
    pub(crate) fn missing(operation: &'static str, what: String) -> Self {
        Self { operation, class: Class::Missing, code: None, message: what }
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { operation, class, message, .. } = self;
        match class {
            Class::Throttled => {
                write!(f, "AWS throttles {operation}; it is tried again more slowly")
            }
            Class::Denied => write!(
                f,
                "AWS denies {operation}: give the agent's identity this permission (module link does): {message}"
            ),
            Class::NoCredentials => write!(
                f,
                "there are no AWS credentials, or AWS does not take them: set AWS_PROFILE or AWS_CONFIG_FILE, for example to a profile with \
                 credential_process: {message}"
            ),
            Class::Exhausted => write!(
                f,
                "AWS has no more for {operation}; ask it for a higher quota, or want less: {message}"
            ),
            Class::Missing => write!(
                f,
                "{operation} names what is not there; compare [cloud.aws] with Terraform's outputs: {message}"
            ),
            Class::Busy => write!(f, "{operation} has to wait: {message}"),
            Class::Unclear => write!(f, "{operation} had no clear answer: {message}"),
            Class::Refused => write!(f, "AWS refuses {operation}: {message}"),
        }
    }
}

/// The way out to AWS, shared by all calls.
#[derive(Debug)]
pub(crate) struct Calls {
    /// When the next call would go out if calls never paused.
    next: tokio::sync::Mutex<Instant>,
    interval: Duration,
    book: Mutex<Book>,
    places: Places,
}

#[derive(Debug, Default)]
struct Book {
    counts: BTreeMap<(&'static str, &'static str), u64>,
    faults: BTreeMap<&'static str, CallError>,
}

impl Default for Calls {
    fn default() -> Self {
        Self::every(INTERVAL)
    }
}

impl Calls {
    /// Calls that go out at most so often, but for [`BURST`] of them.
    pub(crate) fn every(interval: Duration) -> Self {
        let next = tokio::sync::Mutex::new(Instant::now());
        Self { next, interval, book: Mutex::default(), places: Places::default() }
    }

    /// Calls of clients that note there where each goes.
    pub(crate) fn noting(places: Places) -> Self {
        Self { places, ..Self::default() }
    }

    /// Makes a call. `operation` is the permission that it needs.
    ///
    /// # Errors
    /// When it fails after the SDK's retries, or not in time.
    pub(crate) async fn make<T, E>(
        &self,
        operation: &'static str,
        call: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    ) -> Result<T, CallError>
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let result = self.unnoted(operation, call).await;
        self.note(operation, result.as_ref().err());
        result
    }

    /// Makes a call for what may not be there: an error with this code is an answer.
    ///
    /// # Errors
    /// As for [`Calls::make`].
    pub(crate) async fn find<T, E>(
        &self,
        operation: &'static str,
        none: &str,
        call: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    ) -> Result<Option<T>, CallError>
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let result = match self.unnoted(operation, call).await {
            Err(error) if error.code.as_deref() == Some(none) => Ok(None),
            other => other.map(Some),
        };
        self.note(operation, result.as_ref().err());
        result
    }

    async fn unnoted<T, E>(
        &self,
        operation: &'static str,
        call: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    ) -> Result<T, CallError>
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        self.pace().await;
        match tokio::time::timeout(DEADLINE, call).await {
            Ok(result) => result.map_err(|e| classify(operation, &e, self.places.of(operation))),
            Err(_) => Err(CallError {
                operation,
                class: Class::Unclear,
                code: None,
                message: placed(self.places.of(operation), &format!("none within {DEADLINE:?}")),
            }),
        }
    }

    /// Waits until a call may go out.
    async fn pace(&self) {
        let at = {
            let mut next = self.next.lock().await;
            *next = slot(*next, Instant::now(), self.interval);
            *next
        };
        tokio::time::sleep_until(at).await;
    }

    fn note(&self, operation: &'static str, error: Option<&CallError>) {
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        let outcome = error.map_or("done", |e| e.class.name());
        *book.counts.entry((operation, outcome)).or_default() += 1;
        match error {
            None => {
                if book.faults.remove(operation).is_some() {
                    tracing::info!(operation, "AWS answers again");
                }
            }
            Some(error) => {
                // Without credentials all calls fail alike: that is one fault.
                let told = error.class == Class::NoCredentials
                    && book.faults.values().any(|known| known.class == error.class);
                let known = book.faults.insert(operation, error.clone());
                if !told && known.is_none_or(|known| known.class != error.class) {
                    tracing::warn!(operation, class = error.class.name(), "{error}");
                }
            }
        }
    }

    /// The faults there are now, one sentence each.
    #[must_use]
    pub(crate) fn faults(&self) -> Vec<String> {
        let book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        let faults: BTreeSet<String> = book.faults.values().map(ToString::to_string).collect();
        faults.into_iter().collect()
    }

    /// Counts of all calls, in the Prometheus text exposition format.
    #[must_use]
    pub(crate) fn metrics(&self) -> String {
        let book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        let mut page = "# HELP spillway_aws_calls_total Calls of AWS by how they ended.\n\
                        # TYPE spillway_aws_calls_total counter\n"
            .to_owned();
        for ((operation, outcome), count) in &book.counts {
            // Writing to a string cannot fail.
            let _ = writeln!(
                page,
                "spillway_aws_calls_total{{operation=\"{operation}\",outcome=\"{outcome}\"}} {count}"
            );
        }
        page
    }
}

/// When a call may go out that comes `now`, if the one before was given `last`.
fn slot(last: Instant, now: Instant, interval: Duration) -> Instant {
    let earliest = now.checked_sub(interval * BURST).unwrap_or(now);
    last.max(earliest) + interval
}

/// What is known of an answer that did not come, or not whole, and where it should have come from.
fn placed(place: Option<Place>, message: &str) -> String {
    place.map_or_else(|| message.to_owned(), |place| format!("{place}: {message}"))
}

fn classify<E>(
    operation: &'static str,
    error: &SdkError<E, HttpResponse>,
    place: Option<Place>,
) -> CallError
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let service = error.as_service_error();
    let code = service.and_then(ProvideErrorMetadata::code).map(str::to_owned);
    let status = error.raw_response().map(|response| response.status().as_u16());
    let message = match service.and_then(ProvideErrorMetadata::message) {
        Some(message) => message.to_owned(),
        None => chain(error),
    };
    let class = match (service, code.as_deref()) {
        (Some(_), code) => class_of(code.unwrap_or_default(), status.unwrap_or(0)),
        (None, _) if message.contains("credentials") => Class::NoCredentials,
        (None, _) => Class::Unclear,
    };
    let message = match &code {
        Some(code) if service.is_some() => format!("{code}: {message}"),
        _ if class == Class::Unclear => placed(place, &message),
        _ => message,
    };
    CallError { operation, class, code, message: shortened(&message) }
}

/// The beginning of what AWS said, in one line that ends with a whole word: at least up to the permission
/// that a denial names, which may be another than that of the call.
fn shortened(message: &str) -> String {
    let mut short = String::new();
    let mut chars = 0;
    let mut needed = message.contains(PERMISSION);
    for word in message.split_whitespace() {
        let with_word = chars + word.chars().count() + usize::from(chars > 0);
        let most = if needed { NAMED_CHARS_MAX } else { MESSAGE_CHARS_MAX };
        if with_word > most {
            // A first word that fills the line is none of a language.
            if chars == 0 {
                short.extend(word.chars().take(most));
            }
            short.push_str(" …");
            return short;
        }
        if chars > 0 {
            short.push(' ');
        }
        needed &= !short.ends_with(PERMISSION);
        short.push_str(word);
        chars = with_word;
    }
    short
}

/// By the codes of the "Common Errors" of each API, and by the status where a code says nothing.
fn class_of(code: &str, status: u16) -> Class {
    let has = |parts: &[&str]| parts.iter().any(|part| code.contains(part));
    // The first is no part of others: one is about capacity.
    if code == "RequestLimitExceeded"
        || has(&["Throttl", "TooManyRequests", "SlowDown"])
        || status == 429
    {
        Class::Throttled
    } else if has(&["AccessDenied", "UnauthorizedOperation", "NotAuthorized"]) {
        Class::Denied
    } else if has(&[
        "ExpiredToken",
        "InvalidClientToken",
        "AuthFailure",
        "UnrecognizedClient",
        "SignatureDoesNotMatch",
        "MissingAuthenticationToken",
    ]) {
        Class::NoCredentials
    } else if has(&[
        "LimitExceeded",
        "Insufficient",
        "QuotaExceeded",
        "TooManyTargets",
        "MaxSpotInstanceCount",
    ]) {
        Class::Exhausted
    } else if has(&["NotFound"]) {
        Class::Missing
    } else if has(&[
        "ResourceConflict",
        "ScalingActivityInProgress",
        "ResourceContention",
        "InvalidTarget",
        "IncorrectInstanceState",
        "InvalidDBClusterState",
        "InvalidDBInstanceState",
        "InvalidReplicationGroupState",
        "InvalidCacheClusterState",
        "CapacityReservationPending",
        "PriorRequestNotComplete",
    ]) {
        Class::Busy
    } else if status >= 500
        || has(&[
            "InternalError",
            "InternalFailure",
            "ServiceUnavailable",
            "ServiceFailure",
            "RequestTimeout",
        ])
    {
        Class::Unclear
    } else if status == 403 {
        Class::Denied
    } else {
        Class::Refused
    }
}

/// An error and its sources in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let _ = write!(text, ": {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_aws_fall_into_classes() {
        for (code, status, class) in [
            ("RequestLimitExceeded", 503, Class::Throttled),
            ("ThrottlingException", 400, Class::Throttled),
            ("Throttling", 400, Class::Throttled),
            ("TooManyRequestsException", 429, Class::Throttled),
            ("UnauthorizedOperation", 403, Class::Denied),
            ("AccessDeniedException", 400, Class::Denied),
            ("AccessDenied", 403, Class::Denied),
            ("ExpiredTokenException", 403, Class::NoCredentials),
            ("AuthFailure", 401, Class::NoCredentials),
            ("InsufficientInstanceCapacity", 500, Class::Exhausted),
            ("VcpuLimitExceeded", 400, Class::Exhausted),
            ("InvalidInstanceID.NotFound", 400, Class::Missing),
            ("ProvisionedConcurrencyConfigNotFoundException", 404, Class::Missing),
            ("ResourceConflictException", 409, Class::Busy),
            ("ScalingActivityInProgress", 400, Class::Busy),
            ("CapacityReservationPending", 400, Class::Busy),
            ("CapacityDecreaseRequestLimitExceeded", 400, Class::Exhausted),
            ("InternalFailure", 500, Class::Unclear),
            ("", 502, Class::Unclear),
            ("ValidationError", 400, Class::Refused),
        ] {
            assert_eq!(class_of(code, status), class, "{code} {status}");
        }
    }

    #[test]
    fn what_aws_says_ends_with_a_word_and_names_the_permission() {
        assert_eq!(shortened(" not\n you "), "not you");
        let denied = |user: &str| {
            format!(
                "UnauthorizedOperation: You are not authorized to perform this operation. User: {user} is not \
                 authorized to perform: iam:PassRole on resource: arn:aws:iam::123456789012:role/east-gateway \
                 because no identity-based policy allows the iam:PassRole action. Encoded authorization failure \
                 message: {}",
                "x".repeat(3000)
            )
        };
        // Wherever the cut would come, it comes between words, and after the permission.
        for n in 1..300 {
            let whole =
                denied(&format!("arn:aws:sts::123456789012:assumed-role/{}", "r".repeat(n)));
            let short = shortened(&whole);
            let told = short.strip_suffix(" …").unwrap();
            assert!(whole[told.len()..].starts_with(' '), "{short}");
            assert!(told.contains(" perform: iam:PassRole"), "{short}");
            let far = told.chars().count() > MESSAGE_CHARS_MAX;
            assert!(!far || told.ends_with(" perform: iam:PassRole"), "{short}");
        }
        // Nothing that AWS says makes a line without an end.
        assert_eq!(shortened(&"é".repeat(9000)), format!("{} …", "é".repeat(MESSAGE_CHARS_MAX)));
        assert!(shortened(&denied(&"r".repeat(9000))).chars().count() < NAMED_CHARS_MAX);
    }

    #[test]
    fn calls_are_paced() {
        let now = Instant::now() + INTERVAL * BURST * 2;
        let mut last = now - INTERVAL * BURST * 2;
        for _ in 0..BURST {
            last = slot(last, now, INTERVAL);
            assert!(last <= now, "a burst goes out at once");
        }
        for i in 1..10 {
            last = slot(last, now, INTERVAL);
            assert_eq!(last, now + INTERVAL * i);
        }
    }
}
