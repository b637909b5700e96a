//! One second after the other: who is served where.

use crate::chance::{Chance, whole};
use crate::demand::Second;
use crate::environments::Environments;
use crate::queue::{Passed, Queue, Room};
use crate::resolvers::Resolvers;
use crate::servers::Servers;
use crate::setting::Setting;

/// The stream that says whose clients ask.
const STREAM: u64 = 2;

/// Requests that gateways admit at once beyond `qps`, as `infra/gateway` has it.
fn at_once(qps: f64) -> f64 {
    qps * 0.02 + (240.0 / qps).min(8.0)
}

/// How requests are divided.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Split {
    /// One load balancer in front of the servers at home and on EC2, which fills them evenly.
    Pool,
    /// Clients by rank, as DNS and the gateways do it.
    Spill(Spill),
    /// Home is filled first, then EC2, then functions, and what is too much is refused: what nobody
    /// could do who does not know what comes.
    Fill,
}

/// A plan of Spillway's in force.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Spill {
    pub(crate) share: f64,
    /// Whether gateways send on over the link, instead of by a 307.
    pub(crate) proxies: bool,
    /// Percent of the cloud's requests that EC2 is given.
    pub(crate) percent: u8,
    /// The part of requests whose routes gateways answer 503.
    pub(crate) sheds: f64,
    pub(crate) tier: u8,
    /// Requests per second that gateways give home at most, and each on EC2 its own services. What is
    /// beyond goes to the cloud, and there to functions.
    pub(crate) home_qps: Option<f64>,
    pub(crate) ec2_qps: Option<f64>,
}

/// What is in force in a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Control {
    /// Servers on EC2 that there are to be.
    pub(crate) ec2: u32,
    pub(crate) split: Split,
}

/// What happened in a second.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Happened {
    pub(crate) rate: f64,
    pub(crate) arrivals: u64,
    /// Requests that came to the site, of those that were sent on, and that were answered 503.
    pub(crate) at_site: u64,
    pub(crate) sent_on: u64,
    pub(crate) shed: u64,
    /// Of those sent on: for want of room at home.
    pub(crate) displaced: u64,
    /// Requests that came to the cloud.
    pub(crate) at_cloud: u64,
    /// Served at home, on EC2 and by functions.
    pub(crate) home: Passed,
    pub(crate) ec2: Passed,
    pub(crate) functions: u64,
    /// Refused by functions, or because nothing was left.
    pub(crate) refused: u64,
    /// Bytes that left over the uplink, and that wait for it.
    pub(crate) uplink_bytes: f64,
    pub(crate) uplink_waits: f64,
    /// Servers on EC2 that served, and that there were.
    pub(crate) ready: u32,
    pub(crate) launched: u32,
    /// Part of their time that the processors of all servers were busy: of the pool alone.
    pub(crate) busy: f64,
    pub(crate) over: bool,
    pub(crate) tier: u8,
}

impl Happened {
    pub(crate) fn served(&self) -> u64 {
        self.home.served + self.ec2.served + self.functions
    }

    pub(crate) fn failed(&self) -> u64 {
        self.home.failed + self.ec2.failed + self.refused
    }
}

/// What gateways admit: a rate, and a little more at once, as `infra/gateway` has it. Several are taken
/// for one.
#[derive(Debug, Default)]
struct Admission {
    left: f64,
}

impl Admission {
    /// How many of `arrivals` there is room for.
    fn of(&mut self, arrivals: u64, qps: Option<f64>) -> u64 {
        let Some(qps) = qps else { return arrivals };
        // A gateway that went has taken with it what it had left.
        let room = qps + self.left.min(at_once(qps));
        let taken = arrivals.min(whole(room.floor()));
        self.left = room - taken as f64;
        taken
    }
}

/// All that there is.
#[derive(Debug)]
pub(crate) struct World {
    setting: Setting,
    at: u64,
    servers: Servers,
    environments: Environments,
    resolvers: Resolvers,
    home: Queue,
    ec2: Queue,
    home_takes: Admission,
    ec2_takes: Admission,
    chance: Chance,
    /// Parts of a request that division has left over.
    rest: f64,
    /// Of the clairvoyant, who launches in time: servers now, and seconds that were billed.
    exact: Option<u32>,
    exact_secs: f64,
    by_functions: u64,
}

impl World {
    pub(crate) fn new(setting: &Setting, seed: u64) -> Self {
        Self {
            setting: setting.clone(),
            at: 0,
            servers: Servers::new(setting, seed),
            environments: Environments::new(&setting.functions),
            resolvers: Resolvers::new(setting.dns_ttl_secs),
            home: Queue::default(),
            ec2: Queue::default(),
            home_takes: Admission::default(),
            ec2_takes: Admission::default(),
            chance: Chance::new(seed, STREAM),
            rest: 0.0,
            exact: None,
            exact_secs: 0.0,
            by_functions: 0,
        }
    }

    /// One second.
    pub(crate) fn step(&mut self, second: Second, control: &Control) -> Happened {
        let mut happened =
            Happened { rate: second.rate, arrivals: second.arrivals, ..Happened::default() };
        if control.split != Split::Fill {
            self.servers.step(self.at, control.ec2);
            happened.ready = self.servers.ready();
            happened.launched = self.servers.launched();
        }
        match control.split {
            Split::Pool => self.pool(&mut happened),
            Split::Spill(spill) => self.spill(&mut happened, spill),
            Split::Fill => self.fill(&mut happened, control.ec2),
        }
        let queued = happened.home.over || happened.ec2.over;
        happened.over |= queued || happened.failed() > 0;
        self.by_functions += happened.functions;
        self.at += 1;
        happened
    }

    /// Requests that wait.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> u64 {
        self.home.waiting() + self.ec2.waiting()
    }

    /// What it has cost, in dollars.
    pub(crate) fn usd(&self) -> f64 {
        let secs = self.servers.billed_secs() as f64 + self.exact_secs;
        secs * self.setting.ec2_usd_per_sec()
            + self.by_functions as f64 * self.setting.functions.usd_per_request
    }

    pub(crate) fn environments(&self) -> &Environments {
        &self.environments
    }

    fn room(&self, servers: u32) -> Room {
        let most = f64::from(servers) * self.setting.server_most();
        Room { limit: f64::from(servers) * self.setting.server_qps, most, processors: most }
    }

    fn pool(&mut self, happened: &mut Happened) {
        let servers = self.setting.site_servers + happened.ready;
        let room = self.room(servers);
        let passed = self.home.pass(&self.setting, happened.arrivals, room);
        happened.at_site = happened.arrivals;
        happened.busy = (passed.served as f64 / room.processors).min(1.0);
        let part = f64::from(happened.ready) / f64::from(servers);
        let away = whole(passed.served as f64 * part).min(passed.served);
        happened.home = Passed { served: passed.served - away, ..passed };
        happened.ec2.served = away;
    }

    fn spill(&mut self, happened: &mut Happened, spill: Spill) {
        let spread = self.resolvers.step(spill.share);
        let cloud = self.chance.binomial(happened.arrivals, spread.cloud);
        let direct = if spread.cloud > 0.0 { spread.direct / spread.cloud } else { 0.0 };
        let direct = self.divide(cloud, direct);
        happened.at_site = happened.arrivals - direct;
        // Who is spilled but asks the site is shed there as well as who stays.
        let shed_there = self.divide(cloud - direct, spill.sheds);
        let shed_home = self.divide(happened.arrivals - cloud, spill.sheds);
        happened.shed = shed_there + shed_home;
        let stay = happened.arrivals - cloud - shed_home;
        let taken = self.home_takes.of(stay, spill.home_qps);
        happened.displaced = stay - taken;
        happened.sent_on = cloud - direct - shed_there + happened.displaced;
        happened.at_cloud = direct + happened.sent_on;
        happened.tier = spill.tier;
        self.at_home(happened, taken, spill.proxies);
        self.in_cloud(happened, &spill);
    }

    fn at_home(&mut self, happened: &mut Happened, arrivals: u64, proxies: bool) {
        let setting = &self.setting;
        let each = if proxies { setting.answer_bytes } else { setting.redirect_bytes };
        let first = happened.sent_on as f64 * each
            + happened.shed as f64 * setting.shed_bytes
            + happened.at_cloud as f64 * setting.backhaul_bytes;
        happened.over = first > setting.uplink_bytes();
        let left = (setting.uplink_bytes() - first).max(0.0) / setting.answer_bytes;
        let room = self.room(setting.site_servers);
        let room = Room { limit: room.limit.min(left), most: room.most.min(left), ..room };
        happened.home = self.home.pass(&self.setting, arrivals, room);
        let setting = &self.setting;
        let sent = first + happened.home.served as f64 * setting.answer_bytes;
        happened.uplink_bytes = sent.min(setting.uplink_bytes());
        if left < room.processors {
            // Answers are ready and wait for the line.
            happened.uplink_waits = self.home.waiting() as f64 * setting.answer_bytes;
        }
    }

    fn in_cloud(&mut self, happened: &mut Happened, spill: &Spill) {
        let part = f64::from(spill.percent.min(100)) / 100.0;
        let given = self.chance.binomial(happened.at_cloud, part);
        let qps = spill.ec2_qps.map(|each| each * f64::from(happened.ready));
        let given = self.ec2_takes.of(given, qps);
        let room = self.room(happened.ready);
        happened.ec2 = self.ec2.pass(&self.setting, given, room);
        let asked = happened.at_cloud - given;
        happened.functions = self.environments.step(asked);
        happened.refused = asked - happened.functions;
    }

    fn fill(&mut self, happened: &mut Happened, servers: u32) {
        let setting = &self.setting;
        // Who is launched has booted before, and is billed for that.
        let boot = setting.boot_mean_secs().max(setting.ec2_secs_min as f64 - 1.0);
        let launched = servers.saturating_sub(self.exact.unwrap_or(servers));
        self.exact_secs += f64::from(servers) + f64::from(launched) * boot;
        self.exact = Some(servers);
        let at_home = happened.arrivals.min(whole(setting.capacity().floor()));
        let room = self.room(servers);
        let on_ec2 = (happened.arrivals - at_home).min(whole(room.limit.floor()));
        let asked = happened.arrivals - at_home - on_ec2;
        happened.at_site = at_home;
        happened.at_cloud = happened.arrivals - at_home;
        happened.home.served = at_home;
        happened.ec2.served = on_ec2;
        happened.functions = self.environments.step(asked);
        happened.refused = asked - happened.functions;
        happened.ready = servers;
        happened.launched = servers;
    }

    /// `part` of `count`; what rounding leaves is counted next time.
    fn divide(&mut self, count: u64, part: f64) -> u64 {
        if part <= 0.0 {
            return 0;
        }
        let exact = count as f64 * part.min(1.0) + self.rest;
        let given = whole(exact.floor()).min(count);
        self.rest = (exact - given as f64).clamp(0.0, 1.0);
        given
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split() -> impl Strategy<Value = Split> {
        let qps = || prop::option::of(0.0..3000.0);
        let spill = (0.0..=1.0, any::<bool>(), 0_u8..=100, 0.0..=1.0, 0_u8..=3, qps(), qps());
        let spill = spill.prop_map(|(share, proxies, percent, sheds, tier, home_qps, ec2_qps)| {
            Split::Spill(Spill { share, proxies, percent, sheds, tier, home_qps, ec2_qps })
        });
        prop_oneof![Just(Split::Pool), spill, Just(Split::Fill)]
    }

    proptest! {
        /// Whatever is in force, every request is served, shed, failed or waits.
        #[test]
        fn requests_are_conserved(
            seed: u64,
            seconds in prop::collection::vec((0_u64..20_000, 0_u32..100, split()), 1..60),
        ) {
            let mut world = World::new(&Setting::default(), seed);
            let (mut arrived, mut gone) = (0, 0);
            for (arrivals, ec2, split) in seconds {
                let second = Second { rate: arrivals as f64, arrivals };
                let happened = world.step(second, &Control { ec2, split });
                arrived += happened.arrivals;
                gone += happened.served() + happened.shed + happened.failed();
                prop_assert_eq!(arrived, gone + world.waiting());
                prop_assert!(happened.uplink_bytes <= Setting::default().uplink_bytes() + 1.0);
                prop_assert!((0.0..=1.0).contains(&happened.busy));
                prop_assert!(world.usd().is_finite());
            }
        }
    }

    #[test]
    fn a_redirect_takes_its_part_of_the_uplink() {
        let setting = Setting { dns_ttl_secs: 3600, ..Setting::default() };
        let mut world = World::new(&setting, 1);
        let spill = Spill { share: 0.75, ..Spill::default() };
        let control = Control { ec2: 0, split: Split::Spill(spill) };
        let happened = world.step(Second { rate: 6000.0, arrivals: 6000 }, &control);
        // Nearly all come to the site and are sent on.
        assert_eq!(happened.at_site, 5999);
        assert_eq!(happened.arrivals, happened.home.served + happened.functions);
        let bytes = happened.sent_on as f64 * 350.0 + happened.home.served as f64 * 7000.0;
        assert!((happened.uplink_bytes - bytes).abs() < 1.0);
        // Over the link their answers cross the uplink after all, which is too little for that.
        let proxies = Spill { proxies: true, ..spill };
        let control = Control { ec2: 0, split: Split::Spill(proxies) };
        let happened = world.step(Second { rate: 6000.0, arrivals: 6000 }, &control);
        assert!(happened.over && happened.home.served == 0, "{happened:?}");
    }

    #[test]
    fn the_clairvoyant_pays_for_boots() {
        let setting = Setting::default();
        let mut world = World::new(&setting, 1);
        for (servers, arrivals) in [(0, 1500), (2, 1800), (2, 2000), (0, 1400)] {
            let second = Second { rate: arrivals as f64, arrivals };
            let happened = world.step(second, &Control { ec2: servers, split: Split::Fill });
            assert!(!happened.over);
            assert_eq!(happened.functions, arrivals.saturating_sub(1800));
        }
        let wanted =
            (4.0 + 2.0 * 59.0) * 0.0725 / 3600.0 + 200.0 * setting.functions.usd_per_request;
        assert!((world.usd() - wanted).abs() < 1e-12, "{} {wanted}", world.usd());
    }
}
