//! What all requests of a storm share.

use std::net::IpAddr;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::HeaderMap;
use spillway_model::{Config, UnixMillis, rank};
use tokio_util::sync::CancellationToken;

use crate::client::{Change, Client, Target};
use crate::cohort::{Move, Side};
use crate::mix::Operation;
use crate::outcome::Served;
use crate::record::Recorder;
use crate::run::{Options, StormError};

/// What all requests of a storm share.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) config: Arc<Config>,
    pub(crate) service: Target,
    pub(crate) clients: Vec<Client>,
    pub(crate) start: Instant,
    pub(crate) started_at: UnixMillis,
    pub(crate) deadline: Duration,
    pub(crate) allow_remote: bool,
    /// By [`Operation`]: whether its requests may leave the site.
    moving: [bool; Operation::ALL.len()],
    recorder: Mutex<Recorder>,
    fatal: Mutex<Option<StormError>>,
    /// Cancelled when the storm must end at once.
    pub(crate) stop: CancellationToken,
    pub(crate) lookups: AtomicU64,
    pub(crate) connections: AtomicU64,
    pub(crate) retries: AtomicU64,
}

impl World {
    pub(crate) fn new(
        config: Arc<Config>,
        options: &Options,
        recorder: Recorder,
        stop: CancellationToken,
    ) -> Self {
        Self {
            service: Target {
                host: config.service.host.as_str().into(),
                port: config.service.port,
            },
            clients: (0..options.clients).map(|i| Client::new(options.sources, i)).collect(),
            start: spillway_part::clock::instant(),
            started_at: spillway_part::clock::now(),
            deadline: options.deadline,
            allow_remote: options.allow_remote,
            moving: Operation::ALL.map(|operation| operation.moves(&config)),
            recorder: Mutex::new(recorder),
            fatal: Mutex::new(None),
            stop,
            lookups: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            retries: AtomicU64::new(0),
            config,
        }
    }

    /// The counts. Held for moments only, never across an await.
    pub(crate) fn recorder(&self) -> MutexGuard<'_, Recorder> {
        self.recorder.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A moment by the wall clock as it was when the storm began.
    pub(crate) fn unix(&self, at: Instant) -> UnixMillis {
        let since = at.saturating_duration_since(self.start).as_millis();
        self.started_at.plus_millis(u64::try_from(since).unwrap_or(u64::MAX))
    }

    /// Whether requests of an operation tell which side their client is on.
    pub(crate) fn moves(&self, operation: Operation) -> bool {
        self.moving[operation as usize]
    }

    /// Who served an answer: by its header field, or else by where it came from.
    pub(crate) fn served(&self, headers: &HeaderMap, from: IpAddr) -> Served {
        let said = headers.get("x-spillway-served-by").and_then(|name| name.to_str().ok());
        let sites = &self.config.sites;
        if said == Some("cloud") {
            return Served::Cloud;
        }
        if let Some(index) = said.and_then(|id| sites.iter().position(|s| s.id.as_str() == id)) {
            return Served::Site(index);
        }
        if self.config.cloud.slb_addresses.contains(&from) {
            return Served::Cloud;
        }
        sites
            .iter()
            .position(|site| site.vips.contains(&from))
            .map_or(Served::Elsewhere, Served::Site)
    }

    /// Logs the first side of a client, or a change.
    pub(crate) fn changed(&self, client: &Client, change: Change) {
        let to = match change.seen.by {
            Served::Cloud => Side::Cloud,
            Served::Site(index) => match self.config.sites.get(index) {
                Some(site) => Side::Site(site.id.clone()),
                None => return,
            },
            Served::Elsewhere => return,
        };
        let address = IpAddr::from(client.address);
        self.recorder().moved(Move {
            sent_ms: self.unix(change.sent),
            at_ms: self.unix(change.seen.at),
            client: client.index,
            rank: rank::rank(&self.config.plan.salt, address.into()),
            to,
            via: change.seen.via,
            generation: change.seen.generation,
        });
    }

    /// Whether requests may go to an address; ends the storm when they may not.
    pub(crate) fn admits(&self, host: &str, ip: IpAddr) -> bool {
        let admitted = self.allow_remote || ip.is_loopback();
        if !admitted {
            self.fail(StormError::Remote { host: host.to_owned(), address: ip });
        }
        admitted
    }

    /// Ends the storm for a reason; the first one counts.
    pub(crate) fn fail(&self, why: StormError) {
        self.fatal.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why);
        self.stop.cancel();
    }

    /// Why the storm had to end, if it had to; asked once.
    pub(crate) fn fatal(&self) -> Option<StormError> {
        self.fatal.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
