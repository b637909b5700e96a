//! One round after the other: look, decide, carry out, remember.

use std::collections::BTreeSet;

use serde::Serialize;
use spillway_model::Fleet;
use spillway_model::config::Aws;
use spillway_model::load::FleetLoad;

use crate::act::Act;
use crate::call::Class;
use crate::carry_out::carry_out;
use crate::clients::Clients;
use crate::journal::Journal;
use crate::look::{Look, look};
use crate::memory::{Memory, Outcome};
use crate::reconcile::{Step, reconcile, report};

/// Makes AWS what a plan wants, act by act, and keeps the journal of it.
#[derive(Debug)]
pub struct Keeper<'a> {
    clients: &'a Clients,
    config: &'a Aws,
    journal: Journal,
    memory: Memory,
    told: BTreeSet<String>,
}

/// What one round saw and did.
#[derive(Debug, Clone, Serialize)]
pub struct Round {
    /// What was decided.
    pub acts: Vec<Act>,
    /// What failed of it, one sentence each.
    pub failed: Vec<String>,
    /// What is under way or has to wait.
    pub waiting: Vec<String>,
    /// What stands in the way, one sentence each, faults of AWS among them.
    pub warnings: Vec<String>,
    /// What there is.
    pub seen: FleetLoad,
    /// Whether all of what the configuration names could be read.
    pub complete: bool,
    /// Whether all about gateways and rules could be read, so that `seen` is whole.
    pub fleet_complete: bool,
    /// Whether nothing is left but what does not pass by itself: a person has to see to it.
    pub stuck: bool,
}

impl Round {
    fn of(config: &Aws, look: &Look, step: Step, clients: &Clients) -> Self {
        let Step { acts, waiting, warnings, passing: _ } = step;
        let warnings =
            clients.calls.faults().into_iter().chain(look.warnings.clone()).chain(warnings);
        Self {
            acts,
            failed: Vec::new(),
            waiting,
            warnings: warnings.collect(),
            seen: report(config, &look.observed),
            complete: look.complete,
            fleet_complete: look.fleet_complete,
            stuck: false,
        }
    }

    /// Whether AWS is what was wanted, with nothing under way.
    #[must_use]
    pub fn settled(&self) -> bool {
        self.complete && self.acts.is_empty() && self.waiting.is_empty()
    }
}

/// Looks, and says what would be done. Changes nothing.
pub async fn rehearse(clients: &Clients, config: &Aws, wanted: &Fleet) -> Round {
    let look = look(clients, config).await;
    let step = reconcile(config, wanted, &look.observed, &mut Memory::default());
    Round::of(config, &look, step, clients)
}

impl<'a> Keeper<'a> {
    /// A keeper that goes on from where the journal ends.
    #[must_use]
    pub fn new(
        clients: &'a Clients,
        config: &'a Aws,
        journal: Journal,
        kept: crate::memory::Kept,
    ) -> Self {
        let memory = Memory::new(kept);
        Self { clients, config, journal, memory, told: BTreeSet::new() }
    }

    /// Looks, and does what is to be done next for `wanted`; with `None` nothing is done.
    pub async fn round(&mut self, wanted: Option<&Fleet>) -> Round {
        let look = look(self.clients, self.config).await;
        let step = match wanted {
            Some(wanted) => reconcile(self.config, wanted, &look.observed, &mut self.memory),
            None => Step::default(),
        };
        let mut passing = look.passing || step.passing;
        let mut round = Round::of(self.config, &look, step, self.clients);
        for act in &round.acts {
            match self.act(act, &look).await {
                Ok(()) => passing = true,
                Err(Stopped { message, on }) => {
                    passing |= !self.memory.hindered(&act.kind());
                    round.failed.push(message);
                    if !on {
                        break;
                    }
                }
            }
        }
        round.stuck = !round.settled() && !passing;
        if !round.failed.is_empty() {
            let faults = self.clients.calls.faults();
            let new = faults.into_iter().filter(|fault| !round.warnings.contains(fault));
            let new: Vec<_> = new.collect();
            round.warnings.extend(new);
        }
        self.tell(&look, &round);
        round
    }

    async fn act(&mut self, act: &Act, look: &Look) -> Result<(), Stopped> {
        self.memory.begun(act, (self.clients.now)());
        if let Err(e) = self.journal.write("begun", Some(act), None, &self.memory.kept) {
            // All other acts can be done twice; a launch that a restart knows nothing of cannot.
            if matches!(act, Act::Launch(_)) {
                self.memory.ended(act, &Outcome::Refused, (self.clients.now)(), rand::random());
                let message = format!("the journal cannot be written, so nothing is launched: {e}");
                tracing::error!("{message}");
                return Err(Stopped { message, on: true });
            }
            tracing::warn!(error = %e, "the journal cannot be written");
        }
        let result = carry_out(self.clients, self.config, act, look).await;
        let (event, outcome, error) = match &result {
            Ok(ids) => ("done", Outcome::Done(ids.clone()), None),
            Err(error) => ("failed", error.outcome(), Some(error.to_string())),
        };
        self.memory.ended(act, &outcome, (self.clients.now)(), rand::random());
        if let Err(e) = self.journal.write(event, Some(act), error.as_deref(), &self.memory.kept) {
            tracing::warn!(error = %e, "the journal cannot be written");
        }
        match result {
            Ok(_) => {
                tracing::info!("{act}");
                Ok(())
            }
            Err(error) => {
                // The rest of the round would meet the same.
                let on = !matches!(error.class, Class::Throttled | Class::NoCredentials);
                Err(Stopped { message: format!("{act}: {error}"), on })
            }
        }
    }

    /// Logs what is new among the warnings that no call logged already.
    fn tell(&mut self, look: &Look, round: &Round) {
        let faults = self.clients.calls.faults();
        let warnings = round.warnings.iter().chain(&look.warnings);
        let now: BTreeSet<String> =
            warnings.filter(|warning| !faults.contains(warning)).cloned().collect();
        for warning in now.difference(&self.told) {
            tracing::warn!("{warning}");
        }
        self.told = now;
    }
}

/// An act that failed.
struct Stopped {
    message: String,
    /// Whether the rest of the round can be tried.
    on: bool,
}
