//! The site's uplink as a rate-limited line: a token bucket in front of a bounded queue, and what a
//! TCP sender does when that queue is full. Pure: time comes in as the duration since some origin.
//!
//! The bucket is kept as one number, the virtual finish time: when the line would have sent all it
//! was given if it never saved up credit. A segment may leave one burst earlier than its finish
//! time. Nothing is queued here: the verdict says when to send, and whoever asked waits until then.
//! Finish times only grow, so segments leave in the order in which they were offered.

use std::time::Duration;

/// Most payload bytes offered at once: small enough for short answers to interleave with long ones.
pub const SEGMENT_BYTES_MAX: usize = 16 * 1024;
/// Payload of a full TCP segment on an Ethernet path: an MTU of 1,500 less the heads.
const MSS: u64 = 1460;
/// IPv4 and TCP heads without options.
const HEAD_BYTES: u64 = 40;
/// The bucket holds this much of the cap, unless one segment is more.
const BURST: Duration = Duration::from_millis(10);

/// What `payload` bytes of TCP weigh on the wire: each started 1,460 bytes carry 40 bytes of TCP and
/// IP heads. Handshakes, acknowledgements and the link's own framing are not counted.
#[must_use]
pub fn wire_bytes(payload: usize) -> u64 {
    let payload = payload as u64;
    payload + HEAD_BYTES * payload.div_ceil(MSS)
}

/// What becomes of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It leaves then: now or later.
    SendAt(Duration),
    /// The queue has no room for it.
    Dropped,
}

/// The line.
#[derive(Debug, Clone)]
pub struct TokenBucket {
    bits_per_sec: u64,
    burst: Duration,
    queue_bytes: u64,
    // Longest that a segment waits: the time the line takes for a full queue.
    wait_max: Duration,
    finish: Duration,
}

impl TokenBucket {
    /// A line with a full bucket and an empty queue. A cap of zero counts as one bit per second.
    #[must_use]
    pub fn new(bits_per_sec: u64, queue_bytes: u64) -> Self {
        let bits_per_sec = bits_per_sec.max(1);
        let segment = time_of(wire_bytes(SEGMENT_BYTES_MAX), bits_per_sec, Rounding::Up);
        Self {
            bits_per_sec,
            burst: BURST.max(segment),
            queue_bytes,
            wait_max: time_of(queue_bytes, bits_per_sec, Rounding::Down),
            finish: Duration::ZERO,
        }
    }

    /// Offers a segment of `bytes`, as they weigh on the wire, at `now`.
    pub fn offer(&mut self, now: Duration, bytes: u64) -> Verdict {
        // Transmission times are rounded up, so the line is never faster than its cap.
        let took = time_of(bytes, self.bits_per_sec, Rounding::Up);
        let finish = self.finish.max(now).saturating_add(took);
        let send_at = finish.saturating_sub(self.burst).max(now);
        if send_at - now > self.wait_max {
            return Verdict::Dropped;
        }
        self.finish = finish;
        Verdict::SendAt(send_at)
    }

    /// Bytes that wait at `now`, what remains of a segment half sent included.
    #[must_use]
    pub fn queued_bytes(&self, now: Duration) -> u64 {
        let wait = self.finish.saturating_sub(self.burst).saturating_sub(now);
        let bytes = wait.as_nanos() * u128::from(self.bits_per_sec) / 8_000_000_000;
        u64::try_from(bytes).unwrap_or(u64::MAX).min(self.queue_bytes)
    }
}

#[derive(Clone, Copy)]
enum Rounding {
    Up,
    Down,
}

fn time_of(bytes: u64, bits_per_sec: u64, rounding: Rounding) -> Duration {
    let (bit_nanos, rate) = (u128::from(bytes) * 8_000_000_000, u128::from(bits_per_sec));
    let nanos = match rounding {
        Rounding::Up => bit_nanos.div_ceil(rate),
        Rounding::Down => bit_nanos / rate,
    };
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// When a dropped segment is sent again, after RFC 6298: a timeout that doubles with each drop of
/// the same segment up to a most, and an end.
#[derive(Debug, Clone, Copy)]
pub struct Retransmission {
    /// Timeout after the first drop.
    pub first: Duration,
    /// Longest timeout, jitter not counted.
    pub longest: Duration,
    /// The connection is given up at this many drops in a row of one segment.
    pub drops_max: u32,
}

impl Default for Retransmission {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(200),
            longest: Duration::from_millis(3200),
            drops_max: 8,
        }
    }
}

impl Retransmission {
    /// How long `connection` waits after the `drops`th drop in a row (from 1) of a segment, or `None`
    /// when it should give up. Up to half the timeout is added by a hash of both numbers: senders
    /// that were dropped together do not come back together, and a run can be repeated.
    #[must_use]
    pub fn after(&self, drops: u32, connection: u64) -> Option<Duration> {
        if drops >= self.drops_max {
            return None;
        }
        let doublings = drops.saturating_sub(1).min(31);
        let timeout = self.first.saturating_mul(1 << doublings).min(self.longest);
        let fraction = mix(connection.rotate_left(32) ^ u64::from(drops)) >> 32;
        // A fraction of 2^32, halved.
        let nanos = timeout.as_nanos().saturating_mul(u128::from(fraction)) >> 33;
        Some(timeout + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
    }
}

/// The finalizer of SplitMix64 (Steele, Lea and Flood, 2014): every bit of the input moves about half
/// of the output's.
fn mix(seed: u64) -> u64 {
    let z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
#[path = "uplink_tests.rs"]
mod tests;
