//! Resolvers: each keeps an answer for its time to live, so that a share takes effect by and by.

/// The shares that cached answers are of.
#[derive(Debug)]
pub(crate) struct Resolvers {
    /// The share of each of the last seconds within the time to live, at [`Resolvers::next`] the oldest.
    shares: Vec<f64>,
    next: usize,
}

/// Where clients go, as parts of all.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Spread {
    /// Served by the cloud.
    pub(crate) cloud: f64,
    /// Of those, who ask it directly. The rest comes to the site first.
    pub(crate) direct: f64,
}

impl Resolvers {
    pub(crate) fn new(ttl_secs: u32) -> Self {
        Self { shares: vec![0.0; ttl_secs.max(1) as usize], next: 0 }
    }

    /// A second with `share` in force.
    ///
    /// Resolvers ask evenly over time, so that as many have an answer of each second within the time to
    /// live. A client whose rank is below the share of its answer asks the cloud; one that has an older
    /// answer but is spilled now comes to the site and is sent on at once. Shares are nested, so the
    /// parts follow from the larger of both.
    pub(crate) fn step(&mut self, share: f64) -> Spread {
        if let Some(oldest) = self.shares.get_mut(self.next) {
            *oldest = share;
        }
        self.next = (self.next + 1) % self.shares.len();
        let count = self.shares.len() as f64;
        Spread {
            cloud: self.shares.iter().map(|then| then.max(share)).sum::<f64>() / count,
            direct: self.shares.iter().sum::<f64>() / count,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_raise_moves_all_at_once_and_dns_follows() {
        let mut resolvers = Resolvers::new(4);
        let spreads: Vec<Spread> = (0..5).map(|_| resolvers.step(0.8)).collect();
        assert!(spreads.iter().all(|spread| (spread.cloud - 0.8).abs() < 1e-12), "{spreads:?}");
        let direct: Vec<f64> = spreads.iter().map(|spread| spread.direct).collect();
        for (direct, wanted) in direct.iter().zip([0.2, 0.4, 0.6, 0.8, 0.8]) {
            assert!((direct - wanted).abs() < 1e-12, "{spreads:?}");
        }
    }

    #[test]
    fn a_fall_brings_clients_home_as_answers_expire() {
        let mut resolvers = Resolvers::new(4);
        for _ in 0..4 {
            resolvers.step(0.8);
        }
        for wanted in [0.6, 0.4, 0.2, 0.0] {
            let spread = resolvers.step(0.0);
            assert!((spread.cloud - wanted).abs() < 1e-12, "{spread:?}");
            assert_eq!(spread.cloud, spread.direct);
        }
    }
}
