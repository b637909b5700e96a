//! `spillway simulate`: reads the trace, runs the simulator, and writes what it found.

mod chart;
mod frontier;

use std::io::{IsTerminal as _, Read as _, Write as _};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use serde::Serialize;
use spillway_simulate::log::Names;
use spillway_simulate::{
    Demand, Options, Outcome, Policy, Progress, Results, Setting, Trace, Unit, simulate,
};

use crate::args::{Args, SimulateOptions, SimulateUnit};
use crate::{output, traffic};

/// Most bytes of a trace that are read.
const BYTES_MAX: u64 = 128 << 20;
/// Most seconds that are simulated: thirty years.
const SECS_MAX: u64 = 1_000_000_000;
/// Shorter traces are done before a word on progress is read.
const LASTS_SECS: u64 = 200_000;

/// The result as JSON.
#[derive(Serialize)]
struct Told<'a> {
    trace: About,
    #[serde(flatten)]
    results: &'a Results,
}

/// As charts begin that are written to files, and the JSON of [`Told`] does: what begins otherwise is somebody
/// else's.
const SVG_BEGINS: &str = "<!-- spillway simulate -->\n";
const JSON_BEGINS: &str = "{\n  \"trace\": {\n    \"file\": ";

/// What was played.
#[derive(Serialize)]
pub(crate) struct About {
    /// Of several logs, the first.
    file: String,
    /// Of a CSV file.
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<String>,
    step_secs: u64,
    steps: usize,
    seconds: u64,
    peak_factor: f64,
    seed: u64,
    notes: Vec<String>,
}

pub(crate) fn run(args: &Args, options: &SimulateOptions) -> anyhow::Result<ExitCode> {
    let json = match (&options.out, args.json) {
        (Some(_), false) => anyhow::bail!("OUT is where the JSON goes: write --json before it"),
        (Some(out), true) if out.as_os_str() != "-" => Some(out.as_path()),
        _ => None,
    };
    // Found out now, not when all is done.
    for (path, begins) in [(options.svg.as_deref(), SVG_BEGINS), (json, JSON_BEGINS)] {
        if let Some(path) = path {
            check_writable(path, begins)?;
        }
    }
    if let (Some(svg), Some(json)) = (&options.svg, json)
        && std::path::absolute(svg)? == std::path::absolute(json)?
    {
        anyhow::bail!("--svg and --json are both to write {}: name two files", json.display());
    }
    let (trace, step) = read(options)?;
    let file = options.trace.first().map_or(String::new(), |file| file.display().to_string());
    for note in &trace.notes {
        output::note(&format!("{file}: {note}"));
    }
    let setting = Setting::for_peak(options.peak_factor);
    let peak = options.peak_factor * setting.capacity();
    let demand = Demand::new(&trace, step, peak, options.seed);
    if demand.secs() > SECS_MAX {
        anyhow::bail!("{} s are too many to simulate: at most {SECS_MAX}", demand.secs());
    }
    let about = About {
        file,
        column: options.column.clone(),
        step_secs: step,
        steps: trace.values.len(),
        seconds: demand.secs(),
        peak_factor: options.peak_factor,
        seed: options.seed,
        notes: trace.notes,
    };
    let results = simulate(
        &demand,
        &setting,
        peak,
        &Options {
            policies: options.policy.0.clone(),
            tune: options.policy.0.len() == Policy::ALL.len(),
            sweep: options.frontier.clone(),
            seed: options.seed,
            workers: std::thread::available_parallelism().map_or(1, usize::from),
        },
        &|progress| tell(progress, demand.secs()),
    )?;
    if demand.secs() > LASTS_SECS && std::io::stderr().is_terminal() {
        output::note("");
    }
    if let Some(path) = &options.svg {
        let svg = match &results.frontier {
            Some(swept) => frontier::svg(&about, &results, swept),
            None => chart::svg(&about, &results, &options.policy.0),
        };
        write(path, &format!("{SVG_BEGINS}{svg}"))?;
    }
    let told = Told { trace: about, results: &results };
    if let Some(path) = json {
        write(path, &format!("{}\n", serde_json::to_string_pretty(&told)?))?;
    }
    if args.json && json.is_none() {
        output::json(&told)?;
    } else {
        output::line(&table(&results, output::width()));
        if let Some(swept) = &results.frontier {
            output::line("");
            output::line(&frontier::table(swept, output::width()));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The trace and the seconds of its steps: of a CSV file where a column is named, else of access logs.
fn read(options: &SimulateOptions) -> anyhow::Result<(Trace, u64)> {
    let Some((column, step)) = options.column.as_deref().zip(options.step) else {
        let logs = traffic::read(&options.trace, options.format, Names::new(None))?;
        let survey = logs.survey().context("of a CSV file say --column and --step")?;
        traffic::note_unreadable(&logs);
        return Ok(survey.trace(options.step.unwrap_or(1))?);
    };
    let [file] = options.trace.as_slice() else {
        anyhow::bail!("one CSV file is one trace: several can be of logs alone");
    };
    let mut text = Vec::new();
    std::fs::File::open(file)
        .and_then(|source| source.take(BYTES_MAX + 1).read_to_end(&mut text))
        .with_context(|| format!("cannot read {}", file.display()))?;
    if text.len() as u64 > BYTES_MAX {
        anyhow::bail!("{} is larger than {} MiB", file.display(), BYTES_MAX >> 20);
    }
    let unit = match options.unit {
        SimulateUnit::Count => Unit::Count,
        SimulateUnit::Rate => Unit::Rate,
    };
    let trace = Trace::parse(&text, &file.display().to_string(), column, step, unit)?;
    Ok((trace, step))
}

/// On a terminal a line that is rewritten, elsewhere one for each run that ended.
fn tell(progress: &Progress, secs: u64) {
    if secs <= LASTS_SECS {
        return;
    }
    let Progress { ended, runs, policy, part } = progress;
    let text = format!("{ended} of {runs} runs; {policy} {:.0} %", part * 100.0);
    // Nothing depends on whether it could be written.
    if std::io::stderr().is_terminal() {
        let _ = write!(std::io::stderr(), "\r{text}\x1b[K");
    } else if *part >= 1.0 {
        let _ = writeln!(std::io::stderr(), "{text}");
    }
}

/// The outcomes, least seconds over the limit first, then least cost.
fn table(results: &Results, width: Option<u16>) -> String {
    let mut outcomes: Vec<(&String, &Outcome)> = results.policies.iter().collect();
    outcomes.sort_by(|(_, a), (_, b)| {
        a.seconds_over.cmp(&b.seconds_over).then(a.cost_usd.total_cmp(&b.cost_usd))
    });
    let head = [
        "policy",
        "s over",
        "failed",
        "shed",
        "USD",
        "too little",
        "too much",
        "time under",
        "time above",
        "unstable",
        "turns",
        "s in tiers 1, 2, 3",
        "set to",
    ];
    let row = |(name, outcome): (&String, &Outcome)| {
        let percent = |value: f64| format!("{value:.2} %");
        let tiers: Vec<String> = outcome.tier_seconds.values().map(u64::to_string).collect();
        vec![
            name.clone(),
            outcome.seconds_over.to_string(),
            outcome.requests_failed.to_string(),
            outcome.requests_shed.to_string(),
            format!("{:.2}", outcome.cost_usd),
            percent(outcome.theta_u),
            percent(outcome.theta_o),
            percent(outcome.tau_u),
            percent(outcome.tau_o),
            percent(outcome.instability),
            outcome.reversals.to_string(),
            tiers.join(", "),
            results.tuned.get(name).cloned().unwrap_or_default(),
        ]
    };
    output::table_within(&head, outcomes.into_iter().map(row), width)
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| unwritable(path))
}

/// Whether a file can be written, and is none of somebody else's: there is none, or one that begins as what
/// is written there, or an empty one. Names of logs are given in all places by mistake.
fn check_writable(path: &Path, begins: &str) -> anyhow::Result<()> {
    let existed = path.exists();
    let mut file = std::fs::File::options()
        .create(true)
        .append(true)
        .read(true)
        .open(path)
        .with_context(|| unwritable(path))?;
    if !existed {
        // Nothing is left where nothing comes of it.
        return std::fs::remove_file(path).with_context(|| unwritable(path));
    }
    let mut start = vec![0; begins.len()];
    let read = file.read(&mut start).with_context(|| unwritable(path))?;
    if file.metadata().is_ok_and(|about| about.is_file()) && read > 0 && start != begins.as_bytes()
    {
        anyhow::bail!(
            "{} holds something else and is not replaced: name another file. Of several logs each is given by \
             a --trace of its own",
            path.display()
        );
    }
    Ok(())
}

fn unwritable(path: &Path) -> String {
    format!("cannot write {}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results(seed: u64) -> (About, Results) {
        let trace =
            Trace { values: vec![10.0, 20.0, 90.0, 30.0, 10.0], notes: vec!["a <note>".into()] };
        let setting = Setting::for_peak(4.0);
        let demand = Demand::new(&trace, 60, 6000.0, seed);
        let policies = vec![Policy::Spillway, Policy::Clairvoyant, Policy::Hpa];
        let sweep = Some("compute_target=0.6,0.8".parse().unwrap());
        let options = Options { policies, tune: false, sweep, seed, workers: 2 };
        let results = simulate(&demand, &setting, 6000.0, &options, &|_| {}).unwrap();
        let about = About {
            file: "a&b.csv".into(),
            column: Some("requests".into()),
            step_secs: 60,
            steps: 5,
            seconds: 300,
            peak_factor: 4.0,
            seed,
            notes: trace.notes,
        };
        (about, results)
    }

    #[test]
    fn the_table_has_a_row_for_each_best_first() {
        let (_, results) = results(1);
        let table = table(&results, None);
        let first: Vec<&str> =
            table.lines().map(|line| line.split_whitespace().next().unwrap()).collect();
        assert_eq!(first, ["policy", "clairvoyant", "spillway", "hpa"], "{table}");
    }

    #[test]
    fn json_has_the_trace_and_every_policy() {
        let (trace, results) = results(1);
        let told = serde_json::to_value(Told { trace, results: &results }).unwrap();
        assert_eq!(told["trace"]["seconds"], 300);
        for name in ["spillway", "clairvoyant", "hpa"] {
            for field in [
                "seconds_over",
                "requests",
                "requests_failed",
                "cost_usd",
                "theta_u",
                "theta_o",
                "tau_u",
                "tau_o",
                "instability",
                "reversals",
            ] {
                assert!(told["policies"][name][field].is_number(), "{name} {field}");
            }
            for tier in ["1", "2", "3"] {
                assert!(told["policies"][name]["tier_seconds"][tier].is_u64(), "{name} {tier}");
            }
        }
    }

    #[test]
    fn the_chart_says_what_it_shows() {
        let (about, results) = results(1);
        let policies = [Policy::Spillway, Policy::Clairvoyant, Policy::Hpa];
        let svg = chart::svg(&about, &results, &policies);
        for part in
            ["a&amp;b.csv", "<desc id=\"desc\">", "prefers-color-scheme:dark", ">hpa</text>"]
        {
            assert!(svg.contains(part), "`{part}` is missing: {svg}");
        }
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        assert_eq!(svg, chart::svg(&about, &results, &policies));
    }

    #[test]
    fn the_frontier_is_a_table_and_a_chart() {
        let (about, results) = results(1);
        let swept = results.frontier.as_ref().unwrap();
        let table = frontier::table(swept, None);
        assert_eq!(table.lines().count(), 3, "{table}");
        assert!(table.starts_with("compute_target"), "{table}");
        let svg = frontier::svg(&about, &results, swept);
        for part in ["US dollars", "seconds over the limit", ">0.6</text>", ">clairvoyant</text>"] {
            assert!(svg.contains(part), "`{part}` is missing: {svg}");
        }
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        let told = serde_json::to_value(&results).unwrap();
        assert_eq!(told["frontier"]["settings"][0], "compute_target");
        assert!(told["frontier"]["points"][1]["cost_usd"].is_number());
    }
}
