//! The policies by name, and what they may be tuned by.

use std::fmt;
use std::str::FromStr;

use crate::policy::cudgx::{self, Band, Cudgx};
use crate::policy::hpa::{self, Hpa};
use crate::policy::k8s_cpu::{self, K8sCpu};
use crate::policy::kpa::{self, Kpa};
use crate::policy::predictive::Predictive;
use crate::policy::steps::{self, Steps};
use crate::policy::tracking::{self, Tracking};
use crate::policy::{Bounds, Scaler, Seen, count};

/// A policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Policy {
    /// Spillway's decision.
    Spillway,
    /// The optimum of who knows the trace.
    Clairvoyant,
    /// As many servers as the peak needs, all the time.
    StaticPeak,
    /// CudgX's redundancy keeper.
    Cudgx,
    /// Kubernetes' HorizontalPodAutoscaler.
    Hpa,
    /// Knative's autoscaler.
    Kpa,
    /// AWS target tracking.
    TargetTracking,
    /// The same with points of 20 s.
    TargetTracking20s,
    /// AWS step scaling.
    StepAlarms,
    /// AWS predictive scaling beside target tracking.
    Predictive,
    /// Autothrottle's baseline after Kubernetes.
    K8sCpu,
    /// The same, fast.
    K8sCpuFast,
}

impl Policy {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Spillway,
        Self::Clairvoyant,
        Self::StaticPeak,
        Self::Cudgx,
        Self::Hpa,
        Self::Kpa,
        Self::TargetTracking,
        Self::TargetTracking20s,
        Self::StepAlarms,
        Self::Predictive,
        Self::K8sCpu,
        Self::K8sCpuFast,
    ];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Spillway => "spillway",
            Self::Clairvoyant => "clairvoyant",
            Self::StaticPeak => "static-peak",
            Self::Cudgx => "cudgx",
            Self::Hpa => "hpa",
            Self::Kpa => "kpa",
            Self::TargetTracking => "target-tracking",
            Self::TargetTracking20s => "target-tracking-20s",
            Self::StepAlarms => "step-alarms",
            Self::Predictive => "predictive",
            Self::K8sCpu => "k8s-cpu",
            Self::K8sCpuFast => "k8s-cpu-fast",
        }
    }

    /// What it may be set to, the default first. Empty where there is nothing to set.
    pub(crate) fn settings(self) -> Vec<Dial> {
        let targets = |default: f64, others: &[f64]| {
            let others = others.iter().filter(|target| **target != default);
            std::iter::once(&default).chain(others).map(|target| Dial::Target(*target)).collect()
        };
        match self {
            Self::Spillway | Self::Clairvoyant | Self::StaticPeak => Vec::new(),
            Self::Cudgx => [
                (1.0, 3.0, 0.3),
                (1.0, 3.0, 1.0),
                (1.1, 1.5, 1.0),
                (1.3, 2.0, 1.0),
                (1.5, 3.0, 1.0),
            ]
            .map(|(min, max, ratio)| Dial::Band(Band { min, max, ratio }))
            .to_vec(),
            Self::Hpa => targets(hpa::TARGET, &[0.3, 0.4, 0.5, 0.6, 0.7]),
            Self::Kpa => targets(kpa::UTILISATION, &[0.3, 0.4, 0.5, 0.6]),
            Self::TargetTracking | Self::TargetTracking20s | Self::Predictive => {
                targets(tracking::TARGET, &[0.2, 0.3, 0.4, 0.6, 0.7])
            }
            Self::StepAlarms => {
                let periods = [steps::PERIOD_SECS, steps::DETAILED_SECS];
                let others = periods.into_iter().flat_map(|period_secs| {
                    [steps::THRESHOLD, 0.3, 0.4, 0.6]
                        .map(|threshold| Dial::Steps { threshold, period_secs })
                });
                others.collect()
            }
            Self::K8sCpu | Self::K8sCpuFast => targets(k8s_cpu::TARGET, &[0.3, 0.4, 0.5, 0.7, 0.8]),
        }
    }

    /// The rule, for those that scale servers alone. `peak` is the highest per-second mean.
    pub(crate) fn scaler(
        self,
        dial: Option<Dial>,
        bounds: Bounds,
        peak: f64,
    ) -> Option<Box<dyn Scaler>> {
        let dial = dial.or_else(|| self.settings().first().copied());
        let target = match dial {
            Some(Dial::Target(target)) => target,
            _ => 1.0,
        };
        let point = match self {
            Self::TargetTracking20s => tracking::FAST_POINT_SECS,
            _ => tracking::POINT_SECS,
        };
        Some(match self {
            Self::Spillway | Self::Clairvoyant => return None,
            Self::StaticPeak => Box::new(Static::for_peak(bounds, peak)),
            Self::Cudgx => {
                let band = if let Some(Dial::Band(band)) = dial { band } else { cudgx::BAND };
                Box::new(Cudgx::new(bounds, band))
            }
            Self::Hpa => Box::new(Hpa::new(bounds, target)),
            Self::Kpa => Box::new(Kpa::new(bounds, target)),
            Self::TargetTracking | Self::TargetTracking20s => {
                Box::new(Tracking::new(bounds, target, point))
            }
            Self::StepAlarms => {
                let (threshold, period_secs) = match dial {
                    Some(Dial::Steps { threshold, period_secs }) => (threshold, period_secs),
                    _ => (steps::THRESHOLD, steps::PERIOD_SECS),
                };
                Box::new(Steps::new(bounds, threshold, period_secs))
            }
            Self::Predictive => Box::new(Predictive::new(bounds, target, point)),
            Self::K8sCpu => Box::new(K8sCpu::new(bounds, target, k8s_cpu::USUAL)),
            Self::K8sCpuFast => Box::new(K8sCpu::new(bounds, target, k8s_cpu::FAST)),
        })
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is no policy's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no policy `{name}`; the policies are {}", Policy::ALL.map(Policy::name).join(", "))]
pub struct NoPolicy {
    name: String,
}

impl FromStr for Policy {
    type Err = NoPolicy;
    fn from_str(text: &str) -> Result<Self, NoPolicy> {
        let named = Self::ALL.into_iter().find(|policy| policy.name() == text);
        named.ok_or_else(|| NoPolicy { name: text.to_owned() })
    }
}

/// What a policy is set to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Dial {
    /// Part of a server, or of Knative's target.
    Target(f64),
    Band(Band),
    Steps {
        threshold: f64,
        period_secs: u64,
    },
}

impl fmt::Display for Dial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Target(target) => write!(f, "target {:.0} %", target * 100.0),
            Self::Band(Band { min, max, ratio }) => write!(
                f,
                "redundancy {:.0} to {:.0} %, ratio {:.0} %",
                min * 100.0,
                max * 100.0,
                ratio * 100.0
            ),
            Self::Steps { threshold, period_secs } => {
                write!(f, "threshold {:.0} %, periods of {period_secs} s", threshold * 100.0)
            }
        }
    }
}

/// As many servers as the peak needs, always: what buying for the peak means. Its highest per-second mean is
/// known, and room for three standard deviations of chance is added.
#[derive(Debug)]
struct Static(u32);

impl Static {
    fn for_peak(bounds: Bounds, peak: f64) -> Self {
        Self(count((peak + 3.0 * peak.sqrt()) / bounds.server_qps))
    }
}

impl Scaler for Static {
    fn step(&mut self, _seen: &Seen) -> u32 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::tests::bounds;

    #[test]
    fn names_are_read_as_they_are_written() {
        for policy in Policy::ALL {
            assert_eq!(policy.name().parse(), Ok(policy));
        }
        let wrong = "hpa2".parse::<Policy>().unwrap_err().to_string();
        assert!(
            wrong.starts_with("there is no policy `hpa2`; the policies are spillway, "),
            "{wrong}"
        );
    }

    #[test]
    fn static_peak_fits_the_peak_and_its_chance() {
        let seen = Seen { at: 1, arrivals: 0.0, ready: 10, busy: 0.0, wanted: 10 };
        let mut scaler = Policy::StaticPeak.scaler(None, bounds(), 6000.0).unwrap();
        // 6000 + 3 × 77.5 are 6232, which 42 of 150 serve.
        assert_eq!(scaler.step(&seen), 42);
    }

    #[test]
    fn defaults_come_first() {
        let told: Vec<String> = Policy::ALL
            .iter()
            .filter_map(|policy| policy.settings().first().map(Dial::to_string))
            .collect();
        assert_eq!(
            told,
            [
                "redundancy 100 to 300 %, ratio 30 %",
                "target 80 %",
                "target 70 %",
                "target 50 %",
                "target 50 %",
                "threshold 50 %, periods of 120 s",
                "target 50 %",
                "target 60 %",
                "target 60 %",
            ]
        );
    }
}
