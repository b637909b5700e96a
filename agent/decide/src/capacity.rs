//! Capacity: the load at which the 95th percentile of latency crosses its limit, from windows of load and
//! whether answers were slow.
//!
//! Loads are counted in bins, each with how many windows were quick and how many slow. The boundary that
//! misjudges the fewest windows, if all below it were quick and all above it slow, is where the isotonic
//! median regression of latency on load crosses the limit: a median commutes with what is monotone, so
//! that one may ask of each window only on which side of the limit it was (Robertson, Wright and Dykstra,
//! Order Restricted Statistical Inference, 1988, chapter 1). A window is a vote: how slow it was does not
//! matter, and what is rare moves nothing.
//!
//! The declared capacity stands wherever the windows do not contradict it. It is raised no further than
//! loads have been seen to hold, and lowered to those that have been seen not to.

use serde::{Deserialize, Serialize};

/// Bins begin at this part of the declared capacity, each a little wider than the one before, and end at
/// twice the declared capacity. What is learned stays within.
const LOWEST: f64 = 0.125;
const WIDER: f64 = 33.0 / 32.0;
const BINS: usize = 91;
/// Votes of a window. One that is slow at hardly more load than what has been quick of late, or where not
/// half of the capacity is in use, was slowed down by something that it waits for, and is set aside: it has
/// one vote, so that what lasts is believed in the end.
const VOTES: u32 = 8;
const VOTES_ASIDE: u32 = 1;
const HARDLY_MORE: f64 = 1.05;
/// So many quick windows are of late.
const LATE: f64 = 16.0;
/// A bin that has more votes than this loses half of them.
const VOTES_MAX: u32 = 60 * VOTES;
/// So many windows at a load or above it show that it holds, and so many that it does not: too little
/// capacity costs money, too much costs answers.
const HOLDS: u32 = 30 * VOTES;
const FAILS: u32 = 12 * VOTES;
/// Less than this part is no news.
const NEWS: f64 = 0.05;

/// The capacity of one site, and what windows have said of it. Bounded: windows are kept as counts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Capacity {
    declared: f64,
    used: f64,
    /// The mean load that has been quick of late.
    held: f64,
    bins: Vec<Bin>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Bin {
    quick: u32,
    slow: u32,
}

impl Capacity {
    /// Of a site that is declared to serve `declared` weighted requests per second, of which nothing has
    /// been seen yet.
    #[must_use]
    pub fn new(declared: f64) -> Self {
        Self { declared, used: declared, bins: vec![Bin::default(); BINS], ..Self::default() }
    }

    /// What it was declared to be.
    #[must_use]
    pub fn declared(&self) -> f64 {
        self.declared
    }

    /// What to go by, in weighted requests per second. It moves only by news.
    #[must_use]
    pub fn used(&self) -> f64 {
        self.used
    }

    /// Takes in a window of a steady `load` in weighted requests per second, of which the 95th percentile
    /// of latency was above its limit (`slow`) or not. Returns whether it was taken for what it seems;
    /// otherwise it was set aside.
    pub fn add_window(&mut self, load: f64, slow: bool) -> bool {
        if !(load.is_finite() && load > 0.0) {
            return true;
        }
        let aside = slow && load <= (HARDLY_MORE * self.held).max(self.used / 2.0);
        if !slow {
            let part = if self.held > 0.0 { 1.0 / LATE } else { 1.0 };
            self.held += part * (load - self.held);
        }
        let place = self.edges().take_while(|edge| *edge <= load).count().saturating_sub(1);
        if let Some(bin) = self.bins.get_mut(place) {
            let votes = if aside { VOTES_ASIDE } else { VOTES };
            *(if slow { &mut bin.slow } else { &mut bin.quick }) += votes;
            if bin.quick + bin.slow > VOTES_MAX {
                bin.halve();
            }
        }
        let found = self.found();
        if (found - self.used).abs() > NEWS * self.used {
            self.used = found;
        }
        !aside
    }

    /// Lets half of what was seen fade. What is doubtful is tried again soon, what is certain late.
    pub fn fade(&mut self) {
        self.bins.iter_mut().for_each(Bin::halve);
    }

    /// What the windows come to.
    #[must_use]
    pub fn found(&self) -> f64 {
        let (holds, fails) = (self.holds().unwrap_or(0.0), self.fails().unwrap_or(f64::INFINITY));
        self.declared.max(holds).min(fails)
    }

    /// The largest load that has been seen to hold: the lower edge of a bin.
    fn holds(&self) -> Option<f64> {
        let below = self.bins.iter().enumerate().take(self.boundary()).rev();
        reached(below.map(|(place, bin)| (place, bin.quick)), HOLDS)
            .and_then(|place| self.edges().nth(place))
    }

    /// The smallest load that has been seen not to, likewise.
    fn fails(&self) -> Option<f64> {
        let above = self.bins.iter().enumerate().skip(self.boundary());
        reached(above.map(|(place, bin)| (place, bin.slow)), FAILS)
            .and_then(|place| self.edges().nth(place))
    }

    /// The bin from which on windows are slow, so that the fewest are misjudged; the highest such.
    fn boundary(&self) -> usize {
        let mut wrong: i64 = self.bins.iter().map(|bin| i64::from(bin.quick)).sum();
        let (mut least, mut boundary) = (wrong, 0);
        for (place, bin) in self.bins.iter().enumerate() {
            wrong += i64::from(bin.slow) - i64::from(bin.quick);
            if wrong <= least {
                (least, boundary) = (wrong, place + 1);
            }
        }
        boundary
    }

    /// Lower edges of the bins.
    fn edges(&self) -> impl Iterator<Item = f64> {
        let lowest = LOWEST * self.declared;
        std::iter::successors(Some(lowest), |edge| Some(edge * WIDER)).take(BINS + 1)
    }
}

impl Bin {
    fn halve(&mut self) {
        self.quick /= 2;
        self.slow /= 2;
    }
}

/// The first place by which so many votes are counted.
fn reached(mut bins: impl Iterator<Item = (usize, u32)>, votes: u32) -> Option<usize> {
    let mut seen = 0;
    let reached = bins.find(|(_, n)| {
        seen += n;
        seen >= votes
    });
    reached.map(|(place, _)| place)
}
