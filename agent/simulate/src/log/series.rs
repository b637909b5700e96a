//! Sums by equal spans of time, of a bounded number.

use std::collections::VecDeque;

/// Sums by spans that begin at whole multiples of their length since 1970. When there are too many of them,
/// spans are made twice as long. Times may come in any order.
#[derive(Debug, Clone)]
pub(super) struct Series {
    secs: u64,
    /// Number of the first span.
    first: u64,
    sums: VecDeque<f64>,
    spans_max: usize,
}

impl Series {
    pub(super) fn new(secs: u64, spans_max: usize) -> Self {
        Self { secs: secs.max(1), first: 0, sums: VecDeque::new(), spans_max: spans_max.max(2) }
    }

    /// Seconds of a span.
    pub(super) fn secs(&self) -> u64 {
        self.secs
    }

    /// Adds to the span that second `at` is in.
    pub(super) fn add(&mut self, at: u64, amount: f64) {
        if self.sums.is_empty() {
            self.first = at / self.secs;
            self.sums.push_back(0.0);
        }
        while self.span_of(at) > self.spans_max as u64 {
            self.coarsen();
        }
        let number = at / self.secs;
        while number < self.first {
            self.sums.push_front(0.0);
            self.first -= 1;
        }
        let place = usize::try_from(number - self.first).unwrap_or(usize::MAX);
        while self.sums.len() <= place {
            self.sums.push_back(0.0);
        }
        if let Some(sum) = self.sums.get_mut(place) {
            *sum += amount;
        }
    }

    /// How many spans there would be with second `at`.
    fn span_of(&self, at: u64) -> u64 {
        let number = at / self.secs;
        let last = self.first + self.sums.len() as u64 - 1;
        last.max(number) - self.first.min(number) + 1
    }

    /// Makes spans twice as long.
    fn coarsen(&mut self) {
        let mut sums = VecDeque::with_capacity(self.sums.len() / 2 + 1);
        for (number, sum) in (self.first..).zip(&self.sums) {
            match sums.back_mut() {
                Some(last) if number % 2 == 1 => *last += sum,
                _ => sums.push_back(*sum),
            }
        }
        self.first /= 2;
        self.secs *= 2;
        self.sums = sums;
    }

    /// Adds another series of the same kind.
    pub(super) fn merge(&mut self, mut other: Self) {
        if self.sums.is_empty() {
            *self = other;
            return;
        }
        while other.secs < self.secs {
            other.coarsen();
        }
        for (number, sum) in (other.first..).zip(&other.sums) {
            // A sum of zero must not widen what there is.
            if *sum != 0.0 {
                self.add(number * other.secs, *sum);
            }
        }
    }

    /// The sums of `spans` spans of `secs` seconds, a whole multiple of its own, from the span on that second
    /// `from` is in.
    pub(super) fn spans(&self, secs: u64, from: u64, spans: usize) -> Vec<f64> {
        let mut sums = vec![0.0; spans];
        for (number, sum) in (self.first..).zip(&self.sums) {
            let at = number * self.secs / secs;
            let place = at.checked_sub(from / secs).and_then(|place| usize::try_from(place).ok());
            if let Some(into) = place.and_then(|place| sums.get_mut(place)) {
                *into += sum;
            }
        }
        sums
    }

    /// The highest sum.
    pub(super) fn most(&self) -> f64 {
        self.sums.iter().copied().fold(0.0, f64::max)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Nothing is lost, whatever the order, and spans stay as few as they may be.
        #[test]
        fn sums_are_those_of_what_was_added(
            times in prop::collection::vec(0_u64..5000, 1..60),
            split in 0_usize..60,
        ) {
            let mut series = Series::new(1, 64);
            let mut other = Series::new(1, 64);
            for (i, at) in times.iter().enumerate() {
                if i < split { series.add(*at, 1.0) } else { other.add(*at, 1.0) }
            }
            if split < times.len() {
                series.merge(other);
            }
            prop_assert!(series.sums.len() <= 64);
            let first = times.iter().min().unwrap();
            let secs = series.secs();
            let found = series.spans(secs, *first, 64);
            let mut wanted = vec![0.0; 64];
            for at in &times {
                wanted[usize::try_from(at / secs - first / secs).unwrap()] += 1.0;
            }
            prop_assert_eq!(found, wanted);
        }
    }

    #[test]
    fn spans_grow_when_there_are_too_many() {
        let mut series = Series::new(10, 4);
        for at in [1000, 1039, 1009] {
            series.add(at, 1.0);
        }
        assert_eq!((series.secs(), series.spans(10, 1000, 4)), (10, vec![2.0, 0.0, 0.0, 1.0]));
        series.add(1040, 1.0);
        assert_eq!((series.secs(), series.spans(20, 1000, 3)), (20, vec![2.0, 1.0, 1.0]));
        series.add(0, 1.0);
        assert_eq!((series.secs(), series.most()), (320, 4.0));
    }
}
