//! Panels, axes and the shapes in them, for charts in plain SVG.

mod plane;

use std::fmt::Write as _;

pub use plane::Plane;

/// Width of the picture.
pub const WIDTH: f64 = 960.0;
/// Left and right edge of all panels.
pub const LEFT: f64 = 84.0;
const RIGHT: f64 = 900.0;

/// A value axis from zero.
#[derive(Debug)]
pub struct Axis {
    /// Value at the upper edge.
    top: f64,
    ticks: Vec<(f64, String)>,
    /// Whether places follow the logarithm of one more than the value.
    logarithmic: bool,
}

impl Axis {
    /// An axis that holds `most`, with round ticks.
    #[must_use]
    pub fn new(most: f64, unit: &str) -> Self {
        let most = if most > 0.0 { most } else { 1.0 };
        let step = round_step(most / 4.0);
        let count = (most / step - 1e-9).ceil().max(1.0);
        let (scale, prefix) = match count * step {
            top if top >= 1e9 => (1e9, "G"),
            top if top >= 1e6 => (1e6, "M"),
            top if top >= 1e4 => (1e3, "k"),
            _ => (1.0, ""),
        };
        let gap = if unit.starts_with('/') { "" } else { " " };
        let label = |value: f64| match unit {
            "" => String::new(),
            // "k/s" would read as a unit of its own; "12k/s" does not.
            _ if value == 0.0 => "0".to_owned(),
            _ => format!("{}{gap}{prefix}{unit}", short(value / scale)),
        };
        let mut ticks = Vec::new();
        let mut value = 0.0;
        while value <= count * step * 1.000_001 {
            ticks.push((value, label(value)));
            value += step;
        }
        Self { top: count * step, ticks, logarithmic: false }
    }

    /// An axis of fractions, labelled in per cent.
    #[must_use]
    pub fn percent() -> Self {
        let ticks = [0.0, 0.25, 0.5, 0.75, 1.0];
        let ticks = ticks.map(|v| (v, format!("{:.0} %", v * 100.0))).to_vec();
        Self { top: 1.0, ticks, logarithmic: false }
    }

    /// An axis on which tens of thousands and few can be told apart, and zero has a place too.
    #[must_use]
    pub fn logarithmic(most: f64, unit: &str) -> Self {
        let mut ticks = vec![(0.0, "0".to_owned())];
        let mut value = 1.0;
        while ticks.len() < 20 && ticks.last().is_none_or(|(last, _)| *last < most.max(10.0)) {
            ticks.push((value, format!("{value:.0} {unit}")));
            value *= 10.0;
        }
        let top = ticks.last().map_or(1.0, |(last, _)| *last);
        Self { top, ticks, logarithmic: true }
    }

    /// The place of a value as a part of the axis.
    fn part(&self, value: f64) -> f64 {
        let part = if self.logarithmic {
            value.max(0.0).ln_1p() / self.top.ln_1p()
        } else {
            value / self.top
        };
        part.clamp(0.0, 1.0)
    }
}

/// The least of 1, 2, 5 times a power of ten that is not below a step.
fn round_step(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    let times = [1.0, 2.0, 5.0].into_iter().find(|times| times * power >= step * 0.999);
    times.unwrap_or(10.0) * power
}

/// A number without needless zeros.
fn short(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// An entry of a legend.
#[derive(Debug)]
pub struct Series<'a> {
    class: &'a str,
    label: &'a str,
    line: bool,
}

impl<'a> Series<'a> {
    /// Of an area.
    #[must_use]
    pub fn area(class: &'a str, label: &'a str) -> Self {
        Self { class, label, line: false }
    }

    /// Of a line.
    #[must_use]
    pub fn line(class: &'a str, label: &'a str) -> Self {
        Self { class, label, line: true }
    }
}

/// One panel. All panels share their left and right edge, so that a moment is at one place.
#[derive(Debug)]
pub struct Panel {
    /// Its upper edge in the picture.
    pub top: f64,
    /// How high it is.
    pub height: f64,
    /// The time at its right edge, from zero at the left.
    pub secs: f64,
    /// Its values.
    pub y: Axis,
}

impl Panel {
    fn y(&self, value: f64) -> f64 {
        self.top + self.height * (1.0 - self.y.part(value))
    }

    /// Name, grid, axis and tick labels.
    pub fn frame(&self, out: &mut String, name: &str) {
        text(out, LEFT, self.top - 10.0, "name", "start", name);
        for (value, label) in &self.y.ticks {
            let y = self.y(*value);
            let class = if *value == 0.0 { "axis" } else { "grid" };
            rule(out, class, (LEFT, y), (RIGHT, y));
            text(out, LEFT - 8.0, y + 4.0, "tick", "end", label);
        }
        for (at, _) in time_ticks(self.secs) {
            let x = x(self.secs, at);
            rule(out, "grid", (x, self.top), (x, self.top + self.height));
        }
    }

    /// The labels of the time axis, below the panel.
    pub fn time(&self, out: &mut String) {
        let y = self.top + self.height + 16.0;
        for (at, label) in time_ticks(self.secs) {
            text(out, x(self.secs, at), y, "tick", "middle", &label);
        }
        text(out, f64::midpoint(LEFT, RIGHT), y + 20.0, "tick", "middle", "time since the start");
    }

    /// Labels on the right edge at fractions of the height.
    pub fn right(&self, out: &mut String, labels: &[(f64, &str)]) {
        for (at, label) in labels {
            let y = self.top + self.height * (1.0 - at) + 4.0;
            text(out, RIGHT + 8.0, y, "tick", "start", label);
        }
    }

    /// The area between two lines.
    pub fn area(&self, out: &mut String, class: &str, times: &[f64], low: &[f64], high: &[f64]) {
        if !high.iter().zip(low).any(|(high, low)| high > low) {
            return;
        }
        let upper = self.widened(times, high);
        let mut lower = self.widened(times, low);
        lower.reverse();
        let _ = writeln!(
            out,
            "<path class=\"{class}\" d=\"M{} L{}Z\"/>",
            upper.join(" "),
            lower.join(" ")
        );
    }

    /// The area between two lines that change in steps, half-way between points.
    pub fn steps(&self, out: &mut String, class: &str, times: &[f64], low: &[f64], high: &[f64]) {
        let middles = times.windows(2).map(|pair| f64::midpoint(pair[0], pair[1]));
        let edges: Vec<f64> = std::iter::once(0.0).chain(middles).chain([self.secs]).collect();
        let twice = |values: &[f64]| values.iter().flat_map(|v| [*v, *v]).collect::<Vec<_>>();
        let both = |i: usize| [edges[i], edges[i + 1]];
        let stepped: Vec<f64> = (0..times.len()).flat_map(both).collect();
        self.area(out, class, &stepped, &twice(low), &twice(high));
    }

    /// A line.
    pub fn line(&self, out: &mut String, class: &str, times: &[f64], values: &[f64]) {
        if !values.is_empty() {
            let points = self.widened(times, values).join(" ");
            let _ = writeln!(out, "<polyline class=\"line {class}\" points=\"{points}\"/>");
        }
    }

    /// A line with gaps where nothing is known.
    pub fn gapped(&self, out: &mut String, class: &str, times: &[f64], values: &[Option<f64>]) {
        let known: Vec<_> = times.iter().zip(values).collect();
        for run in known.chunk_by(|a, b| a.1.is_some() == b.1.is_some()) {
            let points: Vec<_> =
                run.iter().filter_map(|(at, value)| value.map(|v| self.at(**at, v))).collect();
            if !points.is_empty() {
                let points = points.join(" ");
                let _ = writeln!(out, "<polyline class=\"line {class}\" points=\"{points}\"/>");
            }
        }
    }

    /// Points at the times given, with the first and last drawn out to the panel's edges.
    fn widened(&self, times: &[f64], values: &[f64]) -> Vec<String> {
        let ends = |value: Option<&f64>, at| value.map(|v| self.at(at, *v));
        ends(values.first(), 0.0)
            .into_iter()
            .chain(times.iter().zip(values).map(|(at, value)| self.at(*at, *value)))
            .chain(ends(values.last(), self.secs))
            .collect()
    }

    fn at(&self, secs: f64, value: f64) -> String {
        format!("{:.1},{:.1}", x(self.secs, secs), self.y(value))
    }

    /// A legend above the panel's right end.
    pub fn legend(&self, out: &mut String, series: &[Series<'_>]) {
        let width = |s: &Series<'_>| 38.0 + 6.6 * s.label.len() as f64;
        let mut at = RIGHT - series.iter().map(width).sum::<f64>() + 15.0;
        let y = self.top - 14.0;
        for one in series {
            if one.line {
                rule(out, &format!("line {}", one.class), (at, y), (at + 18.0, y));
            } else {
                let class = one.class;
                let _ = writeln!(
                    out,
                    "<rect class=\"{class}\" x=\"{at:.1}\" y=\"{:.1}\" width=\"18\" height=\"10\"/>",
                    y - 5.0
                );
            }
            text(out, at + 23.0, y + 4.0, "sub", "start", one.label);
            at += width(one);
        }
    }
}

/// A moment marked through all panels, its label above.
pub fn mark(out: &mut String, of_secs: f64, secs: f64, top: f64, bottom: f64, label: &str) {
    let x = x(of_secs, secs);
    rule(out, "mark", (x, top), (x, bottom));
    // The label stands on the side with more room.
    let (dx, anchor) = if secs * 2.0 < of_secs { (6.0, "start") } else { (-6.0, "end") };
    text(out, x + dx, top + 14.0, "tick", anchor, label);
}

fn x(of_secs: f64, secs: f64) -> f64 {
    LEFT + (RIGHT - LEFT) * (secs / of_secs).clamp(0.0, 1.0)
}

fn time_ticks(secs: f64) -> Vec<(f64, String)> {
    const DAY: f64 = 86_400.0;
    const STEPS: [f64; 16] = [
        1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0,
        14_400.0, 43_200.0, DAY,
    ];
    let fits = |step: &f64| secs / step <= 12.0;
    let weeks = || (1..).map(|weeks| f64::from(weeks) * 7.0 * DAY);
    let step = STEPS.into_iter().find(fits).or_else(|| weeks().find(fits)).unwrap_or(secs);
    let mut ticks = Vec::new();
    let mut at = 0.0;
    while at <= secs {
        let label = match step {
            _ if secs <= 300.0 => format!("{at:.0} s"),
            _ if secs <= 10_800.0 => format!("{:.0}:{:02.0}", (at / 60.0).floor(), at % 60.0),
            _ if secs > 4.0 * DAY => format!("{} d", at / DAY),
            _ => format!("{:.0}:{:02.0} h", (at / 3600.0).floor(), at % 3600.0 / 60.0),
        };
        ticks.push((at, label));
        at += step;
    }
    ticks
}

fn rule(out: &mut String, class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
    let _ = writeln!(
        out,
        "<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>"
    );
}

/// Text at a place.
pub fn text(out: &mut String, x: f64, y: f64, class: &str, anchor: &str, content: &str) {
    let _ = writeln!(
        out,
        "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>",
        escape(content)
    );
}

/// Text as XML content; characters that XML cannot hold are left out.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            c if c.is_control() => {}
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_hold_the_data() {
        let labels = |most, unit| {
            Axis::new(most, unit).ticks.into_iter().map(|(_, label)| label).collect::<Vec<_>>()
        };
        assert_eq!(labels(750.0, "/s"), ["0", "200/s", "400/s", "600/s", "800/s"]);
        assert_eq!(labels(6e6, "bit/s"), ["0", "2 Mbit/s", "4 Mbit/s", "6 Mbit/s"]);
        assert_eq!(labels(0.0, "/s"), ["0", "0.5/s", "1/s"]);
        assert_eq!(labels(42_000.0, "/s"), ["0", "20k/s", "40k/s", "60k/s"]);
        for most in [0.3, 1.0, 7.0, 99.0, 1e5, 3.3e9] {
            assert!(Axis::new(most, "").top >= most);
        }
    }

    #[test]
    fn time_is_written_in_fitting_units() {
        let labels = |secs| time_ticks(secs).into_iter().map(|(_, l)| l).collect::<Vec<_>>();
        assert_eq!(labels(4.0), ["0 s", "1 s", "2 s", "3 s", "4 s"]);
        assert_eq!(labels(900.0)[1], "2:00");
        assert_eq!(labels(86_400.0)[1], "2:00 h");
    }
}
