//! The season's forecast beside persistence and augurs' MSTL with ETS, on every CSV trace of a folder.
//!
//! ```text
//! bench_forecast FOLDER [OUT]
//! ```
//!
//! [`common`] says how files are named.

#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

mod common;

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use augurs::ets::AutoETS;
use augurs::mstl::MSTLModel;
use augurs::prelude::*;
use spillway_decide::{Calendar, Conformal, Season, SeasonPolicy};
use spillway_model::UnixMillis;
use spillway_simulate::{Trace, Unit};

/// What forecasts are of: means of five minutes.
const STEP: u64 = 300;
const DAY: usize = 288;
const WEEK: usize = 7 * DAY;
/// Lead times in seconds, and how many steps each is ahead of the last whole one.
const LEADS: [(u64, usize); 3] = [(180, 2), (600, 3), (1200, 5)];
const QUANTILE: f64 = 0.95;
/// What a fit of augurs is made of, and when the comparison begins.
const FIT: usize = 2 * WEEK;
/// Every so many steps a forecast is compared: prime to a day, so that all times of day are met.
const EVERY: usize = 37;
/// The first Monday of 2026: what has no date begins then.
const START: UnixMillis = UnixMillis(1_767_571_200_000);

const METHODS: [&str; 6] = [
    "season",
    "season where trusted",
    "persistence",
    "augurs MSTL + ETS",
    "the same, conformal",
    "augurs ETS",
];

/// What one method came to at one lead time.
#[derive(Debug, Clone, Copy, Default)]
struct Score {
    loss: f64,
    covered: f64,
    count: f64,
}

impl Score {
    fn add(&mut self, upper: f64, value: f64) {
        let above = value - upper;
        self.loss += if above > 0.0 { QUANTILE * above } else { (QUANTILE - 1.0) * above };
        self.covered += if above > 0.0 { 0.0 } else { 1.0 };
        self.count += 1.0;
    }
}

/// Of all methods and lead times; and how long each took, in all and how often.
#[derive(Default)]
struct Compared {
    scores: [[Score; LEADS.len()]; METHODS.len()],
    mean: f64,
    trusted: [f64; LEADS.len()],
    ours: (Duration, u32),
    /// With the seasons, and without.
    mstl: (Duration, u32),
    ets: (Duration, u32),
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let folder = words.next().ok_or("say which folder the traces are in")?;
    let out = words.next().filter(|out| !out.is_empty());
    let mut table = String::new();
    let mut notes = String::new();
    let mut best = Best::default();
    for file in common::files(&folder)? {
        let name = common::name(&file);
        let (trace, step, unit) = common::read(&file)?;
        let values = steps(&trace, step, unit);
        if values.len() < FIT + WEEK {
            let days = values.len() as f64 / DAY as f64;
            writeln!(notes, "- {name}: left out, its {days:.2} days are less than three weeks.")?;
            continue;
        }
        if step > STEP {
            writeln!(
                notes,
                "- {name}: its steps of {step} s are joined by straight lines, which are easier to forecast than \
                 what there was."
            )?;
        }
        let compared = compare(&values)?;
        rows(&mut table, &name, &compared)?;
        best.add(&name, &compared);
    }
    let document = document(&table, &best.to_string(), &notes);
    if let Some(out) = &out {
        std::fs::write(out, &document).map_err(|e| format!("cannot write {out}: {e}"))?;
    }
    println!("{document}");
    Ok(())
}

/// Rates per second in steps of five minutes.
fn steps(trace: &Trace, step: u64, unit: Unit) -> Vec<f64> {
    let per = if unit == Unit::Count { step as f64 } else { 1.0 };
    let rate = |place: usize| trace.values.get(place).map_or(0.0, |value| value / per);
    let all = trace.values.len() as u64 * step / STEP;
    let last = trace.values.len().saturating_sub(1);
    let of = |at: u64| {
        if step <= STEP {
            // A step belongs to where it begins.
            let (from, to) = ((at * STEP).div_ceil(step), ((at + 1) * STEP).div_ceil(step));
            let places = (from..to).map(|place| rate(usize::try_from(place).unwrap_or(last)));
            return places.sum::<f64>() / (to - from).max(1) as f64;
        }
        // Between the middles of steps.
        let middle = (at as f64 + 0.5) * STEP as f64 / step as f64 - 0.5;
        let before = middle.floor().clamp(0.0, last as f64);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
        let place = before as usize;
        let part = (middle - before).clamp(0.0, 1.0);
        rate(place) * (1.0 - part) + rate((place + 1).min(last)) * part
    };
    (0..all).map(of).collect()
}

fn compare(values: &[f64]) -> Result<Compared, Box<dyn Error>> {
    let leads = LEADS.iter().map(|(secs, _)| (*secs, QUANTILE)).collect();
    let policy = SeasonPolicy::new(Calendar::default(), leads);
    let mut season = Season::default();
    let mut persists = [Conformal::default(); LEADS.len()];
    let mut conformal = [Conformal::default(); LEADS.len()];
    let mut compared = Compared::default();
    let last = values.len().saturating_sub(LEADS[LEADS.len() - 1].1);
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    compared.mean = mean;
    for at in 0..last {
        let began = Instant::now();
        season.take_in(&policy, START.plus_secs(at as u64 * STEP), values[at], STEP as f64);
        compared.ours.0 += began.elapsed();
        compared.ours.1 += 1;
        // Now `at` is the open step, and the last whole one is before it.
        let Some(whole) = at.checked_sub(1) else { continue };
        for (place, (_, ahead)) in LEADS.iter().enumerate() {
            if let Some(before) = whole.checked_sub(*ahead) {
                persists[place].take_in(
                    QUANTILE,
                    values[whole],
                    values[before],
                    values[before] + 0.1 * mean,
                );
            }
        }
        if at < FIT || at % EVERY != 0 {
            continue;
        }
        let began = Instant::now();
        let fitted = mstl(&values[at - FIT..at])?;
        compared.mstl.0 += began.elapsed();
        compared.mstl.1 += 1;
        let began = Instant::now();
        let plain = ets(&values[at - DAY..at])?;
        compared.ets.0 += began.elapsed();
        compared.ets.1 += 1;
        for (place, (secs, ahead)) in LEADS.iter().enumerate() {
            let value = values[whole + ahead];
            let middle = START.plus_secs((whole + ahead) as u64 * STEP + STEP / 2);
            let now = UnixMillis(middle.0 - secs * 1000);
            let told = season.then(&policy, place, now).ok_or("the season is not known")?;
            let unit = |expected: f64| expected + 0.1 * mean;
            let stays = persists[place].upper(values[whole], unit(values[whole]));
            let (point, upper) =
                fitted.get(ahead - 1).copied().ok_or("augurs forecasts too little")?;
            let point = point.max(0.0);
            let counts = if told.trusted { told.upper } else { stays };
            let (_, without) =
                plain.get(ahead - 1).copied().ok_or("augurs forecasts too little")?;
            let own = conformal[place].upper(point, unit(point));
            compared.trusted[place] += f64::from(u8::from(told.trusted));
            let uppers = [told.upper, counts, stays, upper, own, without];
            for (method, upper) in uppers.into_iter().enumerate() {
                compared.scores[method][place].add(upper, value);
            }
            conformal[place].take_in(QUANTILE, value, point, unit(point));
        }
    }
    Ok(compared)
}

/// What is likely of the next steps, and its quantile by the model's own interval.
type Uppers = Result<Vec<(f64, f64)>, Box<dyn Error>>;

fn mstl(values: &[f64]) -> Uppers {
    let trend = AutoETS::non_seasonal().into_trend_model();
    uppers(&MSTLModel::new(vec![DAY, WEEK], trend).fit(values)?)
}

fn ets(values: &[f64]) -> Uppers {
    uppers(&AutoETS::non_seasonal().fit(values)?)
}

fn uppers<F: Predict>(fit: &F) -> Uppers
where
    F::Error: 'static,
{
    // Both sides of the interval are left out alike.
    let forecast = fit.predict(LEADS[LEADS.len() - 1].1, 2.0 * QUANTILE - 1.0)?;
    let intervals = forecast.intervals.ok_or("augurs tells no interval")?;
    Ok(forecast.point.into_iter().zip(intervals.upper).collect())
}

/// A row for each lead time and method: losses are in percent of the trace's mean.
fn rows(table: &mut String, trace: &str, compared: &Compared) -> std::fmt::Result {
    let each = |(time, count): (Duration, u32)| time.as_secs_f64() * 1e6 / f64::from(count.max(1));
    for (place, (secs, _)) in LEADS.iter().enumerate() {
        for (method, name) in METHODS.iter().enumerate() {
            let score = compared.scores[method][place];
            let time = match method {
                0 | 1 => format!("{:.1}", each(compared.ours)),
                2 => String::new(),
                5 => format!("{:.0}", each(compared.ets)),
                _ => format!("{:.0}", each(compared.mstl)),
            };
            let trusted = match method {
                1 => format!(" ({:.0} %)", 100.0 * compared.trusted[place] / score.count),
                _ => String::new(),
            };
            writeln!(
                table,
                "| {trace} | {secs} | {name}{trusted} | {:.3} | {:.1} | {time} |",
                100.0 * score.loss / score.count / compared.mean,
                100.0 * score.covered / score.count,
            )?;
        }
    }
    Ok(())
}

/// Who lost least, where.
#[derive(Default)]
struct Best {
    of: BTreeMap<&'static str, Vec<String>>,
    places: usize,
    /// What the agent goes by, beside the others.
    beside: String,
}

impl Best {
    fn add(&mut self, trace: &str, compared: &Compared) {
        for (place, (secs, _)) in LEADS.iter().enumerate() {
            let losses = compared.scores.iter().map(|of| of[place].loss);
            let least = losses.clone().fold(f64::INFINITY, f64::min);
            for (name, _) in METHODS.iter().zip(losses).filter(|(_, loss)| *loss <= least) {
                self.of.entry(name).or_default().push(format!("{trace} at {secs} s"));
            }
            self.places += 1;
            let loss = |method: usize| compared.scores[method][place].loss;
            let augurs = (3..METHODS.len()).map(loss).fold(f64::INFINITY, f64::min);
            // Writing to a string cannot fail.
            let _ = writeln!(
                self.beside,
                "- {trace} at {secs} s: what the agent goes by loses {:.0} % of what persistence does, and {:.0} % of \
                 the best of augurs.",
                100.0 * loss(1) / loss(2),
                100.0 * loss(1) / augurs
            );
        }
    }
}

impl std::fmt::Display for Best {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for name in METHODS {
            match self.of.get(name) {
                Some(at) => writeln!(
                    f,
                    "- **{name}** loses least at {} of {}: {}.",
                    at.len(),
                    self.places,
                    at.join(", ")
                )?,
                None => writeln!(f, "- **{name}** loses least nowhere.")?,
            }
        }
        write!(f, "\n{}", self.beside)
    }
}

fn document(table: &str, best: &str, notes: &str) -> String {
    let notes = if notes.is_empty() { String::new() } else { format!("\n## Notes\n\n{notes}") };
    format!(
        "# The season's forecast beside others\n\n\
         Made by `./just bench-forecast`: means of five minutes, of which the one that many seconds ahead is \
         forecast with its {QUANTILE} quantile, each {EVERY} steps from the end of the second week on, so that all \
         times of day are met. The pinball loss is in percent of the trace's mean; what is covered should be \
         {:.0} %. `season` is what the agent learns, step after step, and `season where trusted` what it goes by: \
         persistence in the rest of the time (in brackets, how often it was trusted). `persistence` says that \
         what was asked in the last five minutes stays. `augurs MSTL + ETS` decomposes by a day and a week and \
         forecasts the trend by AutoETS, fitted to the last two weeks each time, with its own interval, and with \
         the same conformal quantile as the first three have; that learns only from the steps compared, the others' from all. `augurs ETS` is \
         AutoETS without a season, fitted to the last day. Time is of \
         taking in one step, and of one fit and forecast.\n\n\
         | trace | s ahead | forecast | loss, % | covered, % | µs |\n\
         | --- | ---: | --- | ---: | ---: | ---: |\n\
         {table}\n## Where each wins\n\n{best}{notes}",
        100.0 * QUANTILE
    )
}
