//! The report as plain text.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use spillway_model::Tier;

use crate::outcome::Failure;
use crate::report::{Latency, Report, Second, fraction};

/// The seconds as a table.
#[must_use]
pub fn table(report: &Report) -> String {
    const HEAD: [&str; 15] = [
        "second",
        "wanted/s",
        "sent",
        "ok",
        "degraded",
        "refused",
        "failed",
        "site",
        "cloud",
        "p50 ms",
        "p99 ms",
        "uplink Mbit/s",
        "share %",
        "tier",
        "plan",
    ];
    let rows: Vec<[String; 15]> = report.seconds.iter().map(row).collect();
    let mut widths = HEAD.map(str::len);
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.len());
        }
    }
    let mut text = String::new();
    let mut line = |cells: &[&str]| {
        for (i, (cell, width)) in cells.iter().zip(widths).enumerate() {
            let gap = if i == 0 { "" } else { "  " };
            // Writing to a String cannot fail.
            let _ = write!(text, "{gap}{cell:>width$}");
        }
        text.push('\n');
    };
    line(&HEAD);
    for row in &rows {
        line(&row.each_ref().map(String::as_str));
    }
    text
}

fn row(second: &Second) -> [String; 15] {
    [
        second.t.to_string(),
        format!("{:.0}", second.wanted),
        second.sent.to_string(),
        second.ok.to_string(),
        second.degraded.to_string(),
        second.refused.to_string(),
        second.failed.to_string(),
        second.site.to_string(),
        second.cloud.to_string(),
        millis(second.p50_ms),
        millis(second.p99_ms),
        second.uplink_bits_per_sec.map_or("-".into(), rate),
        second.share.map_or("-".into(), |share| format!("{:.1}", share * 100.0)),
        second.tier.map_or("-".into(), |tier| u8::from(tier).to_string()),
        second.generation.map_or("-".into(), |generation| generation.to_string()),
    ]
}

/// The storm in a dozen lines.
#[must_use]
pub fn summary(report: &Report) -> String {
    let totals = &report.totals;
    let mut lines: Vec<(&str, String)> = Vec::new();
    let ended = if report.interrupted { ", interrupted" } else { "" };
    lines.push(("storm", format!("{}{ended}", report.profile)));
    lines.push(("clients", format!("{} (seed {}, {})", report.clients, report.seed, report.mix)));
    let abandoned = match totals.abandoned {
        0 => String::new(),
        n => format!(", {n} still under way at the end"),
    };
    lines.push((
        "requests",
        format!("{} due, {} sent, {} ok{abandoned}", totals.arrivals, totals.sent, totals.ok),
    ));
    lines.push((
        "failed",
        format!("{} ({}){}", totals.failed, percent(totals.failed_fraction(), 3), kinds(report)),
    ));
    if totals.degraded + totals.refused > 0 {
        let part = |n| percent(fraction(n, totals.arrivals), 2);
        let (less, refused) = (totals.degraded, totals.refused);
        lines.push((
            "by knobs",
            format!(
                "{less} ({}) answered with less, {refused} ({}) refused",
                part(less),
                part(refused)
            ),
        ));
    }
    let served: Vec<_> = totals
        .served
        .iter()
        .map(|(name, n)| format!("{name} {n} ({})", percent(fraction(*n, totals.ok), 1)))
        .collect();
    if !served.is_empty() {
        lines.push(("served by", served.join(", ")));
    }
    if !totals.functions.is_empty() {
        lines.push(("functions", processes(&totals.functions)));
    }
    lines.push(("latency", latency(&totals.latency)));
    for (label, side) in [("  site", &totals.latency_site), ("  cloud", &totals.latency_cloud)] {
        if side.count > 0 {
            lines.push((label, latency(side)));
        }
    }
    if let Some(bytes) = totals.uplink_bytes {
        lines.push(("uplink", uplink(report, bytes)));
    }
    if let Some(at) = totals.first_cloud_at {
        let secs = at.millis_since(report.started_at) as f64 / 1000.0;
        lines.push(("cloud from", format!("second {secs:.1} ({at})")));
    }
    lines.push(("steering", steering(report)));
    lines.push((
        "clients did",
        format!(
            "{} look-ups, {} connections, {} retries on closed ones, {} redirects followed",
            totals.lookups, totals.connections, totals.retries, totals.redirects
        ),
    ));
    let mut text = String::new();
    for (label, line) in lines {
        let _ = writeln!(text, "{label:<11}  {line}");
    }
    text
}

fn kinds(report: &Report) -> String {
    let failures = &report.totals.failures;
    let kinds: Vec<_> = Failure::ALL
        .iter()
        .filter(|kind| failures.of(**kind) > 0)
        .map(|kind| format!("{} {}", kind.name(), failures.of(*kind)))
        .collect();
    if kinds.is_empty() { String::new() } else { format!(": {}", kinds.join(", ")) }
}

fn latency(latency: &Latency) -> String {
    if latency.count == 0 {
        return "nothing was answered".to_owned();
    }
    let [p50, p99, p999, max] = [latency.p50_ms, latency.p99_ms, latency.p999_ms, latency.max_ms]
        .map(|ms| millis(Some(ms)));
    format!("p50 {p50} ms, p99 {p99} ms, p99.9 {p999} ms, most {max} ms (from the intended start)")
}

fn uplink(report: &Report, bytes: u64) -> String {
    let rates = || report.seconds.iter().filter_map(|second| second.uplink_bits_per_sec);
    let cap = report.seconds.first().map_or(0.0, |second| second.uplink_cap_bits_per_sec);
    let over = rates().filter(|bits| *bits > cap).count();
    let most = rates().fold(0.0, f64::max);
    format!(
        "{:.1} MB left, at most {} of {} Mbit/s, {over} s above the cap",
        bytes as f64 / 1e6,
        rate(most),
        rate(cap)
    )
}

fn steering(report: &Report) -> String {
    let share = report.seconds.iter().filter_map(|second| second.share).reduce(f64::max);
    let Some(share) = share else {
        return "the agent did not answer; shares and tiers are not known".to_owned();
    };
    let tier = report.seconds.iter().filter_map(|second| second.tier).max().unwrap_or(Tier::Normal);
    let last = report.seconds.iter().rev().find_map(|second| second.share).unwrap_or(0.0);
    format!(
        "share up to {}, {} at the end; tier up to {tier}; {} changes of side",
        percent(share, 1),
        percent(last, 1),
        changes(report)
    )
}

/// How many processes of each function served, and how much. `NAME/NUMBER` names a process.
fn processes(functions: &BTreeMap<String, u64>) -> String {
    let mut sums = BTreeMap::<&str, (u64, u64)>::new();
    for (process, requests) in functions {
        let function = process.split('/').next().unwrap_or(process);
        let (processes, sum) = sums.entry(function).or_default();
        *processes += 1;
        *sum += requests;
    }
    let told = sums.iter().map(|(function, (processes, requests))| {
        format!("{function} {requests} (processes: {processes})")
    });
    told.collect::<Vec<_>>().join(", ")
}

/// Moves that are not a client's first side.
fn changes(report: &Report) -> usize {
    let clients: std::collections::BTreeSet<_> = report.moves.iter().map(|m| m.client).collect();
    report.moves.len() - clients.len()
}

fn percent(fraction: f64, digits: usize) -> String {
    format!("{:.digits$} %", fraction * 100.0)
}

/// Milliseconds with three digits or so.
pub(crate) fn millis(ms: Option<f64>) -> String {
    match ms {
        None => "-".to_owned(),
        Some(ms) if ms < 10.0 => format!("{ms:.1}"),
        Some(ms) => format!("{ms:.0}"),
    }
}

/// Bits per second as Mbit/s, without the unit.
pub(crate) fn rate(bits_per_sec: f64) -> String {
    format!("{:.2}", bits_per_sec / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::sample;

    #[test]
    fn the_table_is_aligned() {
        let text = table(&sample::report());
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 61);
        assert!(lines.iter().all(|line| line.len() == lines[0].len()), "{text}");
        assert!(lines[0].starts_with("second  wanted/s"), "{text}");
        assert!(!text.contains('\t'));
    }

    #[test]
    fn the_summary_answers_the_usual_questions() {
        let text = summary(&sample::report());
        for part in [
            "requests     ",
            "failed       12 (",
            ": http_5xx 4, timeout 8",
            "by knobs     ",
            " answered with less, ",
            "east ",
            "cloud ",
            "p99.9 ",
            "s above the cap",
            "cloud from   second 21.3 (",
            "tier up to 2 (visible)",
        ] {
            assert!(text.contains(part), "`{part}` is missing in\n{text}");
        }
        assert!(text.lines().all(|line| line.len() < 120), "{text}");
        let by = [("a/1".to_owned(), 2), ("a/2".to_owned(), 3), ("b/1".to_owned(), 7)].into();
        assert_eq!(processes(&by), "a 5 (processes: 2), b 7 (processes: 1)");
    }

    #[test]
    fn an_absent_agent_is_said() {
        let mut report = sample::report();
        for second in &mut report.seconds {
            (second.share, second.tier, second.uplink_bits_per_sec) = (None, None, None);
        }
        assert!(summary(&report).contains("the agent did not answer"));
        assert!(table(&report).lines().nth(1).is_some_and(|line| line.contains(" - ")));
    }
}
