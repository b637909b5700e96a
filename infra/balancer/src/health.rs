//! Active health checks: a `GET /healthz` at each gateway's admin address, each on a loop of its own.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, StatusCode};
use spillway_part::Shutdown;
use spillway_part::client::Client;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::Options;
use crate::upstreams::{Check, Upstreams};

/// Spawns the checks of all upstreams; they end at `shutdown`, as nothing new is accepted then.
pub(crate) fn watch_all(
    tasks: &mut JoinSet<()>,
    upstreams: &Arc<Upstreams>,
    options: &Options,
    shutdown: &Shutdown,
) {
    let client = Client::default();
    for (index, admin) in upstreams.admins().into_iter().enumerate() {
        let (upstreams, client) = (upstreams.clone(), client.clone());
        let (options, shutdown) = (options.clone(), shutdown.clone());
        let watch = async move {
            let mut every = tokio::time::interval(options.check_every);
            every.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                every.tick().await;
                upstreams.checked(index, check(&client, admin, &options).await);
            }
        };
        tasks.spawn(async move {
            tokio::select! {
                () = watch => {}
                () = shutdown.cancelled() => {}
            }
        });
    }
}

async fn check(client: &Client, admin: SocketAddr, options: &Options) -> Check {
    let call = client.call(Method::GET, admin, "/healthz", Bytes::new(), options.check_deadline);
    match call.await {
        Ok(answer) if answer.status.is_success() => Check::Pass,
        Ok(answer) if answer.status == StatusCode::SERVICE_UNAVAILABLE => Check::Draining,
        Ok(_) | Err(_) => Check::Fail,
    }
}
