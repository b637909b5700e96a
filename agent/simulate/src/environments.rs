//! The environments of functions: as many as are at work at once, started at a bounded rate.

use crate::chance::whole;
use crate::setting::Functions;

/// The environments of one run.
#[derive(Debug)]
pub(crate) struct Environments {
    limits: Functions,
    alive: f64,
    /// How many may be started at once.
    tokens: f64,
    /// How many more requests per second may be taken at once than were in the last second.
    last: f64,
    started: f64,
}

impl Environments {
    pub(crate) fn new(limits: &Functions) -> Self {
        Self { limits: limits.clone(), alive: 0.0, tokens: limits.burst, last: 0.0, started: 0.0 }
    }

    /// A second in which `arrivals` requests come; how many are served. The rest is refused.
    ///
    /// An environment serves one request at a time. Of requests that come by chance, about √L more than
    /// the mean L are at work at once now and then; twice that is counted.
    pub(crate) fn step(&mut self, arrivals: u64) -> u64 {
        let limits = &self.limits;
        self.tokens = (self.tokens + limits.burst / 10.0).min(limits.burst);
        let needs = |requests: f64| {
            let mean = requests * limits.request_secs;
            (mean + 2.0 * mean.sqrt()).ceil().min(limits.environments_max)
        };
        // An environment more allows ten requests more (10,000 in ten seconds for 1,000).
        let rise = limits.requests_each * self.tokens;
        let asked = (arrivals as f64).min(limits.most()).min(self.last + rise);
        let most = (self.alive + self.tokens.floor()).min(limits.environments_max);
        let served =
            if needs(asked) <= most { asked } else { asked.min(most / limits.request_secs) };
        let served = served.floor();
        let alive = self.alive * (1.0 - 1.0 / limits.idle_secs);
        let alive = alive.max(needs(served).min(most));
        let new = (alive - self.alive).max(0.0);
        self.tokens -= new.max((served - self.last) / limits.requests_each).max(0.0);
        self.started += new;
        self.alive = alive;
        self.last = served.max(self.last * (1.0 - 1.0 / limits.idle_secs));
        whole(served).min(arrivals)
    }

    pub(crate) fn alive(&self) -> u64 {
        whole(self.alive.ceil())
    }

    pub(crate) fn started(&self) -> u64 {
        whole(self.started)
    }

    pub(crate) fn startable(&self) -> u64 {
        whole(self.tokens.floor())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setting::Setting;

    #[test]
    fn a_burst_is_served_at_once_up_to_the_accounts_limit() {
        let mut environments = Environments::new(&Setting::default().functions);
        assert_eq!(environments.step(4000), 4000);
        assert_eq!(environments.alive(), 440);
        assert_eq!(environments.step(12_000), 10_000);
        assert_eq!(environments.alive(), 1000);
    }

    #[test]
    fn more_than_the_burst_waits_for_its_refill() {
        let limits = Functions { environments_max: 5000.0, ..Setting::default().functions };
        let mut environments = Environments::new(&limits);
        let served: Vec<u64> = (0..4).map(|_| environments.step(20_000)).collect();
        // A thousand environments at once, then a hundred a second, ten requests a second each.
        assert_eq!(served, [10_000, 11_000, 12_000, 13_000]);
    }

    #[test]
    fn idle_environments_end() {
        let mut environments = Environments::new(&Setting::default().functions);
        environments.step(4000);
        for _ in 0..900 {
            environments.step(0);
        }
        assert!(environments.alive() < 25, "{}", environments.alive());
        assert_eq!(environments.startable(), 1000);
    }
}
