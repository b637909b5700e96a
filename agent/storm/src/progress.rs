//! One line about how it goes.

use std::fmt;
use std::io::{IsTerminal as _, Write as _};

use crate::render::{millis, rate};
use crate::report::{Second, fraction};

/// Seconds between lines where they cannot be rewritten.
const LINE_EVERY_SECS: u32 = 10;

/// Who is told how it goes, once a second.
pub enum Progress {
    /// Nobody.
    Silent,
    /// A line on standard error that is rewritten every second.
    Live,
    /// A line on standard error every ten seconds.
    Lines,
    /// A function, which is handed what ended within the last second.
    Each(Box<dyn FnMut(&Second) + Send>),
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Silent => "Silent",
            Self::Live => "Live",
            Self::Lines => "Lines",
            Self::Each(_) => "Each",
        })
    }
}

impl Progress {
    /// [`Progress::Live`] where standard error is a terminal, [`Progress::Lines`] elsewhere.
    #[must_use]
    pub fn auto() -> Self {
        if std::io::stderr().is_terminal() { Self::Live } else { Self::Lines }
    }

    /// Tells of a second of `of` in all.
    pub(crate) fn tell(&mut self, second: &Second, of: f64) {
        // Nothing depends on whether the line could be written.
        match self {
            Self::Silent => {}
            Self::Live => {
                let _ = write!(std::io::stderr(), "\r{}\x1b[K", line(second, of));
            }
            Self::Lines if second.t.is_multiple_of(LINE_EVERY_SECS) => {
                let _ = writeln!(std::io::stderr(), "{}", line(second, of));
            }
            Self::Lines => {}
            Self::Each(told) => told(second),
        }
    }

    /// Ends a line that is rewritten.
    pub(crate) fn end(&self) {
        if matches!(self, Self::Live) {
            let _ = writeln!(std::io::stderr());
        }
    }
}

fn line(second: &Second, of: f64) -> String {
    let percent = |n| fraction(n, second.ok) * 100.0;
    let mut line = format!(
        "{:>4}/{of:.0} s  {:.0}/s wanted {}/s got  site {:.0} % cloud {:.0} %  p99 {} ms  degraded {} refused {} failed {}",
        second.t,
        second.wanted,
        second.ok + second.refused,
        percent(second.site),
        percent(second.cloud),
        millis(second.p99_ms),
        second.degraded,
        second.refused,
        second.failed,
    );
    if let Some(bits) = second.uplink_bits_per_sec {
        let cap = second.uplink_cap_bits_per_sec;
        line += &format!("  uplink {} of {} Mbit/s", rate(bits), rate(cap));
    }
    if let Some(share) = second.share {
        line += &format!("  share {:.1} %", share * 100.0);
    }
    if let Some(tier) = second.tier {
        line += &format!("  tier {}", u8::from(tier));
    }
    line
}

#[cfg(test)]
mod tests {
    use spillway_model::Tier;

    use super::*;

    #[test]
    fn a_line_says_what_is_known() {
        let mut second = Second {
            t: 12,
            wanted: 100.4,
            ok: 80,
            degraded: 7,
            refused: 5,
            site: 60,
            cloud: 20,
            failed: 1,
            ..Second::default()
        };
        assert_eq!(
            line(&second, 60.0),
            "  12/60 s  100/s wanted 85/s got  site 75 % cloud 25 %  p99 - ms  degraded 7 refused 5 failed 1"
        );
        second.uplink_bits_per_sec = Some(5_640_000.0);
        second.uplink_cap_bits_per_sec = 6e6;
        second.share = Some(0.325);
        second.tier = Some(Tier::Visible);
        let full = line(&second, 60.0);
        assert!(full.ends_with("  uplink 5.64 of 6.00 Mbit/s  share 32.5 %  tier 2"), "{full}");
    }

    #[test]
    fn a_function_is_told_every_second() {
        let (told, tell) = std::sync::mpsc::channel();
        let mut progress = Progress::Each(Box::new(move |second| told.send(second.t).unwrap()));
        for t in 1..=3 {
            progress.tell(&Second { t, ..Second::default() }, 3.0);
        }
        assert_eq!(tell.try_iter().collect::<Vec<_>>(), [1, 2, 3]);
    }
}
