//! What requests of routes cost beside one another, learned from service times.

use serde::Serialize;
use spillway_decide::{Window, weigh};
use spillway_model::Config;
use spillway_simulate::log::Survey;

use super::Row;

/// Routes that weights are learned of, those that took the most time in all.
const ROUTES_MAX: usize = 60;
/// Windows of each. All of them are looked at at once.
const WINDOWS_MAX: usize = 240;
/// A declared weight is at least this.
const LEAST: f64 = 1e-6;

/// How well weights are known.
#[derive(Debug, Serialize)]
pub(super) struct Weights {
    /// Seconds of a window.
    window_secs: u64,
    /// Windows, each of one route.
    windows: usize,
    /// Of them, those that were set aside: much more took part in them than load, or less.
    aside: usize,
    /// The part of the variance of service times that weights explain.
    r2: f64,
    /// Condition number: from millions on, some routes cannot be told apart.
    condition: f64,
    /// Whether there was too little to learn from, so that there are none.
    kept: bool,
}

/// Gives `rows`, those of `survey`, their weights, so that the mean request weighs what `config` declares, or
/// else 1. `None` when no service time is known.
pub(super) fn learn(
    survey: &Survey<'_>,
    rows: &mut [Row],
    config: Option<&Config>,
) -> Option<Weights> {
    let took = |place: usize| {
        let row = rows.get(place).map(|row| &row.row)?;
        Some(row.service_ms_mean? * row.answers as f64)
    };
    let mut places: Vec<usize> = (0..rows.len()).filter(|place| took(*place).is_some()).collect();
    places.sort_by(|a, b| took(*b).unwrap_or(0.0).total_cmp(&took(*a).unwrap_or(0.0)));
    places.truncate(ROUTES_MAX);
    let (window_secs, of_routes) = survey.windows(&places, WINDOWS_MAX);
    if of_routes.is_empty() {
        return None;
    }
    let declared = |place: &usize| {
        let name = rows.get(*place).map_or("", |row| row.row.route.as_str());
        let route = config?.routes.iter().find(|route| route.id.as_str() == name);
        route.map(|route| route.weight.max(LEAST))
    };
    let declared: Vec<f64> = places.iter().map(|place| declared(place).unwrap_or(1.0)).collect();
    let mut asked = vec![0.0; places.len()];
    let windows: Vec<Window> = of_routes
        .iter()
        .map(|window| {
            let mut requests = vec![0.0; places.len()];
            for counts in [&mut requests, &mut asked] {
                if let Some(count) = counts.get_mut(window.route) {
                    *count += window.requests;
                }
            }
            Window { requests, busy_secs: window.service_secs }
        })
        .collect();
    let fit = weigh(&declared, &windows);
    let sum = |weights: &[f64]| -> f64 { weights.iter().zip(&asked).map(|(w, n)| w * n).sum() };
    // A request of the usual mix weighs what it is declared to.
    let scale = sum(&declared) / sum(&fit.weights);
    if !fit.kept && scale.is_finite() {
        for ((place, weight), error) in places.iter().zip(&fit.weights).zip(&fit.errors) {
            if let Some(row) = rows.get_mut(*place) {
                row.weight = Some(weight * scale);
                row.weight_error = Some(error * scale);
            }
        }
    }
    Some(Weights {
        window_secs,
        windows: windows.len(),
        aside: fit.aside,
        r2: fit.r2,
        condition: fit.condition,
        kept: fit.kept,
    })
}

impl Weights {
    pub(super) fn sentence(&self) -> String {
        let Self { window_secs, windows, aside, r2, condition, kept } = self;
        if *kept {
            return format!(
                "Weights are not told: {windows} windows of a route and {window_secs} s teach no other than those declared."
            );
        }
        format!(
            "Weights follow service times in {windows} windows of a route and {window_secs} s, of which {aside} \
             were set aside; they explain {:.0} % of what differs, at a condition of {condition:.0}.",
            r2 * 100.0
        )
    }
}
