//! What follows from what happens: processes, probes, notifications, invocations.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Uri};
use http_body_util::{BodyExt as _, Full, Limited};

use super::{Invoked, Shared, https};
use crate::aws::Effect;
use crate::elb::Probe;
use crate::functions::Invocation;
use crate::sns::{Notice, Protocol};

/// Pauses between the tries of a delivery by HTTP.
const PAUSES: [Duration; 3] =
    [Duration::from_millis(200), Duration::from_secs(1), Duration::from_secs(3)];
/// How long an endpoint may take.
const DELIVERY: Duration = Duration::from_secs(15);
/// Most of an answer that is read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

impl Shared {
    /// Does what follows. Notifications are signed in their order; what takes long goes on by
    /// itself.
    pub(super) async fn enact(self: Arc<Self>, effect: Effect) {
        match effect {
            // The hooks' thread has ended only if a hook has panicked.
            Effect::Booted(machine) => drop(self.machines.try_send((true, machine))),
            Effect::Ended(machine) => drop(self.machines.try_send((false, machine))),
            Effect::Probe(probe) => self.probe(probe).await,
            Effect::Notify(notice) => self.notify(notice).await,
            Effect::Invoke(invocation) => self.invoke_later(invocation).await,
        }
    }

    async fn probe(self: Arc<Self>, probe: Probe) {
        let Ok(place) = self.tasks.clone().acquire_owned().await else { return };
        tokio::spawn(async move {
            let uri = format!("http://{}{}", probe.address, probe.path);
            let timeout = Duration::from_millis(probe.timeout_ms);
            let asked = tokio::time::timeout(timeout, self.send(&uri, None)).await;
            let found = asked.ok().flatten().map(|status| probe.matches(status));
            self.with(|aws| aws.probed(&probe.group, &probe.target, probe.epoch, found));
            drop(place);
        });
    }

    /// The status of an answer to a GET, or to a POST of a notification.
    async fn send(&self, uri: &str, posted: Option<(&Notice, &str)>) -> Option<u16> {
        let uri: Uri = uri.parse().ok()?;
        let request = match posted {
            None => Request::get(uri)
                .header("user-agent", "ELB-HealthChecker/2.0")
                .body(Full::default()),
            Some((notice, body)) => Request::post(uri)
                .header("content-type", "text/plain; charset=UTF-8")
                .header("user-agent", "Amazon Simple Notification Service Agent")
                .header("x-amz-sns-message-type", notice.kind)
                .header("x-amz-sns-message-id", &notice.id)
                .header("x-amz-sns-topic-arn", &notice.topic)
                .header("x-amz-sns-subscription-arn", &notice.subscription)
                .body(Full::new(Bytes::from(body.to_owned()))),
        };
        let request = request.ok()?;
        let response = if request.uri().scheme_str() == Some("https") {
            let tls = self.tls.lock().unwrap_or_else(PoisonError::into_inner).clone();
            https::send(&tls?, request).await?
        } else {
            self.client.request(request).await.ok()?
        };
        let status = response.status().as_u16();
        // Read, so that the connection can be used again.
        let _rest = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        Some(status)
    }

    async fn notify(self: Arc<Self>, notice: Notice) {
        // Without openssl nothing is delivered, as a test that looks for it will say.
        let Ok(body) = self.signer.body(&notice, &self.endpoint).await else { return };
        match notice.protocol {
            Protocol::Sqs => drop(self.with(|aws| aws.queued(&notice.endpoint, body))),
            Protocol::Email => {}
            Protocol::Lambda => {
                let begun = self.with(|aws| aws.invoke(&notice.endpoint, None, body.into_bytes()));
                if let Ok(invocation) = begun {
                    self.invoke_later(invocation).await;
                }
            }
            Protocol::Http => {
                let Ok(place) = self.tasks.clone().acquire_owned().await else { return };
                tokio::spawn(async move {
                    for pause in PAUSES {
                        let sent = self.send(&notice.endpoint, Some((&notice, &body)));
                        let answered = tokio::time::timeout(DELIVERY, sent).await;
                        if answered.ok().flatten().is_some_and(|s| (200..300).contains(&s)) {
                            break;
                        }
                        tokio::time::sleep(pause).await;
                    }
                    drop(place);
                });
            }
        }
    }

    /// Runs an invocation whose answer nobody awaits.
    pub(super) async fn invoke_later(self: Arc<Self>, invocation: Invocation) {
        let Ok(place) = self.tasks.clone().acquire_owned().await else { return };
        tokio::spawn(async move {
            let _nobody_asks = self.run(invocation).await;
            drop(place);
        });
    }

    /// Runs an invocation, at most as long as the function may take.
    pub(super) async fn run(&self, invocation: Invocation) -> Invoked {
        let timeout = Duration::from_millis(invocation.timeout_ms);
        let running = tokio::time::timeout(timeout, self.hooks.invoke(invocation.clone())).await;
        let invoked = running.unwrap_or_else(|_| {
            let seconds = timeout.as_secs_f64();
            let error =
                format!("{{\"errorMessage\":\"Task timed out after {seconds:.2} seconds\"}}");
            Invoked { payload: error.into_bytes(), failed: true }
        });
        self.with(|aws| aws.invoked(&invocation, invoked.failed));
        invoked
    }
}
