//! The spill share of one site: the smallest that keeps it under its limits, raised at once and
//! lowered only after a dwell.

use serde::{Deserialize, Serialize};
use spillway_model::UnixMillis;

use crate::demand::{Following, REDIRECT_BYTES};
use crate::expected::Expected;
use crate::flaps::Flaps;
use crate::observe::SiteSense;
use crate::policy::{Policy, SitePolicy};
use crate::window::{Span, Window};

/// Shares are multiples of this.
pub(crate) const STEP: f64 = 1.0 / 1024.0;
/// A smaller raise is not worth a generation while home stays under its caps, a smaller fall not
/// either.
pub(crate) const WORTH: f64 = 1.0 / 128.0;
/// What would be left of a share that nothing needs, and is smaller than this, ends at once.
const REST: f64 = 1.0 / 64.0;
/// Lowering is computed against this part of the target.
pub(crate) const CALM: f64 = 0.9;
/// A client that was moved is gone after this long: until then the last raise is under way.
pub(crate) const SETTLE_MS: u64 = 2500;
/// A share above what the cloud takes by more than this is brought down to it.
const CLOUD_BAND: f64 = 0.05;
/// What gateways send on by themselves, for want of room at home, needs no share. But it asks home first,
/// which costs it a turn: so a share leaves home this part of what it may serve when it is raised, and is
/// lowered when it would leave less. In between nothing moves, and home is full.
const FILLED: f64 = 1.05;
const FILLED_LEAST: f64 = 1.02;
/// It is raised when what lasts is more than that by this part, or by three standard deviations of it.
const FILLED_BAND: f64 = 0.03;
/// A standard deviation of a mean of ten seconds, as a part of one of a second, times three.
const SIGMAS: f64 = 0.95;
/// No noise excuses more than this.
const NOISE_MAX: f64 = 0.2;
/// Ten seconds are not waited for where so much more comes.
const SHOCK: f64 = 1.5;
/// The panic term grows by a tenth each time, this often at most.
const PANIC_MAX: u32 = 20;
/// An overfull line is evidence against the forecast, and for a tier, after so many ticks: what has
/// queued up before takes its time to leave.
const PERSISTENT: u32 = 10;
/// This part of the clients goes on asking a home that has no healthy service: their gateways send them
/// to the cloud, but give the service one request at a time, without which a service that hung would
/// never be found to answer again.
pub(crate) const ASKING: f64 = 1.0 / 32.0;
/// So many answers make a 95th percentile.
const ANSWERS_MIN: u64 = 20;

/// What bound a decision.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Binding {
    Uplink,
    Compute,
    Latency,
    Cloud,
    #[default]
    None,
}

impl Binding {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Uplink => "uplink",
            Self::Compute => "compute",
            Self::Latency => "latency",
            Self::Cloud => "cloud",
            Self::None => "none",
        }
    }
}

/// The share one site needs, by reason.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Need {
    pub(crate) uplink: f64,
    pub(crate) compute: f64,
    /// Because bytes are dropped although the forecast says that they fit. May only add.
    pub(crate) panic: f64,
    /// Because answers are slow. May only add.
    pub(crate) latency: f64,
    /// No service at home is healthy.
    down: bool,
    /// Whether less is asked now than the forecast still says: nothing is raised for that.
    falls: bool,
    /// Whether forecast or lasting load is over a line at the present share.
    presses: bool,
    /// What keeps home just under its caps, with no margin.
    pub(crate) hard: f64,
    /// What a lower share must not fall below.
    pub(crate) calm: f64,
}

impl Need {
    /// The largest of the needs.
    pub(crate) fn share(&self) -> f64 {
        self.uplink.max(self.compute).max(self.panic).max(self.latency)
    }

    pub(crate) fn binding(&self) -> Binding {
        let share = self.share();
        if share <= 0.0 {
            Binding::None
        } else if self.down {
            Binding::Compute
        } else if self.uplink.max(self.panic) >= share {
            Binding::Uplink
        } else if self.compute >= share {
            Binding::Compute
        } else {
            Binding::Latency
        }
    }
}

/// What a need is computed from.
pub(crate) struct Case<'a> {
    /// Upper bounds at the redirect horizon, with the operator's knobs only.
    pub(crate) expected: &'a Expected,
    /// The same without a margin for chance.
    pub(crate) likely: Expected,
    /// What is, and the mean of some ten seconds.
    pub(crate) present: Expected,
    pub(crate) lasting: Expected,
    /// Whether less is asked now than those say.
    pub(crate) falls: bool,
    /// Bits per second of 307s now.
    pub(crate) redirect_bits: f64,
    /// Whether no service at home is healthy: then home has no capacity.
    pub(crate) down: bool,
    /// Whether gateways send on what home has no room for.
    pub(crate) overflows: bool,
    /// The standard deviation of a second's weighted requests, as a part of them.
    pub(crate) noise: f64,
    pub(crate) pressure: Pressure,
    pub(crate) sense: &'a SiteSense,
}

/// The share of one site and what its movement goes by. Bounded by the dwell.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct ShareState {
    raised_at: UnixMillis,
    changed_at: UnixMillis,
    /// Whether the last move was down.
    fell: bool,
    /// The largest share that some clients may have followed still when it fell last.
    #[serde(default)]
    fell_from: f64,
    #[serde(default)]
    flaps: Flaps,
    /// Ticks in a row in which the uplink was overfull although no raise was under way.
    congested: u32,
    /// Ticks in a row in which answers were slow, likewise.
    slow: u32,
    /// What a lower share must not have fallen below in the last dwell.
    window: Window,
}

/// How the site's own limits look this tick.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Pressure {
    /// The uplink holds bytes back, so that bytes are no measure of answers.
    pub(crate) held_back: bool,
    /// The uplink drops, and is full.
    pub(crate) congested: bool,
    /// The 95th percentile is over its limit.
    pub(crate) slow: bool,
    /// Uplink or compute are in use enough for spilling to help with that.
    pub(crate) busy: bool,
    /// A raise or a change of knobs is still under way.
    pub(crate) settling: bool,
}

impl Pressure {
    pub(crate) fn of(site: &SitePolicy, sense: &SiteSense, settling: bool) -> Self {
        let uplink = sense.uplink;
        let queued = uplink.map_or(0.0, |u| u.queued_bytes);
        let used = uplink.map_or(0.0, |u| u.bits_per_sec) / site.cap;
        let drops = uplink.is_some_and(|u| u.drops > 0);
        let half_full = queued >= site.queue_bytes / 2.0;
        Self {
            held_back: drops || half_full,
            // A burst that overflows a queue for a moment is no overfull line.
            congested: drops && (used >= 0.9 || half_full),
            slow: sense.answers >= ANSWERS_MIN && sense.p95_ms.is_some_and(|ms| ms > site.p95_ms),
            busy: used > 0.5 || queued > site.queue_bytes / 4.0,
            settling,
        }
    }

    /// The same with the compute in use, in weighted requests per second.
    pub(crate) fn with_compute(self, site: &SitePolicy, home_weight: f64) -> Self {
        Self { busy: self.busy || home_weight > 0.5 * site.weighted_qps, ..self }
    }
}

impl ShareState {
    /// Whether the last raise is still under way.
    pub(crate) fn settling(&self, at: UnixMillis) -> bool {
        at.millis_since(self.raised_at) < SETTLE_MS && self.raised_at <= at
    }

    /// Whether the line has been overfull for long although no raise was under way.
    pub(crate) fn overfull(&self) -> bool {
        self.congested >= PERSISTENT
    }

    /// Whether the share has been as it is for longer than a client needs to move.
    pub(crate) fn steady(&self, at: UnixMillis) -> bool {
        at.millis_since(self.changed_at) >= SETTLE_MS
    }

    /// How far clients have followed `share`, which is in force. A raise moves them at once, but who is
    /// to come home does when DNS is asked again.
    pub(crate) fn following(&self, policy: &Policy, share: f64, at: UnixMillis) -> Following {
        let all = at.millis_since(self.changed_at) as f64 >= 1000.0 * policy.dns_horizon_secs();
        Following { all, largest: if all { share } else { share.max(self.fell_from) } }
    }

    /// The share that the site needs, with `expected` to come and `share` in force.
    pub(crate) fn need(
        &mut self,
        policy: &Policy,
        site: &SitePolicy,
        case: &Case<'_>,
        share: f64,
    ) -> Need {
        let Case { expected, redirect_bits, pressure, sense, .. } = *case;
        self.congested = match pressure {
            Pressure { congested: false, .. } => 0,
            Pressure { settling: true, .. } => self.congested,
            _ => (self.congested + 1).min(PANIC_MAX),
        };
        self.slow = match pressure {
            Pressure { slow: true, busy: true, settling: false, .. } => self.slow.saturating_add(1),
            Pressure { slow: true, busy: true, settling: true, .. } => self.slow,
            _ => 0,
        };
        let line = |s: f64| expected.line(site.cap, policy.uplink_target, s);
        // Where the cloud brings back all that it takes off, no share does.
        let relieves = expected.home_bits(1.0) < expected.home_bits(0.0);
        let uplink = |most: &dyn Fn(f64) -> f64, moving: bool| {
            let redirect = if moving {
                // A client that is spilled but has not asked DNS again costs a 307 each time.
                let each = expected.movable_requests * 8.0 * REDIRECT_BYTES;
                each.min(0.4 * expected.movable_bits)
            } else {
                0.0
            };
            if !relieves {
                return 0.0;
            }
            least(|s| {
                let moved = (s - share).max(0.0);
                let home = case.home_bits(policy, site, expected, s);
                home + redirect_bits + moved * redirect <= most(s)
            })
        };
        let compute = |part: f64| match case.down {
            true => 1.0 - ASKING,
            false => least(|s| expected.home_weight(s) <= site.weighted_qps * part),
        };
        let (compute_needs, compute_calm) = if case.overflows && !case.down {
            (case.needs(policy, site, share), case.calm(policy, site))
        } else {
            (compute(policy.compute_target), compute(policy.compute_target * CALM))
        };
        let panic = if pressure.congested && !pressure.settling && relieves {
            let more = 1.0 + 0.1 * f64::from(self.congested);
            1.0 - (1.0 - share) * line(share) / site.cap / more
        } else {
            0.0
        };
        let latency = if self.slow >= 2 && !pressure.settling {
            let over = sense.p95_ms.unwrap_or(0.0) / site.p95_ms - 1.0;
            (share + (0.05 * over).clamp(0.01, 0.1)).min(1.0)
        } else {
            0.0
        };
        let stays = pressure.slow && pressure.busy || pressure.congested;
        let calm = uplink(&|s| line(s) * CALM, false).max(compute_calm).max(if stays {
            share
        } else {
            0.0
        });
        Need {
            down: case.down,
            falls: case.falls && !case.down,
            presses: case.down || presses(policy, site, case, share),
            uplink: uplink(&line, true),
            compute: compute_needs,
            panic,
            latency,
            hard: uplink(&|_| site.cap, true).max(compute(1.0)),
            calm,
        }
    }

    /// The next share. `most` is what the cloud takes.
    pub(crate) fn next(
        &mut self,
        policy: &Policy,
        need: &Need,
        allowed: Allowed,
        share: f64,
        at: UnixMillis,
    ) -> Move {
        let Allowed { most, whole, money } = allowed;
        if whole {
            self.window.push(dwell(policy), at, need.calm);
        }
        let down = policy.share_step_down * policy.tick_secs;
        let wanted = quantised(need.share().min(most));
        if wanted > share {
            // What rises may go on rising at once: that is no turn.
            let asked = (share > 0.0 && !self.fell) || need.presses;
            let at_once = (asked && !need.falls) || need.panic > share || need.latency > share;
            if !at_once || (wanted - share < WORTH && need.hard <= share) {
                return Move::Kept(share);
            }
            self.raised_at = at;
            self.changed_at = at;
            self.fell = false;
            self.flaps.rose(at);
            return Move::Raised(wanted);
        }
        let band = if money.is_some_and(|money| money.spent) { 0.0 } else { CLOUD_BAND };
        let too_much = need.share() > most && share > most + band;
        let floor = if let (true, Some(money)) = (too_much, money) {
            // Knobs free room at home for who comes back; once nothing is left, who does not fit comes, too.
            if money.spent { most } else { most.max(money.hard) }
        } else if too_much {
            // What the cloud refuses is lost; but home is not pushed over its caps for it.
            most.max(need.hard)
        } else if share > 0.0 && self.dwells(policy, at) {
            // What was just raised has not been too much for long, whatever the need was before.
            return Move::Dwells(share, self.dwell_secs(policy, at));
        } else if whole {
            match self.window.max_over(dwell(policy), at) {
                Some(calm) => calm,
                None if share > 0.0 => return Move::Dwells(share, policy.share_dwell_secs),
                None => return Move::Kept(share),
            }
        } else {
            return Move::Kept(share);
        };
        let floor = quantised(floor);
        let next = if floor <= 0.0 && share - down < REST {
            0.0
        } else if floor <= 0.0 || floor + WORTH < share {
            quantised(floor.max(share - down))
        } else {
            share
        };
        if next >= share {
            return Move::Kept(share);
        }
        self.fall(policy, share, at);
        self.flaps.fell(at);
        Move::Lowered(next)
    }

    /// The next share while the cloud is dead. `at_once`: it has just died, clients are on their way
    /// home, or knobs have just freed room there.
    ///
    /// No data is not zero, and lowers nothing. But this is data: every check of the cloud fails, so who
    /// is sent there is not served. Home is filled to its caps at once, and never over them. After that
    /// it takes more only when that has fitted for a dwell, for what came home in a moment's lull
    /// could not leave again. Who is served by a site that helps, the clients below `helped`, stays there.
    pub(crate) fn next_alone(
        &mut self,
        policy: &Policy,
        need: &Need,
        at_once: bool,
        (share, helped): (f64, f64),
        at: UnixMillis,
    ) -> Move {
        self.window.push(dwell(policy), at, need.hard);
        let least = match at_once {
            true => Some(need.hard),
            false => self.window.max_over(dwell(policy), at),
        };
        // Some stay at home whatever comes, for nothing else would tell how much is asked.
        let home = quantised(least.unwrap_or(1.0)).min(1.0 - STEP).max(helped);
        if home >= share || (home > 0.0 && home + WORTH >= share) {
            return Move::Kept(share);
        }
        self.fall(policy, share, at);
        Move::Returned(home)
    }

    /// An order holds the share, which is `from`, at `to`. `decided` is this after the decision's own
    /// move, which was not made: what it saw counts, and nothing else. Orders are no turns.
    pub(crate) fn ordered(
        &mut self,
        policy: &Policy,
        decided: Self,
        (from, to): (f64, f64),
        at: UnixMillis,
    ) {
        self.window = decided.window;
        (self.congested, self.slow) = (decided.congested, decided.slow);
        if to > from {
            self.raised_at = at;
            self.changed_at = at;
            self.fell = false;
        } else if to < from {
            self.fall(policy, from, at);
        }
    }

    /// What the share may be lowered to, step by step, where enough has been seen to say.
    pub(crate) fn calm(&self, policy: &Policy, at: UnixMillis) -> Option<f64> {
        self.window.max_over(dwell(policy), at).map(quantised)
    }

    /// Notes that the share falls from `share`.
    fn fall(&mut self, policy: &Policy, share: f64, at: UnixMillis) {
        self.fell_from = self.following(policy, share, at).largest;
        self.changed_at = at;
        self.fell = true;
    }

    /// Whether the last raise is less than a dwell ago. A clock set back ends the wait, not starts it.
    fn dwells(&self, policy: &Policy, at: UnixMillis) -> bool {
        let dwell = dwell(policy).millis;
        let dwells = self.raised_at <= at && at.millis_since(self.raised_at) < dwell;
        dwells || self.flaps.hold(dwell, at)
    }

    /// How long less must have sufficed after a raise, in seconds.
    fn dwell_secs(&self, policy: &Policy, at: UnixMillis) -> u64 {
        let dwell = dwell(policy).millis;
        self.flaps.prolonged(dwell, at).unwrap_or(dwell) / 1000
    }

    /// After a restart: the timers start again.
    pub(crate) fn forget_present(&mut self) {
        *self = Self::default();
    }
}

/// What a move is allowed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Allowed {
    /// Largest share that the cloud takes.
    pub(crate) most: f64,
    /// Whether everything was seen, without which nothing is lowered.
    pub(crate) whole: bool,
    /// Where money is what allows no more.
    pub(crate) money: Option<ForMoney>,
}

/// What a share may fall to for want of money.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ForMoney {
    /// The share that keeps home under its caps with the knobs that are on.
    pub(crate) hard: f64,
    /// Whether what is left only pays for the way home.
    pub(crate) spent: bool,
}

/// What became of a share.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Move {
    Raised(f64),
    Lowered(f64),
    /// Lowered at once, for the cloud is dead.
    Returned(f64),
    Kept(f64),
    /// Kept because a lower one has not sufficed for so many seconds.
    Dwells(f64, u64),
    /// Where an order holds it, and where it would be without.
    Ordered(f64, f64),
    /// Where the mode holds it, and where it would be moved to.
    Advised(f64, f64),
}

impl Move {
    pub(crate) fn share(self) -> f64 {
        match self {
            Self::Raised(s)
            | Self::Lowered(s)
            | Self::Returned(s)
            | Self::Kept(s)
            | Self::Dwells(s, _)
            | Self::Ordered(s, _)
            | Self::Advised(s, _) => s,
        }
    }
}

/// Whether home is over its line at the present share: at its targets for some ten seconds, half way
/// from there to its caps as is likely at the horizon, or at its caps at the worst. Noise reaches for
/// the targets now and then; a raise for each time would be a fall for each time, too.
fn presses(policy: &Policy, site: &SitePolicy, case: &Case<'_>, share: f64) -> bool {
    // From the line at 0 to the cap at 1.
    let over = |load: &Expected, way: f64| {
        let line = load.line(site.cap, policy.uplink_target, share);
        let bits = line + way * (site.cap - line);
        let target = policy.compute_target;
        let weight = site.weighted_qps * (target + way * (1.0 - target));
        case.home_bits(policy, site, load, share) + case.redirect_bits > bits
            || !case.overflows && load.home_weight(share) > weight
    };
    over(&case.lasting, 0.0)
        || over(&case.likely, 0.5)
        || over(case.expected, 1.0)
        || case.overflows && case.presses(policy, site, share)
}

/// What home's processors need where gateways send on what there is no room for.
impl Case<'_> {
    /// The mean of some ten seconds, once there have been so many.
    fn lasts(&self) -> &Expected {
        if self.lasting.weight() > 0.0 { &self.lasting } else { &self.likely }
    }

    /// The share needed: the present one will do until what comes is more than a matter of moments.
    fn needs(&self, policy: &Policy, site: &SitePolicy, share: f64) -> f64 {
        let room = site.weighted_qps * policy.compute_target;
        let least = |load: &Expected, most: f64| least(|s| load.home_weight(s) <= room * most);
        let needs = least(self.lasts(), FILLED).max(least(&self.present, SHOCK));
        if self.presses(policy, site, share) { needs } else { needs.min(share) }
    }

    /// What a lower share must not fall below.
    fn calm(&self, policy: &Policy, site: &SitePolicy) -> f64 {
        let room = site.weighted_qps * policy.compute_target;
        least(|s| self.lasts().home_weight(s) <= room * FILLED_LEAST)
    }

    /// Whether home is asked for so much more than it has room for that it is no matter of moments.
    fn presses(&self, policy: &Policy, site: &SitePolicy, share: f64) -> bool {
        let room = site.weighted_qps * policy.compute_target;
        let band = FILLED_BAND.max(SIGMAS * self.noise.min(NOISE_MAX));
        self.lasts().home_weight(share) > room * (FILLED + band)
            || self.present.home_weight(share) > room * (SHOCK + band)
    }

    /// Bits per second that home sends at a share. Gateways that send on what there is no room for answer
    /// that with a 307.
    fn home_bits(&self, policy: &Policy, site: &SitePolicy, load: &Expected, share: f64) -> f64 {
        let room = site.weighted_qps * policy.compute_target;
        match self.overflows {
            true => load.home_bits_within(share, room),
            false => load.home_bits(share),
        }
    }
}

/// The smallest share with which home carries `expected` at its targets; 1 when none does.
pub(crate) fn carries(policy: &Policy, site: &SitePolicy, expected: &Expected) -> f64 {
    least(|s| {
        expected.home_bits(s) <= expected.line(site.cap, policy.uplink_target, s)
            && expected.home_weight(s) <= site.weighted_qps * policy.compute_target
    })
}

/// The smallest share with which home has `expected` under its caps, without a margin; 1 when none does.
pub(crate) fn bears(site: &SitePolicy, expected: &Expected) -> f64 {
    least(|s| expected.home_bits(s) <= site.cap && expected.home_weight(s) <= site.weighted_qps)
}

/// The smallest share that `fits`, which holds from some share on. By bisection to a quarter of a
/// [`STEP`]; 1 when none does.
fn least(fits: impl Fn(f64) -> bool) -> f64 {
    if fits(0.0) {
        return 0.0;
    }
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..12 {
        let middle = (low + high) / 2.0;
        if fits(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    high
}

/// The share rounded up to a multiple of [`STEP`].
fn quantised(share: f64) -> f64 {
    ((share / STEP).ceil() * STEP).clamp(0.0, 1.0)
}

pub(crate) fn dwell(policy: &Policy) -> Span {
    Span::secs(policy.share_dwell_secs, policy.tick_ms)
}
