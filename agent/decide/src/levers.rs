//! What the cloud has at hand beside gateways, each a lever that follows what is asked of it: capacity
//! reserved at the load balancer, warm environments of functions, replicas of cache and database.
//!
//! Each is raised by what has lasted and lowered to what would have sufficed for some time. Reserved
//! capacity is lowered seldom, for AWS takes two decreases a day: when half of it would do, or none.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use spillway_model::config::Config;
use spillway_model::{Fleet, UnixMillis};

use crate::event::{self, Announced};
use crate::fleet::FleetSense;
use crate::lasting::{Dwell, Lasting, Seen};

/// What one capacity unit of an application load balancer takes: new connections a second,
const UNIT_CONNECTIONS: f64 = 25.0;
/// open connections,
const UNIT_OPEN: f64 = 3000.0;
/// bytes an hour to and from functions, and to and from other targets,
const UNIT_BYTES: (f64, f64) = (0.4e9, 1e9);
/// and evaluations of rules a second, of which the first ten of each request are free.
const UNIT_RULES: f64 = 1000.0;
const RULES_FREE: f64 = 10.0;
/// An idle connection is closed after this, in seconds: the load balancer's default.
const IDLE_SECS: f64 = 60.0;
/// Least units that can be reserved. Fewer than half of that are none.
const UNITS_MIN: f64 = 100.0;
/// Units are asked for in multiples of this, and for a quarter more than what has lasted: it takes
/// minutes until the next may be asked for.
const UNITS_STEP: f64 = 50.0;
const UNITS_ROOM: f64 = 1.25;
/// Less than this part of what one more is for is left to those there are.
const LEFT: f64 = 0.25;
/// Environments are kept warm after and for so many seconds.
const WARM_SECS: (u64, u64) = (30, 300);

/// The levers that there may be.
#[derive(Debug, Clone, Default)]
pub(crate) struct LeversPolicy {
    capacity: Option<CapacityPolicy>,
    warm: BTreeMap<String, WarmPolicy>,
    replicas: Option<ReplicasPolicy>,
}

#[derive(Debug, Clone)]
struct CapacityPolicy {
    max: f64,
    per_connection: f64,
    rules: f64,
    dwell: Dwell,
}

#[derive(Debug, Clone)]
struct WarmPolicy {
    /// Places in the policy's routes.
    routes: Vec<usize>,
    steps: Steps,
    dwell: Dwell,
}

#[derive(Debug, Clone)]
struct ReplicasPolicy {
    cache: Steps,
    database: Steps,
    dwell: Dwell,
}

/// How many of something a load needs.
#[derive(Debug, Clone, Copy)]
struct Steps {
    each: f64,
    max: u32,
    /// They are asked for in multiples of this.
    by: u32,
}

impl Steps {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "from 0 to a u32 by the clamp"
    )]
    fn count(self, load: f64) -> u32 {
        let needed = (load / self.each - LEFT).ceil().clamp(0.0, f64::from(self.max)) as u32;
        needed.next_multiple_of(self.by.max(1)).min(self.max)
    }

    /// More by what has lasted, fewer by what would have sufficed.
    fn next(self, before: u32, lasted: f64, sufficed: Option<f64>) -> u32 {
        let (least, most) = (self.count(lasted), sufficed.map(|load| self.count(load)));
        before.max(least).min(most.unwrap_or(self.max).max(least)).min(self.max)
    }
}

/// What one tick hands to the next.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Levers {
    /// Capacity units needed.
    units: Lasting,
    /// Weighted requests per second of each function.
    warm: BTreeMap<String, Lasting>,
    /// Weighted requests per second asked of the cloud.
    asked: Lasting,
}

impl LeversPolicy {
    pub(crate) fn new(config: &Config) -> Self {
        let Some(aws) = &config.cloud.aws else { return Self::default() };
        let dwell = |after, keep| Dwell::secs(after, keep, config.agent.tick_ms);
        let capacity = aws.capacity.as_ref().filter(|capacity| capacity.max_units > 0);
        let warm = aws.functions.iter().filter(|(_, function)| function.warm_max > 0);
        let warm = warm.map(|(name, function)| {
            let groups = config.cloud.functions.iter().filter(|f| &f.name == name);
            let groups: Vec<_> = groups.flat_map(|f| &f.groups).collect();
            let routes = config.routes.iter().enumerate();
            let routes = routes.filter(|(_, route)| groups.contains(&&route.group));
            let policy = WarmPolicy {
                routes: routes.map(|(place, _)| place).collect(),
                steps: Steps {
                    each: function.warm_qps,
                    max: function.warm_max,
                    by: function.warm_max / 10,
                },
                dwell: dwell(WARM_SECS.0, WARM_SECS.1),
            };
            (name.clone(), policy)
        });
        Self {
            capacity: capacity.map(|capacity| CapacityPolicy {
                max: f64::from(capacity.max_units),
                per_connection: capacity.requests_per_connection,
                rules: aws.rules.len() as f64,
                dwell: dwell(capacity.after_secs, capacity.keep_secs),
            }),
            warm: warm.collect(),
            replicas: aws.replicas.as_ref().map(|replicas| {
                let steps = |max| Steps { each: replicas.weighted_qps, max, by: 1 };
                ReplicasPolicy {
                    cache: steps(replicas.cache_max),
                    database: steps(replicas.database_max),
                    dwell: dwell(replicas.after_secs, replicas.keep_secs),
                }
            }),
        }
    }
}

impl CapacityPolicy {
    /// Units for so many requests and bytes of answers per second, of which gateways get some percent:
    /// those of the dimension that needs most.
    fn needed(&self, requests: f64, bytes: f64, gateway_percent: u8) -> f64 {
        let connections = requests / self.per_connection;
        let gateways = f64::from(gateway_percent) / 100.0;
        let per_byte = (1.0 - gateways) / UNIT_BYTES.0 + gateways / UNIT_BYTES.1;
        [
            connections / UNIT_CONNECTIONS,
            connections * IDLE_SECS / UNIT_OPEN,
            bytes * 3600.0 * per_byte,
            requests * (self.rules - RULES_FREE).max(0.0) / UNIT_RULES,
        ]
        .into_iter()
        .fold(0.0, f64::max)
    }

    /// What to reserve: more for what has lasted, nothing once next to nothing was needed for long, and
    /// less where a need stands that half of it would do for. What still falls is waited for, since each
    /// decrease is one of two.
    fn next(&self, before: u32, lasted: f64, sufficed: Option<f64>) -> u32 {
        let before = before.min(self.units(self.max));
        if lasted > f64::from(before) {
            return if lasted < UNITS_MIN { before } else { self.units(lasted * UNITS_ROOM) };
        }
        let Some(most) = sufficed else { return before };
        let less = self.units(most * UNITS_ROOM);
        if most < UNITS_MIN / 2.0 {
            0
        } else if less <= before / 2 && lasted >= most / 2.0 {
            less
        } else {
            before
        }
    }

    /// What can be reserved for a need.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "from 0 to a u32 by the clamp"
    )]
    fn units(&self, need: f64) -> u32 {
        ((need / UNITS_STEP).ceil() * UNITS_STEP).clamp(UNITS_MIN, self.max.max(UNITS_MIN)) as u32
    }
}

impl Levers {
    /// Sets what the next plan's fleet has beside gateways, and says why where that is new. `loads` are
    /// the weighted requests per second that are in the cloud, by route.
    pub(crate) fn step(
        &mut self,
        policy: &LeversPolicy,
        sense: &FleetSense<'_>,
        loads: &[f64],
        fleet: &mut Fleet,
        at: UnixMillis,
    ) -> Vec<String> {
        let mut reasons = Vec::new();
        let seen = sense.sees.then_some(Seen { secs: sense.secs, whole: sense.whole });
        let before = std::mem::take(&mut fleet.capacity_units);
        if let Some(capacity) = &policy.capacity {
            let needed = |requests, bytes| capacity.needed(requests, bytes, fleet.gateway_percent);
            let Announced { requests, bytes, source, .. } = sense.coming.capacity;
            let announced = needed(requests, bytes);
            let needed = needed(sense.requests, sense.bytes);
            let season = source.of_season(announced);
            let known = self.units.step(capacity.dwell, needed, season, seen, at);
            let (lasted, sufficed) = event::at_least(announced, known);
            fleet.capacity_units = capacity.next(before, lasted, sufficed);
            let (after, keep) = capacity.dwell.in_secs();
            if fleet.capacity_units > before {
                let why = match announced < lasted {
                    true => format!("{lasted:.0} have been needed for {after} s"),
                    false => format!("{source} is to need {announced:.0}"),
                };
                reasons.push(format!(
                    "fleet: reserving {} capacity units at the load balancer, before {before}, for {why}",
                    fleet.capacity_units
                ));
            } else if fleet.capacity_units < before && f64::from(before) > capacity.max {
                reasons.push(format!(
                    "fleet: reserving {} capacity units at the load balancer, before {before}: `max_units` allows no more",
                    fleet.capacity_units
                ));
            } else if fleet.capacity_units < before {
                reasons.push(format!(
                    "fleet: giving back {} of {before} capacity units of the load balancer, for at most {:.0} were needed for {keep} s",
                    before - fleet.capacity_units,
                    sufficed.unwrap_or(0.0)
                ));
            }
        }
        let before = std::mem::take(&mut fleet.provisioned);
        let functions = 1.0 - f64::from(fleet.gateway_percent) / 100.0;
        self.warm.retain(|name, _| policy.warm.contains_key(name));
        for (name, warm) in &policy.warm {
            let of_routes = |loads: &[f64]| -> f64 {
                warm.routes.iter().filter_map(|place| loads.get(*place)).sum()
            };
            // Functions take the shock of an event whole: a gateway that does not boot is not missed. Of what
            // the season brings it is their part already.
            let (load, announced) =
                (of_routes(loads) * functions, of_routes(&sense.coming.warm.loads));
            let kept = self.warm.entry(name.clone()).or_default();
            let season = sense.coming.warm.source.of_season(announced);
            let known = kept.step(warm.dwell, load, season, seen, at);
            let (lasted, sufficed) = event::at_least(announced, known);
            let load = load.max(announced);
            let was = before.get(name).copied().unwrap_or(0);
            let wanted = warm.steps.next(was, lasted, sufficed);
            if wanted != was {
                reasons.push(format!(
                    "fleet: keeping {wanted} environments of {name} warm, before {was}, for {load:.0} weighted requests/s"
                ));
            }
            if wanted > 0 {
                fleet.provisioned.insert(name.clone(), wanted);
            }
        }
        let before = (fleet.cache_replicas, fleet.database_replicas);
        (fleet.cache_replicas, fleet.database_replicas) = (0, 0);
        if let Some(replicas) = &policy.replicas {
            let announced = sense.coming.replicas.load();
            let season = sense.coming.replicas.source.of_season(announced);
            let known = self.asked.step(replicas.dwell, sense.asked, season, seen, at);
            let (lasted, sufficed) = event::at_least(announced, known);
            let asked = sense.asked.max(announced);
            fleet.cache_replicas = replicas.cache.next(before.0, lasted, sufficed);
            fleet.database_replicas = replicas.database.next(before.1, lasted, sufficed);
            if before != (fleet.cache_replicas, fleet.database_replicas) {
                reasons.push(format!(
                    "fleet: adding {} replicas to the cache and {} to the database, before {} and {}, for {:.0} weighted requests/s in the cloud",
                    fleet.cache_replicas, fleet.database_replicas, before.0, before.1, asked
                ));
            }
        }
        reasons.extend(at_hand(fleet));
        reasons
    }

    /// After a restart: loads and timers are of another time.
    pub(crate) fn forget_present(&mut self) {
        *self = Self::default();
    }
}

impl Lasting {
    /// Takes in a load, if it was seen; what has lasted of it, and what would have sufficed.
    fn step(
        &mut self,
        dwell: Dwell,
        load: f64,
        season: f64,
        seen: Option<Seen>,
        at: UnixMillis,
    ) -> (f64, Option<f64>) {
        // No data is not zero: what there is stays.
        let Some(seen) = seen else { return (0.0, None) };
        self.take_in(dwell, load, season, seen, at);
        // Nor is a part of them all: what would have sufficed is told by whole data of now alone.
        let sufficed = if seen.whole { self.sufficed(dwell, at) } else { None };
        (self.lasted(dwell, load, at), sufficed)
    }
}

/// What is at hand beside gateways, if anything is.
fn at_hand(fleet: &Fleet) -> Option<String> {
    let mut all = Vec::new();
    if fleet.capacity_units > 0 {
        all.push(format!("{} capacity units of the load balancer", fleet.capacity_units));
    }
    all.extend(fleet.provisioned.iter().map(|(name, n)| format!("{n} environments of {name}")));
    for (n, of) in [(fleet.cache_replicas, "cache"), (fleet.database_replicas, "database")] {
        match n {
            0 => {}
            n => all.push(format!("{n} more of the {of}'s replicas")),
        }
    }
    (!all.is_empty()).then(|| format!("fleet: kept at hand: {}", all.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Coming;

    fn capacity() -> CapacityPolicy {
        let dwell = Dwell::secs(30, 3600, 1000);
        CapacityPolicy { max: 500.0, per_connection: 1.0, rules: 2.0, dwell }
    }

    fn sense(requests: f64, bytes: f64) -> FleetSense<'static> {
        FleetSense {
            there: Err(String::new()),
            load: 0.0,
            asked: 0.0,
            requests,
            bytes,
            secs: 1.0,
            sees: true,
            whole: true,
            coming: Coming::default(),
            order: None,
            boot_secs: 60.0,
            holds: false,
            afford: u32::MAX,
        }
    }

    #[test]
    fn units_are_those_of_the_dimension_that_needs_most() {
        let mut policy = capacity();
        let units = |policy: &CapacityPolicy, requests, bytes, percent| {
            policy.needed(requests, bytes, percent).round()
        };
        assert_eq!(units(&policy, 5000.0, 0.0, 0), 200.0, "new connections");
        // A megabyte a second is 3.6 GB an hour.
        assert_eq!(units(&policy, 100.0, 1e6, 0), 9.0, "answers of functions");
        assert_eq!(units(&policy, 10.0, 1e7, 100), 36.0, "answers of gateways");
        policy.rules = 25.0;
        policy.per_connection = 100.0;
        assert_eq!(units(&policy, 5000.0, 0.0, 0), 75.0, "rules");
    }

    #[test]
    fn units_are_lowered_only_where_half_or_none_is_needed() {
        let policy = capacity();
        assert_eq!(policy.next(0, 99.0, None), 0, "the load balancer grows so far by itself");
        assert_eq!(policy.next(0, 100.0, None), 150);
        assert_eq!(policy.next(150, 150.0, Some(60.0)), 150);
        assert_eq!(policy.next(150, 151.0, None), 200);
        assert_eq!(policy.next(200, 120.0, Some(130.0)), 200, "nothing in between lowers it");
        assert_eq!(policy.next(200, 0.0, None), 200, "what is not known holds");
        assert_eq!(policy.next(200, 10.0, Some(49.0)), 0);
        assert_eq!(policy.next(400, 100.0, Some(110.0)), 150, "a need that stands");
        assert_eq!(policy.next(400, 40.0, Some(110.0)), 400, "one that still falls");
        assert_eq!(policy.next(400, 170.0, Some(180.0)), 400, "not worth one of two decreases");
        assert_eq!(policy.next(0, 1e9, None), 500);
    }

    #[test]
    fn a_limit_that_was_lowered_is_the_reason_given() {
        let policy = LeversPolicy { capacity: Some(capacity()), ..LeversPolicy::default() };
        let reasons = |units, requests| {
            let mut fleet = Fleet { capacity_units: units, ..Fleet::default() };
            let sense = sense(requests, 0.0);
            let said = Levers::default().step(&policy, &sense, &[], &mut fleet, UnixMillis(1_000));
            (fleet.capacity_units, said)
        };
        // Whether it is needed or not.
        for requests in [0.0, 1e6] {
            let (units, said) = reasons(800, requests);
            let expected = [
                "fleet: reserving 500 capacity units at the load balancer, before 800: `max_units` allows no more",
                "fleet: kept at hand: 500 capacity units of the load balancer",
            ];
            assert_eq!((units, said), (500, expected.map(str::to_owned).into()));
        }
        let (units, said) = reasons(500, 0.0);
        assert_eq!((units, said.len()), (500, 1), "{said:?}");
    }

    #[test]
    fn steps_leave_room_between_more_and_fewer() {
        let steps = Steps { each: 100.0, max: 10, by: 1 };
        assert_eq!(steps.next(0, 24.0, None), 0);
        assert_eq!(steps.next(0, 126.0, None), 2);
        assert_eq!(steps.next(2, 10.0, Some(180.0)), 2);
        assert_eq!(steps.next(2, 10.0, None), 2);
        assert_eq!(steps.next(5, 10.0, Some(180.0)), 2);
        assert_eq!(steps.next(5, 1e9, Some(0.0)), 10, "more goes before fewer");
        assert_eq!(Steps { by: 4, ..steps }.next(0, 480.0, None), 8);
        assert_eq!(Steps { max: 0, ..steps }.next(3, 1e9, None), 0);
    }
}
