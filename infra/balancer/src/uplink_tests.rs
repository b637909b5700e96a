use proptest::prelude::*;

use super::*;

/// A cap, a queue, and offers: the gap before each in microseconds, and its payload.
fn offers() -> impl Strategy<Value = (u64, u64, Vec<(u64, usize)>)> {
    let cap = prop_oneof![Just(1u64), 8_000u64..100_000_000, 1_000_000_000u64..100_000_000_000];
    let gap = prop_oneof![3 => Just(0u64), 3 => 0u64..2_000, 1 => 0u64..200_000];
    let offer = (gap, 1usize..=SEGMENT_BYTES_MAX);
    (cap, 0u64..400_000, prop::collection::vec(offer, 1..120))
}

struct Sent {
    offered: Duration,
    left: Duration,
    bytes: u64,
}

/// Plays offers; gives what was sent, and checks the queue's bound on the way.
fn play(bucket: &mut TokenBucket, offers: &[(u64, usize)]) -> Result<Vec<Sent>, TestCaseError> {
    let (mut now, mut sent) = (Duration::ZERO, Vec::new());
    for (gap, payload) in offers {
        now += Duration::from_micros(*gap);
        let (before, bytes) = (bucket.queued_bytes(now), wire_bytes(*payload));
        match bucket.offer(now, bytes) {
            Verdict::SendAt(left) => sent.push(Sent { offered: now, left, bytes }),
            // Only what has no room is dropped; two roundings may each cost a byte.
            Verdict::Dropped => {
                prop_assert!(before + bytes + 2 > bucket.queue_bytes, "{before} + {bytes}");
                prop_assert_eq!(bucket.queued_bytes(now), before);
            }
        }
        let waiting: u64 = sent.iter().filter(|s| s.left > now).map(|s| s.bytes).sum();
        prop_assert!(bucket.queued_bytes(now) <= bucket.queue_bytes);
        // The line's view of its queue counts what remains of the segment it is sending.
        let sending = wire_bytes(SEGMENT_BYTES_MAX);
        prop_assert!(waiting <= bucket.queue_bytes + sending, "{waiting}");
    }
    Ok(sent)
}

proptest! {
    #[test]
    fn no_window_carries_more_than_the_cap_and_one_burst((cap, queue, offers) in offers()) {
        let mut bucket = TokenBucket::new(cap, queue);
        let sent = play(&mut bucket, &offers)?;
        for (first, from) in sent.iter().enumerate() {
            let mut bytes = 0;
            for to in &sent[first..] {
                bytes += to.bytes;
                let allowed = to.left - from.left + bucket.burst;
                prop_assert!(time_of(bytes, cap, Rounding::Down) <= allowed);
            }
        }
    }

    #[test]
    fn segments_leave_in_order_and_wait_no_longer_than_a_full_queue((cap, queue, offers) in offers()) {
        let mut bucket = TokenBucket::new(cap, queue);
        let sent = play(&mut bucket, &offers)?;
        for pair in sent.windows(2) {
            prop_assert!(pair[0].left <= pair[1].left);
        }
        for segment in &sent {
            prop_assert!(segment.left >= segment.offered);
            prop_assert!(segment.left - segment.offered <= bucket.wait_max);
        }
    }

    #[test]
    fn a_line_that_is_kept_full_sends_at_its_cap(cap in 1_000_000u64..10_000_000_000, payload in 1usize..=SEGMENT_BYTES_MAX) {
        let bytes = wire_bytes(payload);
        let mut bucket = TokenBucket::new(cap, 4 * wire_bytes(SEGMENT_BYTES_MAX));
        let (mut now, mut total) = (Duration::ZERO, 0);
        for _ in 0..500 {
            match bucket.offer(now, bytes) {
                Verdict::SendAt(left) => {
                    total += bytes;
                    now = left;
                }
                Verdict::Dropped => prop_assert!(false, "the sender waits for each segment"),
            }
        }
        // All that was sent, less the burst given at the start, took the time that the cap allows,
        // but for the rounding of 500 times to a nanosecond.
        let earned = time_of(total, cap, Rounding::Down).saturating_sub(bucket.burst);
        prop_assert!(now >= earned && now <= earned + Duration::from_nanos(502));
    }

    #[test]
    fn timeouts_double_within_their_jitter(connection: u64) {
        let retransmission = Retransmission::default();
        for (drops, base) in [(1, 200), (2, 400), (3, 800), (4, 1600), (5, 3200), (6, 3200), (7, 3200)] {
            let base = Duration::from_millis(base);
            let wait = retransmission.after(drops, connection).unwrap();
            prop_assert!(wait >= base && wait < base * 3 / 2, "{drops}: {wait:?}");
            prop_assert_eq!(retransmission.after(drops, connection), Some(wait));
        }
        prop_assert_eq!(retransmission.after(8, connection), None);
    }
}

#[test]
fn an_idle_line_sends_at_once_and_a_full_one_drops() {
    // 8 Mbit/s are a byte a microsecond; a segment of 16 KiB is 16,864 bytes with its heads, which is
    // more than 10 ms of the cap and so the burst.
    let at = Duration::from_micros;
    let segment = wire_bytes(SEGMENT_BYTES_MAX);
    assert_eq!(segment, 16_864);
    let mut line = TokenBucket::new(8_000_000, 20_000);
    assert_eq!(line.offer(at(0), segment), Verdict::SendAt(at(0)));
    assert_eq!(line.offer(at(0), segment), Verdict::SendAt(at(16_864)));
    assert_eq!(line.queued_bytes(at(0)), 16_864);
    assert_eq!(line.offer(at(0), segment), Verdict::Dropped);
    // A short segment still fits where a long one did not.
    assert_eq!(line.offer(at(0), 1_000), Verdict::SendAt(at(17_864)));
    assert_eq!(line.queued_bytes(at(10_000)), 7_864);
    assert_eq!(line.queued_bytes(at(17_864)), 0);
    // A long silence fills the bucket again, but not with more than one burst.
    assert_eq!(line.offer(at(10_000_000), segment), Verdict::SendAt(at(10_000_000)));
    assert_eq!(line.offer(at(10_000_000), 1_000), Verdict::SendAt(at(10_001_000)));
}

#[test]
fn senders_dropped_together_come_back_apart() {
    let retransmission = Retransmission::default();
    let mut waits: Vec<_> = (0..100).map(|c| retransmission.after(1, c).unwrap()).collect();
    waits.sort();
    waits.dedup();
    assert_eq!(waits.len(), 100);
    // They use the whole of the jitter: 200 to 300 ms.
    assert!(waits[0] < Duration::from_millis(210), "{:?}", waits[0]);
    assert!(waits[99] > Duration::from_millis(290), "{:?}", waits[99]);
}

#[test]
fn heads_are_counted_per_started_segment() {
    assert_eq!(wire_bytes(0), 0);
    assert_eq!(wire_bytes(1), 41);
    assert_eq!(wire_bytes(1460), 1500);
    assert_eq!(wire_bytes(1461), 1541);
}
