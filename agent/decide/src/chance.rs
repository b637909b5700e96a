//! Chance: how much more than its mean a line is asked for in a single second.
//!
//! Requests that arrive as a Poisson process, each with an answer of its route's size, ask for a
//! compound Poisson number of bits in a second. Its variance is the sum over the routes of the rate
//! times the square of the size (Campbell's theorem; Kingman, Poisson Processes, 1993, chapter 3): the
//! mean times the grain, which is the mean size weighted by size itself, or how many bits belong to the
//! answer that a bit belongs to. On a line of Gbit/s a second holds so many answers that they even out;
//! on one of a few Mbit/s chance moves its use by a tenth.
//!
//! Sizes within a route are taken as equal: their dispersion is not learned. Where a route's answers
//! vary with coefficient v the grain is 1 + v² times as large.

/// Standard deviations of a second's bits that have to fit below the cap: a normal variable exceeds its
/// mean by more once in 3600, which is one full second an hour. Once in a hundred would fill a second of
/// nearly every other storm of a minute.
const Z: f64 = 3.45;

/// The most bits per second that may be asked for on average so that what a single second asks for
/// stays within `cap` but for one second an hour: the root of m + z·√(m·grain) = cap. `grain` is
/// in bits.
pub(crate) fn mean_max(cap: f64, grain: f64) -> f64 {
    let half = Z * grain.max(0.0).sqrt() / 2.0;
    let root = (half * half + cap).sqrt() - half;
    root * root
}

#[cfg(test)]
mod tests {
    use super::{Z, mean_max};

    /// Bits of the answers that a bit of the example's traffic belongs to.
    const GRAIN: f64 = 8.0 * 6_900.0;

    #[test]
    fn the_quantile_of_a_second_is_the_cap() {
        for cap in [1e5, 4e6, 1e9] {
            let mean = mean_max(cap, GRAIN);
            let quantile = mean + Z * (mean * GRAIN).sqrt();
            assert!((quantile / cap - 1.0).abs() < 1e-9, "{cap}: {quantile}");
        }
        assert!((mean_max(4e6, 0.0) / 4e6 - 1.0).abs() < 1e-12);
    }

    #[test]
    fn chance_binds_on_a_small_line_only() {
        let part = |cap: f64| mean_max(cap, GRAIN) / cap;
        assert!((0.6..0.7).contains(&part(4e6)), "{}", part(4e6));
        assert!(part(100e6) > 0.9, "{}", part(100e6));
        assert!(part(1e9) > 0.97, "{}", part(1e9));
    }
}
