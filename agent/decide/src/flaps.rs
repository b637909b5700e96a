//! A budget of reversals: what was lowered and had to be raised again soon after waits longer before it is
//! lowered the next time. A raise never waits.
//!
//! ```text
//!   raised ── fell within the last ten minutes ──▶ a turn: each doubles the wait before the next fall
//!   ten minutes without a turn ──▶ the usual wait, and one turn forgotten
//! ```

use serde::{Deserialize, Serialize};
use spillway_model::UnixMillis;

/// A raise so soon after a fall is a turn, and waits are no longer than this: what would turn all the time
/// comes to one turn in it.
const WINDOW_MS: u64 = 600_000;
/// More turns than this double nothing more, so that calm forgets them: the window is reached by then.
const TURNS_MAX: u32 = 8;

/// The turns of one thing that rises and falls, a share or a number of gateways.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Flaps {
    rose_at: UnixMillis,
    turned_at: UnixMillis,
    /// The last fall that no raise has followed.
    fell_at: Option<UnixMillis>,
    turns: u32,
}

impl Flaps {
    /// Notes a raise.
    pub(crate) fn rose(&mut self, at: UnixMillis) {
        let calm = at.millis_since(self.turned_at) / WINDOW_MS;
        self.turns = self.turns.saturating_sub(u32::try_from(calm).unwrap_or(u32::MAX));
        if self.fell_at.take().is_some_and(|fell| within(fell, at)) {
            self.turns = (self.turns + 1).min(TURNS_MAX);
            self.turned_at = at;
        }
        self.rose_at = at;
    }

    /// Notes a fall.
    pub(crate) fn fell(&mut self, at: UnixMillis) {
        self.fell_at = Some(at);
    }

    /// For how long after the last raise nothing is lowered, in milliseconds, where that is usually `dwell`
    /// milliseconds; `None` when no turn prolongs it.
    pub(crate) fn prolonged(&self, dwell: u64, at: UnixMillis) -> Option<u64> {
        let counts = self.turns > 0 && within(self.turned_at, at);
        counts.then(|| dwell.saturating_mul(1 << self.turns).min(WINDOW_MS.max(dwell)))
    }

    /// Whether turns forbid to lower now.
    pub(crate) fn hold(&self, dwell: u64, at: UnixMillis) -> bool {
        let wait = self.prolonged(dwell, at);
        // A clock set back ends the wait, not starts it.
        wait.is_some_and(|wait| self.rose_at <= at && at.millis_since(self.rose_at) < wait)
    }
}

fn within(from: UnixMillis, at: UnixMillis) -> bool {
    from <= at && at.millis_since(from) < WINDOW_MS
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DWELL: u64 = 10_000;

    fn at(secs: u64) -> UnixMillis {
        UnixMillis(1_800_000_000_000 + secs * 1000)
    }

    #[test]
    fn each_turn_doubles_the_wait_and_calm_ends_it() {
        let mut flaps = Flaps::default();
        flaps.rose(at(0));
        assert!(!flaps.hold(DWELL, at(0)), "a first raise is no turn");
        let mut now = 100;
        for doubled in [20, 40, 80, 160, 320, 600, 600] {
            flaps.fell(at(now));
            flaps.rose(at(now + 1));
            let wait = flaps.prolonged(DWELL, at(now + 1));
            assert_eq!(wait, Some(doubled * 1000));
            assert!(flaps.hold(DWELL, at(now + doubled)), "{doubled}");
            assert!(!flaps.hold(DWELL, at(now + 1 + doubled)), "{doubled}");
            now += 2;
        }
        // Going on rising is no turn.
        flaps.rose(at(now));
        assert!(!flaps.hold(DWELL, at(now + 600)), "ten minutes after the last turn");
        flaps.fell(at(now + 700));
        flaps.rose(at(now + 1400));
        assert_eq!(flaps.prolonged(DWELL, at(now + 1400)), None, "it fell too long ago");
        assert_eq!(flaps.prolonged(DWELL, at(0)), None, "the clock was set back");
    }

    proptest! {
        /// What would turn whenever it may comes to few turns.
        #[test]
        fn turns_are_bounded(dwell_secs in 5u64..200, gap in 1u64..30) {
            let (mut flaps, mut turns, mut raised) = (Flaps::default(), 0, 0);
            flaps.rose(at(0));
            for now in 1..36_000 {
                let dwells = now - raised < dwell_secs || flaps.hold(dwell_secs * 1000, at(now));
                if raised + gap < now && !dwells {
                    flaps.fell(at(now));
                    flaps.rose(at(now));
                    (turns, raised) = (turns + 1, now);
                }
            }
            // Ten hours: one in ten minutes, and those that it takes to learn that.
            prop_assert!(turns <= 60 + 10, "{turns}");
        }
    }
}
