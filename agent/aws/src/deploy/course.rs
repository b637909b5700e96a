//! The course of a deployment: asks [`next()`], obeys, waits, and tells.

use std::collections::BTreeSet;
use std::time::Duration;

use spillway_part::{Shutdown, clock};

use crate::call::{CallError, Class};

use super::act::{Act, Did};
use super::next::{Progress, Step, Waiting, next};
use super::run::{Deployment, Outcome, Packed, passes, told};
use super::seen::Seen;
use super::tell::Said;
use super::{look, watch};

/// A call that may pass by itself is made so often,
const TRIES_MAX: u32 = 8;
/// and so often where Lambda is at work on what is called: a new version within a network takes minutes.
const TRIES_MAX_BUSY: u32 = 60;
/// The pause before another try grows up to so many times the first.
const PAUSES_MAX: u32 = 5;
/// What AWS says when a revision is not the last one any more.
const PRECONDITION: &str = "PreconditionFailedException";

/// A deployment on its way.
pub(crate) struct Course<'a, 'b> {
    deployment: &'b mut Deployment<'a>,
    seen: &'b mut Seen,
    packed: &'b Packed,
    shutdown: &'b Shutdown,
    progress: Progress,
    /// Functions that must be looked at again.
    stale: BTreeSet<String>,
    /// Calls that failed one after the other.
    failures: u32,
    interrupted: bool,
}

impl<'a, 'b> Course<'a, 'b> {
    /// A deployment at its beginning, or where one that was killed has come to.
    pub(crate) fn new(
        deployment: &'b mut Deployment<'a>,
        seen: &'b mut Seen,
        packed: &'b Packed,
        shutdown: &'b Shutdown,
    ) -> Self {
        Self {
            deployment,
            seen,
            packed,
            shutdown,
            progress: Progress::default(),
            stale: BTreeSet::new(),
            failures: 0,
            interrupted: false,
        }
    }

    /// Step after step until it is over.
    pub(crate) async fn run(mut self) -> Outcome {
        let mut told_of = false;
        loop {
            // What is left once all steps were held takes a few calls, and nothing goes back.
            if self.shutdown.is_cancelled() && !self.interrupted && !self.progress.over {
                self.interrupted = true;
                self.progress.failed.get_or_insert("it was interrupted".to_owned());
            }
            if let Err(e) = self.refresh().await
                && self.progress.failed.is_none()
            {
                self.failures += 1;
                if self.failures < tries_max(&e) {
                    self.pause_before_another_try().await;
                    continue;
                }
                if self.progress.over {
                    let function = self.stale.first().cloned().unwrap_or_default();
                    self.tell(&Said::Warns { function, text: told(&e) });
                    return Outcome::Done;
                }
                self.progress.failed = Some(told(&e));
            }
            self.seen.at = (self.deployment.clients.now)();
            let step = next(&self.packed.wanted, self.seen, &mut self.progress);
            if let Some(reason) = self.progress.failed.clone().filter(|_| !told_of) {
                told_of = true;
                self.tell(&Said::GoesBack { reason });
            }
            match step {
                Step::Do(act) => match self.obey(&act).await {
                    Ok(()) => self.failures = 0,
                    Err(e) => {
                        if let Some(outcome) = self.failed(&act, &e).await {
                            return outcome;
                        }
                    }
                },
                Step::Wait(waiting) => self.wait(&waiting).await,
                Step::Done => return Outcome::Done,
                Step::Back(_) if self.interrupted => return Outcome::Interrupted,
                Step::Back(reason) => return Outcome::Failed(reason),
                Step::Stopped(reason) => return Outcome::Stopped(reason),
            }
        }
    }

    fn tell(&mut self, said: &Said) {
        (self.deployment.tell)(said);
    }

    /// Carries an act out. Who interrupts a second time does not want to wait for the way back either.
    async fn obey(&mut self, act: &Act) -> Result<(), CallError> {
        if !self.interrupted {
            return self.act(act).await;
        }
        tokio::select! {
            result = self.act(act) => result,
            _ = tokio::signal::ctrl_c() => Err(CallError::missing(
                "the way back",
                "it was interrupted a second time".to_owned(),
            )),
        }
    }

    /// Carries an act out, and takes note of what came of it: of a call whose answer was lost too.
    async fn act(&mut self, act: &Act) -> Result<(), CallError> {
        let name = act.function();
        let begun = clock::instant();
        let result = match self.deployment.bench(name, self.seen, self.packed) {
            Some(bench) => bench.carry_out(act).await,
            None => return Err(CallError::missing("lambda", format!("there is no {name}"))),
        };
        let (did, alias) = match result {
            Ok(done) => done,
            Err(e) => {
                self.stale.insert(name.to_owned());
                self.refresh().await?;
                let sha = self.packed.wanted.functions.get(name);
                if !self.seen.functions.get(name).is_some_and(|seen| act.is_done(seen, sha)) {
                    return Err(e);
                }
                (Did::Done, None)
            }
        };
        if let (Some(alias), Some(function)) = (alias, self.seen.functions.get_mut(name)) {
            function.alias = alias;
        }
        let (published, wrong) = match &did {
            Did::Published(version) => (Some(*version), None),
            Did::Smoked(result) => (None, result.clone().err()),
            Did::Done => (None, None),
        };
        self.seen.at = (self.deployment.clients.now)();
        self.progress.did(act, did, self.seen);
        let millis = begun.elapsed().as_millis();
        self.tell(&Said::Did { act: act.clone(), millis, published, wrong });
        if !matches!(act, Act::Smoke { .. }) {
            self.stale.insert(name.to_owned());
        }
        Ok(())
    }

    /// An act that failed: it is tried again, or everything goes back, or, where even that fails, it is
    /// over.
    async fn failed(&mut self, act: &Act, error: &CallError) -> Option<Outcome> {
        let function = act.function().to_owned();
        if error.code.as_deref() == Some(PRECONDITION) {
            let what = format!("{function} was changed by another deployment");
            return Some(Outcome::Stopped(what));
        }
        let text = format!("{act}: {}", told(error));
        if let Act::Delete { function, version } = act {
            self.progress.cannot_delete(function, *version);
            self.tell(&Said::Warns { function: function.clone(), text });
            return None;
        }
        self.failures += 1;
        if self.failures < tries_max(error) {
            self.tell(&Said::Warns { function, text });
            self.pause_before_another_try().await;
        } else if self.progress.over {
            self.progress.cannot_settle(&function);
            self.tell(&Said::Warns { function, text });
            self.failures = 0;
        } else if self.progress.failed.is_some() {
            return Some(Outcome::Stopped(format!("{function} cannot go back: {text}")));
        } else {
            self.progress.failed = Some(format!("{function}: {text}"));
            self.failures = 0;
        }
        None
    }

    /// Looks again at functions that may have changed.
    async fn refresh(&mut self) -> Result<(), CallError> {
        let Deployment { clients, functions, .. } = &*self.deployment;
        for name in self.stale.clone() {
            if let Some(there) = functions.get(name.as_str()) {
                let function = look::function(clients, there).await?;
                self.seen.functions.insert(name.clone(), function);
            }
            self.stale.remove(&name);
        }
        Ok(())
    }

    async fn wait(&mut self, waiting: &Waiting) {
        let pace = self.deployment.pace;
        let pause = match waiting {
            Waiting::Update(functions) => {
                self.stale.extend(functions.iter().cloned());
                pace.soon
            }
            // A step is not held longer than it is to be.
            Waiting::Hold { left_secs, .. } => pace.watch.min(Duration::from_secs(*left_secs)),
            Waiting::Figures { .. } | Waiting::CloudWatch => pace.watch,
        };
        if !matches!(waiting, Waiting::Update(_)) {
            self.watch().await;
        }
        let Seen { alarms, figures, .. } = &*self.seen;
        let readable = alarms.is_some() && (self.progress.shift.is_none() || figures.is_some());
        // Of what is there at once nobody needs to hear.
        if *waiting != Waiting::CloudWatch || !readable {
            let functions = figures.clone().unwrap_or_default();
            self.tell(&Said::watches(waiting, functions));
            self.pause(pause).await;
        }
    }

    /// Looks at what the canary does: aliases, alarms, figures; and invokes the new versions by hand, for
    /// there may be no requests that would.
    async fn watch(&mut self) {
        let Self { deployment, seen, progress, packed, .. } = self;
        let clients = deployment.clients;
        seen.alarms = watch::alarms(clients, &deployment.aws.name).await.ok();
        let Some(shift) = &progress.shift else { return };
        let figures = watch::figures(clients, deployment.aws, shift, &progress.published).await;
        seen.figures = figures.ok();
        for (name, version) in progress.watched() {
            if let Some(there) = deployment.functions.get(name.as_str())
                && let Ok(alias) = look::alias(clients, there).await
                && let Some(function) = seen.functions.get_mut(&name)
            {
                function.alias = alias;
            }
            let Some(bench) = deployment.bench(&name, seen, packed) else { continue };
            // Once is chance. A call that fails says nothing of the version.
            if bench.seen.alias.percent(version) > 0
                && let Ok(Err(_)) = bench.smoke(version).await
                && let Ok(result) = bench.smoke(version).await
            {
                let act = Act::Smoke { function: name.clone(), version };
                progress.did(&act, Did::Smoked(result), seen);
            }
        }
    }

    async fn pause_before_another_try(&self) {
        self.pause(self.deployment.pace.soon * self.failures.min(PAUSES_MAX)).await;
    }

    async fn pause(&self, pause: Duration) {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = self.shutdown.cancelled(), if !self.interrupted => {}
        }
    }
}

/// How often a call is made that fails so.
fn tries_max(error: &CallError) -> u32 {
    match error.class {
        Class::Busy => TRIES_MAX_BUSY,
        _ if passes(error) => TRIES_MAX,
        _ => 1,
    }
}
