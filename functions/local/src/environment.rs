//! One execution environment: its process, its Runtime API, one request at a time.
//!
//! ```text
//!   cold start delay ─▶ process started ─▶ first request ─▶ idle ⇄ request ─▶ ended, reaped
//! ```
//!
//! The request that caused an environment is bound to it and waits for it, as on Lambda ("if no
//! environment is available, Lambda creates a new one" for that invocation); should another one
//! become free meanwhile, that one goes to the next request.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use spillway_part::clock;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

use crate::fleet::{Function, InvokeError, Job, Shared};
use crate::pool::EnvironmentId;
use crate::process::{Identity, Process};
use crate::runtime_api::{Invocation, Outcome, RuntimeApi};

/// Lambda's limit of the init phase.
const INIT_MAX: Duration = Duration::from_secs(10);

/// One environment.
#[derive(Debug)]
pub(crate) struct Environment {
    id: EnvironmentId,
    function: Arc<Function>,
    shared: Arc<Shared>,
    jobs: mpsc::Receiver<Job>,
    api: Arc<RuntimeApi>,
}

/// How an environment ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// It is not needed any more: SIGTERM, then SIGKILL.
    Orderly,
    /// It is stuck, or time is up: SIGKILL.
    AtOnce,
}

/// Stops the Runtime API with its environment.
struct Serving(AbortHandle);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Environment {
    pub(crate) fn new(
        id: EnvironmentId,
        function: Arc<Function>,
        shared: Arc<Shared>,
        jobs: mpsc::Receiver<Job>,
    ) -> Self {
        let api = Arc::new(RuntimeApi::new(function.arn.clone()));
        Self { id, function, shared, jobs, api }
    }

    /// Starts, serves `first` and what comes after it, ends.
    pub(crate) async fn live(mut self, first: Job) {
        let (function, environment) = (self.function.name.clone(), self.id);
        match self.start().await {
            Ok((mut process, serving)) => {
                tracing::debug!(function, %environment, pid = process.id(), "environment started");
                let end = self.serve(&mut process, first).await;
                self.leave();
                tracing::debug!(function, %environment, ?end, "environment ends");
                process.end(end == End::AtOnce).await;
                drop(serving);
            }
            Err(error) => {
                self.leave();
                tracing::warn!(function, %environment, error = %error, "an environment cannot start");
                let _ = first.reply.send(Err(error));
            }
        }
    }

    async fn start(&self) -> Result<(Process, Serving), InvokeError> {
        let starting = async {
            tokio::time::sleep(self.shared.cold_start).await;
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            let runtime_api = listener.local_addr()?;
            let serving = Serving(tokio::spawn(self.api.clone().serve(listener)).abort_handle());
            let environment = self.id.to_string();
            let function = self.function.name.as_str();
            let identity = Identity { function, environment: &environment, runtime_api };
            let process = self.shared.spawner.spawn(&self.shared.program, &identity).await?;
            Ok::<_, std::io::Error>((process, serving))
        };
        tokio::select! {
            started = starting => started.map_err(|e| InvokeError::Ended(e.to_string())),
            () = self.shared.kill.cancelled() => Err(InvokeError::Closed),
        }
    }

    async fn serve(&mut self, process: &mut Process, first: Job) -> End {
        let mut flow = self.invoke(process, first, true).await;
        loop {
            if let ControlFlow::Break(end) = flow {
                return end;
            }
            let job = tokio::select! {
                biased;
                () = self.shared.kill.cancelled() => return End::AtOnce,
                _ = process.ended() => {
                    self.report_end(process).await;
                    return End::Orderly;
                }
                job = self.jobs.recv() => match job {
                    Some(job) => job,
                    None => return End::Orderly,
                },
            };
            flow = self.invoke(process, job, false).await;
        }
    }

    /// One request; `cold` when this environment was started for it.
    async fn invoke(&mut self, process: &mut Process, job: Job, cold: bool) -> ControlFlow<End> {
        let began = clock::instant();
        let allowed = if cold { job.deadline + self.shared.cold_start } else { job.deadline };
        let left = allowed.saturating_sub(began.saturating_duration_since(job.since));
        let (reply, mut answered) = oneshot::channel();
        self.api.offer(Invocation {
            id: self.shared.request_id(),
            event: job.event,
            deadline_ms: clock::now()
                .plus_millis(u64::try_from(left.as_millis()).unwrap_or(u64::MAX))
                .0,
            trace_id: job.trace_id,
            reply,
        });
        let expired = tokio::time::sleep(left);
        tokio::pin!(expired);
        let mut starting = cold;
        let error = loop {
            tokio::select! {
                biased;
                outcome = &mut answered => {
                    let result = self.answered(outcome.ok());
                    if cold {
                        self.shared.started(clock::instant().saturating_duration_since(job.since));
                    }
                    // The pool hears of it before the client does, whose next request may follow
                    // at once.
                    self.shared.done(self.id);
                    // A client that has hung up does not hear it.
                    let _ = job.reply.send(result);
                    return ControlFlow::Continue(());
                }
                _ = process.ended() => {
                    let reason = self.report_end(process).await;
                    let taken = cold || !self.api.withdraw();
                    break if taken { InvokeError::Ended(reason) } else { InvokeError::NotTaken };
                }
                () = self.shared.kill.cancelled() => break InvokeError::Closed,
                () = self.api.ready(), if starting => {
                    starting = false;
                    self.shared.ready(self.id);
                }
                () = &mut expired => {
                    if starting && self.api.withdraw() {
                        let _ = job.reply.send(Err(InvokeError::Deadline));
                        return self.finish_start(process, began).await;
                    }
                    break InvokeError::Deadline;
                }
            }
        };
        if matches!(error, InvokeError::Ended(_) | InvokeError::Deadline) {
            self.shared.invoked(clock::instant().saturating_duration_since(began));
        }
        let end = if matches!(error, InvokeError::Deadline | InvokeError::Closed) {
            End::AtOnce
        } else {
            End::Orderly
        };
        self.leave();
        let _ = job.reply.send(Err(error));
        ControlFlow::Break(end)
    }

    fn answered(&self, outcome: Option<Outcome>) -> Result<Bytes, InvokeError> {
        let Some(Outcome { result, duration }) = outcome else {
            let reason = "it asked for more work without answering".to_owned();
            return Err(InvokeError::Failed(reason));
        };
        self.shared.invoked(duration);
        result.map_err(InvokeError::Failed)
    }

    /// The request that this environment was started for has given up. The start goes on without
    /// it: on a busy machine, to end it and begin again with the next request would never succeed.
    async fn finish_start(&mut self, process: &mut Process, began: Instant) -> ControlFlow<End> {
        let left = INIT_MAX.saturating_sub(clock::instant().saturating_duration_since(began));
        tokio::select! {
            biased;
            _ = process.ended() => {
                self.report_end(process).await;
                ControlFlow::Break(End::Orderly)
            }
            () = self.shared.kill.cancelled() => ControlFlow::Break(End::AtOnce),
            () = self.api.ready() => {
                self.shared.done(self.id);
                ControlFlow::Continue(())
            }
            () = tokio::time::sleep(left) => {
                let (function, environment) = (&self.function.name, self.id);
                tracing::warn!(function, %environment, "a function did not start within {INIT_MAX:?}");
                ControlFlow::Break(End::AtOnce)
            }
        }
    }

    /// Takes no more requests; one that came in the meantime goes to another environment.
    fn leave(&mut self) {
        self.shared.gone(self.id);
        self.jobs.close();
        while let Ok(job) = self.jobs.try_recv() {
            let _ = job.reply.send(Err(InvokeError::NotTaken));
        }
    }

    /// Says why the process ended by itself.
    async fn report_end(&self, process: &mut Process) -> String {
        let reason = match self.api.init_error() {
            Some(reason) => reason,
            None => process.last_words().await,
        };
        let (function, environment) = (&self.function.name, self.id);
        tracing::warn!(function, %environment, reason, "a function ended by itself");
        reason
    }
}
