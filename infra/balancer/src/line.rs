//! The async shell around [`crate::uplink`]: what every byte towards a client passes, and where
//! bytes that leave the site are counted.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use spillway_model::config::Uplink;
use spillway_model::load::UplinkLoad;
use spillway_part::counters::add;
use tokio::time::Instant;

use crate::uplink::{Retransmission, TokenBucket, Verdict, wire_bytes};

/// A segment was dropped too often in a row: the connection is to be reset.
#[derive(Debug, thiserror::Error)]
#[error("the uplink dropped the same segment {drops} times")]
pub(crate) struct GivenUp {
    drops: u32,
}

/// The site's way out.
#[derive(Debug)]
pub(crate) struct Line {
    // Absent where a real line does the shaping.
    bucket: Option<Mutex<TokenBucket>>,
    // The runtime's clock, because the waits are the runtime's: a test that pauses it pauses both.
    origin: Instant,
    retransmission: Retransmission,
    bytes: AtomicU64,
    drops: AtomicU64,
    resets: AtomicU64,
}

impl Line {
    pub(crate) fn new(uplink: &Uplink, retransmission: Retransmission) -> Self {
        let bucket = || Mutex::new(TokenBucket::new(uplink.bits_per_sec, uplink.queue_bytes));
        Self {
            bucket: uplink.shape.then(bucket),
            origin: Instant::now(),
            retransmission,
            bytes: AtomicU64::new(0),
            drops: AtomicU64::new(0),
            resets: AtomicU64::new(0),
        }
    }

    /// Returns when a segment of `payload` bytes may leave. The caller holds it meanwhile and reads
    /// no more, so a connection has at most one segment waiting here.
    pub(crate) async fn pass(&self, payload: usize, connection: u64) -> Result<(), GivenUp> {
        let Some(bucket) = &self.bucket else { return Ok(()) };
        let bytes = wire_bytes(payload);
        let mut drops = 0;
        loop {
            // Offered within the lock at a time read within it, so that finish times follow the
            // order of offers; the waits end in that order to the runtime's millisecond.
            let (now, verdict) = {
                let mut bucket = bucket.lock().unwrap_or_else(PoisonError::into_inner);
                let now = self.origin.elapsed();
                (now, bucket.offer(now, bytes))
            };
            let wait = match verdict {
                Verdict::SendAt(at) if at <= now => return Ok(()),
                Verdict::SendAt(at) => {
                    tokio::time::sleep_until(self.origin + at).await;
                    return Ok(());
                }
                Verdict::Dropped => {
                    add(&self.drops, 1);
                    drops += 1;
                    self.retransmission.after(drops, connection)
                }
            };
            let Some(wait) = wait else {
                add(&self.resets, 1);
                return Err(GivenUp { drops });
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// Counts a segment of `payload` bytes that left, as it weighs on the wire.
    pub(crate) fn left(&self, payload: usize) {
        add(&self.bytes, wire_bytes(payload));
    }

    pub(crate) fn load(&self, connections: usize) -> UplinkLoad {
        let queued = |bucket: &Mutex<TokenBucket>| {
            let now: Duration = self.origin.elapsed();
            bucket.lock().unwrap_or_else(PoisonError::into_inner).queued_bytes(now)
        };
        UplinkLoad {
            bytes: self.bytes.load(Relaxed),
            drops: self.drops.load(Relaxed),
            resets: self.resets.load(Relaxed),
            queued_bytes: self.bucket.as_ref().map_or(0, queued),
            connections: connections as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uplink::SEGMENT_BYTES_MAX;

    fn line(bits_per_sec: u64, queue_bytes: u64, shape: bool) -> Line {
        let uplink = Uplink { bits_per_sec, queue_bytes, shape, interface: None };
        Line::new(&uplink, Retransmission::default())
    }

    #[tokio::test(start_paused = true)]
    async fn a_segment_waits_for_those_before_it() {
        let line = line(8_000_000, 100_000, true);
        let start = Instant::now();
        line.pass(SEGMENT_BYTES_MAX, 1).await.unwrap();
        assert_eq!(start.elapsed(), Duration::ZERO);
        let second = line.pass(SEGMENT_BYTES_MAX, 1);
        let third = line.pass(1460, 2);
        let ends = tokio::join!(async { second.await.map(|()| start.elapsed()).unwrap() }, async {
            third.await.map(|()| start.elapsed()).unwrap()
        },);
        // 16,864 bytes at a byte a microsecond, then 1,500 more; timers tick in milliseconds.
        assert_eq!(ends, (Duration::from_millis(17), Duration::from_millis(19)));
        assert_eq!(line.load(0).drops, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_segment_is_sent_again() {
        let line = line(8_000_000, 1_000, true);
        let start = Instant::now();
        line.pass(SEGMENT_BYTES_MAX, 1).await.unwrap();
        assert!(line.load(0).queued_bytes <= 1_000);
        line.pass(SEGMENT_BYTES_MAX, 1).await.unwrap();
        assert_eq!((line.load(0).drops, line.load(0).resets), (1, 0));
        assert!(start.elapsed() >= Duration::from_millis(200));
    }

    #[tokio::test(start_paused = true)]
    async fn a_segment_dropped_eight_times_is_given_up() {
        // At a bit per second the queue stays as full as the first segment left it.
        let line = line(1, 1_000, true);
        let start = Instant::now();
        line.pass(SEGMENT_BYTES_MAX, 1).await.unwrap();
        assert_eq!(line.pass(SEGMENT_BYTES_MAX, 1).await.unwrap_err().drops, 8);
        assert_eq!((line.load(0).drops, line.load(0).resets), (8, 1));
        // 0.2 + 0.4 + 0.8 + 1.6 + 3 × 3.2 s, and up to half of that again.
        let took = start.elapsed();
        assert!(took >= Duration::from_millis(12_600) && took < Duration::from_millis(18_910));
    }

    #[tokio::test(start_paused = true)]
    async fn without_shaping_bytes_are_counted_and_nothing_waits() {
        let line = line(1, 0, false);
        let start = Instant::now();
        for _ in 0..100 {
            line.pass(1460, 1).await.unwrap();
            line.left(1460);
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
        let load = line.load(3);
        assert_eq!((load.bytes, load.queued_bytes, load.connections), (150_000, 0, 3));
    }
}
