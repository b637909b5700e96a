//! A report made up for tests of what is drawn and printed: a minute with a flash crowd.

use spillway_model::{Tier, UnixMillis};

use crate::cohort::{Move, Side, Via};
use crate::{Failures, Latency, Report, Second, Totals};

/// A whole number near a positive one.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small and positive")]
fn whole(x: f64) -> u64 {
    x.round() as u64
}

fn second(t: u32) -> Second {
    let at = f64::from(t);
    let wanted = match t {
        0..20 => 90.0 + 10.0 * (at / 3.0).sin(),
        20..28 => 100.0 + (at - 20.0) * 80.0,
        28..45 => 740.0 - 20.0 * ((at - 36.0) / 4.0).powi(2).min(9.0),
        _ => (560.0 - (at - 45.0) * 45.0).max(90.0),
    };
    let share: f64 = match t {
        0..21 => 0.0,
        21..24 => 0.3 * (at - 20.0) / 3.0,
        24..48 => 0.82,
        _ => (0.82 - 0.09 * (at - 48.0)).max(0.0),
    };
    let tier = match t {
        30..34 => Tier::Invisible,
        34..40 => Tier::Visible,
        40..46 => Tier::Invisible,
        _ => Tier::Normal,
    };
    let sent = whole(wanted + 6.0 * (at * 1.7).sin());
    let failed = if (22..25).contains(&t) { 4 } else { 0 };
    let refused = if tier == Tier::Visible { sent / 6 } else { 0 };
    let ok = sent - failed - refused;
    let degraded = if tier == Tier::Visible { ok / 3 } else { 0 };
    let cloud = whole(ok as f64 * share);
    let bits = ((ok - cloud) as f64 * 34_000.0).min(6_000_000.0);
    Second {
        t,
        wanted,
        arrivals: sent,
        sent,
        ok,
        degraded,
        refused,
        failed,
        failures: if failed > 0 {
            Failures { timeout: failed, ..Failures::default() }
        } else {
            Failures::default()
        },
        site: ok - cloud,
        cloud,
        p50_ms: Some(6.5),
        p99_ms: Some(if failed > 0 { 10_000.0 } else { 48.0 }),
        uplink_bits_per_sec: (t != 52).then_some(bits),
        uplink_cap_bits_per_sec: 6e6,
        share: Some(share),
        tier: Some(tier),
        generation: Some(u64::from(t) / 2),
    }
}

/// The report.
pub(crate) fn report() -> Report {
    let seconds: Vec<Second> = (0..60).map(second).collect();
    let sum = |of: fn(&Second) -> u64| seconds.iter().map(of).sum::<u64>();
    let started_at = UnixMillis(1_795_432_788_000);
    let latency = Latency {
        count: 9,
        p50_ms: 6.4,
        p95_ms: 31.0,
        p99_ms: 92.0,
        p999_ms: 810.5,
        max_ms: 2212.0,
    };
    let totals = Totals {
        arrivals: sum(|s| s.arrivals),
        sent: sum(|s| s.sent),
        ok: sum(|s| s.ok),
        degraded: sum(|s| s.degraded),
        refused: sum(|s| s.refused),
        failed: sum(|s| s.failed),
        failures: Failures { http_5xx: 4, timeout: 8, ..Failures::default() },
        served: [("east".to_owned(), sum(|s| s.site)), ("cloud".to_owned(), sum(|s| s.cloud))]
            .into(),
        functions: [("one-code".to_owned(), sum(|s| s.cloud))].into(),
        latency,
        latency_site: latency,
        latency_cloud: latency,
        uplink_bytes: Some(31_400_000),
        first_cloud_at: Some(started_at.plus_millis(21_310)),
        redirects: 1200,
        lookups: 900,
        connections: 2400,
        ..Totals::default()
    };
    let moved = |client, to, at| Move {
        sent_ms: started_at.plus_millis(at),
        at_ms: started_at.plus_millis(at + 3),
        client,
        rank: 0.25,
        to,
        via: Via::Dns,
        generation: Some(3),
    };
    Report {
        started_at,
        profile: "trace flash-crowd.csv, column requests, peak 760/s, 60 s played in 2 s".into(),
        clients: 1000,
        seed: 1,
        mix: crate::Mix::default().to_string(),
        interrupted: false,
        seconds,
        totals,
        moves: vec![
            moved(1, Side::try_from("east".to_owned()).unwrap(), 10),
            moved(1, Side::Cloud, 21_310),
        ],
        moves_dropped: 0,
        shares: [].into(),
    }
}
