//! Active health checks: `GET /healthz` of each upstream on a timer, one task each.
//!
//! A check that comes too late while requests are answered says that the service is slow, not that it
//! is down. Taking it out would turn a full service into none.

use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use spillway_part::client::{CallError, Client};
use spillway_part::{Shutdown, clock};

use crate::options::HealthOptions;
use crate::upstream::Upstream;

/// What an upstream must answer to pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pass {
    /// 2xx: it serves.
    Success,
    /// Anything: it is there. Load balancers answer for themselves, and checks are to start no function.
    Answer,
}

/// Checks an upstream until `shutdown`, and closes its old idle connections on the way.
pub(crate) async fn watch(
    upstream: Arc<Upstream>,
    pass: Pass,
    options: HealthOptions,
    shutdown: Shutdown,
) {
    let client = Client::default();
    let address = upstream.pool.address();
    let mut ticks = tokio::time::interval(options.period);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = shutdown.cancelled() => return,
        }
        let answers = upstream.answers();
        let check = client.call(Method::GET, address, "/healthz", Bytes::new(), options.deadline);
        let passed = tokio::select! {
            answer = check => match answer {
                Ok(answer) => pass == Pass::Answer || answer.status.is_success(),
                Err(CallError::Deadline(..)) => upstream.answers() != answers,
                Err(_) => false,
            },
            () = shutdown.cancelled() => return,
        };
        upstream.checked(passed, options.fall, options.rise);
        upstream.pool.reap(clock::instant());
    }
}
