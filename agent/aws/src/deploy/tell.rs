//! What people and machines are told of a deployment while it goes on: a line each.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::act::Act;
use super::next::Waiting;
use super::package::Architecture;
use super::seen::{Alias, Figures};

/// Something that happened.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Said {
    /// What is to be deployed to a function, and what it is now.
    Begins {
        /// By the configuration's name, as everywhere.
        function: String,
        /// Its name on Lambda.
        name: String,
        /// Its machine.
        architecture: Architecture,
        /// Size of the package.
        bytes: usize,
        /// Digest of the package.
        sha: String,
        /// Whether that is what was uploaded last.
        uploaded: bool,
        /// Who has its requests.
        #[serde(flatten)]
        routed: Routed,
    },
    /// What would be done, with `--dry-run`.
    Would {
        /// Which function.
        function: String,
        /// In sentences.
        text: String,
    },
    /// An act was carried out.
    Did {
        /// What.
        #[serde(flatten)]
        act: Act,
        /// How long it took.
        millis: u128,
        /// The version that was published.
        #[serde(skip_serializing_if = "Option::is_none")]
        published: Option<u32>,
        /// What was wrong with the answer to a smoke invocation.
        #[serde(skip_serializing_if = "Option::is_none")]
        wrong: Option<String>,
    },
    /// A canary is watched.
    Watches {
        /// What is waited for.
        text: String,
        /// The step.
        #[serde(skip_serializing_if = "Option::is_none")]
        percent: Option<u8>,
        /// How long it is held yet, in seconds.
        #[serde(skip_serializing_if = "Option::is_none")]
        left_secs: Option<u64>,
        /// How the versions do, as far as CloudWatch shows it.
        functions: BTreeMap<String, Figures>,
    },
    /// Something did not go as it should, and is tried again or passed over.
    Warns {
        /// Which function.
        function: String,
        /// What.
        text: String,
    },
    /// It failed, and goes back.
    GoesBack {
        /// Why.
        reason: String,
    },
    /// Who has a function's requests at the end.
    Stands {
        /// Which function.
        function: String,
        /// Who.
        #[serde(flatten)]
        routed: Routed,
    },
    /// It is over.
    Ends {
        /// `done`, `failed`, `stopped` or `interrupted`.
        outcome: &'static str,
        /// In a sentence.
        text: String,
    },
}

impl Said {
    /// What is waited for, and how the versions do meanwhile.
    pub(crate) fn watches(waiting: &Waiting, functions: BTreeMap<String, Figures>) -> Self {
        let (percent, left_secs) = match waiting {
            Waiting::Hold { percent, left_secs } => (Some(*percent), Some(*left_secs)),
            Waiting::Figures { percent } => (Some(*percent), Some(0)),
            Waiting::Update(_) | Waiting::CloudWatch => (None, None),
        };
        Self::Watches { text: waiting.to_string(), percent, left_secs, functions }
    }
}

/// Who has the requests of an alias.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Routed {
    /// The version that has what is not given to another.
    pub version: u32,
    /// Another version, and the percentage of requests that it is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weighed: Option<(u32, u8)>,
}

impl From<&Alias> for Routed {
    fn from(alias: &Alias) -> Self {
        Self { version: alias.version, weighed: alias.weighed }
    }
}

impl fmt::Display for Routed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.weighed {
            None => write!(f, "version {} has all requests", self.version),
            Some((other, percent)) => write!(
                f,
                "version {other} has {percent} % of requests, version {} the others",
                self.version
            ),
        }
    }
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Update(functions) => {
                write!(f, "Lambda is taking the code of {}", functions.join(", "))
            }
            Self::Hold { percent, left_secs } => write!(f, "{percent} %, {left_secs} s left"),
            Self::Figures { percent } => {
                write!(f, "{percent} %, waiting for CloudWatch to show what came of it")
            }
            Self::CloudWatch => f.write_str("waiting for CloudWatch, which cannot be read"),
        }
    }
}

/// How the versions of a function do, on a line.
fn figures(f: &mut fmt::Formatter<'_>, name: &str, figures: &Figures) -> fmt::Result {
    let Figures { old, new, since, .. } = figures;
    write!(f, "; {name}: new {} ok", (new.invocations - new.errors).max(0.0))?;
    write!(f, " {} errors", new.errors)?;
    let millis = |p95: Option<f64>| p95.map_or("-".to_owned(), |p95| format!("{p95:.0} ms"));
    write!(f, " p95 {}, old {} ok", millis(new.p95_ms), (old.invocations - old.errors).max(0.0))?;
    write!(f, " {} errors p95 {}", old.errors, millis(old.p95_ms))?;
    if since.1 > 0.0 { write!(f, ", {} throttled", since.1) } else { Ok(()) }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Begins { function, name, architecture, bytes, uploaded, routed, .. } => {
                let kb = bytes.div_ceil(1000);
                let there = if *uploaded { ", uploaded already" } else { "" };
                write!(f, "{function}: {name}, {architecture}, {kb} kB{there}; {routed}")
            }
            Self::Would { function, text } => write!(f, "{function}: would {text}"),
            Self::Did { act, wrong: Some(wrong), .. } => {
                write!(f, "{}: {act}: {wrong}", act.function())
            }
            Self::Did { act, millis, published: Some(version), .. } => {
                write!(f, "{}: {act}: version {version} ({millis} ms)", act.function())
            }
            Self::Did { act, millis, .. } => write!(f, "{}: {act} ({millis} ms)", act.function()),
            Self::Watches { text, functions, .. } => {
                f.write_str(text)?;
                functions.iter().try_for_each(|(name, of)| figures(f, name, of))
            }
            Self::Warns { function, text } => write!(f, "{function}: {text}"),
            Self::GoesBack { reason } => write!(f, "goes back: {reason}"),
            Self::Stands { function, routed } => write!(f, "{function}: {routed}"),
            Self::Ends { outcome, text } => write!(f, "{outcome}: {text}"),
        }
    }
}
