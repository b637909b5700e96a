//! Looking on, once a second: the agent's status, and the bytes that left each site.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::{join, join_all};
use spillway_model::api::Status;
use spillway_model::{Load, SiteId, UnixMillis};
use spillway_part::client::Client;
use spillway_part::clock;

use crate::profile::second_index;
use crate::progress::Progress;
use crate::report::Second;
use crate::world::World;

/// How long the agent or a balancer may take to answer.
const PATIENCE: Duration = Duration::from_millis(800);

/// What looking on has shown so far.
#[derive(Debug)]
pub(crate) struct Watch {
    http: Client,
    uplinks: Vec<Uplink>,
    /// When a balancer last answered, in whole seconds. A reading covers the seconds since.
    read_at: Option<usize>,
    pub(crate) shares: BTreeMap<SiteId, Vec<(UnixMillis, f64)>>,
}

/// The reading before, and the bytes since the first one.
#[derive(Debug, Clone, Copy, Default)]
struct Uplink {
    before: Option<Reading>,
    bytes: u64,
}

#[derive(Debug, Clone, Copy)]
struct Reading {
    boot: u64,
    at: UnixMillis,
    bytes: u64,
}

impl Uplink {
    /// Takes a reading; gives the bits per second since the one before.
    fn take(&mut self, now: Reading) -> Option<f64> {
        let before = self.before.replace(now)?;
        // Counters of another process started from zero.
        let from = if before.boot == now.boot { before.bytes } else { 0 };
        let bytes = now.bytes.saturating_sub(from);
        self.bytes += bytes;
        let ms = now.at.millis_since(before.at);
        (ms > 0).then(|| bytes as f64 * 8000.0 / ms as f64)
    }
}

impl Watch {
    pub(crate) fn new(world: &World) -> Self {
        Self {
            http: Client::default(),
            uplinks: vec![Uplink::default(); world.config.sites.len()],
            read_at: None,
            shares: BTreeMap::new(),
        }
    }

    /// Looks once; what is seen belongs to the seconds before `now`.
    pub(crate) async fn look(&mut self, world: &World, now: usize) {
        let http = &self.http;
        let loads = join_all(
            world
                .config
                .sites
                .iter()
                .map(|site| http.get::<Load>(site.balancer.admin, "/v1/load", PATIENCE)),
        );
        let status = http.get::<Status>(world.config.agent.listen, "/v1/status", PATIENCE);
        let (loads, status) = join(loads, status).await;

        let (mut bits_per_sec, mut answered) = (None, false);
        for (uplink, load) in self.uplinks.iter_mut().zip(loads) {
            // A balancer that does not answer shows in the requests; the next reading makes up.
            let Ok(load) = load else { continue };
            answered = true;
            let bytes = load.uplink.map_or(0, |u| u.bytes);
            if let Some(bits) = uplink.take(Reading { boot: load.boot, at: load.at, bytes }) {
                *bits_per_sec.get_or_insert(0.0) += bits;
            }
        }
        let status = status.ok();
        let mut recorder = world.recorder();
        let since = self.read_at.unwrap_or(now);
        for second in recorder.seconds.iter_mut().take(now).skip(since) {
            second.uplink_bits_per_sec = bits_per_sec;
        }
        let last = now.checked_sub(1).and_then(|t| recorder.seconds.get_mut(t));
        if let (Some(second), Some(status)) = (last, &status) {
            describe(second, status);
        }
        drop(recorder);
        if answered {
            self.read_at = Some(now);
        }
        for (site, seen) in status.into_iter().flat_map(|status| {
            let at = status.at;
            status.sites.into_iter().map(move |(id, site)| (id, (at, site.share.get())))
        }) {
            let timeline = self.shares.entry(site).or_default();
            if timeline.last().is_none_or(|(_, share)| *share != seen.1) {
                timeline.push(seen);
            }
        }
    }

    /// Bytes that left all sites since the first look; `None` when no balancer ever answered.
    pub(crate) fn bytes(&self) -> Option<u64> {
        let read = self.uplinks.iter().any(|uplink| uplink.before.is_some());
        read.then(|| self.uplinks.iter().map(|uplink| uplink.bytes).sum())
    }
}

fn describe(second: &mut Second, status: &Status) {
    let shares = status.sites.values().map(|site| site.share.get());
    second.share = shares.reduce(f64::max);
    second.tier = Some(status.tier);
    second.generation = Some(status.generation);
}

/// Looks on every second until the storm's end, when it looks once more.
pub(crate) async fn watch(
    world: std::sync::Arc<World>,
    mut progress: Progress,
    of_secs: f64,
    ended: tokio_util::sync::CancellationToken,
) -> Watch {
    let mut watch = Watch::new(&world);
    watch.look(&world, 0).await;
    let mut next = world.start;
    loop {
        let now = clock::instant();
        while next <= now {
            next += Duration::from_secs(1);
        }
        tokio::select! {
            () = tokio::time::sleep_until(next.into()) => {}
            () = ended.cancelled() => break,
        }
        let elapsed = next.saturating_duration_since(world.start).as_secs_f64().round();
        let now = second_index(elapsed);
        watch.look(&world, now).await;
        let mut live = {
            let mut recorder = world.recorder();
            recorder.close_before(now);
            let mut live = recorder.take_live();
            if let Some(seen) = now.checked_sub(1).and_then(|t| recorder.seconds.get(t)) {
                live.wanted = seen.wanted;
                live.uplink_bits_per_sec = seen.uplink_bits_per_sec;
                live.uplink_cap_bits_per_sec = seen.uplink_cap_bits_per_sec;
                live.share = seen.share;
                live.tier = seen.tier;
                live.generation = seen.generation;
            }
            live
        };
        live.t = u32::try_from(now).unwrap_or(u32::MAX);
        progress.tell(&live, of_secs);
        for client in &world.clients {
            client.sweep(clock::instant());
        }
    }
    // The last whole second may still be missing.
    let elapsed = clock::instant().saturating_duration_since(world.start).as_secs_f64();
    watch.look(&world, second_index(elapsed + 0.5)).await;
    progress.end();
    watch
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_differences_and_a_restart_starts_from_zero() {
        let mut uplink = Uplink::default();
        let reading = |boot, at, bytes| Reading { boot, at: UnixMillis(at), bytes };
        assert_eq!(uplink.take(reading(1, 1_000, 5_000)), None);
        assert_eq!(uplink.take(reading(1, 2_000, 6_000)), Some(8_000.0));
        assert_eq!(uplink.take(reading(1, 4_000, 10_000)), Some(16_000.0), "one reading missed");
        assert_eq!(uplink.take(reading(2, 5_000, 500)), Some(4_000.0));
        assert_eq!(uplink.take(reading(2, 5_000, 500)), None, "no time passed");
        assert_eq!(uplink.bytes, 5_500);
    }
}
