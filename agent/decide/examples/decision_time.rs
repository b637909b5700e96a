//! How long one decision takes for 50 sites, 500 routes and 100 levers.

#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use spillway_decide::{Observation, Orders, Policy, State, decide};
use spillway_model::load::{FleetLoad, FunctionsLoad, Part, RouteLoad, UplinkLoad};
use spillway_model::{Config, Load, SiteId, UnixMillis, histogram};

const SITES: usize = 50;
const GATEWAYS: usize = 2;
const ROUTES: usize = 500;
/// Functions that are kept warm. With gateways, capacity units and replicas these are 100 levers.
const FUNCTIONS: usize = 96;
const WARM_UP: u64 = 120;
const TICKS: u64 = 300;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config = Config::parse(&configuration()?, Path::new("."))?;
    let policy = Policy::new(&config);
    let mut world = World::new(&config)?;
    let mut state = State::initial(&policy);
    let mut times = Vec::new();
    let mut written = Vec::new();
    for second in 0..WARM_UP + TICKS {
        let observation = world.second(second, state.plan().generation);
        let began = Instant::now();
        let outcome = decide(&policy, &state, &observation);
        if second >= WARM_UP {
            times.push(began.elapsed());
        }
        if second % 20 == 0 {
            let began = Instant::now();
            let json = serde_json::to_vec(&observation)?;
            written.push((began.elapsed(), json.len()));
        }
        state = outcome.state;
    }
    times.sort_unstable();
    written.sort_unstable();
    let at = |of: usize| times.get(times.len() * of / 100).copied().unwrap_or_default();
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    println!(
        "one decision for {SITES} sites of {GATEWAYS} gateways, {ROUTES} routes, 100 levers: at least {:.2} ms, \
         median {:.2} ms, 99 % within {:.2} ms; share of the first site {:.1} %",
        millis(at(0)),
        millis(at(50)),
        millis(at(99)),
        state.plan().sites.values().next().map_or(0.0, |site| site.share.get() * 100.0)
    );
    if let Some((time, bytes)) = written.get(written.len() / 2) {
        println!(
            "its observation as JSON, as it is journalled: {:.1} MB in {:.1} ms",
            *bytes as f64 / 1e6,
            millis(*time)
        );
    }
    Ok(())
}

fn configuration() -> Result<String, std::fmt::Error> {
    let mut text = String::from(
        r#"
[service]
host = "service.example.test"
slb_host = "cloud.example.test"
port = 8080
[plan]
salt = "5b1d0f6a92c34e7788a1c3d5e7f90b2d"
state_dir = "var"
[dns]
listen = "127.0.0.1:5300"
admin = "127.0.0.1:9201"
zone_files = ["example.test.zone"]
[agent]
listen = "127.0.0.1:9100"
[store]
shards = ["sqlite:service.db"]
cache = "process"
[cloud]
slb_addresses = ["127.0.2.1"]
[cloud.local]
listen = "127.0.2.1:8080"
admin = "127.0.0.1:9401"
[cloud.aws]
region = "eu-central-1"
name = "home"
admin = "127.0.0.1:9411"
cache = "home-cache"
database = "home-database"
[cloud.aws.gateways]
autoscaling_group = "home-gateways"
target_group = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/home-gateways/0123456789abcdef"
weighted_qps = 1000
max = 100
[cloud.aws.capacity]
load_balancer = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:loadbalancer/app/home/0123456789abcdef"
max_units = 1000
[cloud.aws.replicas]
weighted_qps = 3000
cache_max = 2
database_max = 4
[[cloud.aws.rule]]
arn = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:listener-rule/app/home/0123456789abcdef/0123456789abcdef/0123456789abcdef"
target_group = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/home-service/0123456789abcdef"
"#,
    );
    for function in 0..FUNCTIONS {
        write!(
            text,
            "[[cloud.function]]\nname = \"f{function}\"\ngroups = [\"g{function}\"]\n\
             [cloud.aws.functions.f{function}]\nname = \"home-f{function}\"\nalias = \"live\"\n\
             warm_max = 20\nwarm_qps = 50\n"
        )?;
    }
    for site in 0..SITES {
        let net = format!("127.1.{site}");
        write!(
            text,
            "[[site]]\nid = \"s{site}\"\nvips = [\"{net}.1\"]\n\
             [site.uplink]\nbits_per_sec = 1_000_000_000\nqueue_bytes = 4_000_000\n\
             [site.capacity]\nweighted_qps = 20_000\np95_ms = 250\n\
             [site.balancer]\nlisten = \"{net}.1:8080\"\nadmin = \"{net}.2:9301\"\n"
        )?;
        for gateway in 0..GATEWAYS {
            write!(
                text,
                "[[site.gateway]]\nname = \"s{site}-gw{gateway}\"\n\
                 listen = \"{net}.{}:8080\"\nadmin = \"{net}.{}:9311\"\n",
                11 + gateway,
                11 + gateway
            )?;
        }
        let groups: Vec<String> = (0..FUNCTIONS).map(|group| format!("\"g{group}\"")).collect();
        write!(
            text,
            "[[site.service]]\nname = \"s{site}-service\"\nlisten = \"{net}.21:8080\"\n\
             admin = \"{net}.21:9321\"\ngroups = [{}]\n",
            groups.join(", ")
        )?;
    }
    for route in 0..ROUTES {
        write!(
            text,
            "[[route]]\nid = \"r{route}\"\nmethod = \"GET\"\npath = \"/r{route}\"\n\
             group = \"g{}\"\nweight = {:.1}\nresponse_bytes = 4000\n",
            route % FUNCTIONS,
            0.5 + (route % 7) as f64 * 0.5
        )?;
    }
    for knob in 0..12 {
        write!(
            text,
            "[[knob]]\nid = \"k{knob}\"\ntier = {}\nowner = \"the site\"\nusers_see = \"nothing\"\n\
             releases = 0.05\nsheds = [\"r{knob}\"]\n",
            1 + knob % 3
        )?;
    }
    Ok(text)
}

/// What the parts would tell: every site is asked for twice what it carries.
struct World {
    parts: Vec<Load>,
}

impl World {
    fn new(config: &Config) -> Result<Self, Box<dyn std::error::Error>> {
        let at = UnixMillis(0);
        let mut parts = Vec::new();
        for site in &config.sites {
            let id = Some(SiteId::clone(&site.id));
            parts.push(Load::new(Part::Balancer, "balancer", id.clone(), 1, at));
            for gateway in &site.gateways {
                parts.push(Load::new(Part::Gateway, &gateway.name, id.clone(), 1, at));
            }
            for service in &site.services {
                parts.push(Load::new(Part::Service, &service.name, id.clone(), 1, at));
            }
        }
        parts.push(Load::new(Part::Cloud, "cloud", None, 1, at));
        parts.push(Load::new(Part::Aws, "aws", None, 1, at));
        let routes = config.routes.iter().map(|route| (route.id.clone(), RouteLoad::default()));
        let routes: BTreeMap<_, _> = routes.collect();
        for part in &mut parts {
            if matches!(part.part, Part::Gateway | Part::Service | Part::Cloud) {
                part.routes.clone_from(&routes);
            }
        }
        Ok(Self { parts })
    }

    fn second(&mut self, second: u64, generation: u64) -> Observation {
        let at = UnixMillis(1_800_000_000_000 + second * 1000);
        for part in &mut self.parts {
            part.at = at;
            part.generation = generation;
            match part.part {
                Part::Balancer => {
                    let uplink = part.uplink.get_or_insert_with(UplinkLoad::default);
                    uplink.bytes += 100_000_000;
                }
                Part::Gateway | Part::Service | Part::Cloud => {
                    part.cpu_secs += 2.0;
                    for (place, counts) in part.routes.values_mut().enumerate() {
                        serve(counts, 20 + (place as u64 + second) % 7);
                    }
                    part.latency.resize(histogram::BUCKETS, 0);
                    let served: u64 = part.routes.values().map(|counts| counts.served).sum();
                    if let Some(bucket) = part.latency.get_mut(histogram::bucket(20_000)) {
                        *bucket = served;
                    }
                    if part.part == Part::Cloud {
                        let functions = part.functions.get_or_insert_with(FunctionsLoad::default);
                        functions.environments = 500;
                        functions.environments_max = 5000;
                        functions.invocations += 10_000;
                        functions.duration_us += 200_000_000;
                    }
                }
                _ => part.fleet = Some(FleetLoad { seen_at: at, ..FleetLoad::default() }),
            }
        }
        Observation {
            at,
            loads: self.parts.clone(),
            missing: BTreeMap::new(),
            interface_bytes: BTreeMap::new(),
            orders: Orders::default(),
            in_force: None,
        }
    }
}

fn serve(counts: &mut RouteLoad, count: u64) {
    counts.arrivals += count;
    counts.served += count;
    counts.served_bytes += 4000 * count;
    counts.response_bytes += 4000 * count;
}
