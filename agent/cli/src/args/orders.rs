//! What operators order, as words of the command line.

use clap::Subcommand;
use spillway_model::api::{BY_CHARS_MAX, Bound, FACTOR_MAX, unprintable};
use spillway_model::time::secs_of;
use spillway_model::{EventId, KnobId, Mode, Share, SiteId, Tier, UnixMillis};

use super::secs;

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum TierCommand {
    /// Hold at least this tier.
    Set {
        /// 1 (invisible), 2 (visible) or 3 (severe).
        #[arg(value_parser = tier, allow_negative_numbers = true)]
        tier: Tier,
        /// For so long: `90s`, `15m`, `2h`; at most a day.
        #[arg(long = "for", value_name = "TIME", value_parser = secs)]
        for_secs: u64,
        /// Why, for the audit.
        #[arg(long, default_value = "no reason given", value_parser = reason)]
        reason: String,
    },
    /// Hold no tier any more; the agent decides alone.
    Clear,
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum KnobCommand {
    /// All knobs, what they release, and which are on.
    List,
    /// Turn a knob on, or hold it off.
    Set {
        /// Which.
        id: KnobId,
        /// `on`, or `off` to hold it off whatever the tier.
        #[arg(value_parser = on_off, action = clap::ArgAction::Set)]
        state: bool,
        /// For so long: `90s`, `15m`, `2h`; at most a day.
        #[arg(long = "for", value_name = "TIME", value_parser = secs)]
        for_secs: u64,
        /// Why, for the audit.
        #[arg(long, default_value = "no reason given", value_parser = reason)]
        reason: String,
    },
    /// Leave a knob to the tier again.
    Clear {
        /// Which.
        id: KnobId,
    },
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ShareOptions {
    /// Which site.
    pub site: SiteId,
    /// How many percent of its clients go to the cloud: 0 to 100.
    #[arg(value_name = "PERCENT", value_parser = percent, allow_hyphen_values = true,
        required_unless_present = "clear", conflicts_with = "clear")]
    pub share: Option<Share>,
    #[command(flatten)]
    pub hold: Hold,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct GatewaysOptions {
    /// How many.
    #[arg(
        value_name = "N",
        allow_negative_numbers = true,
        required_unless_present = "clear",
        conflicts_with = "clear"
    )]
    pub gateways: Option<u32>,
    #[command(flatten)]
    pub hold: Hold,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ModeOptions {
    /// `act`; `recommend`, which tells what it would do and leaves what is in force, but for orders; or
    /// `shadow`, which publishes nothing at all.
    #[arg(value_name = "MODE", required_unless_present = "clear", conflicts_with = "clear")]
    pub mode: Option<Mode>,
    /// For so long: `90s`, `15m`, `2h`; at most a day.
    #[arg(long = "for", value_name = "TIME", value_parser = secs, required_unless_present = "clear")]
    pub for_secs: Option<u64>,
    /// Why, for the audit.
    #[arg(long, default_value = "no reason given", value_parser = reason)]
    pub reason: String,
    /// Leave it to the configuration again.
    #[arg(long, conflicts_with = "for_secs")]
    pub clear: bool,
}

/// How a number is held.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Hold {
    /// For so long: `90s`, `15m`, `2h`; at most a day.
    #[arg(long = "for", value_name = "TIME", value_parser = secs, required_unless_present = "clear")]
    pub for_secs: Option<u64>,
    /// There or above; the agent decides how far.
    #[arg(long, conflicts_with = "at_most")]
    pub at_least: bool,
    /// There or below.
    #[arg(long)]
    pub at_most: bool,
    /// Why, for the audit.
    #[arg(long, default_value = "no reason given", value_parser = reason)]
    pub reason: String,
    /// Hold it no more; the agent decides alone.
    #[arg(long, conflicts_with_all = ["for_secs", "at_least", "at_most"])]
    pub clear: bool,
}

impl Hold {
    pub(crate) fn bound(&self) -> Bound {
        match (self.at_least, self.at_most) {
            (true, _) => Bound::AtLeast,
            (_, true) => Bound::AtMost,
            _ => Bound::Exactly,
        }
    }
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum EventCommand {
    /// The events that are announced and not over.
    List,
    /// Announce an event, or change one.
    Add {
        /// Its name.
        name: EventId,
        /// When it begins: a time such as 2026-11-27T20:00:00+01:00, or `2h` for so long from now.
        #[arg(long, value_name = "TIME", value_parser = begins)]
        at: Begins,
        /// It lasts so long: `90s`, `15m`, `2h`; at most a day.
        #[arg(long = "for", value_name = "TIME", value_parser = secs)]
        for_secs: u64,
        /// How many times the usual demand it brings.
        #[arg(long, value_name = "N", value_parser = times, allow_negative_numbers = true)]
        factor: f64,
        /// The site that it is about; all of them when absent.
        #[arg(long)]
        site: Option<SiteId>,
        /// Why, for the audit.
        #[arg(long, default_value = "no reason given", value_parser = reason)]
        reason: String,
    },
    /// Be ready for an event no more.
    Remove {
        /// Its name.
        name: EventId,
    },
}

/// When an event begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Begins {
    At(UnixMillis),
    /// So many seconds from now.
    In(u64),
}

impl Begins {
    pub(crate) fn after(self, now: UnixMillis) -> UnixMillis {
        match self {
            Self::At(at) => at,
            Self::In(secs) => now.plus_secs(secs),
        }
    }
}

fn tier(text: &str) -> Result<Tier, String> {
    // Holding at least tier 0 would hold nothing.
    let tier = text.parse::<u8>().ok().and_then(|number| Tier::try_from(number).ok());
    tier.filter(|tier| *tier > Tier::Normal)
        .ok_or_else(|| "a tier to hold is 1, 2 or 3; `tier clear` ends an order".to_owned())
}

fn on_off(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("write `on` or `off`".to_owned()),
    }
}

/// Leaves room for a name before it within [`BY_CHARS_MAX`].
const REASON_CHARS_MAX: usize = BY_CHARS_MAX - 50;

fn reason(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() || text.chars().count() > REASON_CHARS_MAX || text.contains(unprintable) {
        return Err(format!("write 1 to {REASON_CHARS_MAX} characters, and no control characters"));
    }
    Ok(text.to_owned())
}

fn begins(text: &str) -> Result<Begins, String> {
    let at = text.parse().map(Begins::At).ok();
    at.or_else(|| secs_of(text).map(Begins::In)).ok_or_else(|| {
        "write a time such as 2026-11-27T20:00:00Z, or 2h for so long from now, at most 24h"
            .to_owned()
    })
}

fn times(text: &str) -> Result<f64, String> {
    let factor = text.parse::<f64>().ok().filter(|factor| (1.0..=FACTOR_MAX).contains(factor));
    factor.ok_or_else(|| format!("write how many times the usual demand comes: 1 to {FACTOR_MAX}"))
}

fn percent(text: &str) -> Result<Share, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim_end().parse::<f64>().ok();
    let share = number.and_then(|percent| Share::new(percent / 100.0).ok());
    share.ok_or_else(|| "write percent from 0 to 100, such as 40 or 12.5".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Args, Command};

    #[test]
    fn numbers_are_held_for_a_time_or_cleared() {
        let parse = |words: &str| {
            Args::try_parse_from(["spillway"].into_iter().chain(words.split(' ')))
                .map(|args| args.command)
        };
        let Ok(Command::Share(given)) = parse("share east 12.5% --for 30m --at-most") else {
            panic!("it is an order")
        };
        assert_eq!((given.share, given.hold.for_secs), (Some(Share::clamped(0.125)), Some(1800)));
        assert_eq!((given.hold.bound(), given.hold.clear), (Bound::AtMost, false));
        for good in ["share east --clear", "gateways 3 --for 2h --at-least", "gateways --clear"] {
            assert!(parse(good).is_ok(), "{good}");
        }
        for bad in [
            "share east 40",
            "share 40 --for 1m",
            "share east 101 --for 1m",
            "share east --clear --for 1m",
            "gateways 3 --for 1m --at-least --at-most",
            "gateways -1 --for 1m",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_mode_is_held_for_a_time_or_cleared() {
        let parse = |words: &str| Args::try_parse_from(words.split(' ')).map(|args| args.command);
        let Ok(Command::Mode(given)) = parse("spillway mode recommend --for 2h --reason trial")
        else {
            panic!("it is an order")
        };
        assert_eq!((given.mode, given.for_secs), (Some(Mode::Recommend), Some(7200)));
        assert!(parse("spillway mode --clear").is_ok());
        for bad in ["mode", "mode recommend", "mode shadow --clear", "mode --clear --for 1m"] {
            assert!(parse(&format!("spillway {bad}")).is_err(), "{bad}");
        }
        let bad = parse("spillway mode watch --for 1m").unwrap_err().to_string();
        assert!(bad.contains("write `act`, `recommend` or `shadow`"), "{bad}");
    }

    #[test]
    fn an_event_begins_at_a_time_or_so_long_from_now() {
        let now = UnixMillis(5000);
        assert_eq!(begins("2h").map(|at| at.after(now)), Ok(now.plus_secs(7200)));
        assert_eq!(begins("1970-01-01T00:00:09Z").map(|at| at.after(now)), Ok(UnixMillis(9000)));
        assert!(begins("tomorrow").is_err());
    }

    #[test]
    fn reasons_are_short_and_printable() {
        assert_eq!(reason(" drill "), Ok("drill".to_owned()));
        assert!(reason(&"é".repeat(150)).is_ok());
        for bad in ["", "  ", "a\u{1b}[2J", "a\nb", &"x".repeat(151)] {
            assert!(reason(bad).is_err(), "{bad:?}");
        }
    }
}
