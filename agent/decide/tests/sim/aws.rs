//! Gateways in the cloud: they boot for as long as they like or never, the load balancer gives them
//! their part a second after the plan says so, and they drain before they end.

use spillway_model::config::{AwsGateways, Config};
use spillway_model::load::FleetLoad;
use spillway_model::{Fleet, Load, UnixMillis};

use super::{EXAMPLE, STEPS, edited};

const DRAINS: u64 = 20 * STEPS;
const WEIGHS: u64 = STEPS;
/// A gateway that is not healthy by then is replaced.
const GRACE: u64 = 120 * STEPS;

/// The example on AWS, with dwells of a test.
pub(crate) fn config_on_aws(edits: &[(&str, &str)]) -> Config {
    let lines = EXAMPLE.lines().map(|line| match line.strip_prefix('#') {
        Some(setting) if !setting.starts_with(' ') => setting,
        _ => line,
    });
    let text = lines.collect::<Vec<_>>().join("\n");
    let mut text = text.replace("boot_secs = 60", "boot_secs = 40");
    // One serves as much as functions do for four times its price.
    text = text.replace("gateway_usd_per_hour = 0.0725", "gateway_usd_per_hour = 0.7");
    // Levers beside gateways are off where a test does not ask for them.
    for lever in ["max_units = 500", "warm_max = 20", "cache_max = 1", "database_max = 2"] {
        let (key, _) = lever.split_once(" = ").unwrap();
        text = text.replace(lever, &format!("{key} = 0"));
    }
    edited(text, edits)
}

struct Gateway {
    started: u64,
    healthy: u64,
}

pub(crate) struct Aws {
    /// How many seconds each gateway takes to boot, in turn; `None`: it never does.
    pub(crate) boots: Vec<Option<u64>>,
    config: AwsGateways,
    weights: Vec<f64>,
    load: Load,
    started: usize,
    gateways: Vec<Gateway>,
    draining: Vec<u64>,
    percent: u8,
    weighing: Option<(u64, u8)>,
    requests: u64,
    step: u64,
    /// Weighted requests of this second, and what it would have taken.
    given: f64,
    /// Requests given to gateways of which none was healthy.
    pub(crate) lost: u64,
}

impl Aws {
    pub(super) fn of(config: &Config, routes: [&str; 7], load: Load) -> Option<Self> {
        let gateways = config.cloud.aws.as_ref()?.gateways.clone()?;
        let weight = |name: &&str| {
            let route = config.routes.iter().find(|route| route.id.as_str() == *name);
            route.map_or(1.0, |route| route.weight)
        };
        Some(Self {
            boots: vec![Some(40)],
            config: gateways,
            weights: routes.iter().map(weight).collect(),
            load,
            started: 0,
            gateways: Vec::new(),
            draining: Vec::new(),
            percent: 0,
            weighing: None,
            requests: 0,
            step: 0,
            given: 0.0,
            lost: 0,
        })
    }

    pub(crate) fn healthy(&self) -> usize {
        self.gateways.iter().filter(|gateway| gateway.healthy <= self.step).count()
    }

    /// Everything that runs, whatever it does.
    pub(crate) fn running(&self) -> usize {
        self.gateways.len() + self.draining.len()
    }

    pub(crate) fn percent(&self) -> u8 {
        self.percent
    }

    /// One healthy gateway dies, and is replaced.
    pub(crate) fn lose_one(&mut self) {
        self.gateways.remove(0);
    }

    pub(super) fn load(&self, now: UnixMillis) -> Load {
        let count = |n: usize| u32::try_from(n).unwrap();
        let fleet = FleetLoad {
            seen_at: now,
            gateways_launched: count(self.gateways.len()),
            gateways_healthy: count(self.healthy()),
            gateways_draining: count(self.draining.len()),
            gateway_percent: self.percent,
            ..FleetLoad::default()
        };
        Load { fleet: Some(fleet), ..self.load.clone() }
    }

    pub(super) fn advance(&mut self, step: u64, fleet: &Fleet) {
        self.step = step;
        if step.is_multiple_of(STEPS) {
            self.given = 0.0;
        }
        self.draining.retain(|end| *end > step);
        self.gateways.retain(|gateway| gateway.healthy <= step || gateway.started + GRACE > step);
        while self.gateways.len() < fleet.gateways as usize {
            let boot = self.boots[self.started % self.boots.len()];
            let healthy = boot.map_or(u64::MAX, |secs| step + secs * STEPS);
            self.gateways.push(Gateway { started: step, healthy });
            self.started += 1;
        }
        while self.gateways.len() > fleet.gateways as usize {
            self.gateways.pop();
            self.draining.push(step + DRAINS);
        }
        match self.weighing {
            Some((at, percent)) if at <= step => {
                self.percent = percent;
                self.weighing = None;
            }
            None if self.percent != fleet.gateway_percent => {
                self.weighing = Some((step + WEIGHS, fleet.gateway_percent));
            }
            _ => {}
        }
    }

    /// Whether the load balancer gives the next request to a gateway.
    pub(super) fn takes(&mut self, place: usize) -> bool {
        let percent = u64::from(self.percent);
        let before = self.requests * percent / 100;
        self.requests += 1;
        // What they have no room for in this second they send on to functions.
        let room = 0.97 * self.config.weighted_qps * self.healthy() as f64;
        let takes = self.requests * percent / 100 != before && self.given < room;
        if takes {
            self.given += self.weights[place];
            self.lost += u64::from(self.healthy() == 0);
        }
        takes
    }
}
