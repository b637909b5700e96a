//! The rate of arrivals over time.
//!
//! Every profile becomes a [`Curve`]: a rate that is linear between points. Its integral is the
//! expected number of arrivals, and inverting the integral turns a Poisson process of rate one into
//! one that follows the curve exactly, steps included.

use std::fmt;
use std::path::PathBuf;

use crate::trace::{self, TraceError};

/// Most arrivals that a profile may ask for.
pub const ARRIVALS_MAX: f64 = 10_000_000.0;
/// Highest rate that a profile may ask for, in requests per second.
pub const RATE_MAX: f64 = 100_000.0;
/// Longest profile, in seconds: a day.
pub const DURATION_SECS_MAX: f64 = 86_400.0;

/// The shape of a storm. Rates are requests per second.
#[derive(Debug, Clone, PartialEq)]
pub enum Profile {
    /// One rate all the time.
    Constant {
        /// The rate.
        rate: f64,
        /// How long.
        secs: f64,
    },
    /// One rate, then at once another.
    Step {
        /// The rate at first.
        base: f64,
        /// The rate from the step on.
        peak: f64,
        /// When the step comes.
        at: f64,
        /// How long in all.
        secs: f64,
    },
    /// A rate that changes evenly.
    Ramp {
        /// The rate at first.
        from: f64,
        /// The rate at the end.
        to: f64,
        /// How long.
        secs: f64,
    },
    /// Any shape: points of (second, rate), linear in between; two points at one second make a step.
    Points(Vec<(f64, f64)>),
    /// A column of a CSV file with a header row: one row a step, scaled so that the largest value
    /// becomes `peak`.
    Trace {
        /// The file.
        file: PathBuf,
        /// The name of the column with counts (or rates) per step.
        column: String,
        /// Seconds between rows.
        step_secs: f64,
        /// The rate that the largest value becomes.
        peak: f64,
        /// Seconds in which one step is played; the step itself when absent.
        play_step_in: Option<f64>,
    },
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Constant { rate, secs } => write!(f, "constant {rate}/s for {secs} s"),
            Self::Step { base, peak, at, secs } => {
                write!(f, "step {base}/s to {peak}/s at {at} s, {secs} s in all")
            }
            Self::Ramp { from, to, secs } => write!(f, "ramp {from}/s to {to}/s in {secs} s"),
            Self::Points(points) => write!(f, "curve of {} points", points.len()),
            Self::Trace { file, column, step_secs, peak, play_step_in } => {
                let name = file.file_name().unwrap_or(file.as_os_str()).to_string_lossy();
                write!(f, "trace {name}, column {column}, peak {peak:.0}/s")?;
                match play_step_in {
                    Some(played) if played != step_secs => {
                        write!(f, ", {step_secs} s played in {played} s")
                    }
                    _ => Ok(()),
                }
            }
        }
    }
}

/// Why a profile was refused.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// A number that is no rate.
    #[error("{0} is not a rate: use 0 to {RATE_MAX} requests per second")]
    Rate(f64),
    /// A number that is no time.
    #[error("{what} is {secs} s: use more than 0 and at most {DURATION_SECS_MAX} s (a day)")]
    Duration {
        /// Of what.
        what: &'static str,
        /// The number.
        secs: f64,
    },
    /// The step lies outside the profile.
    #[error(
        "the step comes at {at} s: it must come after 0 s and before the profile's end at {secs} s"
    )]
    StepOutside {
        /// When the step should come.
        at: f64,
        /// Length of the profile.
        secs: f64,
    },
    /// Nothing is asked for.
    #[error("it asks for no request at all: a rate must be more than 0")]
    Silent,
    /// A change that changes nothing.
    #[error("the {shape} goes from {rate}/s to {rate}/s: use `constant`, or another rate")]
    Level {
        /// `step` or `ramp`.
        shape: &'static str,
        /// The rate before and after.
        rate: f64,
    },
    /// Points that are no curve.
    #[error("points must start at second 0 and go forward in time, and there must be at least two")]
    Points,
    /// Too much work.
    #[error("the profile asks for {0:.0} requests; at most {ARRIVALS_MAX} are sent in one storm")]
    TooMany(f64),
    /// The trace cannot be used.
    #[error("the trace cannot be played")]
    Trace(#[from] TraceError),
}

impl Profile {
    /// The curve of this profile; reads the file of a trace.
    ///
    /// # Errors
    /// When a number is out of its range, or the trace cannot be read.
    pub fn curve(&self) -> Result<Curve, ProfileError> {
        let curve = match self {
            Self::Constant { rate, secs } => Curve::new(vec![(0.0, *rate), (*secs, *rate)])?,
            Self::Ramp { from, to, secs } => {
                changes("ramp", *from, *to)?;
                Curve::new(vec![(0.0, *from), (*secs, *to)])?
            }
            Self::Step { base, peak, at, secs } => {
                changes("step", *base, *peak)?;
                let curve =
                    Curve::new(vec![(0.0, *base), (*at, *base), (*at, *peak), (*secs, *peak)]);
                if !(*at > 0.0 && at < secs) {
                    return Err(ProfileError::StepOutside { at: *at, secs: *secs });
                }
                curve?
            }
            Self::Points(points) => Curve::new(points.clone())?,
            Self::Trace { file, column, step_secs, peak, play_step_in } => {
                let played = play_step_in.unwrap_or(*step_secs);
                for (what, secs) in [("a step of the trace", *step_secs), ("a step played", played)]
                {
                    if !(secs > 0.0 && secs <= DURATION_SECS_MAX) {
                        return Err(ProfileError::Duration { what, secs });
                    }
                }
                Curve::scaled(&trace::read(file, column)?, played, *peak)?
            }
        };
        if curve.arrivals() > 0.0 { Ok(curve) } else { Err(ProfileError::Silent) }
    }
}

/// Refuses a change of rate that is none; nearly always a slip of the hand.
fn changes(shape: &'static str, from: f64, to: f64) -> Result<(), ProfileError> {
    #[expect(clippy::float_cmp, reason = "two numbers as somebody wrote them")]
    let level = from == to;
    if level { Err(ProfileError::Level { shape, rate: from }) } else { Ok(()) }
}

/// A rate over time, linear between points.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    /// (second, rate), seconds never going back.
    points: Vec<(f64, f64)>,
    /// Expected arrivals up to each point.
    sums: Vec<f64>,
}

impl Curve {
    /// A curve through points of (second, rate).
    ///
    /// # Errors
    /// When they do not start at 0 or go back in time, or a bound is exceeded.
    pub fn new(points: Vec<(f64, f64)>) -> Result<Self, ProfileError> {
        if let Some((_, rate)) = points.iter().find(|(_, rate)| !(0.0..=RATE_MAX).contains(rate)) {
            return Err(ProfileError::Rate(*rate));
        }
        let secs = points.last().map_or(0.0, |last| last.0);
        if !(secs > 0.0 && secs <= DURATION_SECS_MAX) {
            return Err(ProfileError::Duration { what: "the profile's length", secs });
        }
        let forward = points.windows(2).all(|pair| pair[0].0 <= pair[1].0);
        if points.len() < 2 || points[0].0 != 0.0 || !forward {
            return Err(ProfileError::Points);
        }
        let mut sum = 0.0;
        let mut sums = vec![0.0];
        for pair in points.windows(2) {
            sum += (pair[1].0 - pair[0].0) * (pair[0].1 + pair[1].1) / 2.0;
            sums.push(sum);
        }
        if sum > ARRIVALS_MAX {
            return Err(ProfileError::TooMany(sum));
        }
        Ok(Self { points, sums })
    }

    /// Evenly spaced values, scaled so that the largest becomes `peak`. There is a positive one:
    /// [`trace::read`] sees to it.
    fn scaled(values: &[f64], step_secs: f64, peak: f64) -> Result<Self, ProfileError> {
        if !(0.0..=RATE_MAX).contains(&peak) {
            return Err(ProfileError::Rate(peak));
        }
        let largest = values.iter().copied().fold(0.0, f64::max);
        let point = |(i, value): (usize, &f64)| (i as f64 * step_secs, (value / largest) * peak);
        Self::new(values.iter().enumerate().map(point).collect())
    }

    /// Length in seconds.
    #[must_use]
    pub fn secs(&self) -> f64 {
        self.points.last().map_or(0.0, |last| last.0)
    }

    /// Expected arrivals in all.
    #[must_use]
    pub fn arrivals(&self) -> f64 {
        self.sums.last().copied().unwrap_or(0.0)
    }

    /// Highest rate.
    #[must_use]
    pub fn peak(&self) -> f64 {
        self.points.iter().map(|point| point.1).fold(0.0, f64::max)
    }

    /// The rate at a second; zero outside the curve. At a step, the rate after it.
    #[must_use]
    pub fn rate_at(&self, secs: f64) -> f64 {
        if !(0.0..self.secs()).contains(&secs) {
            return 0.0;
        }
        let (start, slope, rate) = self.piece(self.piece_at(secs));
        rate + slope * (secs - start)
    }

    /// Expected arrivals before a second.
    #[must_use]
    pub fn arrivals_before(&self, secs: f64) -> f64 {
        if secs <= 0.0 {
            return 0.0;
        }
        if secs >= self.secs() {
            return self.arrivals();
        }
        let index = self.piece_at(secs);
        let (start, slope, rate) = self.piece(index);
        let dt = secs - start;
        self.sums[index] + rate * dt + slope * dt * dt / 2.0
    }

    /// The second before which `arrivals` are expected; `None` when the curve ends first.
    #[must_use]
    pub fn second_of(&self, arrivals: f64) -> Option<f64> {
        if !(arrivals >= 0.0 && arrivals < self.arrivals()) {
            return None;
        }
        // The first piece that ends above the sum; pieces without arrivals never do.
        let index = self.sums.partition_point(|sum| *sum <= arrivals) - 1;
        let (start, slope, rate) = self.piece(index);
        let need = arrivals - self.sums[index];
        // The root of rate·x + slope·x²/2 = need, in the form that does not cancel.
        let root = (rate * rate + 2.0 * slope * need).max(0.0).sqrt();
        let dt = if need == 0.0 { 0.0 } else { 2.0 * need / (rate + root) };
        Some((start + dt).min(self.points[index + 1].0))
    }

    /// Index of the piece that holds a second within the curve.
    fn piece_at(&self, secs: f64) -> usize {
        (self.points.partition_point(|point| point.0 <= secs) - 1).min(self.points.len() - 2)
    }

    /// Start, slope and first rate of a piece.
    fn piece(&self, index: usize) -> (f64, f64, f64) {
        let ((t0, r0), (t1, r1)) = (self.points[index], self.points[index + 1]);
        let slope = if t1 > t0 { (r1 - r0) / (t1 - t0) } else { 0.0 };
        (t0, slope, r0)
    }
}

/// The whole part of a second, as an index.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "seconds lie between 0 and a day"
)]
pub(crate) fn second_index(secs: f64) -> usize {
    secs.clamp(0.0, DURATION_SECS_MAX) as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn curve(profile: &Profile) -> Curve {
        profile.curve().unwrap()
    }

    #[test]
    fn shapes_have_their_rates_and_integrals() {
        let constant = curve(&Profile::Constant { rate: 50.0, secs: 4.0 });
        assert_eq!((constant.rate_at(0.0), constant.rate_at(3.99)), (50.0, 50.0));
        assert_eq!((constant.rate_at(4.0), constant.arrivals()), (0.0, 200.0));

        let step = curve(&Profile::Step { base: 10.0, peak: 80.0, at: 2.0, secs: 5.0 });
        assert_eq!((step.rate_at(1.999), step.rate_at(2.0)), (10.0, 80.0));
        assert_eq!((step.arrivals_before(2.0), step.arrivals()), (20.0, 260.0));
        assert_eq!((step.peak(), step.secs()), (80.0, 5.0));

        let ramp = curve(&Profile::Ramp { from: 0.0, to: 100.0, secs: 10.0 });
        assert_eq!((ramp.rate_at(5.0), ramp.arrivals_before(5.0)), (50.0, 125.0));
        assert_eq!(ramp.arrivals(), 500.0);
    }

    #[test]
    fn pieces_without_arrivals_are_skipped() {
        let gap = Curve::new(vec![(0.0, 1.0), (1.0, 1.0), (1.0, 0.0), (3.0, 0.0), (4.0, 2.0)]);
        let gap = gap.unwrap();
        assert_eq!(gap.second_of(1.0), Some(3.0));
        assert_eq!(gap.second_of(1.25), Some(3.5));
        assert_eq!(gap.second_of(2.0), None);
        let silent = Curve::new(vec![(0.0, 0.0), (5.0, 0.0)]).unwrap();
        assert_eq!(silent.second_of(0.0), None);
    }

    #[test]
    fn bounds_are_kept() {
        let text = |profile: Profile| profile.curve().unwrap_err().to_string();
        assert!(text(Profile::Constant { rate: 100_001.0, secs: 1.0 }).contains("not a rate"));
        assert!(text(Profile::Constant { rate: -1.0, secs: 1.0 }).contains("-1 is not a rate"));
        assert!(text(Profile::Constant { rate: f64::NAN, secs: 1.0 }).contains("not a rate"));
        assert!(text(Profile::Constant { rate: 1.0, secs: 86_401.0 }).contains("a day"));
        assert!(text(Profile::Constant { rate: 1.0, secs: 0.0 }).contains("more than 0"));
        assert!(text(Profile::Constant { rate: 1.0, secs: f64::NAN }).contains("more than 0"));
        assert!(text(Profile::Constant { rate: 1000.0, secs: 10_001.0 }).contains("10001000"));
        let late = Profile::Step { base: 1.0, peak: 2.0, at: 9.0, secs: 9.0 };
        assert!(text(late).contains("before the profile's end at 9 s"));
        for at in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let step = Profile::Step { base: 1.0, peak: 2.0, at, secs: 9.0 };
            assert!(text(step).contains("after 0 s"), "{at}");
        }
        for nothing in [
            Profile::Constant { rate: 0.0, secs: 5.0 },
            Profile::Points(vec![(0.0, 0.0), (3.0, 0.0)]),
        ] {
            assert!(text(nothing).contains("no request at all"));
        }
        let level = Profile::Ramp { from: 5.0, to: 5.0, secs: 9.0 };
        assert!(text(level).contains("ramp goes from 5/s to 5/s"));
        let level = Profile::Step { base: 0.0, peak: 0.0, at: 3.0, secs: 9.0 };
        assert!(text(level).contains("step goes from 0/s to 0/s"));
        for rate in [f64::INFINITY, -0.5] {
            assert!(text(Profile::Ramp { from: 1.0, to: rate, secs: 9.0 }).contains("not a rate"));
        }
        assert!(
            text(Profile::Points(vec![(0.0, 1.0), (2.0, 1.0), (1.0, 1.0)])).contains("forward")
        );
        assert!(text(Profile::Points(vec![(1.0, 1.0), (2.0, 1.0)])).contains("start at second 0"));
    }

    proptest! {
        #[test]
        fn inverting_the_integral_gives_the_second(
            steps in proptest::collection::vec((0.1f64..20.0, 0.0f64..500.0), 2..12),
            fraction in 0.0f64..1.0,
        ) {
            let mut at = 0.0;
            let mut points = vec![(0.0, steps[0].1)];
            for (dt, rate) in steps {
                at += dt;
                points.push((at, rate));
            }
            let curve = Curve::new(points).unwrap();
            let wanted = fraction * curve.arrivals();
            if let Some(secs) = curve.second_of(wanted) {
                let back = curve.arrivals_before(secs);
                prop_assert!((back - wanted).abs() < 1e-6 * (1.0 + wanted), "{back} {wanted}");
            }
        }
    }
}
