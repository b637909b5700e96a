//! Forecast of one series: Holt's linear method with a damped trend (Gardner and McKenzie, 1985) at
//! irregular steps, and a bounded band for what it gets wrong.
//!
//! Every smoothing factor is `dt / (dt + τ)` and the trend is damped hyperbolically, so that only the
//! four operations that IEEE 754 defines to the last bit are used: `exp` differs between machines.

use serde::{Deserialize, Serialize};

/// Time constant of the level, in seconds: what one second shows counts for two fifths.
const LEVEL_SECS: f64 = 1.5;
/// Time constant of the lasting level, in seconds, and how long it takes to mean anything.
const LASTING_SECS: f64 = 10.0;
/// Time constant of the trend, in seconds.
const TREND_SECS: f64 = 5.0;
/// Time constant of the usual error, in seconds.
const DEVIATION_SECS: f64 = 15.0;
/// The usual error of a value seen once, as a part of it.
const DEVIATION_PRIOR: f64 = 0.08;
/// The trend carries at most this many seconds far, however far the horizon.
const DAMPING_SECS: f64 = 10.0;
/// Standard deviations above the expected value. The target below the cap is the main margin for
/// noise; this one is for what the forecast is known to get wrong.
const Z: f64 = 1.0;
/// For a normal error, the standard deviation is this many mean absolute deviations.
const SIGMA_PER_MAD: f64 = 1.25;
/// The band never exceeds this fraction of the level, so that noise cannot ratchet a share up.
const BAND_MAX: f64 = 0.15;
/// An excess of this many standard deviations, and of a tenth of the level, is no noise: the level
/// jumps to what was seen.
const SURPRISE_SIGMAS: f64 = 5.0;
const SURPRISE_LEAST: f64 = 0.1;
/// A step that falls within a tick surprises twice. Only what goes on surprising is a trend.
const SURPRISES_OF_A_STEP: u32 = 2;
/// Half of such a trend is taken at once: it must not have to catch up when the rise goes on, slower or
/// faster, and surprises no more.
const TREND_OF_A_SURPRISE: f64 = 0.5;
/// But waiting for that costs seconds at the start of a flash crowd, which no later decision brings
/// back. A surge is the slope of a surprise, believed half at first and whole when it goes on, fading
/// by half with each second that it does not; it carries at most another level far.
const SURGE_FIRST: f64 = 0.5;
const SURGE_FADE: f64 = 0.5;

/// One series.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Forecast {
    level: f64,
    /// Per second.
    trend: f64,
    /// Mean absolute one-step error.
    deviation: f64,
    /// The last values, newest first.
    last: [f64; 3],
    /// Surprises in a row.
    surprises: u32,
    /// The slope of the last surprises, per second.
    surge: f64,
    /// A slower level, and the seconds it is over.
    lasting: f64,
    lasting_secs: f64,
    seen: bool,
}

/// `a / (a + b)`, the weight of `a` seconds against a time constant of `b`.
pub(crate) fn weight(a: f64, b: f64) -> f64 {
    a / (a + b)
}

impl Forecast {
    /// Takes in the mean rate over the last `dt` seconds. `trust` in [0,1] is how far a surprise is
    /// evidence of more of it.
    pub(crate) fn update(&mut self, value: f64, dt: f64, trust: f64) {
        if !self.seen {
            *self = Self {
                level: value,
                deviation: DEVIATION_PRIOR * value,
                last: [value; 3],
                lasting: value,
                lasting_secs: dt,
                seen: true,
                ..Self::default()
            };
            return;
        }
        // A falling trend would carry the level below what is asked, after a fall that has ended.
        let expected = self.level + self.trend.max(0.0) * damped(dt);
        let error = value - expected;
        let floor = SURPRISE_LEAST * self.level;
        let surprise = (SURPRISE_SIGMAS * SIGMA_PER_MAD * self.deviation).max(floor);
        self.surprises = if error > surprise { self.surprises.saturating_add(1) } else { 0 };
        let gain = if self.surprises > 0 { 1.0 } else { weight(dt, LEVEL_SECS) };
        let level = (expected + gain * error).max(0.0);
        let slope = trust * ((value - self.last[0]) / dt).max(0.0);
        self.surge = match self.surprises {
            0 => slope.min(self.surge).max(SURGE_FADE * self.surge),
            1 => (SURGE_FIRST * slope).max(SURGE_FADE * self.surge),
            _ => slope.max(SURGE_FADE * self.surge),
        };
        if !(1..=SURPRISES_OF_A_STEP).contains(&self.surprises) {
            let least = if self.surprises > 0 { TREND_OF_A_SURPRISE * trust } else { 0.0 };
            let gain = weight(dt, TREND_SECS).max(least);
            self.trend += gain * ((level - self.level) / dt - self.trend);
        }
        // A jump says nothing about the usual error: count no more of it than would surprise.
        let error = error.abs().min(surprise.max(SURPRISE_LEAST * level));
        self.deviation += weight(dt, DEVIATION_SECS) * (error - self.deviation);
        self.level = level;
        // A plain mean until it is as long as its time constant.
        self.lasting_secs = (self.lasting_secs + dt).min(LASTING_SECS + dt);
        self.lasting += dt / self.lasting_secs * (value - self.lasting);
        self.last = [value, self.last[0], self.last[1]];
    }

    /// Takes in a value that is known to be too small: it may raise the forecast, never lower it.
    pub(crate) fn update_at_least(&mut self, value: f64, dt: f64, trust: f64) {
        if !self.seen || value > self.level {
            self.update(value, dt, trust);
        }
    }

    /// Goes on in another unit, of which one of the old is `by`.
    pub(crate) fn scale(&mut self, by: f64) {
        let last = self.last.iter_mut();
        let all = [&mut self.level, &mut self.trend, &mut self.deviation];
        all.into_iter()
            .chain([&mut self.surge, &mut self.lasting])
            .chain(last)
            .for_each(|x| *x *= by);
    }

    /// Smoothed present value.
    pub(crate) fn level(&self) -> f64 {
        self.level
    }

    /// The mean of the last seconds, once there have been enough of them.
    pub(crate) fn lasting(&self) -> f64 {
        if self.lasting_secs >= LASTING_SECS { self.lasting } else { 0.0 }
    }

    /// What has come in the last seconds, some ten of them.
    pub(crate) fn recent(&self) -> f64 {
        self.lasting * self.lasting_secs
    }

    /// The value to expect within the next `horizon` seconds. A trend within the band may be chance,
    /// and chance is what the band is for. A falling one does not count: coming back is what the
    /// dwell decides.
    pub(crate) fn likely(&self, horizon: f64) -> f64 {
        let rise = self.trend * damped(horizon);
        let surge = (self.surge * damped(horizon)).min(self.level);
        let rise = rise.max(surge);
        if rise > self.band() { self.level + rise } else { self.level }
    }

    /// Upper bound of the value within the next `horizon` seconds. When it rises beyond chance, what
    /// was just seen is the least of what is to come.
    pub(crate) fn upper(&self, horizon: f64) -> f64 {
        let likely = self.likely(horizon);
        if likely > self.level {
            self.last.iter().copied().fold(likely, f64::max)
        } else {
            self.level + self.band()
        }
    }

    /// Whether the last value is lower than chance explains: what the rest says is of the past.
    pub(crate) fn falls(&self) -> bool {
        self.last[0] < self.level - 2.0 * self.band()
    }

    /// The standard deviation of a second's value, as a part of the level.
    pub(crate) fn noise(&self) -> f64 {
        if self.level > 0.0 { SIGMA_PER_MAD * self.deviation / self.level } else { 0.0 }
    }

    /// What the forecast is usually off by, bounded.
    fn band(&self) -> f64 {
        (Z * SIGMA_PER_MAD * self.deviation).min(BAND_MAX * self.level)
    }
}

/// Seconds of trend that `horizon` seconds are worth.
fn damped(horizon: f64) -> f64 {
    horizon * DAMPING_SECS / (DAMPING_SECS + horizon)
}

#[cfg(test)]
mod tests {
    use super::Forecast;

    #[test]
    fn another_unit_changes_nothing_else() {
        let (mut one, mut other) = (Forecast::default(), Forecast::default());
        for t in 0..40_u32 {
            let value = f64::from(t * t % 17) + f64::from(t);
            one.update(value, 1.0, 1.0);
            other.update(if t < 20 { value } else { 2.0 * value }, 1.0, 1.0);
            if t == 19 {
                other.scale(2.0);
            }
        }
        one.scale(2.0);
        assert_eq!(one, other);
    }

    #[test]
    fn a_constant_is_forecast_as_itself() {
        let mut forecast = Forecast::default();
        for _ in 0..100 {
            forecast.update(50.0, 1.0, 1.0);
        }
        assert!((50.0..50.1).contains(&forecast.upper(60.0)));
    }

    #[test]
    fn a_step_is_believed_at_once() {
        let mut forecast = Forecast::default();
        for _ in 0..60 {
            forecast.update(50.0, 1.0, 1.0);
        }
        forecast.update(400.0, 1.0, 1.0);
        assert!(forecast.upper(3.0) >= 400.0);
        for _ in 0..30 {
            forecast.update(400.0, 1.0, 1.0);
        }
        let upper = forecast.upper(3.0);
        assert!((400.0..470.0).contains(&upper), "{upper}");
    }

    #[test]
    fn a_flash_crowd_is_led_from_its_second_second() {
        let mut forecast = Forecast::default();
        for _ in 0..60 {
            forecast.update(70.0, 1.0, 1.0);
        }
        // A rise of 150 a second: what comes within three seconds of each reading is covered.
        forecast.update(150.0, 1.0, 1.0);
        forecast.update(300.0, 1.0, 1.0);
        assert!(forecast.upper(2.0) >= 525.0, "{}", forecast.upper(2.0));
        forecast.update(450.0, 1.0, 1.0);
        assert!(forecast.upper(3.0) >= 750.0, "{}", forecast.upper(3.0));
        assert!(forecast.upper(3.0) <= 900.0, "{}", forecast.upper(3.0));
    }

    #[test]
    fn a_rise_that_is_no_evidence_is_not_led() {
        let mut forecast = Forecast::default();
        for value in [0.0, 0.0, 40.0, 100.0, 100.0] {
            forecast.update(value, 1.0, 0.1);
            assert!(forecast.upper(3.0) < 1.4 * value.max(1.0), "{value}: {}", forecast.upper(3.0));
        }
    }

    #[test]
    fn a_flash_crowd_that_goes_on_slower_is_still_led() {
        let mut forecast = Forecast::default();
        for _ in 0..60 {
            forecast.update(20.0, 1.0, 1.0);
        }
        for value in [60.0, 110.0, 160.0, 210.0] {
            forecast.update(value, 1.0, 1.0);
        }
        for second in 1..=8 {
            let value = 210.0 + 35.0 * f64::from(second);
            forecast.update(value, 1.0, 1.0);
            let lead = forecast.upper(3.0) - value;
            assert!((2.0 * 35.0..3.0 * 35.0).contains(&lead), "{second}: {lead}");
        }
    }

    #[test]
    fn a_ramp_is_led() {
        let mut forecast = Forecast::default();
        for t in 0..40 {
            forecast.update(10.0 * f64::from(t), 1.0, 1.0);
        }
        // The last value was the mean around t = 39; three seconds on it is 420.
        let upper = forecast.upper(3.0);
        assert!((410.0..480.0).contains(&upper), "{upper}");
    }

    #[test]
    fn noise_does_not_ratchet() {
        let mut forecast = Forecast::default();
        let mut peak: f64 = 0.0;
        for t in 0..10_000_u32 {
            let noise = f64::from(t.wrapping_mul(2_654_435_761) >> 16) / 65_536.0 - 0.5;
            forecast.update(10.0 + 10.0 * noise, 1.0, 1.0);
            peak = if t > 9_000 { peak.max(forecast.upper(3.0)) } else { peak };
        }
        assert!(peak < 19.0, "{peak}");
    }

    #[test]
    fn partial_data_may_only_add() {
        let mut forecast = Forecast::default();
        forecast.update(100.0, 1.0, 1.0);
        forecast.update_at_least(40.0, 1.0, 1.0);
        assert!(forecast.level() >= 100.0);
        forecast.update_at_least(200.0, 1.0, 1.0);
        assert!(forecast.level() >= 200.0);
    }
}
