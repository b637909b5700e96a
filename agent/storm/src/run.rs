//! Running a storm.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use spillway_model::Config;
use spillway_part::start::{DRAIN, open_files};
use spillway_part::{Shutdown, clock};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::exchange;
use crate::mix::Mix;
use crate::population::{CLIENTS_MAX, SOURCES, address, is_network};
use crate::profile::{Curve, Profile, ProfileError, second_index};
use crate::progress::Progress;
use crate::record::Recorder;
use crate::report::Report;
use crate::resolve;
use crate::schedule::Schedule;
use crate::watch::{self, Watch};
use crate::world::World;

/// A request that cannot start within this time of when it was meant to is an overrun.
const LATE_MAX: Duration = Duration::from_secs(1);
/// Longest deadline of a request.
const DEADLINE_MAX: Duration = Duration::from_secs(50);
/// Most requests under way that may be asked for.
const IN_FLIGHT_MAX: usize = 100_000;
/// Arrivals that are due at once and are started before those already started get a turn.
const BATCH: usize = 32;

/// What to do.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// The rate over time.
    pub profile: Profile,
    /// Size of the population, 1 to [`CLIENTS_MAX`].
    pub clients: u32,
    /// Seed of all that is drawn by chance.
    pub seed: u64,
    /// What clients ask for.
    pub mix: Mix,
    /// Most requests under way; those beyond count as overruns.
    pub in_flight_max: usize,
    /// From the intended start to the answer's last byte, redirects included. At most 50 s.
    pub deadline: Duration,
    /// Whether requests may leave this machine.
    pub allow_remote: bool,
    /// A /10 whose addresses the clients have as their own. Other than on loopback, this machine must
    /// have them (`ip route add local NETWORK/10 dev lo`) and the answers must find their way back.
    pub sources: Ipv4Addr,
}

impl Options {
    /// The usual options for a profile: 1,000 clients, seed 1, 20,000 requests under way, 10 s.
    #[must_use]
    pub fn new(profile: Profile) -> Self {
        Self {
            profile,
            clients: 1000,
            seed: 1,
            mix: Mix::default(),
            in_flight_max: 20_000,
            deadline: Duration::from_secs(10),
            allow_remote: false,
            sources: SOURCES,
        }
    }
}

/// Why there was no storm, or why it was ended.
#[derive(Debug, thiserror::Error)]
pub enum StormError {
    /// The profile cannot be played.
    #[error("the profile cannot be played")]
    Profile(#[from] ProfileError),
    /// An option is out of its range.
    #[error("{what} is {value}: use {range}")]
    Option {
        /// Which.
        what: &'static str,
        /// Its value.
        value: String,
        /// What it may be.
        range: String,
    },
    /// The service's name cannot be looked up even before the first request.
    #[error(
        "cannot look up `{host}` at the name server {server}: is everything up (`spillway up`)?"
    )]
    Lookup {
        /// The name.
        host: String,
        /// The server asked.
        server: std::net::SocketAddr,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Requests would leave this machine.
    #[error(
        "`{host}` is at {address}, which is not on this machine: a storm there needs the consent of whoever runs it; allow remote targets if you have it"
    )]
    Remote {
        /// Whose address.
        host: String,
        /// Which.
        address: IpAddr,
    },
    /// The clients' addresses are not this machine's.
    #[error(
        "the clients' addresses are in {sources}/10, which this machine does not have: give it to this machine (`ip route add local {sources}/10 dev lo`), or leave --sources out to use loopback"
    )]
    Sources {
        /// The first address of the /10.
        sources: Ipv4Addr,
        /// Why a socket could not have one.
        #[source]
        source: std::io::Error,
    },
    /// The generator could not be set up.
    #[error("cannot set up the generator")]
    Setup(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The generator's thread broke down.
    #[error("the generator broke down; its log says where")]
    Broken,
}

/// Runs a storm and reports what came of it.
///
/// The generator has a thread and a current-thread runtime of its own, so that nothing else in the
/// process delays its arrivals. `shutdown` ends the storm early: no request starts any more, those
/// under way get [`DRAIN`], and the report says that it was interrupted.
///
/// # Errors
/// When an option is wrong, the service's name has no address, or requests would leave this machine.
pub async fn run(
    config: Arc<Config>,
    options: Options,
    progress: Progress,
    shutdown: Shutdown,
) -> Result<Report, StormError> {
    check(&options)?;
    let curve = options.profile.curve()?;
    let (done, report) = tokio::sync::oneshot::channel();
    // Should the caller stop waiting, the storm stops as well.
    let stop = shutdown.child_token();
    let _guard: DropGuard = stop.clone().drop_guard();
    let work = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let report = match runtime {
            Ok(runtime) => runtime.block_on(storm(config, options, curve, progress, stop)),
            Err(error) => Err(StormError::Setup(error.into())),
        };
        // Nobody waits any more when the caller is gone.
        drop(done.send(report));
    };
    std::thread::Builder::new()
        .name("storm".to_owned())
        .spawn(work)
        .map_err(|error| StormError::Setup(error.into()))?;
    report.await.unwrap_or(Err(StormError::Broken))
}

fn check(options: &Options) -> Result<(), StormError> {
    let wrong = |what, value: String, range: String| Err(StormError::Option { what, value, range });
    if !(1..=CLIENTS_MAX).contains(&options.clients) {
        let range = format!("1 to {CLIENTS_MAX}");
        return wrong("the number of clients", options.clients.to_string(), range);
    }
    if !(1..=IN_FLIGHT_MAX).contains(&options.in_flight_max) {
        let range = format!("1 to {IN_FLIGHT_MAX}");
        return wrong("the number of requests under way", options.in_flight_max.to_string(), range);
    }
    if options.deadline.is_zero() || options.deadline > DEADLINE_MAX {
        let range = format!("more than 0 and at most {DEADLINE_MAX:?}");
        return wrong("the deadline", format!("{:?}", options.deadline), range);
    }
    if !is_network(options.sources) {
        let range = "the first address of a /10, such as 127.64.0.0 or 10.64.0.0".to_owned();
        return wrong("--sources", options.sources.to_string(), range);
    }
    let first = std::net::SocketAddr::from((address(options.sources, 0), 0));
    std::net::UdpSocket::bind(first)
        .map_err(|source| StormError::Sources { sources: options.sources, source })?;
    Ok(())
}

async fn storm(
    config: Arc<Config>,
    options: Options,
    curve: Curve,
    progress: Progress,
    stop: CancellationToken,
) -> Result<Report, StormError> {
    first_lookup(&config, &options).await?;
    open_files();
    let cap = config.sites.iter().map(|site| site.uplink.bits_per_sec as f64).sum();
    let sites = config.sites.iter().map(|site| site.id.to_string()).collect();
    let recorder = Recorder::new(&curve, cap, sites, options.deadline)
        .map_err(|error| StormError::Setup(error.into()))?;
    let world = Arc::new(World::new(config, &options, recorder, stop.clone()));
    let ended = CancellationToken::new();
    let watching = tokio::spawn(watch::watch(world.clone(), progress, curve.secs(), ended.clone()));

    let tasks = TaskTracker::new();
    generate(&world, &options, &curve, &tasks).await;
    let interrupted = stop.is_cancelled();
    let elapsed = clock::instant().saturating_duration_since(world.start);
    tasks.close();
    let patience = if interrupted { DRAIN } else { options.deadline + Duration::from_secs(2) };
    tokio::select! {
        () = tasks.wait() => {}
        // A second wish to end is not heard: the wait is bounded.
        () = tokio::time::sleep(patience) => {}
    }
    ended.cancel();
    let watch = watching.await.map_err(|_| StormError::Broken)?;
    for client in &world.clients {
        client.flush(|change| world.changed(client, change));
    }
    report(&world, &options, watch, interrupted.then_some(elapsed))
}

/// Starts every request when it is due.
async fn generate(world: &Arc<World>, options: &Options, curve: &Curve, tasks: &TaskTracker) {
    let in_flight = Arc::new(AtomicUsize::new(0));
    let mut due_at_once = 0;
    let schedule = Schedule::new(curve, &options.mix, options.clients, options.seed);
    for (arrival, number) in schedule.zip(0..) {
        let intended = world.start + arrival.at;
        if intended > clock::instant() {
            due_at_once = 0;
            tokio::select! {
                biased;
                () = world.stop.cancelled() => return,
                () = tokio::time::sleep_until(intended.into()) => {}
            }
        } else {
            due_at_once += 1;
            if due_at_once % BATCH == 0 {
                tokio::task::yield_now().await;
            }
            if world.stop.is_cancelled() {
                return;
            }
        }
        let late = clock::instant().saturating_duration_since(intended);
        let second = second_index(arrival.at.as_secs_f64());
        let mut recorder = world.recorder();
        recorder.arrived(second, late);
        if late > LATE_MAX || in_flight.load(Relaxed) >= options.in_flight_max {
            recorder.overrun(second);
            continue;
        }
        recorder.sent(second);
        drop(recorder);
        in_flight.fetch_add(1, Relaxed);
        let (world, in_flight) = (world.clone(), in_flight.clone());
        tasks.spawn(async move {
            exchange::request(world, number, arrival).await;
            in_flight.fetch_sub(1, Relaxed);
        });
    }
    // The profile's last seconds may be silent.
    let end = world.start + Duration::from_secs_f64(curve.secs());
    tokio::select! {
        () = world.stop.cancelled() => {}
        () = tokio::time::sleep_until(end.into()) => {}
    }
}

/// Looks the service up once, so that a storm against nothing ends with one clear error.
async fn first_lookup(config: &Config, options: &Options) -> Result<(), StormError> {
    let (server, host) = (config.dns.listen, &config.service.host);
    let refuse = |host: &str, address: IpAddr| {
        let remote = !options.allow_remote && !address.is_loopback();
        if remote { Err(StormError::Remote { host: host.to_owned(), address }) } else { Ok(()) }
    };
    refuse("the name server", server.ip())?;
    let answer = resolve::lookup(server, address(options.sources, 0), host).await;
    let (found, _) = answer.map_err(|source| StormError::Lookup {
        host: host.clone(),
        server,
        source: source.into(),
    })?;
    refuse(host, found)
}

fn report(
    world: &World,
    options: &Options,
    watch: Watch,
    cut_after: Option<Duration>,
) -> Result<Report, StormError> {
    if let Some(error) = world.fatal() {
        return Err(error);
    }
    let mut recorder = world.recorder();
    recorder.finish();
    let mut seconds = std::mem::take(&mut recorder.seconds);
    if let Some(cut) = cut_after {
        seconds.truncate(second_index(cut.as_secs_f64().ceil()).max(1));
    }
    let mut totals = std::mem::take(&mut recorder.totals);
    totals.lookups = world.lookups.load(Relaxed);
    totals.connections = world.connections.load(Relaxed);
    totals.retries = world.retries.load(Relaxed);
    totals.uplink_bytes = watch.bytes();
    Ok(Report {
        started_at: world.started_at,
        profile: options.profile.to_string(),
        clients: options.clients,
        seed: options.seed,
        mix: options.mix.to_string(),
        interrupted: cut_after.is_some(),
        seconds,
        totals,
        moves: std::mem::take(&mut recorder.moves),
        moves_dropped: recorder.moves_dropped,
        shares: watch.shares,
    })
}
