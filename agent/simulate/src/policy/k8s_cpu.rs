//! The two baselines that Autothrottle was measured against.
//!
//! Wang et al., Autothrottle: A Practical Bi-Level Approach to Resource Management for SLO-Targeted
//! Microservices, NSDI 2024, section 5.1, and <https://github.com/microsoft/autothrottle>: every m seconds the
//! mean of CPU used is divided by a target, and the limit is the most of that in the last s seconds. K8s-CPU has
//! Kubernetes' m of 15 and s of 300, K8s-CPU-Fast 1 and 20. Targets were tuned by application and trace, from
//! 0.4 to 0.8; the default here is the middle. There, the limit is a part of a processor in a container; here,
//! it is servers.

use super::{Bounds, Period, Recent, Scaler, Seen, count};

/// The middle of the paper's targets.
pub(crate) const TARGET: f64 = 0.6;
/// m and s of K8s-CPU, and of K8s-CPU-Fast.
pub(crate) const USUAL: (u64, u64) = (15, 300);
pub(crate) const FAST: (u64, u64) = (1, 20);

/// The rule.
#[derive(Debug)]
pub(crate) struct K8sCpu {
    target: f64,
    period: Period,
    asked: Recent,
}

impl K8sCpu {
    pub(crate) fn new(_bounds: Bounds, target: f64, (period, window): (u64, u64)) -> Self {
        let kept = usize::try_from(window / period).unwrap_or(1);
        Self { target, period: Period::new(period), asked: Recent::new(kept) }
    }
}

impl Scaler for K8sCpu {
    fn step(&mut self, seen: &Seen) -> u32 {
        let used = seen.busy * f64::from(seen.ready);
        let Some(used) = self.period.push(seen.at, used) else { return seen.wanted };
        self.asked.push(used / self.target);
        count(self.asked.values().iter().copied().fold(0.0, f64::max))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{bounds, changes, play};
    use super::*;

    const FULL: f64 = 1_764.705_882;

    #[test]
    fn the_most_of_the_window_over_the_target() {
        // Nine of ten busy at a target of 0.6 are fifteen, which is so after the next period.
        let load = |at| if (31..=60).contains(&at) { 0.9 * FULL } else { 0.2 * FULL };
        let wanted = play(&mut K8sCpu::new(bounds(), 0.6, USUAL), 600, 1, load);
        // The period that ends with second 60 is the last that asks for it, for twenty periods.
        assert_eq!(changes(&wanted), [(45, 15), (360, 10)]);
        let wanted = play(&mut K8sCpu::new(bounds(), 0.6, FAST), 600, 1, load);
        assert_eq!(changes(&wanted), [(31, 15), (80, 10)]);
    }

    #[test]
    fn what_is_full_asks_for_no_more_than_it_can_use() {
        let wanted = play(&mut K8sCpu::new(bounds(), 0.5, FAST), 10, 100, |_| 5.0 * FULL);
        assert_eq!(wanted.last(), Some(&20));
    }
}
