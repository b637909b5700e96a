//! What became of a run: its measures, second by second.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::setting::Setting;
use crate::world::{Control, Happened, Split, World};

/// Most points of a [`Course`].
const POINTS_MAX: u64 = 480;

/// What a policy came to.
///
/// The measures of elasticity are those of the SPEC Research Group (Herbst et al., Ready for Rain? A View
/// from SPEC Research on the Future of Cloud Metrics, SPEC-RG-2016-01, chapter 5), in per cent. What they
/// compare is counted in servers: of the demand those that its per-second mean fills to the limit, but never
/// fewer than the site has, for these are there anyway; of the supply those that serve, at home and on EC2,
/// and as many more as functions stand for.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    /// Seconds in which the 95th percentile of latency was above its limit somewhere, or requests failed.
    pub seconds_over: u64,
    /// Requests that arrived.
    pub requests: u64,
    /// Requests that failed: refused, or not served for longer than people wait.
    pub requests_failed: u64,
    /// Requests that a tier refused on purpose.
    pub requests_shed: u64,
    /// What EC2 and functions cost, in dollars.
    pub cost_usd: f64,
    /// How much was missing while too little was there, as a part of the demand.
    pub theta_u: f64,
    /// How much was too much, as a part of the demand.
    pub theta_o: f64,
    /// Part of the time with too little.
    pub tau_u: f64,
    /// Part of the time with too much.
    pub tau_o: f64,
    /// Part of the steps in which demand and supply did not move the same way.
    pub instability: f64,
    /// Times that the policy turned from more to less or back: in servers or in its share.
    pub reversals: u64,
    /// Seconds at each tier above 0.
    pub tier_seconds: BTreeMap<u8, u64>,
}

/// A run for the eye: equal spans of time, means where nothing else is said.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Course {
    /// Seconds between two points.
    pub secs: f64,
    /// Requests that were asked for in the busiest second: means would hide what scaling is about.
    pub demand: Vec<f64>,
    /// Requests per second that what was there could serve within the limit.
    pub supply: Vec<f64>,
    /// Part of the requests that the cloud served.
    pub cloud: Vec<f64>,
    /// Part of the seconds over the limit.
    pub over: Vec<f64>,
    /// Highest tier.
    pub tier: Vec<f64>,
}

/// Times that a number turned from rising to falling or back.
#[derive(Debug, Default)]
struct Turns {
    last: Option<f64>,
    direction: f64,
    turns: u64,
}

impl Turns {
    fn push(&mut self, value: f64) {
        let change = self.last.map_or(0.0, |last| value - last);
        if change != 0.0 {
            self.turns += u64::from(self.direction * change < 0.0);
            self.direction = change;
        }
        self.last = Some(value);
    }
}

/// Sums of a run.
#[derive(Debug)]
pub(crate) struct Tally {
    site_servers: f64,
    server_qps: f64,
    /// What it had cost before.
    usd: f64,
    secs: u64,
    over: u64,
    requests: u64,
    failed: u64,
    shed: u64,
    missing: f64,
    excess: f64,
    under_secs: u64,
    above_secs: u64,
    unstable: u64,
    before: Option<(f64, f64)>,
    servers: Turns,
    share: Turns,
    tiers: [u64; 4],
    course: Course,
    point: Point,
    point_secs: u64,
}

#[derive(Debug, Default)]
struct Point {
    secs: u64,
    demand: f64,
    supply: f64,
    cloud: f64,
    over: f64,
    tier: f64,
}

impl Tally {
    /// Of `secs` seconds from now on.
    pub(crate) fn new(setting: &Setting, secs: u64, world: &World) -> Self {
        let point_secs = secs.div_ceil(POINTS_MAX).max(1);
        Self {
            site_servers: f64::from(setting.site_servers),
            server_qps: setting.server_qps,
            usd: world.usd(),
            secs: 0,
            over: 0,
            requests: 0,
            failed: 0,
            shed: 0,
            missing: 0.0,
            excess: 0.0,
            under_secs: 0,
            above_secs: 0,
            unstable: 0,
            before: None,
            servers: Turns::default(),
            share: Turns::default(),
            tiers: [0; 4],
            course: Course { secs: point_secs as f64, ..Course::default() },
            point: Point::default(),
            point_secs,
        }
    }

    pub(crate) fn add(&mut self, happened: &Happened, control: &Control) {
        self.secs += 1;
        self.over += u64::from(happened.over);
        self.requests += happened.arrivals;
        self.failed += happened.failed();
        self.shed += happened.shed;
        if let Some(secs) = self.tiers.get_mut(usize::from(happened.tier)) {
            *secs += 1;
        }
        let demand = (happened.rate / self.server_qps - 1e-9).ceil().max(self.site_servers);
        let by_functions = (happened.functions as f64 / self.server_qps).ceil();
        let supply = self.site_servers + f64::from(happened.ready) + by_functions;
        self.missing += (demand - supply).max(0.0) / demand;
        self.excess += (supply - demand).max(0.0) / demand;
        self.under_secs += u64::from(supply < demand);
        self.above_secs += u64::from(supply > demand);
        if let Some((demand_then, supply_then)) = self.before {
            let same = sign(demand - demand_then) == sign(supply - supply_then);
            self.unstable += u64::from(!same);
        }
        self.before = Some((demand, supply));
        self.servers.push(f64::from(control.ec2));
        if let Split::Spill(spill) = control.split {
            self.share.push(spill.share);
        }
        self.draw(happened, supply);
    }

    fn draw(&mut self, happened: &Happened, supply: f64) {
        let point = &mut self.point;
        point.secs += 1;
        point.demand = point.demand.max(happened.arrivals as f64);
        point.supply += supply * self.server_qps;
        let served = happened.served();
        if served > 0 {
            point.cloud += (served - happened.home.served) as f64 / served as f64;
        }
        point.over += f64::from(u8::from(happened.over));
        point.tier = point.tier.max(f64::from(happened.tier));
        if point.secs == self.point_secs {
            self.end_point();
        }
    }

    fn end_point(&mut self) {
        let point = std::mem::take(&mut self.point);
        if point.secs == 0 {
            return;
        }
        let secs = point.secs as f64;
        self.course.demand.push(point.demand);
        self.course.supply.push(point.supply / secs);
        self.course.cloud.push(point.cloud / secs);
        self.course.over.push(point.over / secs);
        self.course.tier.push(point.tier);
    }

    pub(crate) fn end(mut self, world: &World) -> (Outcome, Course) {
        self.end_point();
        let secs = self.secs.max(1) as f64;
        let percent = |sum: f64| rounded(100.0 * sum / secs);
        let outcome = Outcome {
            seconds_over: self.over,
            requests: self.requests,
            requests_failed: self.failed,
            requests_shed: self.shed,
            cost_usd: rounded(world.usd() - self.usd),
            theta_u: percent(self.missing),
            theta_o: percent(self.excess),
            tau_u: percent(self.under_secs as f64),
            tau_o: percent(self.above_secs as f64),
            instability: rounded(100.0 * self.unstable as f64 / (secs - 1.0).max(1.0)),
            reversals: self.servers.turns + self.share.turns,
            tier_seconds: (1..).zip(self.tiers.into_iter().skip(1)).collect(),
        };
        (outcome, self.course)
    }
}

fn sign(change: f64) -> i8 {
    i8::from(change > 0.0) - i8::from(change < 0.0)
}

/// To six digits after the point.
fn rounded(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(seconds: &[(f64, u32)]) -> Outcome {
        let setting = Setting::default();
        let world = World::new(&setting, 1);
        let mut tally = Tally::new(&setting, seconds.len() as u64, &world);
        for (rate, ready) in seconds {
            let happened = Happened { rate: *rate, ready: *ready, ..Happened::default() };
            tally.add(&happened, &Control { ec2: *ready, split: Split::Pool });
        }
        tally.end(&world).0
    }

    #[test]
    fn measures_of_elasticity_by_hand() {
        // Demand of 10, 20, 20, 16 and 10 servers; supply of 10, 10, 25, 16 and 16.
        let outcome = tally(&[(900.0, 0), (3000.0, 0), (3000.0, 15), (2400.0, 6), (1500.0, 6)]);
        assert!((outcome.theta_u - 100.0 / 5.0 * 10.0 / 20.0).abs() < 1e-6);
        assert!((outcome.theta_o - 100.0 / 5.0 * (5.0 / 20.0 + 6.0 / 10.0)).abs() < 1e-6);
        assert!((outcome.tau_u - 20.0).abs() < 1e-6);
        assert!((outcome.tau_o - 40.0).abs() < 1e-6);
        // Up against same, same against up, down with down, down against same.
        assert!((outcome.instability - 75.0).abs() < 1e-6);
        assert_eq!(outcome.reversals, 1);
    }

    #[test]
    fn turns_are_counted_once() {
        let mut turns = Turns::default();
        for value in [0.0, 1.0, 1.0, 2.0, 1.5, 1.5, 1.0, 3.0, 3.0] {
            turns.push(value);
        }
        assert_eq!(turns.turns, 2);
    }
}
