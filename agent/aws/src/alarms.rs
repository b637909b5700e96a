//! Alarms on their way to the agent: from the queue as soon as they change, and by asking CloudWatch now
//! and then, since a queue may be late, or not configured, or have told before the agent was there.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use aws_sdk_cloudwatch::types::{AlarmType, CompositeAlarm, MetricAlarm, StateValue};
use aws_sdk_sqs::types::Message;
use http::{Method, StatusCode};
use serde::de::IgnoredAny;
use spillway_alarm::{Told, change};
use spillway_model::api::{AlarmChange, AlarmState};
use spillway_model::{Config, UnixMillis};
use spillway_part::client::{CallError as AgentError, Client};
use spillway_part::{Shutdown, files};

use crate::call::{CallError, chain};
use crate::clients::Clients;

/// How long a poll of the queue waits for a message, in seconds: the longest there is.
const POLL_SECS: i32 = 20;
/// Messages taken at once: the most there is.
const MESSAGES_MAX: i32 = 10;
/// Pause after a poll that failed, doubled with each further one up to the second.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// CloudWatch is asked this often.
const ASK_EVERY: Duration = Duration::from_secs(30);
/// Most pages of alarms, of a hundred each.
const PAGES_MAX: usize = 20;
/// The agent answers within.
const AGENT: Duration = Duration::from_secs(3);

/// Tells the agent of alarms.
#[derive(Debug)]
pub(crate) struct Teller {
    config: std::sync::Arc<Config>,
    client: Client,
    token: PathBuf,
}

/// Why the agent was not told.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TellError {
    /// The operator's token, which it wants to see, cannot be read.
    #[error("cannot read the operator's token {0}")]
    Token(PathBuf, #[source] std::io::Error),
    /// It did not take it.
    #[error("the agent has not taken the change of alarm `{0}`")]
    Agent(String, #[source] AgentError),
}

impl TellError {
    /// Whether the agent would refuse the same again. A wrong token can be put right.
    pub(crate) fn refused(&self) -> bool {
        matches!(self, Self::Agent(_, AgentError::Status { status, .. })
            if status.is_client_error() && *status != StatusCode::UNAUTHORIZED)
    }
}

impl Teller {
    /// Tells the agent of a configuration.
    #[must_use]
    pub(crate) fn new(config: std::sync::Arc<Config>) -> Self {
        let token = config.state_path("operator.token");
        Self { config, client: Client::default(), token }
    }

    /// Tells it of a change. What it knows already it passes over.
    ///
    /// # Errors
    /// When it does not take it.
    pub(crate) async fn tell(&self, change: &AlarmChange) -> Result<(), TellError> {
        // Read each time: a token can be changed while this runs.
        let token =
            files::read_secret(&self.token).map_err(|e| TellError::Token(self.token.clone(), e))?;
        let client = self.client.clone().with_token(token.trim().to_owned());
        let to = self.config.agent.listen;
        let told: Result<IgnoredAny, _> =
            client.exchange(Method::POST, to, "/v1/alarms", Some(change), AGENT).await;
        told.map(|_| ()).map_err(|e| TellError::Agent(change.alarm.clone(), e))
    }
}

/// Takes changes from the queue until `shutdown`. A message leaves the queue once the agent knows all of
/// it; one that nobody can read, or that the agent refuses, ends with the dead letters.
pub(crate) async fn follow_queue(
    clients: &Clients,
    url: &str,
    teller: &Teller,
    shutdown: &Shutdown,
) {
    let mut pause = PAUSE.0;
    loop {
        let polled = tokio::select! {
            polled = poll(clients, url) => polled,
            () = shutdown.cancelled() => return,
        };
        let well = match polled {
            Ok(messages) => {
                let mut well = true;
                for message in &messages {
                    well &= take(clients, url, teller, message).await;
                }
                well
            }
            Err(_) => false, // The call was noted where it was made.
        };
        if well {
            pause = PAUSE.0;
            continue;
        }
        tokio::select! {
            () = tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..1.0))) => {}
            () = shutdown.cancelled() => return,
        }
        pause = (pause * 2).min(PAUSE.1);
    }
}

async fn poll(clients: &Clients, url: &str) -> Result<Vec<Message>, CallError> {
    let call = clients
        .sqs
        .receive_message()
        .queue_url(url)
        .max_number_of_messages(MESSAGES_MAX)
        .wait_time_seconds(POLL_SECS);
    let answer = clients.calls.make("sqs:ReceiveMessage", call.send()).await?;
    Ok(answer.messages.unwrap_or_default())
}

/// Whether the agent could be told; a message that cannot be understood is no fault of either.
async fn take(clients: &Clients, url: &str, teller: &Teller, message: &Message) -> bool {
    let (mut understood, mut told) = (true, true);
    for change in spillway_alarm::read(message.body().unwrap_or_default().as_bytes()) {
        match change {
            Ok(change) => match teller.tell(&change).await {
                Ok(()) => {
                    tracing::info!(alarm = change.alarm, state = ?change.state, "told the agent, from the queue");
                }
                Err(e) if e.refused() => {
                    understood = false;
                    tracing::warn!(reason = chain(&e), "the agent refuses an alarm from the queue");
                }
                Err(e) => {
                    told = false;
                    tracing::warn!(reason = chain(&e), "an alarm from the queue has to wait");
                }
            },
            Err(e) => {
                understood = false;
                tracing::warn!(reason = chain(&e), "a message of the queue is not understood");
            }
        }
    }
    if let Some(receipt) = message.receipt_handle().filter(|_| understood && told) {
        let call = clients.sqs.delete_message().queue_url(url).receipt_handle(receipt);
        // It comes again otherwise, and the agent passes over what it knows.
        let _ = clients.calls.make("sqs:DeleteMessage", call.send()).await;
    }
    told
}

/// Asks CloudWatch for the alarms of the site set, at once and then every so often, until `shutdown`.
pub(crate) async fn ask(clients: &Clients, name: &str, teller: &Teller, shutdown: &Shutdown) {
    let mut over = BTreeMap::new();
    loop {
        if let Ok(changes) = describe(clients, name).await {
            tell_described(teller, changes, &mut over).await;
        }
        tokio::select! {
            () = tokio::time::sleep(ASK_EVERY) => {}
            () = shutdown.cancelled() => return,
        }
    }
}

/// Tells of every alarm that is on, each time, so that an agent that starts hears of it, and once of each
/// that is over.
async fn tell_described(
    teller: &Teller,
    changes: Vec<AlarmChange>,
    over: &mut BTreeMap<String, UnixMillis>,
) {
    let mut failed = None;
    let known = std::mem::take(over);
    for change in changes {
        let at = change.changed_at;
        let ends = match change.state {
            AlarmState::Alarm => false,
            AlarmState::Ok => true,
            AlarmState::InsufficientData => continue,
        };
        let new = !ends || known.get(&change.alarm) != Some(&at);
        if new && let Err(e) = teller.tell(&change).await {
            failed = Some(e);
            continue;
        }
        if ends {
            over.insert(change.alarm, at);
        }
    }
    if let Some(e) = failed {
        tracing::warn!(reason = chain(&e), "the agent does not hear of alarms; asking again");
    }
}

/// The alarms of a site set, those in one state or all. Terraform begins their names with its own and a
/// `/`, which no site set has in its name: one's name may begin with all of another's.
///
/// # Errors
/// When CloudWatch does not tell.
pub(crate) async fn all(
    clients: &Clients,
    name: &str,
    state: Option<StateValue>,
) -> Result<(Vec<MetricAlarm>, Vec<CompositeAlarm>), CallError> {
    let (mut metric, mut composite) = (Vec::new(), Vec::new());
    let mut token = None;
    for _ in 0..PAGES_MAX {
        let call = clients
            .cloudwatch
            .describe_alarms()
            .alarm_name_prefix(format!("{name}/"))
            .alarm_types(AlarmType::MetricAlarm)
            .alarm_types(AlarmType::CompositeAlarm)
            .set_state_value(state.clone())
            .max_records(100)
            .set_next_token(token);
        let answer = clients.calls.make("cloudwatch:DescribeAlarms", call.send()).await?;
        metric.extend(answer.metric_alarms.unwrap_or_default());
        composite.extend(answer.composite_alarms.unwrap_or_default());
        token = answer.next_token.filter(|token| !token.is_empty());
        if token.is_none() {
            break;
        }
    }
    Ok((metric, composite))
}

/// The site set's alarms that ask for tiers, as they are.
pub(crate) async fn describe(clients: &Clients, name: &str) -> Result<Vec<AlarmChange>, CallError> {
    let (metric, composite) = all(clients, name, None).await?;
    let metric = metric.iter().map(|a| {
        (
            a.alarm_name(),
            a.state_value(),
            a.state_updated_timestamp(),
            a.alarm_description(),
            a.state_reason(),
        )
    });
    // While another alarm suppresses its actions, its topic hears nothing of it: nor does the agent.
    let composite = composite.iter().filter(|a| {
        a.actions_suppressed_by().is_none() || a.state_value() != Some(&StateValue::Alarm)
    });
    let composite = composite.map(|a| {
        (
            a.alarm_name(),
            a.state_value(),
            a.state_updated_timestamp(),
            a.alarm_description(),
            a.state_reason(),
        )
    });
    let changes = metric.chain(composite).filter_map(|(alarm, state, at, description, reason)| {
        let millis = at?.to_millis().ok().and_then(|millis| u64::try_from(millis).ok());
        let told = Told {
            alarm: alarm?,
            state: state?.as_str(),
            changed_at: UnixMillis(millis.unwrap_or(0)),
            description,
            reason: reason.unwrap_or_default(),
        };
        // A description that asks for what cannot be is told of when the alarm changes.
        change(&told).ok().flatten()
    });
    Ok(changes.collect())
}
