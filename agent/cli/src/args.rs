//! The command line.

mod orders;

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand, ValueEnum};
use spillway_model::UnixMillis;
use spillway_model::time::secs_of;
use spillway_simulate::log::Format;
use spillway_simulate::{Policy, Sweep};

pub(crate) use orders::{
    EventCommand, GatewaysOptions, KnobCommand, ModeOptions, ShareOptions, TierCommand,
};

/// Serve the baseline at home and spill the peak into the cloud.
#[derive(Debug, Parser)]
#[command(name = "spillway", version, about, max_term_width = 100, after_help = EXIT_CODES)]
pub(crate) struct Args {
    /// The configuration; `spillway.toml` here, else `/etc/spillway/spillway.toml`.
    #[arg(long, short, global = true, env = "SPILLWAY_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print JSON for machines instead of text for people.
    #[arg(long, global = true)]
    pub json: bool,
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "\
Exit codes: 0 done; 1 failed, or a verdict was not met; 64 wrong usage; 69 the agent does not answer
(status, explain and plan show then tell the last plan kept in the state folder); 78 wrong configuration.
Environment: SPILLWAY_LOG filters the log (info), SPILLWAY_LOG_FORMAT=json makes it JSON.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Check a configuration and report every mistake with its line and column.
    Check {
        /// The file; the configuration in use when absent.
        file: Option<PathBuf>,
    },
    /// Make the keys that sign and verify plans, and the operator's token, where they are missing.
    Keygen {
        /// Make them in this folder, and read no configuration; else in the configuration's state folder.
        #[arg(long, value_name = "FOLDER")]
        to: Option<PathBuf>,
    },
    /// Run a whole hybrid cloud on this machine: DNS, balancer, gateways, service, cloud and agent. A
    /// cloud on AWS is not run here, and acted on by `spillway-aws run` alone.
    Up(UpOptions),
    /// Send an open-loop storm of requests from a population of clients.
    Storm(StormOptions),
    /// Run `up`, a flash crowd against it, and print a verdict.
    Demo(DemoOptions),
    /// Play a trace to the decision and to the rules of other systems in a simulated world, and compare them.
    #[command(after_help = "\
Columns of the table:
  s over           seconds in which the 95th percentile of latency was above its limit, or requests failed
  failed, shed     requests that failed, and that a tier refused on purpose
  USD              what servers on EC2 and functions cost
  too little, much how much capacity was missing or too much, in the mean, as a part of the demand
  time under,above the part of the time with too little, and with too much
  unstable         the part of the steps in which demand and capacity did not move the same way
  turns            times that servers or the share turned from more to less or back
The last six are the elasticity metrics of the SPEC Research Group (SPEC-RG-2016-01), JSON names theta_u,
theta_o, tau_u, tau_o, instability, reversals.")]
    Simulate(SimulateOptions),
    /// What access logs say of the load: requests, bytes and service time by route.
    Traffic(TrafficOptions),
    /// Compute the decisions in the agent's journal again, and compare; also under another configuration.
    Replay(ReplayOptions),
    /// One screen: how it is, and what the agent does about it.
    Status,
    /// Why the present plan is what it is, or why a client goes where it goes.
    #[command(args_conflicts_with_subcommands = true)]
    Explain {
        /// Explain where this client goes.
        #[arg(long, value_name = "IP")]
        client: Option<IpAddr>,
        #[command(subcommand)]
        command: Option<ExplainCommand>,
    },
    /// The plan in force.
    Plan {
        #[command(subcommand)]
        command: PlanCommand,
    },
    /// Hold at least a tier of degradation for a while.
    Tier {
        #[command(subcommand)]
        command: TierCommand,
    },
    /// Turn single knobs on, or hold them off, for a while.
    Knob {
        #[command(subcommand)]
        command: KnobCommand,
    },
    /// Hold the share of a site that is spilled, for a while.
    Share(ShareOptions),
    /// Hold the number of gateways in the cloud, for a while.
    Gateways(GatewaysOptions),
    /// Have the agent act, only recommend, or only watch, for a while.
    Mode(ModeOptions),
    /// Announce what brings a crowd, so that what takes time to be ready is ready when it begins.
    Event {
        #[command(subcommand)]
        command: EventCommand,
    },
    /// What AWS is to be, and making it so by hand. Needs `spillway-aws`.
    Cloud {
        #[command(subcommand)]
        command: CloudCommand,
    },
    /// Ship the functions' code to AWS, at first for a few requests. Needs `spillway-aws`.
    #[command(disable_help_flag = true)]
    Deploy(HandedOn),
    /// Bring back what functions on AWS were before the last deployment. Needs `spillway-aws`.
    #[command(disable_help_flag = true)]
    Rollback(HandedOn),
    /// Run one part in the foreground, as `up` and service managers do.
    Run {
        /// Which kind.
        part: RunPart,
        /// Which one, for kinds that there can be several of (a site for the balancer).
        name: Option<String>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RunPart {
    Dns,
    Balancer,
    Gateway,
    Cloud,
    Agent,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct UpOptions {
    /// The configuration to run, like `--config`.
    pub file: Option<PathBuf>,
    /// Wait this long before starting a part again that ended by itself.
    #[arg(long, default_value_t = 1000, value_name = "MS")]
    pub restart_delay_ms: u64,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct DemoOptions {
    /// How much of the site's capacity the peak asks for.
    #[arg(long, default_value_t = 8.0, value_name = "FACTOR")]
    pub peak: f64,
    /// Seconds in which a minute of the flash crowd is played.
    #[arg(long, default_value_t = 5.0, value_name = "SECS")]
    pub compress: f64,
    /// The flash crowd: a CSV file with a `requests` column of counts per minute. The built-in one
    /// is the steepest of the 1998 World Cup's web site.
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
    /// Size of the client population.
    #[arg(long, default_value_t = 2000)]
    pub clients: u32,
    /// Seed of all that is drawn by chance.
    #[arg(long, default_value_t = 1998)]
    pub seed: u64,
    /// The site's uplink in this demonstration, in bits per second.
    #[arg(long, default_value_t = 4_000_000, value_name = "BITS")]
    pub uplink: u64,
    /// Where the chart, the table and the state go; a temporary folder when absent.
    #[arg(long, value_name = "FOLDER")]
    pub out: Option<PathBuf>,
    /// Which acts to play.
    #[arg(long, value_enum, default_value_t = Acts::Both)]
    pub acts: Acts,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Acts {
    /// The storm spills into the cloud; then a storm the cloud cannot take.
    Both,
    /// Only the storm that spills.
    Spill,
    /// Only the storm that the cloud cannot take, so that tiers rise.
    Tiers,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct SimulateOptions {
    /// An access log, as `traffic` reads it; several by a --trace each. Or, with --column, a CSV file with a
    /// header, one row a step.
    #[arg(long, value_name = "FILE", required = true)]
    pub trace: Vec<PathBuf>,
    /// The column of a CSV file that says how much is asked.
    #[arg(long, value_name = "NAME", requires = "step", conflicts_with = "format")]
    pub column: Option<String>,
    /// Time between rows: `1s`, `5m`, `1h`. Of a log, the time that requests are counted in: by default 1s.
    #[arg(long, value_name = "TIME", value_parser = secs)]
    pub step: Option<u64>,
    /// What a value of the column is.
    #[arg(long, value_enum, default_value_t = SimulateUnit::Count)]
    pub unit: SimulateUnit,
    /// The format of the log: `spillway`, `combined` or `alb`; by default, what its lines are.
    #[arg(long, value_name = "NAME")]
    pub format: Option<Format>,
    /// The highest per-second mean, as a multiple of the site's capacity.
    #[arg(long, value_name = "FACTOR", value_parser = factor, allow_negative_numbers = true)]
    pub peak_factor: f64,
    /// Which policies: their names with commas, or `all`, which tunes them as well: spillway, clairvoyant,
    /// static-peak, cudgx, hpa, kpa, target-tracking, target-tracking-20s, step-alarms, predictive, k8s-cpu,
    /// k8s-cpu-fast.
    #[arg(long, value_name = "NAME,…", default_value = "all", value_parser = policies)]
    pub policy: SimulatePolicies,
    /// Seed of all that is drawn by chance.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Run Spillway once more for each value of some settings of `[agent]`, or of `[cloud.budget]` as
    /// `budget.NAME`, and tell what each costs and violates; by default, how full lines and servers may be.
    #[arg(long, value_name = "NAME,…=VALUE,…", num_args = 0..=1, require_equals = true,
        default_missing_value = Sweep::USUAL)]
    pub frontier: Option<Sweep>,
    /// Write a chart here: of the first policy, or of the frontier.
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
    /// With `--json`: write it here, and the table to standard output; `-` writes it there instead.
    #[arg(value_name = "OUT")]
    pub out: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SimulateUnit {
    /// Requests in a step.
    Count,
    /// Requests per second.
    Rate,
}

/// Each of them once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SimulatePolicies(pub Vec<Policy>);

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct TrafficOptions {
    /// Access logs of gateways, Nginx, Apache or an Application Load Balancer, also compressed by gzip; `-` is
    /// standard input. With `--config`, its routes name the requests.
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// Their format: `spillway`, `combined` or `alb`; by default, what their lines are.
    #[arg(long, value_name = "NAME")]
    pub format: Option<Format>,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ReplayOptions {
    /// The journal, or a copy of it with the `-wal` beside it; by default that in the configuration's state folder. It is only read,
    /// and the agent may run.
    #[arg(value_name = "JOURNAL")]
    pub journal: Option<PathBuf>,
    /// Decide on the same observations under this configuration, and tell what would have been different.
    #[arg(long, value_name = "FILE")]
    pub under: Option<PathBuf>,
    /// Begin here: a time such as 2026-11-23T11:19:48Z, or one before the journal's end, such as `15m`.
    #[arg(long, value_name = "TIME", value_parser = when)]
    pub from: Option<When>,
    /// End here.
    #[arg(long, value_name = "TIME", value_parser = when)]
    pub to: Option<When>,
}

/// A point in time of a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    At(UnixMillis),
    /// So many seconds before the last observation.
    BeforeEnd(u64),
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct StormOptions {
    /// Shape of the load.
    #[command(subcommand)]
    pub profile: Profile,
    /// Size of the client population.
    #[arg(long, default_value_t = 1000, global = true)]
    pub clients: u32,
    /// Seed of all that is drawn by chance.
    #[arg(long, default_value_t = 1, global = true)]
    pub seed: u64,
    /// Weights of operations, as in `code=40,qr=25,scan=15`.
    #[arg(long, global = true)]
    pub mix: Option<String>,
    /// Write the chart here.
    #[arg(long, global = true, value_name = "FILE")]
    pub svg: Option<PathBuf>,
    /// Write the whole report here, as JSON.
    #[arg(long, global = true, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Do not print the table of seconds.
    #[arg(long, global = true)]
    pub no_table: bool,
    /// A /10 of addresses that the clients have as their own.
    #[arg(long, global = true, value_name = "IP", value_parser = sources, default_value_t = spillway_storm::SOURCES)]
    pub sources: Ipv4Addr,
    /// Allow targets that are not on this machine.
    #[arg(long, global = true)]
    pub allow_remote: bool,
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Profile {
    /// The same rate all the time.
    Constant {
        /// Requests per second.
        rate: f64,
        /// For so many seconds.
        secs: f64,
    },
    /// One rate, then at once another.
    Step {
        /// Requests per second at first.
        base: f64,
        /// Requests per second afterwards.
        peak: f64,
        /// Seconds until the step.
        at: f64,
        /// Seconds in all.
        secs: f64,
    },
    /// A rate that changes evenly.
    Ramp {
        /// Requests per second at first.
        from: f64,
        /// Requests per second at the end.
        to: f64,
        /// Seconds in all.
        secs: f64,
    },
    /// Replay a CSV trace, scaled to a peak.
    Trace {
        /// The file.
        file: PathBuf,
        /// The column with counts per step.
        #[arg(long)]
        column: String,
        /// Seconds between rows.
        #[arg(long, default_value_t = 60.0)]
        step: f64,
        /// Requests per second at the trace's highest point.
        #[arg(long)]
        peak: f64,
        /// Seconds in which one step is played; the step itself when absent.
        #[arg(long)]
        play_step_in: Option<f64>,
    },
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum PlanCommand {
    /// Print the plan in force.
    Show,
}

#[derive(Debug, Clone, Copy, Subcommand)]
pub(crate) enum CloudCommand {
    /// Say what would be done to make AWS what the plan in force says.
    Plan,
    /// Make AWS what the plan in force says, and wait until it is.
    Apply(CloudOptions),
    /// Drain and end everything that was scaled up, and wait until it is gone.
    Drain(CloudOptions),
}

/// Words that another program reads, and explains.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct HandedOn {
    /// Functions and options; `--help` explains them.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "WORDS")]
    pub words: Vec<OsString>,
}

#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct CloudOptions {
    /// Only say what would be done.
    #[arg(long)]
    pub dry_run: bool,
    /// Give up after so long: `90s`, `15m`, `2h`; at most a day. Sooner when what is left does not pass by
    /// itself.
    #[arg(long, default_value = "15m", value_name = "TIME", value_parser = secs)]
    pub within: u64,
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum ExplainCommand {
    /// One decision: what it was made from, what was nearly done, and what would have changed it.
    Decision {
        /// The last one until this time, such as 2026-11-23T11:19:48Z, or the one that published this
        /// generation; the last tick's when absent.
        #[arg(value_name = "TIME", default_value = "last", value_parser = which)]
        which: String,
    },
}

/// A /10, by its first address, with its length or without.
fn sources(text: &str) -> Result<Ipv4Addr, String> {
    let address = text.strip_suffix("/10").unwrap_or(text).parse();
    address.map_err(|_| "write the first address of a /10, such as 10.64.0.0".to_owned())
}

fn factor(text: &str) -> Result<f64, String> {
    let factor = text.parse::<f64>().ok().filter(|factor| (0.01..=50.0).contains(factor));
    factor.ok_or_else(|| "write a factor from 0.01 to 50".to_owned())
}

fn policies(text: &str) -> Result<SimulatePolicies, String> {
    if text == "all" {
        return Ok(SimulatePolicies(Policy::ALL.to_vec()));
    }
    let mut policies = Vec::new();
    for name in text.split(',') {
        let policy = name.trim().parse::<Policy>().map_err(|e| e.to_string())?;
        if !policies.contains(&policy) {
            policies.push(policy);
        }
    }
    Ok(SimulatePolicies(policies))
}

fn secs(text: &str) -> Result<u64, String> {
    secs_of(text).ok_or_else(|| "write a time from 1s to 24h, such as 90s, 15m or 2h".to_owned())
}

fn which(text: &str) -> Result<String, String> {
    if let Ok(at) = text.parse::<UnixMillis>() {
        return Ok(at.to_string());
    }
    let known = text == "last" || text.parse::<u64>().is_ok();
    known
        .then(|| text.to_owned())
        .ok_or_else(|| "write a time such as 2026-11-23T11:19:48Z, or a generation".to_owned())
}

fn when(text: &str) -> Result<When, String> {
    let at = text.parse().map(When::At).ok();
    at.or_else(|| secs_of(text).map(When::BeforeEnd)).ok_or_else(|| {
        "write a time such as 2026-11-23T11:19:48Z, or 15m for that long before the end".to_owned()
    })
}

impl Args {
    /// The configuration file in use.
    pub(crate) fn config_path(&self) -> PathBuf {
        let up = match &self.command {
            Command::Up(options) => options.file.clone(),
            _ => None,
        };
        let here = Path::new("spillway.toml");
        up.or_else(|| self.config.clone()).unwrap_or_else(|| {
            if here.exists() {
                here.to_owned()
            } else {
                PathBuf::from("/etc/spillway/spillway.toml")
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory as _;
        Args::command().debug_assert();
    }

    #[test]
    fn clients_live_in_a_network() {
        for good in ["10.64.0.0", "10.64.0.0/10"] {
            assert_eq!(sources(good), Ok(Ipv4Addr::new(10, 64, 0, 0)));
        }
        for bad in ["", "x", "10.64.0.0/8", "::1"] {
            assert!(sources(bad).unwrap_err().contains("a /10"), "{bad}");
        }
    }

    #[test]
    fn times_have_units_and_bounds() {
        assert_eq!(secs("90s"), Ok(90));
        assert_eq!(secs("15m"), Ok(900));
        assert_eq!(secs("24h"), Ok(86_400));
        for bad in ["", "0s", "25h", "5d", "-1s", "h"] {
            assert!(secs(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_simulation_says_where_its_json_goes() {
        let parse = |words: &str| {
            let given = "spillway simulate --trace t.csv --column c --step 60s --peak-factor 4";
            Args::try_parse_from(given.split(' ').chain(words.split_whitespace())).map(|args| {
                let Command::Simulate(options) = args.command else { panic!("not simulate") };
                (args.json, options.out, options.policy.0)
            })
        };
        assert_eq!(parse("").unwrap(), (false, None, Policy::ALL.to_vec()));
        assert_eq!(parse("--json - --seed 7").unwrap().1, Some("-".into()));
        let (json, out, policies) = parse("--policy hpa,spillway,hpa --json o.json").unwrap();
        assert_eq!((json, out), (true, Some("o.json".into())));
        assert_eq!(policies, [Policy::Hpa, Policy::Spillway]);
        for bad in [
            "--policy hpa2",
            "--policy hpa,",
            "--unit x",
            "--seed -1",
            "--format alb",
            "--frontier=x",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        // What follows a sweep that is not named is where the JSON goes.
        assert_eq!(parse("--frontier --json o.json").unwrap().1, Some("o.json".into()));
        assert_eq!(factor("4"), Ok(4.0));
        for bad in ["", "0", "-4", "nan", "inf", "1e9"] {
            assert!(factor(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_log_needs_no_column() {
        let parse = |words: &str| {
            let given = "spillway simulate --peak-factor 4";
            Args::try_parse_from(given.split(' ').chain(words.split_whitespace())).is_ok()
        };
        assert!(parse("--trace a.log --trace a.log.1.gz"));
        assert!(parse("--trace - --format combined --step 10s"));
        assert!(!parse("--trace t.csv --column c"), "no step");
        assert!(!parse(""));
    }

    #[test]
    fn times_of_a_journal_are_absolute_or_before_its_end() {
        assert_eq!(when("1970-01-01T00:00:01Z"), Ok(When::At(UnixMillis(1000))));
        assert_eq!(when("15m"), Ok(When::BeforeEnd(900)));
        for bad in ["", "noon", "2026-11-23", "-5m"] {
            assert!(when(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_decision_is_named_by_its_time_or_generation() {
        assert_eq!(which("1970-01-01T01:00:01+01:00"), Ok("1970-01-01T00:00:01.000Z".to_owned()));
        assert_eq!((which("412").is_ok(), which("first").is_ok()), (true, false));
    }
}
