//! What is expected to be asked of a site, and what of it stays at home at a share.

use crate::chance;
use crate::demand::REDIRECT_BYTES;

/// The part of a site's movable demand that stays at home at a share: `(1 − s)(1 + skew · s)`.
/// Ranks are uniform, but a finite number of clients that do not all ask equally often is not; the
/// skew, learned and bounded, is what they are off by. It is everything at no share and nothing at
/// the whole, and falls in between.
pub(crate) fn home_part(share: f64, skew: f64) -> f64 {
    (1.0 - share) * (1.0 + skew * share)
}

/// Loads of one site in the time to come, were nothing spilled, with some set of knobs on.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Expected {
    /// Bits per second that no share can move off the uplink, and those that it can.
    pub(crate) pinned_bits: f64,
    pub(crate) movable_bits: f64,
    /// Variance of the bits of a single second, of both, in bits².
    pub(crate) pinned_spread: f64,
    pub(crate) movable_spread: f64,
    /// The same of weighted requests per second.
    pub(crate) pinned_weight: f64,
    pub(crate) movable_weight: f64,
    /// Requests per second that a share can move, and the bits per second that they would bring back over
    /// the uplink from the cloud.
    pub(crate) movable_requests: f64,
    pub(crate) backhaul_bits: f64,
    pub(crate) skew: f64,
}

impl Expected {
    pub(crate) fn bits(&self) -> f64 {
        self.pinned_bits + self.movable_bits
    }

    pub(crate) fn weight(&self) -> f64 {
        self.pinned_weight + self.movable_weight
    }

    pub(crate) fn home_bits(&self, share: f64) -> f64 {
        let home = home_part(share, self.skew);
        self.pinned_bits + home * self.movable_bits + (1.0 - home) * self.backhaul_bits
    }

    /// The same where home serves at most `room` weighted requests per second, and answers what may leave
    /// beyond that with a 307.
    pub(crate) fn home_bits_within(&self, share: f64, room: f64) -> f64 {
        let home = home_part(share, self.skew);
        let asked = home * self.movable_weight;
        let room = (room - self.pinned_weight).max(0.0);
        let served = if asked > room { room / asked } else { 1.0 };
        let sent_on = home * self.movable_requests * (1.0 - served) * 8.0 * REDIRECT_BYTES;
        let back = (1.0 - served * home) * self.backhaul_bits;
        self.pinned_bits + served * home * self.movable_bits + sent_on + back
    }

    /// This and those clients of another site whose ranks are from `from` on and below `to`.
    pub(crate) fn with(&self, other: &Self, from: f64, to: f64) -> Self {
        let part = home_part(from, other.skew) - home_part(to, other.skew);
        Self {
            movable_bits: self.movable_bits + part * other.movable_bits,
            movable_spread: self.movable_spread + part * other.movable_spread,
            movable_weight: self.movable_weight + part * other.movable_weight,
            movable_requests: self.movable_requests + part * other.movable_requests,
            ..*self
        }
    }

    /// Multiplies rates; `grain` is what an answer's bits come to.
    pub(crate) fn scale(&mut self, bits: f64, grain: f64, weight: f64, requests: f64) {
        self.pinned_bits *= bits;
        self.movable_bits *= bits;
        self.pinned_spread *= bits * grain;
        self.movable_spread *= bits * grain;
        self.pinned_weight *= weight;
        self.movable_weight *= weight;
        self.movable_requests *= requests;
        self.backhaul_bits *= requests;
    }

    /// The most bits per second that home may send at a share, on average: the target's part of the
    /// cap, or less where chance needs more room than that leaves.
    pub(crate) fn line(&self, cap: f64, target: f64, share: f64) -> f64 {
        // At the whole nothing is left; the grain is that of what was left last.
        let share = share.min(0.999);
        let bits = self.home_bits(share);
        let spread = self.pinned_spread + home_part(share, self.skew) * self.movable_spread;
        let grain = if bits > 0.0 { spread / bits } else { 0.0 };
        (cap * target).min(chance::mean_max(cap, grain))
    }

    pub(crate) fn home_weight(&self, share: f64) -> f64 {
        self.pinned_weight + home_part(share, self.skew) * self.movable_weight
    }
}

/// Loads of the mix of a moment, some knobs on; and undegraded, in all, which is what forecasts are of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Loads {
    pub(crate) sums: Expected,
    pub(crate) bits: f64,
    pub(crate) weights: f64,
    pub(crate) requests: f64,
}
