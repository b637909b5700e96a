//! Which environment takes a request, and when a new one may be started: the scaling rules of Lambda
//! as a state machine. Pure: time is passed in.
//!
//! ```text
//!            take              ready            done
//!   (none) ───────▶ starting ────────▶ busy ◀────────▶ idle
//!                       │               │      take      │
//!                       └──── gone ─────┴─── gone, tick, evicted ──▶ (none)
//! ```
//!
//! A request takes the idle environment of its function that was used last, so that the others can
//! grow old and end. Without an idle one, a new one is started if the account's concurrency and the
//! function's burst allow it; otherwise the request is throttled at once, never queued.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::time::Duration;

/// Number of an environment, never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EnvironmentId(u64);

impl fmt::Display for EnvironmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The quotas.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Most environments alive at once, over all functions: the account's concurrency.
    pub environments_max: u64,
    /// New environments per 10 seconds and function, refilled continuously.
    pub burst_per_10s: u64,
    /// An environment idle for this long ends.
    pub idle: Duration,
}

/// What a request gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Take {
    /// An environment that waits for work, now busy.
    Idle(EnvironmentId),
    /// A new one, which the request is bound to, now starting.
    Start {
        /// The new one.
        environment: EnvironmentId,
        /// An idle one of another function that has to end to make room. The account's concurrency
        /// counts requests, so idle environments of one function must not starve another.
        evicted: Option<EnvironmentId>,
    },
    /// Nothing.
    Throttled(Throttle),
}

/// Why a request was throttled. Displays as the reason in Lambda's `TooManyRequestsException`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Throttle {
    /// As many environments are at work as the account may have.
    Concurrency,
    /// The function started as many as it may in this time.
    Burst,
}

impl fmt::Display for Throttle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Concurrency => "ConcurrentInvocationLimitExceeded",
            Self::Burst => "FunctionInvocationRateLimitExceeded",
        })
    }
}

/// How many there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Starting, busy or idle.
    pub alive: u64,
    /// At work.
    pub busy: u64,
    /// What could be started at once.
    pub burst_left: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Starting,
    Busy,
    Idle,
}

#[derive(Debug)]
struct Environment {
    function: usize,
    phase: Phase,
}

#[derive(Debug)]
struct Function {
    /// Used last at the back, with the time it became idle.
    idle: VecDeque<(EnvironmentId, Duration)>,
    burst: Burst,
}

/// All environments of all functions. A function is named by its index.
#[derive(Debug)]
pub struct Pool {
    limits: Limits,
    functions: Vec<Function>,
    environments: HashMap<EnvironmentId, Environment>,
    busy: u64,
    next: u64,
}

impl Pool {
    /// A pool of `functions` functions with no environment and full bursts.
    #[must_use]
    pub fn new(limits: Limits, functions: usize) -> Self {
        let function =
            || Function { idle: VecDeque::new(), burst: Burst::full(limits.burst_per_10s) };
        Self {
            limits,
            functions: std::iter::repeat_with(function).take(functions).collect(),
            environments: HashMap::new(),
            busy: 0,
            next: 1,
        }
    }

    /// Finds an environment for a request of `function`.
    ///
    /// # Panics
    /// When there is no such function.
    pub fn take(&mut self, function: usize, now: Duration) -> Take {
        if let Some((environment, _)) = self.functions[function].idle.pop_back() {
            self.set(environment, Phase::Busy);
            return Take::Idle(environment);
        }
        let full = self.alive() >= self.limits.environments_max;
        if full && self.longest_idle().is_none() {
            return Take::Throttled(Throttle::Concurrency);
        }
        if !self.functions[function].burst.take(now) {
            return Take::Throttled(Throttle::Burst);
        }
        let evicted = if full { self.evict() } else { None };
        let environment = EnvironmentId(self.next);
        self.next += 1;
        self.environments.insert(environment, Environment { function, phase: Phase::Starting });
        Take::Start { environment, evicted }
    }

    /// A started environment has taken up its request.
    pub fn ready(&mut self, environment: EnvironmentId) {
        self.set(environment, Phase::Busy);
    }

    /// An environment has finished its request, or its start when the request did not wait for it.
    pub fn done(&mut self, environment: EnvironmentId, now: Duration) {
        self.set(environment, Phase::Idle);
        if let Some(alive) = self.environments.get(&environment) {
            self.functions[alive.function].idle.push_back((environment, now));
        }
    }

    /// An environment has ended, whatever it did.
    pub fn gone(&mut self, environment: EnvironmentId) {
        let Some(ended) = self.environments.remove(&environment) else { return };
        match ended.phase {
            Phase::Busy => self.busy -= 1,
            Phase::Idle => self.functions[ended.function].idle.retain(|(id, _)| *id != environment),
            Phase::Starting => {}
        }
    }

    /// Removes the environments that have been idle for too long and names them, for ending.
    pub fn tick(&mut self, now: Duration) -> Vec<EnvironmentId> {
        let mut ended = Vec::new();
        for function in &mut self.functions {
            while let Some((environment, since)) = function.idle.front().copied()
                && now.saturating_sub(since) >= self.limits.idle
            {
                function.idle.pop_front();
                self.environments.remove(&environment);
                ended.push(environment);
            }
        }
        ended
    }

    /// How many there are.
    #[must_use]
    pub fn counts(&self, now: Duration) -> Counts {
        let tokens = self.functions.iter().fold(0, |sum: u64, function| {
            sum.saturating_add(function.burst.clone().whole_tokens(now))
        });
        let room = self.limits.environments_max.saturating_sub(self.alive());
        Counts { alive: self.alive(), busy: self.busy, burst_left: tokens.min(room) }
    }

    fn alive(&self) -> u64 {
        self.environments.len() as u64
    }

    fn set(&mut self, environment: EnvironmentId, phase: Phase) {
        if let Some(alive) = self.environments.get_mut(&environment) {
            self.busy -= u64::from(alive.phase == Phase::Busy);
            self.busy += u64::from(phase == Phase::Busy);
            alive.phase = phase;
        }
    }

    fn longest_idle(&self) -> Option<usize> {
        let front = |i: &usize| self.functions[*i].idle.front().map(|(_, since)| *since);
        (0..self.functions.len()).filter(|i| front(i).is_some()).min_by_key(front)
    }

    fn evict(&mut self) -> Option<EnvironmentId> {
        let function = self.longest_idle()?;
        let (environment, _) = self.functions[function].idle.pop_front()?;
        self.environments.remove(&environment);
        Some(environment)
    }
}

/// A token bucket in whole numbers, so that no number of calls can round it up or down.
#[derive(Debug, Clone)]
struct Burst {
    per_10s: u64,
    /// In ten-billionths of a token: what one token a 10 s refills in a nanosecond.
    level: u128,
    at: Duration,
}

impl Burst {
    const TOKEN: u128 = 10_000_000_000;

    fn full(per_10s: u64) -> Self {
        Self { per_10s, level: u128::from(per_10s) * Self::TOKEN, at: Duration::ZERO }
    }

    fn refill(&mut self, now: Duration) {
        let elapsed = now.saturating_sub(self.at).as_nanos();
        let most = u128::from(self.per_10s) * Self::TOKEN;
        let more = elapsed.saturating_mul(u128::from(self.per_10s));
        self.level = self.level.saturating_add(more).min(most);
        self.at = self.at.max(now);
    }

    fn take(&mut self, now: Duration) -> bool {
        self.refill(now);
        let Some(left) = self.level.checked_sub(Self::TOKEN) else { return false };
        self.level = left;
        true
    }

    fn whole_tokens(&mut self, now: Duration) -> u64 {
        self.refill(now);
        u64::try_from(self.level / Self::TOKEN).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests;
