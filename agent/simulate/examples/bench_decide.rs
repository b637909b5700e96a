//! Every CSV trace of a folder at four times the site's capacity, under every policy, as one Markdown table.
//!
//! ```text
//! bench_decide FOLDER [OUT]
//! ```
//!
//! A file is named `NAME_5min.csv`: its name ends in its step (`s`, `min` or `h`). The last column has the
//! values: counts per step, or a rate per second where it is called `rps`.

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use spillway_simulate::{
    Demand, Options, Outcome, Policy, Results, Setting, Trace, Unit, simulate,
};

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
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .map_err(|e| format!("cannot read the folder {folder}: {e}"))?
        .map(|entry| Ok(entry?.path()))
        .collect::<std::io::Result<_>>()?;
    files.retain(|file| file.extension().is_some_and(|ending| ending == "csv"));
    files.sort();
    if files.is_empty() {
        return Err(format!("there is no CSV file in {folder}").into());
    }
    let mut table = HEAD.to_owned();
    let mut notes = String::new();
    for file in &files {
        let name = file.file_stem().map(|name| name.to_string_lossy()).unwrap_or_default();
        let (seconds, results, of_trace) = run(file, &name)?;
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
fn run(file: &Path, name: &str) -> Result<(u64, Results, Vec<String>), Box<dyn Error>> {
    let text = std::fs::read(file).map_err(|e| format!("cannot read {}: {e}", file.display()))?;
    let step = step_secs(name)
        .ok_or_else(|| format!("{name}: a file's name ends in its step, as in NAME_5min.csv"))?;
    let column = last_column(&text);
    let unit = if column == "rps" { Unit::Rate } else { Unit::Count };
    let trace = Trace::parse(&text, &file.display().to_string(), &column, step, unit)?;
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

/// Of the end of a name, as in `NAME_5min`.
fn step_secs(name: &str) -> Option<u64> {
    let (_, step) = name.rsplit_once('_')?;
    let unit = step.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = step.split_at(unit);
    let secs = match unit {
        "s" => 1,
        "min" => 60,
        "h" => 3600,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(secs).filter(|secs| *secs > 0)
}

fn last_column(text: &[u8]) -> String {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text);
    let last = reader.headers().ok().and_then(|head| head.iter().next_back().map(str::to_owned));
    last.unwrap_or_default()
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
