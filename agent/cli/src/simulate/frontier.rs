//! The frontier of a sweep: what each value of a setting costs and violates, as a table and as a picture.

use std::fmt::Write as _;

use spillway_simulate::{Frontier, Outcome, Point, Results};
use spillway_storm::plot::{Axis, LEFT, Plane, WIDTH, escape, text};

use super::{About, chart};
use crate::output;

const HEIGHT: f64 = 560.0;
/// What is beyond so many times the dearest point of the sweep is not shown: it would press the rest together.
const DEAR: f64 = 3.0;

const STYLE: &str = "
text{font-family:system-ui,-apple-system,'Segoe UI','Noto Sans','DejaVu Sans',sans-serif;font-size:12px;fill:#24292f}
.title{font-size:18px;font-weight:600}.sub{fill:#57606a}.name{font-weight:600;font-size:13px}.tick{fill:#57606a;font-size:11px}
.paper{fill:#ffffff}.grid{stroke:#d8dee4;stroke-width:1}.axis{stroke:#8c959f;stroke-width:1}
.line{fill:none;stroke-width:1.8;stroke-linejoin:round}
.front{stroke:#2f6fb5}.efficient{fill:#2f6fb5}.passed{fill:#ffffff;stroke:#2f6fb5;stroke-width:1.5}.other{fill:#b46a00}
@media (prefers-color-scheme:dark){
text{fill:#e6edf3}.sub,.tick{fill:#9aa4af}.paper{fill:#0d1117}.grid{stroke:#262d36}.axis{stroke:#6e7681}
.front{stroke:#5a9bea}.efficient{fill:#5a9bea}.passed{fill:#0d1117;stroke:#5a9bea}.other{fill:#f0b030}}
";

/// A row for each value, rising. What no other value beats is marked.
pub(super) fn table(frontier: &Frontier, width: Option<u16>) -> String {
    let settings = frontier.settings.join(", ");
    let head = [
        settings.as_str(),
        "s over",
        "failed",
        "shed",
        "USD",
        "turns",
        "s in tiers 1, 2, 3",
        "on the frontier",
    ];
    let row = |point: &Point| {
        let outcome = &point.outcome;
        let tiers: Vec<String> = outcome.tier_seconds.values().map(u64::to_string).collect();
        vec![
            point.value.to_string(),
            outcome.seconds_over.to_string(),
            outcome.requests_failed.to_string(),
            outcome.requests_shed.to_string(),
            format!("{:.2}", outcome.cost_usd),
            outcome.reversals.to_string(),
            tiers.join(", "),
            if point.efficient { "yes" } else { "" }.to_owned(),
        ]
    };
    output::table_within(&head, frontier.points.iter().map(row), width)
}

/// Cost to the right, seconds over the limit upwards: the values of the sweep, the line of those that no
/// other beats, and the other policies that were run.
pub(super) fn svg(about: &About, results: &Results, frontier: &Frontier) -> String {
    let place = |outcome: &Outcome| (outcome.cost_usd, outcome.seconds_over as f64);
    let dearest = frontier.points.iter().map(|point| point.outcome.cost_usd).fold(0.0, f64::max);
    let others = results.policies.iter().filter(|(name, outcome)| {
        *name != "spillway" && outcome.cost_usd <= DEAR * dearest.max(0.01)
    });
    let others: Vec<(&String, (f64, f64))> =
        others.map(|(name, outcome)| (name, place(outcome))).collect();
    let all = || {
        let swept = frontier.points.iter().map(|point| place(&point.outcome));
        swept.chain(others.iter().map(|(_, place)| *place))
    };
    let plane = Plane {
        top: 96.0,
        height: 390.0,
        x: Axis::new(all().map(|(cost, _)| cost).fold(0.0, f64::max), "USD"),
        y: Axis::logarithmic(all().map(|(_, over)| over).fold(0.0, f64::max), "s"),
    };
    let title = chart::title(about);
    let described = format!(
        "Spillway with {} of the values beside the points",
        frontier.settings.join(" and ")
    );
    let mut out = String::new();
    let _ = write!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" role=\"img\" aria-labelledby=\"title desc\">\n\
         <title id=\"title\">{}</title>\n<desc id=\"desc\">{}</desc>\n<style>{STYLE}</style>\n\
         <rect class=\"paper\" width=\"{WIDTH}\" height=\"{HEIGHT}\"/>\n",
        escape(&title),
        escape(&described),
    );
    text(&mut out, LEFT, 30.0, "title", "start", &title);
    text(&mut out, LEFT, 50.0, "sub", "start", &described);
    plane.frame(&mut out, "cost, US dollars", "seconds over the limit");
    let mut front: Vec<(f64, f64)> = frontier
        .points
        .iter()
        .filter(|point| point.efficient)
        .map(|point| place(&point.outcome))
        .collect();
    front.sort_by(|a, b| a.0.total_cmp(&b.0).then(b.1.total_cmp(&a.1)));
    plane.line(&mut out, "front", &front);
    let others = others.iter().map(|(name, place)| ("other", *place, name.to_string()));
    let points = frontier.points.iter().map(|point| {
        let class = if point.efficient { "efficient" } else { "passed" };
        (class, place(&point.outcome), point.value.to_string())
    });
    let mut points: Vec<_> = points.chain(others).collect();
    // Their labels stand nearest.
    points.sort_by_key(|(class, ..)| *class != "efficient");
    plane.points(&mut out, &points);
    out.push_str("</svg>\n");
    out
}
