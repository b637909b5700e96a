//! Latency as counters: fixed logarithmic buckets that can be merged and subtracted.
//!
//! A part counts each request once into [`bucket`]; the agent subtracts two readings and asks the
//! difference for a quantile. Eight buckets an octave keep the error of a quantile below 4.5 %.

/// Number of buckets: from 16 µs to 67 s in eighths of an octave, with one below and one above.
pub const BUCKETS: usize = 22 * 8 + 2;

const LOWEST_US: u64 = 16;

/// The bucket of a duration in microseconds.
#[must_use]
pub fn bucket(micros: u64) -> usize {
    if micros < LOWEST_US {
        return 0;
    }
    // The three bits below the leading one choose the eighth of the octave.
    let octave = micros.ilog2();
    let eighth = (micros >> (octave - 3)) & 7;
    let index = (octave - 4) as usize * 8 + usize::try_from(eighth).unwrap_or(0) + 1;
    index.min(BUCKETS - 1)
}

/// The upper edge of a bucket in microseconds.
#[must_use]
pub fn upper_us(bucket: usize) -> u64 {
    if bucket == 0 {
        return LOWEST_US;
    }
    let (octave, eighth) = ((bucket - 1) / 8, (bucket - 1) % 8);
    (LOWEST_US << octave) / 8 * (9 + eighth as u64)
}

/// The `q` quantile, in milliseconds, of bucket counts; `None` when they hold nothing.
#[must_use]
pub fn quantile_ms(counts: &[u64], q: f64) -> Option<f64> {
    let total: u64 = counts.iter().sum();
    if total == 0 {
        return None;
    }
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rank among counts; the product is within 0..=total"
    )]
    let rank = ((q.clamp(0.0, 1.0) * total as f64).ceil() as u64).max(1);
    let mut seen = 0;
    for (index, count) in counts.iter().enumerate() {
        seen += count;
        if seen >= rank {
            #[expect(clippy::cast_precision_loss, reason = "microseconds below 2^27")]
            return Some(upper_us(index) as f64 / 1000.0);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_duration_lies_within_its_bucket(micros in 0u64..60_000_000) {
            let index = bucket(micros);
            prop_assert!(micros < upper_us(index));
            if index > 0 {
                prop_assert!(micros >= upper_us(index - 1));
            }
        }
    }

    #[test]
    fn quantiles() {
        let mut counts = vec![0; BUCKETS];
        assert_eq!(quantile_ms(&counts, 0.95), None);
        for ms in 1..=100 {
            counts[bucket(ms * 1000)] += 1;
        }
        let p95 = quantile_ms(&counts, 0.95).unwrap();
        assert!((95.0..104.0).contains(&p95), "{p95}");
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }
}
