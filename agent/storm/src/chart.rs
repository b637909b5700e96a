//! The report as a picture: requests by who served them, the uplink, and what the agent did.
//!
//! Plain SVG 1.1 without scripts or fonts of its own. Colours are told apart by people who see
//! colours differently too, and there are two sets: for light and for dark surroundings.

use std::fmt::Write as _;

use crate::plot::{self, Axis, Panel, Series, WIDTH, escape, text};
use crate::report::{Report, Second};

/// Most points across; longer storms are averaged over several seconds a point.
const POINTS_MAX: usize = 480;
/// Bottom of the lowest panel, and of the picture.
const BOTTOM: f64 = 640.0;
const HEIGHT: f64 = 690.0;

const STYLE: &str = "
text{font-family:system-ui,-apple-system,'Segoe UI','Noto Sans','DejaVu Sans',sans-serif;font-size:12px;fill:#24292f}
.title{font-size:18px;font-weight:600}.sub{fill:#57606a}.name{font-weight:600;font-size:13px}.tick{fill:#57606a;font-size:11px}
.paper{fill:#ffffff}.grid{stroke:#d8dee4;stroke-width:1}.axis{stroke:#8c959f;stroke-width:1}
.site{fill:#2f6fb5}.cloud{fill:#e69f00}.refused{fill:#9d8ac7}.failed{fill:#c8322b}
.line{fill:none;stroke-width:1.8;stroke-linejoin:round}
.wanted{stroke:#24292f;stroke-dasharray:5 3}.uplink{stroke:#1a7f64}.cap{stroke:#c8322b;stroke-dasharray:6 4}
.share{stroke:#b46a00}.tier{fill:#9d8ac7;fill-opacity:.35}.mark{stroke:#57606a;stroke-dasharray:2 3}
@media (prefers-color-scheme:dark){
text{fill:#e6edf3}.sub,.tick{fill:#9aa4af}.paper{fill:#0d1117}.grid{stroke:#262d36}.axis{stroke:#6e7681}
.site{fill:#5a9bea}.cloud{fill:#f0b030}.refused{fill:#a793d8}.failed{fill:#f0554c}
.wanted{stroke:#e6edf3}.uplink{stroke:#3fb891}.cap{stroke:#f0554c}.share{stroke:#f0b030}.tier{fill:#a793d8}.mark{stroke:#9aa4af}}
";

/// The report as an SVG document.
#[must_use]
pub fn svg(report: &Report) -> String {
    let points = Points::of(&report.seconds);
    let mut out = String::new();
    let _ = write!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" role=\"img\" aria-labelledby=\"title desc\">\n\
         <title id=\"title\">{}</title>\n<desc id=\"desc\">{}</desc>\n<style>{STYLE}</style>\n\
         <rect class=\"paper\" width=\"{WIDTH}\" height=\"{HEIGHT}\"/>\n",
        escape(&title(report)),
        escape(&description(report)),
    );
    text(&mut out, plot::LEFT, 30.0, "title", "start", &title(report));
    text(&mut out, plot::LEFT, 50.0, "sub", "start", &description(report));
    requests(&mut out, &points);
    uplink(&mut out, &points);
    steering(&mut out, &points);
    Panel { top: BOTTOM, height: 0.0, secs: points.secs, y: Axis::new(1.0, "") }.time(&mut out);
    if let Some(at) = report.totals.first_cloud_at {
        let secs = at.millis_since(report.started_at) as f64 / 1000.0;
        plot::mark(
            &mut out,
            points.secs,
            secs,
            96.0,
            BOTTOM,
            &format!("first served by the cloud: {secs:.1} s"),
        );
    }
    out.push_str("</svg>\n");
    out
}

fn title(report: &Report) -> String {
    format!("Storm: {}", report.profile)
}

fn description(report: &Report) -> String {
    let totals = &report.totals;
    let p99 = crate::render::millis((totals.latency.count > 0).then_some(totals.latency.p99_ms));
    format!(
        "{} requests of {} clients; {:.1} % of good answers by the cloud; {} answered with less, {} refused by knobs; {} failed ({:.3} %); p99 {p99} ms",
        totals.arrivals,
        report.clients,
        totals.cloud_fraction() * 100.0,
        totals.degraded,
        totals.refused,
        totals.failed,
        totals.failed_fraction() * 100.0,
    )
}

fn requests(out: &mut String, points: &Points) {
    let layers = [&points.site, &points.cloud, &points.refused, &points.failed];
    let mut stacked = vec![vec![0.0; points.times.len()]];
    for layer in layers {
        let below = &stacked[stacked.len() - 1];
        stacked.push(below.iter().zip(layer).map(|(sum, value)| sum + value).collect());
    }
    let most = stacked[4].iter().chain(&points.wanted).copied().fold(0.0, f64::max);
    let panel = Panel { top: 96.0, height: 260.0, secs: points.secs, y: Axis::new(most, "/s") };
    panel.frame(out, "Requests per second, by who served them");
    for (i, class) in ["site", "cloud", "refused", "failed"].iter().enumerate() {
        panel.area(out, class, &points.times, &stacked[i], &stacked[i + 1]);
    }
    panel.line(out, "wanted", &points.times, &points.wanted);
    panel.legend(
        out,
        &[
            Series::area("site", "site"),
            Series::area("cloud", "cloud"),
            Series::area("refused", "refused by a knob"),
            Series::area("failed", "failed"),
            Series::line("wanted", "wanted"),
        ],
    );
}

fn uplink(out: &mut String, points: &Points) {
    // A little room, so that the cap is no edge of the panel.
    let most = points.uplink.iter().flatten().chain(&points.cap).copied().fold(0.0, f64::max);
    let panel =
        Panel { top: 396.0, height: 100.0, secs: points.secs, y: Axis::new(most * 1.05, "bit/s") };
    panel.frame(out, "Uplink of the site");
    panel.gapped(out, "uplink", &points.times, &points.uplink);
    panel.line(out, "cap", &points.times, &points.cap);
    panel.legend(out, &[Series::line("uplink", "in use"), Series::line("cap", "cap")]);
}

fn steering(out: &mut String, points: &Points) {
    let panel = Panel { top: 536.0, height: 104.0, secs: points.secs, y: Axis::percent() };
    panel.frame(out, "Spill share and tier");
    // A tier is a third of the height; its own axis is on the right.
    let floor = vec![0.0; points.times.len()];
    let tier: Vec<f64> = points.tier.iter().map(|tier| tier.unwrap_or(0.0) / 3.0).collect();
    panel.steps(out, "tier", &points.times, &floor, &tier);
    panel.gapped(out, "share", &points.times, &points.share);
    panel.right(out, &[(0.0, "tier 0"), (1.0 / 3.0, "1"), (2.0 / 3.0, "2"), (1.0, "3")]);
    panel.legend(out, &[Series::line("share", "share"), Series::area("tier", "tier (right)")]);
}

/// What is drawn: averages over as many seconds as keep the points within [`POINTS_MAX`].
struct Points {
    secs: f64,
    /// The middle of each point's seconds.
    times: Vec<f64>,
    wanted: Vec<f64>,
    site: Vec<f64>,
    cloud: Vec<f64>,
    refused: Vec<f64>,
    failed: Vec<f64>,
    uplink: Vec<Option<f64>>,
    cap: Vec<f64>,
    share: Vec<Option<f64>>,
    /// The harshest tier of the point's seconds.
    tier: Vec<Option<f64>>,
}

impl Points {
    fn of(seconds: &[Second]) -> Self {
        let per_point = seconds.len().div_ceil(POINTS_MAX).max(1);
        let chunks: Vec<&[Second]> = seconds.chunks(per_point).collect();
        let each = |value: fn(&Second) -> f64| -> Vec<f64> {
            chunks
                .iter()
                .map(|chunk| chunk.iter().map(value).sum::<f64>() / chunk.len() as f64)
                .collect()
        };
        let known = |value: fn(&Second) -> Option<f64>| -> Vec<Option<f64>> {
            let mean = |chunk: &&[Second]| {
                let values: Vec<f64> = chunk.iter().filter_map(value).collect();
                (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
            };
            chunks.iter().map(mean).collect()
        };
        let tier = |second: &Second| second.tier.map(|tier| f64::from(u8::from(tier)));
        let start = |chunk: &[Second]| f64::from(chunk[0].t);
        Self {
            secs: (seconds.len() as f64).max(1.0),
            times: chunks.iter().map(|c| start(c) + c.len() as f64 / 2.0).collect(),
            wanted: each(|s| s.wanted),
            // What was served elsewhere is drawn with the site: it did not burst.
            site: each(|s| s.ok.saturating_sub(s.cloud) as f64),
            cloud: each(|s| s.cloud as f64),
            refused: each(|s| s.refused as f64),
            failed: each(|s| s.failed as f64),
            uplink: known(|s| s.uplink_bits_per_sec),
            cap: each(|s| s.uplink_cap_bits_per_sec),
            share: known(|s| s.share),
            tier: chunks.iter().map(|c| c.iter().filter_map(tier).reduce(f64::max)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{sample, well_formed};

    #[test]
    fn is_well_formed_and_says_what_it_shows() {
        let mut report = sample::report();
        report.profile = "trace <a & \"b\">".into();
        let svg = svg(&report);
        well_formed(&svg);
        for part in [
            "<title id=\"title\">Storm: trace &lt;a &amp; &quot;b&quot;&gt;</title>",
            "<desc id=\"desc\">",
            "prefers-color-scheme:dark",
            "Mbit/s",
            "first served by the cloud: 21.3 s",
            "100 %",
        ] {
            assert!(svg.contains(part), "`{part}` is missing");
        }
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }

    #[test]
    fn draws_storms_of_any_length() {
        for count in [0, 1, 2, 481, 86_400] {
            let mut report = sample::report();
            let one = report.seconds[30].clone();
            report.seconds = (0..count).map(|t| crate::Second { t, ..one.clone() }).collect();
            let svg = svg(&report);
            well_formed(&svg);
            assert!(!svg.contains("NaN"), "{count}");
            assert!(svg.len() < 100_000, "{count}: {}", svg.len());
        }
    }

    #[test]
    fn what_is_not_known_is_not_drawn() {
        let mut report = sample::report();
        for second in &mut report.seconds {
            (second.share, second.tier, second.uplink_bits_per_sec) = (None, None, None);
        }
        well_formed(&svg(&report));
    }
}
