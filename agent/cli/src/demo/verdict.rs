//! What a demonstration must show, held against what was measured. No IO, no clock.

use serde::Serialize;
use spillway_model::api::Decision;
use spillway_model::{Config, SiteId, Tier, UnixMillis};
use spillway_storm::{Report, Second, Side, check_cohorts};

/// From the site's capacity being exceeded to the first answer of a function.
const FIRST_SPILL_MS_MAX: u64 = 2_000;
/// From the site's capacity being exceeded to the uplink's being back under its cap, for good.
const RELIEF_SECS_MAX: u32 = 5;
/// Failed requests over all.
const FAILED_FRACTION_MAX: f64 = 0.001;
/// A line this full counts as full: what a token bucket passes in one second differs by a few segments.
const FULL: f64 = 0.98;
/// How far the share may be from where it was when a restarted agent takes over.
const JUMP_MAX: f64 = 0.02;
/// Storm, site, cloud and agent share one machine. When a request was sent so much late, or the agent did
/// not tick for so long, that machine is what was measured.
const LATE_MS_MAX: f64 = 500.0;
const TICK_MS_MAX: u64 = 2_500;
/// From a decision to its being in force everywhere.
const PROPAGATION_MS: u64 = 1_500;

/// What a site can carry.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Capacity {
    /// Cap of the uplink.
    pub bits_per_sec: f64,
    /// Bytes over the uplink for a request of the mix.
    pub bytes_per_request: f64,
    /// The first over the second.
    pub requests_per_sec: f64,
}

impl Capacity {
    /// From a probe: bytes that left the site over requests that it answered.
    pub(super) fn measured(probe: &Report, uplink_bits_per_sec: u64) -> Option<Self> {
        let bytes = probe.totals.uplink_bytes.filter(|bytes| *bytes > 0)?;
        if probe.totals.ok == 0 {
            return None;
        }
        #[expect(clippy::cast_precision_loss, reason = "counts of one probe, a cap")]
        let (bytes_per_request, bits_per_sec) =
            (bytes as f64 / probe.totals.ok as f64, uplink_bits_per_sec as f64);
        let requests_per_sec = bits_per_sec / 8.0 / bytes_per_request;
        Some(Self { bits_per_sec, bytes_per_request, requests_per_sec })
    }
}

/// A time without an agent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outage {
    pub from: UnixMillis,
    pub to: UnixMillis,
}

/// One claim and whether it was met.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Check {
    /// Short name, for machines.
    pub id: &'static str,
    /// What was claimed.
    pub claim: String,
    /// What was measured.
    pub measured: String,
    /// Whether the one fits the other.
    pub met: bool,
}

/// Why nothing can be told from an act, if that is so: the machine did not keep up. `late_ms` is how late a
/// request was sent, `ticks` are the agent's.
pub(super) fn strain(late_ms: f64, ticks: &[UnixMillis], outage: Option<Outage>) -> Option<String> {
    if late_ms > LATE_MS_MAX {
        return Some(format!("a request was sent {late_ms:.0} ms late"));
    }
    let meant = |pair: &&[UnixMillis]| {
        outage.is_some_and(|outage| {
            // It takes some seconds to be back.
            pair[0] <= outage.to.plus_millis(5_000) && outage.from <= pair[1]
        })
    };
    let gaps = ticks.windows(2).filter(|pair| !meant(pair));
    let gap_ms = gaps.map(|pair| pair[1].millis_since(pair[0])).max().unwrap_or(0);
    (gap_ms > TICK_MS_MAX).then(|| format!("the agent did not tick for {gap_ms} ms"))
}

fn check(
    id: &'static str,
    claim: impl Into<String>,
    measured: impl Into<String>,
    met: bool,
) -> Check {
    Check { id, claim: claim.into(), measured: measured.into(), met }
}

/// All there is to judge act one by.
pub(super) struct Evidence<'a> {
    pub config: &'a Config,
    pub site: &'a SiteId,
    pub capacity: Capacity,
    pub report: &'a Report,
    /// Oldest first.
    pub decisions: &'a [Decision],
    pub outage: Outage,
}

/// The verdict on act one.
pub(super) fn spill(evidence: &Evidence<'_>) -> Vec<Check> {
    let wanted_over = |factor: f64| {
        let limit = factor * evidence.capacity.requests_per_sec;
        move |second: &&Second| second.wanted > limit
    };
    let seconds = &evidence.report.seconds;
    let (Some(rising), Some(exceeded), Some(last)) = (
        seconds.iter().find(wanted_over(0.5)),
        seconds.iter().find(wanted_over(1.0)),
        seconds.iter().rfind(wanted_over(1.0)),
    ) else {
        let measured = "the storm never asked for more than the site can carry";
        return vec![check("storm", "the storm exceeds the site's capacity", measured, false)];
    };
    vec![
        calm(evidence, rising.t),
        first_spill(evidence, exceeded.t),
        relief(seconds, exceeded.t),
        failures(evidence),
        cohorts(evidence),
        outage_served(evidence),
        outage_no_jump(evidence),
        come_back(evidence, last.t),
    ]
}

fn calm(evidence: &Evidence<'_>, until: u32) -> Check {
    let before = evidence.report.seconds.iter().filter(|second| second.t < until);
    let sum = before.fold((0, 0, 0, 0), |(site, cloud, degraded, failed), second| {
        (
            site + second.site,
            cloud + second.cloud,
            degraded + second.degraded + second.refused,
            failed + second.failed,
        )
    });
    let (site, cloud, degraded, failed) = sum;
    check(
        "calm",
        "before the storm all is served at home, and nothing fails",
        format!(
            "{site} at home, {cloud} by the cloud, {degraded} degraded, {failed} failed in {until} s"
        ),
        site > 0 && cloud == 0 && degraded == 0 && failed == 0,
    )
}

fn start_of(report: &Report, second: u32) -> UnixMillis {
    report.started_at.plus_secs(u64::from(second))
}

fn first_spill(evidence: &Evidence<'_>, exceeded: u32) -> Check {
    let totals = &evidence.report.totals;
    let (measured, met) = match totals.first_cloud_at {
        Some(first) => {
            let from = start_of(evidence.report, exceeded);
            let processes = totals.functions.len();
            let after = first.millis_since(from);
            let ahead = from.millis_since(first);
            let when = if ahead > 0 {
                format!("{ahead} ms ahead of it")
            } else {
                format!("{after} ms after")
            };
            let met = after <= FIRST_SPILL_MS_MAX && processes > 0;
            (format!("{when}; {processes} function processes served"), met)
        }
        None => ("no request was served by the cloud".to_owned(), false),
    };
    let claim = format!(
        "a function process serves the first spilled request within {FIRST_SPILL_MS_MAX} ms of the load's exceeding the site"
    );
    check("first-spill", claim, measured, met)
}

fn relief(seconds: &[Second], exceeded: u32) -> Check {
    let read = seconds.iter().filter(|second| second.uplink_bits_per_sec.is_some()).count();
    let full: Vec<u32> = seconds
        .iter()
        .filter(|second| {
            let bits = second.uplink_bits_per_sec;
            bits.is_some_and(|bits| bits >= FULL * second.uplink_cap_bits_per_sec)
        })
        .map(|second| second.t)
        .collect();
    let at_full = format!("at {:.0} % of it or more", FULL * 100.0);
    let measured = match full.last() {
        None => format!("no second of {read} {at_full}"),
        Some(last) => {
            let after = i64::from(*last) + 1 - i64::from(exceeded);
            format!("{} of {read} seconds {at_full}, the last until {after} s after", full.len())
        }
    };
    let met = read > 0 && full.last().is_none_or(|last| *last < exceeded + RELIEF_SECS_MAX);
    let claim = format!(
        "the uplink is back under its cap within {RELIEF_SECS_MAX} s, and no second is full after that"
    );
    check("relief", claim, measured, met)
}

fn failures(evidence: &Evidence<'_>) -> Check {
    let totals = &evidence.report.totals;
    let fraction = totals.failed_fraction();
    check(
        "failures",
        format!("at most {} % of all requests fail", FAILED_FRACTION_MAX * 100.0),
        format!("{} of {} ({:.3} %)", totals.failed, totals.arrivals, fraction * 100.0),
        totals.arrivals > 0 && fraction <= FAILED_FRACTION_MAX,
    )
}

fn cohorts(evidence: &Evidence<'_>) -> Check {
    let report = evidence.report;
    let ttl_ms = u64::from(evidence.config.dns.ttl_secs) * 1000;
    let shares: Vec<(UnixMillis, f64)> = shares(evidence).collect();
    let violations = check_cohorts(&report.moves, &shares, ttl_ms, PROPAGATION_MS);
    let spilled: std::collections::BTreeSet<u32> =
        report.moves.iter().filter(|m| m.to == Side::Cloud).map(|m| m.client).collect();
    let first = violations.first().map(|v| format!("; first: {v}")).unwrap_or_default();
    check(
        "cohorts",
        "raising the share moves no client back",
        format!(
            "{} of {} clients went to the cloud in {} moves, {} came back without a reason{first}",
            spilled.len(),
            report.clients,
            report.moves.len(),
            violations.len()
        ),
        violations.is_empty() && report.moves_dropped == 0 && !spilled.is_empty(),
    )
}

/// The site's share over time.
fn shares<'a>(evidence: &'a Evidence<'_>) -> impl Iterator<Item = (UnixMillis, f64)> + 'a {
    let share = |d: &Decision| d.shares.get(evidence.site).map_or(0.0, |share| share.get());
    evidence.decisions.iter().map(move |d| (d.at, share(d)))
}

fn outage_served(evidence: &Evidence<'_>) -> Check {
    let (from, to) = (evidence.outage.from, evidence.outage.to);
    let within = evidence.report.seconds.iter().filter(|s| {
        start_of(evidence.report, s.t) >= from && start_of(evidence.report, s.t + 1) <= to
    });
    let (seconds, arrivals, failed) = within.fold((0, 0, 0), |(n, arrivals, failed), s| {
        (n + 1, arrivals + s.arrivals, failed + s.failed)
    });
    #[expect(clippy::cast_precision_loss, reason = "counts of a few seconds")]
    let fraction = failed as f64 / (arrivals as f64).max(1.0);
    check(
        "agent-killed",
        "with the agent killed the data plane serves on with its last plan",
        format!("{arrivals} requests in {seconds} whole seconds without an agent, {failed} failed"),
        seconds > 0 && arrivals > 0 && fraction <= FAILED_FRACTION_MAX,
    )
}

fn outage_no_jump(evidence: &Evidence<'_>) -> Check {
    let before = evidence.decisions.iter().rfind(|d| d.at < evidence.outage.from);
    let after = evidence.decisions.iter().find(|d| d.at > evidence.outage.from.plus_millis(500));
    let share = |d: &Decision| d.shares.get(evidence.site).map_or(0.0, |share| share.get());
    let (measured, met) = match (before, after) {
        (Some(before), Some(after)) => (
            format!(
                "share {:.1} % at generation {}, then {:.1} % at generation {}",
                share(before) * 100.0,
                before.generation,
                share(after) * 100.0,
                after.generation
            ),
            (share(after) - share(before)).abs() <= JUMP_MAX
                && after.generation >= before.generation
                && after.tier == before.tier,
        ),
        _ => ("no decision before and after the outage".to_owned(), false),
    };
    check("agent-back", "restarted, the agent takes over without a jump", measured, met)
}

fn come_back(evidence: &Evidence<'_>, last: u32) -> Check {
    let from = start_of(evidence.report, last + 1);
    let after: Vec<f64> =
        shares(evidence).filter(|(at, _)| *at >= from).map(|(_, share)| share).collect();
    let all: Vec<f64> = shares(evidence).map(|(_, share)| share).collect();
    let end = after.last().copied();
    let flaps = reversals(&after);
    check(
        "back-home",
        "after the storm the share returns to 0 with at most one reversal",
        format!(
            "share {} at the end, {flaps} reversals after the storm, {} over all",
            end.map_or_else(|| "unknown".to_owned(), |share| format!("{:.1} %", share * 100.0)),
            reversals(&all)
        ),
        end == Some(0.0) && flaps <= 1,
    )
}

/// How often a series changes direction.
fn reversals(series: &[f64]) -> usize {
    let moves: Vec<f64> = series.windows(2).map(|w| w[1] - w[0]).filter(|d| *d != 0.0).collect();
    moves.windows(2).filter(|w| (w[0] > 0.0) != (w[1] > 0.0)).count()
}

/// The verdict on act two: storms in their order, each with the tier it needs.
pub(super) fn tiers(storms: &[(&str, Tier, Report)], decisions: &[Decision]) -> Vec<Check> {
    let mut checks = Vec::new();
    for (i, (name, needed, report)) in storms.iter().enumerate() {
        let until = storms.get(i + 1).map_or(UnixMillis(u64::MAX), |(_, _, next)| next.started_at);
        let tiers: Vec<Tier> = decisions
            .iter()
            .filter(|d| d.at >= report.started_at && d.at < until)
            .map(|d| d.tier)
            .collect();
        checks.push(tier_rise(name, *needed, &tiers));
        let end = tiers.last().copied();
        checks.push(check(
            "tiers-fall",
            format!("{name}: the tier falls back to 0 afterwards, one step at a time"),
            format!(
                "tier {} at the end",
                end.map_or_else(|| "unknown".to_owned(), |t| t.to_string())
            ),
            end == Some(Tier::Normal)
                && tiers.windows(2).all(|w| w[1] >= w[0] || Some(w[1]) == w[0].milder()),
        ));
    }
    checks
}

fn tier_rise(name: &str, needed: Tier, tiers: &[Tier]) -> Check {
    let highest = tiers.iter().copied().max().unwrap_or_default();
    let in_order = tiers.windows(2).all(|w| w[1] <= w[0] || Some(w[1]) == w[0].harsher());
    let mut path: Vec<String> = tiers.iter().map(|tier| u8::from(*tier).to_string()).collect();
    path.dedup();
    check(
        "tiers-rise",
        format!("{name}: tiers rise in order, to {needed} and no further"),
        format!("tiers {}", path.join(" → ")),
        in_order && highest == needed && tiers.first() == Some(&Tier::Normal),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_that_does_not_keep_up_is_told_from_a_site_that_does_not() {
        let ticks = |times: &[u64]| times.iter().map(|ms| UnixMillis(*ms)).collect::<Vec<_>>();
        let (smooth, stuck) = (ticks(&[1_000, 2_000, 3_100]), ticks(&[1_000, 4_000]));
        assert_eq!(strain(80.0, &smooth, None), None);
        let said = strain(80.0, &stuck, None).unwrap();
        assert_eq!(said, "the agent did not tick for 3000 ms");
        let outage = Outage { from: UnixMillis(1_500), to: UnixMillis(3_500) };
        assert_eq!(strain(80.0, &stuck, Some(outage)), None, "it was killed");
        let said = strain(900.0, &smooth, Some(outage)).unwrap();
        assert_eq!(said, "a request was sent 900 ms late");
    }

    #[test]
    fn reversals_count_changes_of_direction() {
        assert_eq!(reversals(&[]), 0);
        assert_eq!(reversals(&[0.0, 0.5, 0.5, 0.9]), 0);
        assert_eq!(reversals(&[0.0, 0.5, 0.9, 0.9, 0.4, 0.0]), 1);
        assert_eq!(reversals(&[0.5, 0.4, 0.45, 0.3]), 2);
    }

    #[test]
    fn one_full_second_after_the_time_allowed_is_one_too_many() {
        let relieved = |uses: &[f64]| {
            let second = |(t, used): (u32, &f64)| Second {
                t,
                uplink_bits_per_sec: Some(used * 4e6),
                uplink_cap_bits_per_sec: 4e6,
                ..Second::default()
            };
            let seconds: Vec<Second> = (0..).zip(uses).map(second).collect();
            relief(&seconds, 2)
        };
        assert!(relieved(&[0.2, 0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 0.97, 0.7]).met);
        let late = relieved(&[0.2, 0.5, 1.0, 0.7, 0.7, 0.7, 0.7, 0.98, 0.7]);
        assert!(!late.met);
        assert!(late.measured.ends_with("until 6 s after"), "{}", late.measured);
        assert!(!relieved(&[]).met, "nothing was read");
    }

    #[test]
    fn tiers_must_rise_in_order_and_only_as_far_as_needed() {
        let tiers = |numbers: &[u8]| -> Vec<Tier> {
            numbers.iter().map(|n| Tier::try_from(*n).unwrap()).collect()
        };
        let judge = |needed, numbers: &[u8]| {
            tier_rise("x", Tier::try_from(needed).unwrap(), &tiers(numbers)).met
        };
        assert!(judge(2, &[0, 0, 1, 1, 2, 2, 1, 0]));
        assert!(!judge(2, &[0, 2, 1, 0]), "a tier was skipped");
        assert!(!judge(2, &[0, 1, 2, 3, 2, 1, 0]), "further than needed");
        assert!(!judge(3, &[0, 1, 2, 1, 0]), "not far enough");
        assert!(!judge(2, &[]), "nothing was decided");
    }
}
