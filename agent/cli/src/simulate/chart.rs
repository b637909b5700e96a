//! A simulation as a picture: what was asked for, what was there for it, the share, and who was over the
//! limit for how long.

use std::fmt::Write as _;

use spillway_simulate::{Course, Policy, Results};
use spillway_storm::plot::{Axis, LEFT, Panel, Series, WIDTH, escape, text};

use super::About;

/// Most policies whose seconds over the limit are drawn.
const LINES_MAX: usize = 6;
/// Bottom of the lowest panel, and of the picture.
const BOTTOM: f64 = 640.0;
const HEIGHT: f64 = 690.0;

const CLASSES: [&str; LINES_MAX] = ["p0", "p1", "p2", "p3", "p4", "p5"];

const STYLE: &str = "
text{font-family:system-ui,-apple-system,'Segoe UI','Noto Sans','DejaVu Sans',sans-serif;font-size:12px;fill:#24292f}
.title{font-size:18px;font-weight:600}.sub{fill:#57606a}.name{font-weight:600;font-size:13px}.tick{fill:#57606a;font-size:11px}
.paper{fill:#ffffff}.grid{stroke:#d8dee4;stroke-width:1}.axis{stroke:#8c959f;stroke-width:1}
.demand{fill:#2f6fb5;fill-opacity:.45}.tier{fill:#9d8ac7;fill-opacity:.35}
.line{fill:none;stroke-width:1.8;stroke-linejoin:round}
.supply{stroke:#24292f}.best{stroke:#1a7f64;stroke-dasharray:5 3}.share{stroke:#b46a00}
.p0{stroke:#24292f}.p1{stroke:#1a7f64;stroke-dasharray:5 3}.p2{stroke:#2f6fb5}.p3{stroke:#e69f00;stroke-dasharray:6 4}.p4{stroke:#c8322b}.p5{stroke:#9d8ac7;stroke-dasharray:2 3}
@media (prefers-color-scheme:dark){
text{fill:#e6edf3}.sub,.tick{fill:#9aa4af}.paper{fill:#0d1117}.grid{stroke:#262d36}.axis{stroke:#6e7681}
.demand{fill:#5a9bea}.tier{fill:#a793d8}.supply,.p0{stroke:#e6edf3}.best,.p1{stroke:#3fb891}.share{stroke:#f0b030}
.p2{stroke:#5a9bea}.p3{stroke:#f0b030}.p4{stroke:#f0554c}.p5{stroke:#a793d8}}
";

/// The results as an SVG document. The first of `policies` is shown in full.
pub(crate) fn svg(about: &About, results: &Results, policies: &[Policy]) -> String {
    let empty = Course::default();
    let course = |policy: &Policy| results.courses.get(policy.name()).unwrap_or(&empty);
    let first = policies.first().copied().unwrap_or(Policy::Spillway);
    let shown = course(&first);
    let secs = about.seconds as f64;
    let times: Vec<f64> =
        (0..shown.demand.len()).map(|i| ((i as f64 + 0.5) * shown.secs).min(secs)).collect();
    let mut out = String::new();
    let _ = write!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" role=\"img\" aria-labelledby=\"title desc\">\n\
         <title id=\"title\">{}</title>\n<desc id=\"desc\">{}</desc>\n<style>{STYLE}</style>\n\
         <rect class=\"paper\" width=\"{WIDTH}\" height=\"{HEIGHT}\"/>\n",
        escape(&title(about)),
        escape(&description(results, first)),
    );
    text(&mut out, LEFT, 30.0, "title", "start", &title(about));
    text(&mut out, LEFT, 50.0, "sub", "start", &description(results, first));
    capacity(&mut out, secs, &times, first, shown, results.courses.get("clairvoyant"));
    steering(&mut out, secs, &times, first, shown);
    let drawn: Vec<(&str, &Course)> =
        policies.iter().take(LINES_MAX).map(|policy| (policy.name(), course(policy))).collect();
    over(&mut out, secs, &times, &drawn);
    Panel { top: BOTTOM, height: 0.0, secs, y: Axis::new(1.0, "") }.time(&mut out);
    out.push_str("</svg>\n");
    out
}

pub(super) fn title(about: &About) -> String {
    let file = std::path::Path::new(&about.file).file_name();
    let file = file.map_or(about.file.clone(), |name| name.to_string_lossy().into_owned());
    let column = about.column.as_ref().map(|column| format!(", column {column}"));
    let column = column.unwrap_or_default();
    format!("{file}{column}, peak {} times the site", about.peak_factor)
}

fn description(results: &Results, policy: Policy) -> String {
    let Some(outcome) = results.policies.get(policy.name()) else { return String::new() };
    format!(
        "{policy}: {} s over the limit, {} of {} requests failed, {:.2} USD",
        outcome.seconds_over, outcome.requests_failed, outcome.requests, outcome.cost_usd
    )
}

fn capacity(
    out: &mut String,
    secs: f64,
    times: &[f64],
    policy: Policy,
    course: &Course,
    best: Option<&Course>,
) {
    let best = best.filter(|_| policy != Policy::Clairvoyant);
    let supplies = course.supply.iter().chain(best.into_iter().flat_map(|best| &best.supply));
    let most = supplies.chain(&course.demand).copied().fold(0.0, f64::max);
    let panel = Panel { top: 96.0, height: 240.0, secs, y: Axis::new(most, "/s") };
    panel.frame(out, "Requests per second, and capacity for them");
    let floor = vec![0.0; times.len()];
    panel.area(out, "demand", times, &floor, &course.demand);
    let name = format!("capacity, {policy}");
    let mut legend =
        vec![Series::area("demand", "demand, busiest second"), Series::line("supply", &name)];
    if let Some(best) = best {
        panel.line(out, "best", times, &best.supply);
        legend.push(Series::line("best", "clairvoyant"));
    }
    panel.line(out, "supply", times, &course.supply);
    panel.legend(out, &legend);
}

fn steering(out: &mut String, secs: f64, times: &[f64], policy: Policy, course: &Course) {
    let panel = Panel { top: 376.0, height: 104.0, secs, y: Axis::percent() };
    panel.frame(out, &format!("Served by the cloud, and tier: {policy}"));
    // A tier is a third of the height; its own axis is on the right.
    let floor = vec![0.0; times.len()];
    let tier: Vec<f64> = course.tier.iter().map(|tier| tier / 3.0).collect();
    panel.steps(out, "tier", times, &floor, &tier);
    panel.line(out, "share", times, &course.cloud);
    panel.right(out, &[(0.0, "tier 0"), (1.0 / 3.0, "1"), (2.0 / 3.0, "2"), (1.0, "3")]);
    panel.legend(out, &[Series::line("share", "cloud"), Series::area("tier", "tier (right)")]);
}

fn over(out: &mut String, secs: f64, times: &[f64], courses: &[(&str, &Course)]) {
    let sums: Vec<Vec<f64>> = courses
        .iter()
        .map(|(_, course)| {
            let mut sum = 0.0;
            let points = course.over.iter().enumerate().map(|(i, part)| {
                // The last point may be of fewer seconds.
                sum += part * course.secs.min(secs - i as f64 * course.secs);
                sum
            });
            points.collect()
        })
        .collect();
    let most = sums.iter().flatten().copied().fold(0.0, f64::max);
    let panel = Panel { top: 520.0, height: BOTTOM - 520.0, secs, y: Axis::new(most, "s") };
    panel.frame(out, "Seconds over the limit so far");
    let mut legend = Vec::new();
    for (((name, _), sum), class) in courses.iter().zip(&sums).zip(CLASSES) {
        panel.line(out, class, times, sum);
        legend.push(Series::line(class, name));
    }
    panel.legend(out, &legend);
}
