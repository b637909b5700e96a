//! Every CSV trace of a folder at four times the site's capacity, under every policy, as one Markdown table.
//!
//! ```text
//! bench_decide FOLDER [OUT]
//! ```
//!
//! [`common`] says how files are named.

mod common;

use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;

use spillway_simulate::{Demand, Options, Outcome, Policy, Results, Setting, simulate};

/// The highest per-second mean, as a multiple of the site's capacity.
const PEAK_FACTOR: f64 = 4.0;
const SEED: u64 = 1;

const HEAD: &str = "\
| trace | policy | s over | failed | USD | turns/h | unstable, % | s in tiers 1, 2, 3 | s over ÷ clairvoyant's | USD ÷ clairvoyant's |
| --- | --- | ---: | ---: | ---: | ---: | ---: | --- | ---: | ---: |
";

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let folder = words.next().ok_or("say which folder the traces are in")?;
    let out = words.next().filter(|out| !out.is_empty());
    let files = common::files(&folder)?;
    let mut table = HEAD.to_owned();
    let mut notes = String::new();
    for file in &files {
        let name = common::name(file);
        let (seconds, results, of_trace) = run(file)?;
        rows(&mut table, &name, seconds, &results);
        for note in of_trace {
            writeln!(notes, "- {name}: {note}")?;
        }
    }
    if let Some(out) = &out {
        std::fs::write(out, document(&table, &notes))
            .map_err(|e| format!("cannot write {out}: {e}"))?;
    }
    println!("{table}");
    Ok(())
}

/// Seconds of the trace, what came of all policies, and what was to be said of the trace.
fn run(file: &Path) -> Result<(u64, Results, Vec<String>), Box<dyn Error>> {
    let (trace, step, _) = common::read(file)?;
    let setting = Setting::for_peak(PEAK_FACTOR);
    let peak = PEAK_FACTOR * setting.capacity();
    let demand = Demand::new(&trace, step, peak, SEED);
    let options = Options {
        policies: Policy::ALL.to_vec(),
        tune: true,
        sweep: None,
        seed: SEED,
        workers: std::thread::available_parallelism().map_or(1, usize::from),
    };
    let results = simulate(&demand, &setting, peak, &options, &|_| {})?;
    Ok((demand.secs(), results, trace.notes))
}

/// The rows of one trace: the decision, who knows what comes, then the rest, least seconds over first.
fn rows(table: &mut String, trace: &str, seconds: u64, results: &Results) {
    let best = results.policies.get("clairvoyant");
    let mut outcomes: Vec<(&String, &Outcome)> = results.policies.iter().collect();
    let first = |name: &str| match name {
        "spillway" => 0,
        "clairvoyant" => 1,
        _ => 2,
    };
    outcomes.sort_by(|(a, x), (b, y)| {
        first(a)
            .cmp(&first(b))
            .then(x.seconds_over.cmp(&y.seconds_over))
            .then(x.cost_usd.total_cmp(&y.cost_usd))
    });
    for (name, outcome) in outcomes {
        let tiers: Vec<String> = outcome.tier_seconds.values().map(u64::to_string).collect();
        let turns = outcome.reversals as f64 * 3600.0 / seconds.max(1) as f64;
        let over = best.map(|best| (outcome.seconds_over as f64, best.seconds_over as f64));
        let cost = best.map(|best| (outcome.cost_usd, best.cost_usd));
        let set_to = results.tuned.get(name).map(|set| format!(": {set}")).unwrap_or_default();
        // Writing to a string cannot fail.
        let _ = writeln!(
            table,
            "| {trace} | {name}{set_to} | {} | {} | {:.2} | {turns:.2} | {:.2} | {} | {} | {} |",
            outcome.seconds_over,
            outcome.requests_failed,
            outcome.cost_usd,
            outcome.instability,
            tiers.join(", "),
            ratio(over),
            ratio(cost),
        );
    }
}

/// One of two over the other; nothing over nothing is one.
fn ratio(pair: Option<(f64, f64)>) -> String {
    match pair {
        None => String::new(),
        Some((of, by)) if by > 0.0 => format!("{:.2}", of / by),
        Some((of, _)) if of > 0.0 => "∞".to_owned(),
        Some(_) => "1.00".to_owned(),
    }
}

fn document(table: &str, notes: &str) -> String {
    let notes = if notes.is_empty() { String::new() } else { format!("\n## Notes\n\n{notes}") };
    format!(
        "# The decision beside other rules\n\n\
         Made by `./just bench-decide`: each trace with its highest per-second mean at {PEAK_FACTOR} times \
         the site's capacity, seed {SEED}, in the world that `agent/simulate` describes. A policy whose name \
         ends in `-tuned` has the best of its settings for that very trace, which nobody has beforehand; the \
         others have the defaults of their documentation. `clairvoyant` knows what comes.\n\n\
         {table}{notes}"
    )
}
