//! A configuration in a folder of its own, with fake parts that answer as told.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::StatusCode;
use spillway_daemon::Agent;
use spillway_model::config::edited;
use spillway_model::load::{FunctionsLoad, Load, Part, RouteLoad, UplinkLoad, UpstreamLoad};
use spillway_model::plan::{encode_key, signing_key};
use spillway_model::{Config, RouteId, SiteId, UnixMillis, histogram};
use spillway_part::Shutdown;
use spillway_part::client::{Answer, Client};
use spillway_part::start::listen_tcp;
use spillway_test_support::{Block, example_config};
use tempfile::TempDir;

pub(crate) const TOKEN: &str = "0123456789abcdef0123456789abcdef";
pub(crate) const START: u64 = 1_800_000_000_000;
const PATIENCE: Duration = Duration::from_secs(30);

/// How a fake part answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    Well,
    Never,
    Error,
    Garbage,
}

#[derive(Debug)]
pub(crate) struct Fake {
    pub(crate) load: Mutex<Load>,
    pub(crate) mood: Mutex<Mood>,
    now: Arc<AtomicU64>,
}

async fn answer(State(fake): State<Arc<Fake>>) -> Response {
    let mood = *fake.mood.lock().unwrap();
    match mood {
        Mood::Well => {
            let mut load = fake.load.lock().unwrap().clone();
            load.sum_latency();
            load.at = UnixMillis(fake.now.load(Ordering::Relaxed));
            Json(load).into_response()
        }
        Mood::Never => std::future::pending().await,
        Mood::Error => (StatusCode::INTERNAL_SERVER_ERROR, "no").into_response(),
        Mood::Garbage => "[1,2".into_response(),
    }
}

pub(crate) struct Site {
    pub(crate) config: Arc<Config>,
    pub(crate) folder: TempDir,
    pub(crate) fakes: Vec<Arc<Fake>>,
    now: Arc<AtomicU64>,
    text: String,
    _block: Block,
}

impl Site {
    /// With a tick of this many milliseconds, and every part answering.
    pub(crate) async fn new(tick_ms: i64) -> Self {
        let (block, folder) = (Block::claim(), TempDir::new().unwrap());
        let edits = [
            ("agent.tick_ms", tick_ms.into()),
            // Long, so that renewals do not come between what a test looks at.
            ("plan.lease_secs", 3000.into()),
        ];
        let text = edited(&example_config(&block, folder.path()), &edits).unwrap();
        let config = Arc::new(Config::parse(&text, folder.path()).unwrap());
        std::fs::create_dir_all(config.state_path("")).unwrap();
        write_keys(&config, [7; 32]);
        write_secret(&config, "operator.token", &format!("{TOKEN}\n"));
        let now = Arc::new(AtomicU64::new(START));
        let mut site = Self { config, folder, fakes: Vec::new(), now, text, _block: block };
        site.start_parts().await;
        site
    }

    async fn start_parts(&mut self) {
        let config = self.config.clone();
        let east = &config.sites[0];
        let id = Some(&east.id);
        self.part(Part::Dns, "dns", None, config.dns.admin).await;
        self.part(Part::Balancer, "east-balancer", id, east.balancer.admin).await;
        for gateway in &east.gateways {
            self.part(Part::Gateway, &gateway.name, id, gateway.admin).await;
        }
        for service in &east.services {
            self.part(Part::Service, &service.name, id, service.admin).await;
        }
        self.part(Part::Cloud, "cloud", None, config.cloud.local.as_ref().unwrap().admin).await;
    }

    async fn part(&mut self, part: Part, name: &str, site: Option<&SiteId>, at: SocketAddr) {
        let load = Load {
            cpu_secs: 0.1,
            uplink: (part == Part::Balancer).then(UplinkLoad::default),
            functions: (part == Part::Cloud).then(|| FunctionsLoad {
                environments_max: 1000,
                burst_left: 1000,
                burst_per_sec: 100.0,
                cold_start_ms: 150.0,
                ..FunctionsLoad::default()
            }),
            ..Load::new(part, name, site.cloned(), 1, UnixMillis(START))
        };
        let fake = Arc::new(Fake {
            load: Mutex::new(load),
            mood: Mutex::new(Mood::Well),
            now: self.now.clone(),
        });
        self.fakes.push(fake.clone());
        let listener = listen_tcp(at, "a fake part").await.unwrap();
        let app = Router::new().route("/v1/load", get(answer)).with_state(fake);
        tokio::spawn(async move { axum::serve(listener, app).await });
    }

    pub(crate) fn fake(&self, part: Part) -> &Fake {
        self.fakes.iter().find(|fake| fake.load.lock().unwrap().part == part).unwrap()
    }

    pub(crate) fn set_mood(&self, part: Part, mood: Mood) {
        *self.fake(part).mood.lock().unwrap() = mood;
    }

    pub(crate) fn now(&self) -> UnixMillis {
        UnixMillis(self.now.load(Ordering::Relaxed))
    }

    /// The text of the configuration, changed.
    pub(crate) fn changed(&self, edits: &[(&str, toml::Value)]) -> Arc<Config> {
        let text = edited(&self.text, edits).unwrap();
        Arc::new(Config::parse(&text, self.folder.path()).unwrap())
    }

    /// A process beside a cloud on AWS, and the configuration with a section for it.
    pub(crate) async fn add_aws(&mut self) {
        let mut admin = self.config.cloud.local.as_ref().unwrap().admin;
        admin.set_port(admin.port() + 1);
        let arn = "arn:aws:elasticloadbalancing:eu-central-1:123456789012";
        let text = format!(
            "{}\n[cloud.aws]\nregion = \"eu-central-1\"\nname = \"east\"\nadmin = \"{admin}\"\n\
             [[cloud.aws.rule]]\narn = \"{arn}:listener-rule/app/east/1/2/3\"\n\
             target_group = \"{arn}:targetgroup/functions/1\"\n\
             [cloud.aws.gateways]\nautoscaling_group = \"east\"\n\
             target_group = \"{arn}:targetgroup/gateways/1\"\nweighted_qps = 100\nmax = 4\n",
            self.text
        );
        self.config = Arc::new(Config::parse(&text, self.folder.path()).unwrap());
        self.part(Part::Aws, "aws", None, admin).await;
    }

    pub(crate) async fn agent(&self) -> Agent {
        Agent::start(self.config.clone()).await.unwrap()
    }

    pub(crate) async fn refusal(&self) -> String {
        match Agent::start(self.config.clone()).await {
            Ok(_) => panic!("the agent starts"),
            Err(e) => e.to_string(),
        }
    }

    /// A second passes in which `rps` requests come for the site, and the agent ticks.
    pub(crate) async fn second(&self, agent: &mut Agent, rps: u64) {
        let now = self.now.fetch_add(1000, Ordering::Relaxed) + 1000;
        let plan = agent.plans().load();
        let share = plan.share(&SiteId::new("east").unwrap()).get();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "requests")]
        let spilled = (share * rps as f64).round() as u64;
        self.serve(rps - spilled, spilled, plan.generation);
        agent.tick(UnixMillis(now)).await;
    }

    /// Counts requests served at home and redirected, as the parts of a site would.
    fn serve(&self, home: u64, spilled: u64, generation: u64) {
        const QR_BYTES: u64 = 9000;
        let gateways: u64 = self.config.sites[0].gateways.len().try_into().unwrap();
        let count = |load: &mut Load, home: u64, spilled: u64| {
            let route = load.routes.entry(RouteId::new("qr").unwrap()).or_default();
            if route.latency.is_empty() {
                route.latency = vec![0; histogram::BUCKETS];
            }
            route.add(&RouteLoad {
                arrivals: home + spilled,
                served: home,
                redirected: spilled,
                response_bytes: home * QR_BYTES,
                served_bytes: home * QR_BYTES,
                ..RouteLoad::default()
            });
            route.latency[histogram::bucket(20_000)] += home;
        };
        for fake in &self.fakes {
            let mut load = fake.load.lock().unwrap();
            load.generation = generation;
            load.cpu_secs += 0.1;
            match load.part {
                Part::Gateway => count(&mut load, home / gateways, spilled / gateways),
                Part::Service => count(&mut load, home, 0),
                Part::Cloud => count(&mut load, spilled, 0),
                Part::Balancer => {
                    load.uplink.as_mut().unwrap().bytes += home * QR_BYTES;
                    for gateway in &self.config.sites[0].gateways {
                        let healthy = UpstreamLoad { healthy: true, ..UpstreamLoad::default() };
                        load.upstreams.insert(gateway.name.clone(), healthy);
                    }
                }
                Part::Dns | Part::Agent | Part::Aws => {}
            }
        }
    }

    pub(crate) fn journal_rows(&self) -> Journal {
        Journal(self.config.state_path("journal.db"))
    }
}

/// The journal's file, as another program sees it.
pub(crate) struct Journal(std::path::PathBuf);

impl Journal {
    pub(crate) async fn connect(&self) -> sqlx::SqliteConnection {
        use sqlx::ConnectOptions as _;
        sqlx::sqlite::SqliteConnectOptions::new().filename(&self.0).connect().await.unwrap()
    }

    /// Who ordered what, in that order.
    pub(crate) async fn audit(&self) -> Vec<(String, String)> {
        let audit = sqlx::query_as("SELECT who, what FROM audit ORDER BY id");
        audit.fetch_all(&mut self.connect().await).await.unwrap()
    }
}

/// Writes a file of the state folder that only its owner may use.
pub(crate) fn write_secret(config: &Config, name: &str, content: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    let path = config.state_path(name);
    std::fs::write(&path, content).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

pub(crate) fn write_keys(config: &Config, seed: [u8; 32]) {
    let line = encode_key(&seed);
    let key = signing_key(&line).unwrap();
    write_secret(config, "plan.key", &format!("{line}\n"));
    let public = encode_key(key.verifying_key().as_bytes());
    std::fs::write(config.state_path("plan.pub"), format!("{public}\n")).unwrap();
}

/// A running agent: its API and its loop.
pub(crate) struct Running {
    pub(crate) at: SocketAddr,
    pub(crate) client: Client,
    pub(crate) operator: Client,
    pub(crate) shutdown: Shutdown,
    pub(crate) task: tokio::task::JoinHandle<()>,
}

impl Running {
    pub(crate) async fn start(site: &Site) -> Self {
        Self::serve(site, site.agent().await).await
    }

    pub(crate) async fn serve(site: &Site, agent: Agent) -> Self {
        let at = site.config.agent.listen;
        let listener = listen_tcp(at, "agent.listen").await.unwrap();
        let shutdown = Shutdown::new();
        let task = tokio::spawn(spillway_daemon::serve(agent, listener, shutdown.clone()));
        let client = Client::default();
        let operator = client.clone().with_token(TOKEN.to_owned());
        Self { at, client, operator, shutdown, task }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        let body = bytes::Bytes::new();
        self.client.call(http::Method::GET, self.at, path, body, PATIENCE).await.unwrap()
    }

    pub(crate) async fn json<T: serde::de::DeserializeOwned>(&self, path: &str) -> T {
        self.client.get(self.at, path, PATIENCE).await.unwrap()
    }

    pub(crate) async fn send(&self, method: &str, path: &str, body: &str) -> Answer {
        let method = method.parse().unwrap();
        let body = bytes::Bytes::from(body.to_owned());
        self.operator.call(method, self.at, path, body, PATIENCE).await.unwrap()
    }

    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(PATIENCE, self.task).await.unwrap().unwrap();
    }
}

pub(crate) fn error_of(answer: &Answer) -> String {
    serde_json::from_slice::<spillway_model::api::ErrorBody>(&answer.body).unwrap().error
}
