//! Following the plan: by long poll at the agent, kept on disk, taken up again at the next start.
//!
//! A plan is taken only if its signature verifies and its generation is newer than the one held
//! (fencing). Nothing here fails once it runs: without an agent, with a full disk or with a forged
//! plan, the part serves on with what it holds and says so in its log.

use std::fs::File;
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use ed25519_dalek::VerifyingKey;
use http::{Method, StatusCode};
use spillway_model::{Config, Plan, SignedPlan, plan};
use tokio::sync::watch;

use crate::client::Client;
use crate::{Shutdown, StartError, files};

/// How long one long poll waits at the agent.
const WAIT: Duration = Duration::from_secs(30);
/// Pause after a failed poll: short, so that a restarted agent is heard again at once.
const PAUSE: Duration = Duration::from_millis(250);
/// Pause before following is started again after a fault of its own.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// The plan a process acts on. Clones see the same one; reading is wait-free.
#[derive(Debug, Clone)]
pub struct Plans {
    current: Arc<ArcSwap<Plan>>,
    generation: watch::Receiver<u64>,
}

impl Plans {
    /// The plan in force.
    #[must_use]
    pub fn load(&self) -> Arc<Plan> {
        self.current.load_full()
    }

    /// Waits until a plan other than the one last waited for is in force.
    pub async fn changed(&mut self) {
        if self.generation.changed().await.is_err() {
            // Nobody publishes any more; the caller waits for its shutdown beside this.
            std::future::pending::<()>().await;
        }
    }
}

/// The writing side of [`Plans`], for the agent and for tests.
#[derive(Debug)]
pub struct Publisher {
    current: Arc<ArcSwap<Plan>>,
    generation: watch::Sender<u64>,
}

impl Publisher {
    /// Starts with a plan.
    #[must_use]
    pub fn new(plan: Plan) -> (Self, Plans) {
        let (generation, watching) = watch::channel(plan.generation);
        let current = Arc::new(ArcSwap::from_pointee(plan));
        let plans = Plans { current: current.clone(), generation: watching };
        (Self { current, generation }, plans)
    }

    /// Puts a plan in force, unless one as new is already.
    pub fn publish(&self, plan: Plan) -> bool {
        let generation = plan.generation;
        if generation <= self.current.load().generation {
            return false;
        }
        self.current.store(Arc::new(plan));
        self.generation.send_replace(generation);
        true
    }
}

/// The public key that plans are verified with.
///
/// # Errors
/// When `plan.pub` in the state folder is missing or is no key.
pub fn trusted_key(config: &Config) -> Result<VerifyingKey, StartError> {
    key_in(config.state_path("plan.pub"), "there")
}

/// The public key that plans are verified with, where nothing has a state folder that was made before:
/// `plan.pub` beside the configuration, or else in the state folder.
///
/// # Errors
/// When neither is there, or it is no key.
pub fn shipped_key(config: &Config) -> Result<VerifyingKey, StartError> {
    let beside = config.path(Path::new("plan.pub"));
    if beside.try_exists().is_ok_and(|there| !there) {
        key_in(config.state_path("plan.pub"), "there or beside the configuration")
    } else {
        key_in(beside, "there")
    }
}

/// The key in a file. It comes from the agent, so to make another one helps nobody but the agent itself.
fn key_in(path: PathBuf, to: &str) -> Result<VerifyingKey, StartError> {
    let bytes = files::read(&path).map_err(|e| StartError::File {
        path: path.clone(),
        message: format!(
            "{e}; plans are verified with this key: copy the agent's plan.pub {to}; on the agent's host \
             `spillway keygen` makes it"
        ),
    })?;
    plan::public_key(&String::from_utf8_lossy(&bytes))
        .map_err(|e| StartError::File { path, message: e.to_string() })
}

/// Starts following: takes up the plan that `name` kept on disk, or the initial one, and polls the
/// agent until `shutdown`.
///
/// # Errors
/// When the key to verify with is missing.
pub fn follow(config: &Config, name: &str, shutdown: &Shutdown) -> Result<Plans, StartError> {
    let key = trusted_key(config)?;
    let file = config.state_path("plans").join(format!("{name}.json"));
    let initial =
        || Plan::initial(config.sites.iter().map(|site| site.id.clone()), config.dns.ttl_secs);
    let kept = read_kept(&file, &key);
    let (publisher, plans) = Publisher::new(kept.unwrap_or_else(initial));
    let follower = Arc::new(Follower { agent: config.agent.listen, key, file, publisher });
    let (shutdown, following) = (shutdown.clone(), shutdown.clone());
    tokio::spawn(supervise(shutdown, RESTART_PAUSE, move || {
        follower.clone().run(following.clone())
    }));
    Ok(plans)
}

/// Runs what `start` makes until `shutdown`, and again after `pause` whenever it ends or panics: a
/// part that silently followed no more would serve on with an ever older plan.
async fn supervise<F>(shutdown: Shutdown, pause: Duration, start: impl Fn() -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    loop {
        let ended = tokio::spawn(start()).await;
        if shutdown.is_cancelled() {
            return;
        }
        let reason = ended.err().map_or_else(|| "it ended".to_owned(), |e| e.to_string());
        tracing::error!(
            reason,
            "following the plan broke off; serving on with the last one and following again"
        );
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = shutdown.cancelled() => return,
        }
    }
}

struct Follower {
    agent: SocketAddr,
    key: VerifyingKey,
    file: PathBuf,
    publisher: Publisher,
}

impl Follower {
    /// Polls the agent until `shutdown`.
    async fn run(self: Arc<Self>, shutdown: Shutdown) {
        let client = Client::default();
        let mut reachable = true;
        loop {
            let after = self.publisher.current.load().generation;
            let path = format!("/v1/plan?after={after}&wait={}s", WAIT.as_secs());
            let poll = client.call(Method::GET, self.agent, &path, Bytes::new(), WAIT * 2);
            let answer = tokio::select! {
                answer = poll => answer,
                () = shutdown.cancelled() => return,
            };
            let outcome = match answer {
                Ok(answer) if answer.status == StatusCode::NOT_MODIFIED => Ok(()),
                Ok(answer) if answer.status.is_success() => self.take(answer.body).await,
                Ok(answer) => Err(format!("the agent answers {}", answer.status)),
                Err(e) => Err(chain(&e)),
            };
            match outcome {
                Ok(()) => reachable = true,
                Err(reason) => {
                    if std::mem::replace(&mut reachable, false) {
                        tracing::warn!(
                            generation = after,
                            reason,
                            "no plan from the agent; serving on with the last one"
                        );
                    }
                    tokio::select! {
                        () = tokio::time::sleep(PAUSE) => {}
                        () = shutdown.cancelled() => return,
                    }
                }
            }
        }
    }

    /// Puts an offered plan in force if it is signed and newer, and keeps it.
    async fn take(&self, body: Bytes) -> Result<(), String> {
        let signed: SignedPlan = serde_json::from_slice(&body).map_err(|e| e.to_string())?;
        let plan = signed.verify(&self.key).map_err(|e| chain(&e))?;
        let generation = plan.generation;
        if !self.publisher.publish(plan) {
            let held = self.publisher.current.load().generation;
            return Err(format!(
                "the agent offers generation {generation}, which is not newer than {held}"
            ));
        }
        tracing::info!(generation, "plan taken");
        // A slow disk holds up this task only, not the requests on its thread.
        let file = self.file.clone();
        let kept = tokio::task::spawn_blocking(move || keep(&file, &body)).await;
        if let Err(e) = kept.unwrap_or_else(|e| Err(e.into())) {
            tracing::warn!(generation, file = %self.file.display(), error = %e, "the plan is in force but cannot be kept on disk");
        }
        Ok(())
    }
}

/// Writes a file so that a reader, or the next start, sees either the old bytes or the new.
fn keep(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = file.parent().unwrap_or_else(|| Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut beside = PathBuf::from(file);
    beside.set_extension("json.new");
    let mut written = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .custom_flags(files::nonblocking())
        .open(&beside)?;
    written.write_all(bytes)?;
    // Without this a power cut can leave the new name on an empty file.
    written.sync_all()?;
    std::fs::rename(&beside, file)
}

fn read_kept(file: &Path, key: &VerifyingKey) -> Option<Plan> {
    let bytes = match files::read(file) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return None,
        Err(e) => {
            tracing::warn!(file = %file.display(), error = %e, "the kept plan cannot be read; starting from the configuration");
            return None;
        }
    };
    let plan = serde_json::from_slice::<SignedPlan>(&bytes)
        .map_err(|e| e.to_string())
        .and_then(|signed| signed.verify(key).map_err(|e| chain(&e)));
    plan.inspect_err(|reason| {
        tracing::warn!(file = %file.display(), reason, "the kept plan is not usable; starting from the configuration");
    })
    .ok()
}

/// An error and its sources in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests;
