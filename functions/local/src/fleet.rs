//! Functions and their environments: a request in, an answer out. The shell around [`crate::pool`].

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use spillway_model::load::FunctionsLoad;
use spillway_part::clock;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::environment::Environment;
use crate::pool::{EnvironmentId, Limits, Pool, Take, Throttle};
use crate::process::{Program, Spawner};

/// How often environments are looked through for idle ones.
const TICK: Duration = Duration::from_millis(250);
/// Weight of the newest cold start in the mean that is reported.
const COLD_START_WEIGHT: f64 = 0.2;

/// One function.
#[derive(Debug)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) arn: String,
    pub(crate) target_group_arn: String,
}

/// One request for a function.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) event: Bytes,
    pub(crate) trace_id: String,
    /// When the request wished for it.
    pub(crate) since: Instant,
    /// From then on, most time to answer, without the cold start.
    pub(crate) deadline: Duration,
    pub(crate) reply: oneshot::Sender<Result<Bytes, InvokeError>>,
}

/// Why a request got no answer from a function.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum InvokeError {
    /// Lambda refused it.
    #[error("throttled: {0}")]
    Throttled(Throttle),
    /// The environment ended before it took the request, so another may take it.
    #[error("the environment ended before it took the request")]
    NotTaken,
    /// The process could not start, or ended before it answered.
    #[error("the function ended before it answered: {0}")]
    Ended(String),
    /// The function reported an error.
    #[error("the function failed: {0}")]
    Failed(String),
    /// No answer in time.
    #[error("no answer in time")]
    Deadline,
    /// The cloud is being stopped.
    #[error("the cloud is being stopped")]
    Closed,
}

/// What the environments share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) program: Program,
    pub(crate) spawner: Spawner,
    pub(crate) cold_start: Duration,
    /// Ends everything at once.
    pub(crate) kill: CancellationToken,
    epoch: Instant,
    boot: u64,
    sequence: AtomicU64,
    environments_max: u64,
    burst_per_sec: f64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    pool: Pool,
    /// How to reach each environment of the pool. Dropping a handle ends its environment once it
    /// has done its work.
    handles: HashMap<EnvironmentId, mpsc::Sender<Job>>,
    closed: bool,
    invocations: u64,
    busy_time: Duration,
    started: u64,
    throttled: u64,
    cold_start_ms: Option<f64>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        clock::instant().saturating_duration_since(self.epoch)
    }

    fn number(&self) -> u64 {
        self.sequence.fetch_add(1, Relaxed)
    }

    /// A request id, in the form of a UUID.
    pub(crate) fn request_id(&self) -> String {
        let (boot, number) = (self.boot, self.number());
        let (time, rest) = (boot >> 32, boot & 0xffff_ffff);
        let low = number & 0xffff_ffff_ffff;
        format!(
            "{time:08x}-{:04x}-4{:03x}-8{:03x}-{low:012x}",
            rest >> 16,
            rest >> 4 & 0xfff,
            rest & 0xfff
        )
    }

    /// The environment asked for work.
    pub(crate) fn ready(&self, id: EnvironmentId) {
        self.state().pool.ready(id);
    }

    /// The environment is free for the next request.
    pub(crate) fn done(&self, id: EnvironmentId) {
        let now = self.now();
        let mut state = self.state();
        state.pool.done(id, now);
        if state.closed {
            state.handles.remove(&id);
        }
    }

    /// The environment takes no more requests.
    pub(crate) fn gone(&self, id: EnvironmentId) {
        let mut state = self.state();
        state.pool.gone(id);
        state.handles.remove(&id);
    }

    /// An invocation ended, after `duration` at work.
    pub(crate) fn invoked(&self, duration: Duration) {
        let mut state = self.state();
        state.invocations += 1;
        state.busy_time += duration;
    }

    /// A new environment gave its first answer so long after it was wished for.
    pub(crate) fn started(&self, after: Duration) {
        let ms = after.as_secs_f64() * 1000.0;
        let mut state = self.state();
        let mean = state.cold_start_ms.map_or(ms, |mean| mean + COLD_START_WEIGHT * (ms - mean));
        state.cold_start_ms = Some(mean);
    }
}

/// All environments of all functions. Dropping it ends them at once.
#[derive(Debug)]
pub(crate) struct Fleet {
    shared: Arc<Shared>,
    functions: Vec<Arc<Function>>,
    environments: TaskTracker,
    _kill: DropGuard,
}

/// An answer, and who gave it.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) result: Result<Bytes, InvokeError>,
    pub(crate) environment: Option<EnvironmentId>,
}

impl Fleet {
    /// A fleet of the functions named, with no environment yet.
    ///
    /// # Errors
    /// When the program is missing or a thread cannot be started.
    pub(crate) fn new(
        names: &[String],
        limits: Limits,
        cold_start: Duration,
        program: &Path,
        config: &Path,
    ) -> io::Result<Self> {
        let kill = CancellationToken::new();
        #[expect(clippy::cast_precision_loss, reason = "a number of environments")]
        let burst_per_sec = (limits.burst_per_10s * names.len() as u64) as f64 / 10.0;
        let shared = Arc::new(Shared {
            program: Program::new(program, config)?,
            spawner: Spawner::start()?,
            cold_start,
            kill: kill.clone(),
            epoch: clock::instant(),
            // A machine without entropy falls back on the clock; ids need only differ.
            boot: getrandom::u64().unwrap_or_else(|_| clock::now().0),
            sequence: AtomicU64::new(1),
            environments_max: limits.environments_max,
            burst_per_sec,
            state: Mutex::new(State {
                pool: Pool::new(limits, names.len()),
                handles: HashMap::new(),
                closed: false,
                invocations: 0,
                busy_time: Duration::ZERO,
                started: 0,
                throttled: 0,
                cold_start_ms: None,
            }),
        });
        tokio::spawn(end_idle(Arc::downgrade(&shared), kill.clone()));
        let functions = names.iter().map(|name| Arc::new(Function::new(name))).collect();
        let environments = TaskTracker::new();
        Ok(Self { shared, functions, environments, _kill: kill.drop_guard() })
    }

    /// The function of an index, as given to [`Self::new`].
    pub(crate) fn function(&self, function: usize) -> &Function {
        &self.functions[function]
    }

    /// A fresh root of an X-Ray trace id.
    pub(crate) fn trace_root(&self) -> String {
        let secs = clock::now().0 / 1000;
        let (boot, number) = (self.shared.boot & 0xffff_ffff_ffff, self.shared.number());
        format!("1-{secs:08x}-{boot:012x}{:012x}", number & 0xffff_ffff_ffff)
    }

    /// Invokes a function. Giving the future up does not stop the invocation, as closing a
    /// connection to an ALB does not.
    pub(crate) async fn invoke(
        &self,
        function: usize,
        event: &Bytes,
        trace_id: &str,
        deadline: Duration,
    ) -> Answered {
        let since = clock::instant();
        loop {
            let (reply, replied) = oneshot::channel();
            let job =
                Job { event: event.clone(), trace_id: trace_id.to_owned(), since, deadline, reply };
            let environment = match self.hand(function, job) {
                Ok(environment) => environment,
                Err(error) => return Answered { result: Err(error), environment: None },
            };
            let result = replied.await.unwrap_or(Err(InvokeError::Closed));
            // Only an environment that sat idle can end without taking its request, and it has left
            // the pool by now, so this comes to an end.
            if !matches!(result, Err(InvokeError::NotTaken)) {
                return Answered { result, environment: Some(environment) };
            }
        }
    }

    /// Gives a job to an environment of the pool's choice.
    fn hand(&self, function: usize, job: Job) -> Result<EnvironmentId, InvokeError> {
        let now = self.shared.now();
        let mut state = self.shared.state();
        if state.closed {
            return Err(InvokeError::Closed);
        }
        match state.pool.take(function, now) {
            Take::Throttled(why) => {
                state.throttled += 1;
                Err(InvokeError::Throttled(why))
            }
            Take::Idle(id) => {
                let handed = state.handles.get(&id).map(|handle| handle.try_send(job));
                // An idle environment of the pool has an empty queue: its environment leaves the
                // pool before it closes it.
                if let Some(Ok(())) = handed { Ok(id) } else { Err(InvokeError::Closed) }
            }
            Take::Start { environment: id, evicted } => {
                let (handle, jobs) = mpsc::channel(1);
                if let Some(evicted) = evicted {
                    state.handles.remove(&evicted);
                }
                state.handles.insert(id, handle);
                state.started += 1;
                drop(state);
                let function = self.functions[function].clone();
                let environment = Environment::new(id, function, self.shared.clone(), jobs);
                self.environments.spawn(environment.live(job));
                Ok(id)
            }
        }
    }

    /// What the load report says of functions.
    pub(crate) fn load(&self) -> FunctionsLoad {
        let now = self.shared.now();
        let state = self.shared.state();
        let counts = state.pool.counts(now);
        let configured_ms = self.shared.cold_start.as_secs_f64() * 1000.0;
        FunctionsLoad {
            invocations: state.invocations,
            duration_us: u64::try_from(state.busy_time.as_micros()).unwrap_or(u64::MAX),
            started: state.started,
            throttled: state.throttled,
            environments: counts.alive,
            busy: counts.busy,
            environments_max: self.shared.environments_max,
            burst_left: counts.burst_left,
            burst_per_sec: self.shared.burst_per_sec,
            cold_start_ms: state.cold_start_ms.unwrap_or(configured_ms),
        }
    }

    /// Ends all environments: idle ones now, busy ones when they are done or `grace` is over. When
    /// this returns, no process is left.
    pub(crate) async fn close(&self, grace: Duration) {
        {
            let mut state = self.shared.state();
            state.closed = true;
            state.handles.clear();
        }
        self.environments.close();
        if tokio::time::timeout(grace, self.environments.wait()).await.is_err() {
            tracing::warn!(left = self.environments.len(), "ending functions that are at work");
            self.shared.kill.cancel();
            self.environments.wait().await;
        }
        self.shared.kill.cancel();
    }
}

impl Function {
    fn new(name: &str) -> Self {
        // No real account has the number 0.
        Self {
            name: name.to_owned(),
            arn: format!("arn:aws:lambda:local:000000000000:function:{name}"),
            target_group_arn: format!(
                "arn:aws:elasticloadbalancing:local:000000000000:targetgroup/{name}/0000000000000000"
            ),
        }
    }
}

async fn end_idle(shared: std::sync::Weak<Shared>, kill: CancellationToken) {
    let mut ticks = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = kill.cancelled() => return,
        }
        let Some(shared) = shared.upgrade() else { return };
        let now = shared.now();
        let mut state = shared.state();
        for ended in state.pool.tick(now) {
            state.handles.remove(&ended);
        }
    }
}
