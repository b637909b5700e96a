//! `spillway traffic`: what access logs say of the load, route by route.

mod read;
mod weights;

use std::path::PathBuf;
use std::process::ExitCode;

use serde::Serialize;
use spillway_gateway::RouteTable;
use spillway_model::{Config, RouteId};
use spillway_part::start::load_config;
use spillway_simulate::log::{Format, Names, Reading, RouteRow, Survey, Unreadable};

use crate::args::{Args, TrafficOptions};
use crate::output;

pub(crate) use read::read;
use weights::Weights;

/// Routes in the table. All are in the JSON.
const ROWS_MAX: usize = 40;

/// All that is told.
#[derive(Serialize)]
struct Told<'a> {
    files: Vec<String>,
    formats: Vec<&'static str>,
    lines: u64,
    unreadable: u64,
    first_unreadable: &'a [Unreadable],
    from: String,
    to: String,
    seconds: u64,
    requests: u64,
    per_sec: f64,
    peak_per_sec: f64,
    routes: Vec<Row>,
    weights: Option<Weights>,
}

#[derive(Serialize)]
struct Row {
    #[serde(flatten)]
    row: RouteRow,
    /// What a request costs beside others, and the standard error of that.
    weight: Option<f64>,
    weight_error: Option<f64>,
}

impl<'a> Told<'a> {
    fn of(
        files: &[PathBuf],
        reading: &'a Reading<'_>,
        survey: &Survey<'_>,
        config: Option<&Config>,
    ) -> Self {
        let (unreadable, first_unreadable) = reading.unreadable();
        let (from, to) = survey.span();
        let (per_sec, peak_per_sec) = survey.rates();
        let none = |row| Row { row, weight: None, weight_error: None };
        let mut routes: Vec<Row> = survey.rows().into_iter().map(none).collect();
        let weights = weights::learn(survey, &mut routes, config);
        Self {
            files: files.iter().map(|file| file.display().to_string()).collect(),
            formats: reading.formats().iter().map(|format| format.name()).collect(),
            lines: reading.lines(),
            unreadable,
            first_unreadable,
            from: from.to_string(),
            to: to.to_string(),
            seconds: survey.secs(),
            requests: survey.requests(),
            per_sec,
            peak_per_sec,
            routes,
            weights,
        }
    }
}

pub(crate) fn run(args: &Args, options: &TrafficOptions) -> anyhow::Result<ExitCode> {
    let config = args.config.as_ref().map(|path| load_config(path)).transpose()?;
    let config = config.as_deref();
    let table = config.map(RouteTable::new).transpose()?;
    let find = |host: Option<&str>, method: &str, path: &str| {
        table.as_ref()?.id_of(host, method, path).map(RouteId::as_str)
    };
    let reading = read(&options.files, options.format, Names::new(Some(&find)))?;
    let survey = reading.survey()?;
    let told = Told::of(&options.files, &reading, survey, config);
    if args.json {
        output::json(&told)?;
        return Ok(ExitCode::SUCCESS);
    }
    note_unreadable(&reading);
    output::line(&headline(&told, reading.formats()));
    output::line("");
    output::line(&rows(&told, output::width()));
    if let Some(weights) = &told.weights {
        output::line("");
        output::line(&weights.sentence());
    }
    Ok(ExitCode::SUCCESS)
}

/// Says which lines could not be read.
pub(crate) fn note_unreadable(reading: &Reading<'_>) {
    let (count, first) = reading.unreadable();
    for line in first {
        output::note(&line.to_string());
    }
    if count > 0 {
        output::note(&format!("{count} of {} lines could not be read", reading.lines()));
    }
}

fn headline(told: &Told<'_>, formats: &[Format]) -> String {
    let formats: Vec<String> = formats.iter().map(Format::to_string).collect();
    format!(
        "{} requests from {} to {}, {:.1}/s, {:.0}/s in the busiest second; {}",
        told.requests,
        told.from,
        told.to,
        told.per_sec,
        told.peak_per_sec,
        formats.join(" and ")
    )
}

fn rows(told: &Told<'_>, width: Option<u16>) -> String {
    let head =
        ["route", "requests", "per s", "peak per s", "bytes/answer", "mean ms", "p95 ms", "weight"];
    let or_none = |value: Option<f64>, digits: usize| {
        value.map_or("-".to_owned(), |value| format!("{value:.digits$}"))
    };
    let shown = told.routes.iter().take(ROWS_MAX).map(|Row { row, weight, .. }| {
        vec![
            row.route.clone(),
            row.requests.to_string(),
            format!("{:.2}", row.per_sec),
            format!("{:.2}", row.peak_per_sec),
            or_none(row.bytes_per_answer, 0),
            or_none(row.service_ms_mean, 1),
            or_none(row.service_ms_p95, 1),
            or_none(*weight, 2),
        ]
    });
    let mut text = output::table_within(&head, shown, width);
    let window = told.routes.iter().map(|row| row.row.peak_window_secs).max().unwrap_or_default();
    text.push_str(&format!("\nA route's peak is the mean of its busiest {window} s."));
    let left = told.routes.get(ROWS_MAX..).unwrap_or_default();
    if !left.is_empty() {
        let requests: u64 = left.iter().map(|row| row.row.requests).sum();
        text.push_str(&format!(
            "\n{} more routes with {requests} requests: --json has all of them",
            left.len()
        ));
    }
    text
}
