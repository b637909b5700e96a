//! The admin listener that every part has: `/v1/load`, `/metrics`, `/healthz`, and what a part adds.

use std::fmt;
use std::sync::Arc;

use axum::extract::State;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use http::{StatusCode, header};
use spillway_model::SiteId;
use spillway_model::load::{Load, Part};
use tokio::net::TcpListener;

use crate::serve::{self, Limits};
use crate::{Plans, Shutdown, clock, manager, metrics};

/// Most connections at once. The agent, checks of health, a Prometheus and a person need a few; more
/// would take descriptors from the part's own work.
const CONNECTIONS_MAX: usize = 256;

/// Who a process is, as its load report says.
#[derive(Debug, Clone)]
pub struct Identity {
    part: Part,
    name: String,
    site: Option<SiteId>,
    boot: u64,
}

impl Identity {
    /// The identity of this process, with a boot number of its own.
    #[must_use]
    pub fn new(part: Part, name: &str, site: Option<SiteId>) -> Self {
        // A clash of two boots would need the same name and the same 64 bits; a machine without
        // entropy falls back on the clock.
        let boot = getrandom::u64().unwrap_or_else(|_| clock::now().0);
        Self { part, name: name.to_owned(), site, boot }
    }

    /// A load report with nothing but the head filled in.
    #[must_use]
    pub fn load(&self, generation: u64) -> Load {
        let cpu = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        #[expect(clippy::cast_precision_loss, reason = "seconds of CPU time")]
        let cpu_secs = cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9;
        let Self { part, name, site, boot } = self;
        Load { generation, cpu_secs, ..Load::new(*part, name, site.clone(), *boot, clock::now()) }
    }
}

type Fill = dyn Fn(&mut Load) + Send + Sync;
type Metrics = dyn Fn() -> String + Send + Sync;

/// The admin listener of one process.
#[derive(Clone)]
pub struct Admin {
    identity: Identity,
    plans: Plans,
    fill: Arc<Fill>,
    metrics: Arc<Metrics>,
    more: Router,
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").field("identity", &self.identity).finish_non_exhaustive()
    }
}

impl Admin {
    /// An admin listener whose load report `fill` completes from the part's counters.
    pub fn new(
        identity: Identity,
        plans: Plans,
        fill: impl Fn(&mut Load) + Send + Sync + 'static,
    ) -> Self {
        let metrics = Arc::new(String::new);
        Self { identity, plans, fill: Arc::new(fill), metrics, more: Router::new() }
    }

    /// Adds families of the part's own to `/metrics`: `metrics` renders them in the text exposition
    /// format 0.0.4, each with its HELP and TYPE, under names that the load report does not use.
    #[must_use]
    pub fn with_metrics(mut self, metrics: impl Fn() -> String + Send + Sync + 'static) -> Self {
        self.metrics = Arc::new(metrics);
        self
    }

    /// Adds routes of the part's own.
    #[must_use]
    pub fn with(mut self, more: Router) -> Self {
        self.more = self.more.merge(more);
        self
    }

    /// The load report, now.
    #[must_use]
    pub fn load(&self) -> Load {
        let mut load = self.identity.load(self.plans.load().generation);
        (self.fill)(&mut load);
        load.sum_latency();
        load
    }

    /// How it is, in a line for the service manager.
    fn status(&self) -> String {
        match self.load().generation {
            0 => "serving as configured; no plan yet".to_owned(),
            generation => format!("serving by plan {generation}"),
        }
    }

    /// The routes, for a part that serves them on a listener of its own. `/healthz` answers 200
    /// until `shutdown` and 503 from then on.
    pub fn router(self, shutdown: &Shutdown) -> Router {
        let more = self.more.clone();
        let ending = shutdown.clone();
        let healthz = move || async move {
            if ending.is_cancelled() {
                (StatusCode::SERVICE_UNAVAILABLE, "draining\n")
            } else {
                (StatusCode::OK, "ok\n")
            }
        };
        Router::new()
            .route("/v1/load", get(|State(admin): State<Self>| async move { Json(admin.load()) }))
            .route("/metrics", get(metrics_page))
            .with_state(self)
            .route("/healthz", get(healthz))
            .merge(more)
    }

    /// Serves the routes until `shutdown`, bounded as [`serve::http`] says.
    ///
    /// # Errors
    /// When the listener is broken.
    pub async fn serve(self, listener: TcpListener, shutdown: Shutdown) -> std::io::Result<()> {
        self.serve_until(listener, &shutdown, shutdown.clone()).await
    }

    /// Serves the routes until `ended`, for a part that others must see draining from `shutdown` until
    /// then. From here on the service manager hears that the part is ready and how it is, each time
    /// from a load report made for it: a part that cannot even count any more is not well.
    ///
    /// # Errors
    /// When the listener is broken.
    pub async fn serve_until(
        self,
        listener: TcpListener,
        shutdown: &Shutdown,
        ended: Shutdown,
    ) -> std::io::Result<()> {
        let told = self.clone();
        let tending = tokio::spawn(manager::tend(move || Some(told.status()), shutdown.clone()));
        let app = self.router(shutdown);
        let limits = Limits { connections_max: CONNECTIONS_MAX, ..Limits::default() };
        let served = serve::http(listener, app, limits, ended).await;
        if shutdown.is_cancelled() {
            // It panics where the part's own report does; that is no reason to end otherwise.
            let _ = tending.await;
        }
        served
    }
}

async fn metrics_page(State(admin): State<Admin>) -> impl IntoResponse {
    let page = metrics::render(&admin.load()) + &(admin.metrics)();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], page)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use http::Method;
    use spillway_model::Plan;
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpStream;

    use super::*;
    use crate::client::Client;
    use crate::follow::Publisher;

    #[tokio::test]
    async fn slow_connections_do_not_starve_the_check_of_health() {
        let (_publisher, plans) = Publisher::new(Plan::initial([], 5));
        let admin = Admin::new(Identity::new(Part::Dns, "dns", None), plans, |_| {});
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (at, shutdown) = (listener.local_addr().unwrap(), Shutdown::new());
        let serving = tokio::spawn(admin.serve(listener, shutdown.clone()));
        let mut slow = Vec::new();
        for _ in 0..CONNECTIONS_MAX + 10 {
            let mut stream = TcpStream::connect(at).await.unwrap();
            stream.write_all(b"GET /healthz HT").await.unwrap();
            slow.push(stream);
        }
        // Less than the time a head may take.
        let deadline = Duration::from_secs(8);
        let client = Client::default();
        let answer = client.call(Method::GET, at, "/healthz", Bytes::new(), deadline).await;
        assert_eq!(answer.unwrap().status, StatusCode::OK);
        drop(slow);
        shutdown.cancel();
        serving.await.unwrap().unwrap();
    }
}
