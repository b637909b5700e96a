//! What a deployment does: each act is one call of AWS, and doing it twice is doing it once.

use std::fmt;

use serde::Serialize;

use super::seen::{Function, Moving};

/// One call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "act", rename_all = "snake_case")]
pub enum Act {
    /// Upload the code of a function.
    Upload {
        /// By the configuration's name, as in all acts.
        function: String,
    },
    /// Publish what was uploaded as a version, unless it is one.
    Publish {
        /// Which.
        function: String,
    },
    /// Invoke a version by its number, and look at the answer.
    Smoke {
        /// Which.
        function: String,
        /// Its version.
        version: u32,
    },
    /// Give a version a part of the alias's requests.
    Weigh {
        /// Which.
        function: String,
        /// Its version.
        version: u32,
        /// How much, in percent.
        percent: u8,
    },
    /// Remember the version to go back to, by an alias of its own.
    Remember {
        /// Which.
        function: String,
        /// Its version.
        version: u32,
        /// Since when and after what requests are moved away from it, until that has shown to be well.
        moving: Option<Moving>,
    },
    /// Give a version all of the alias's requests.
    Move {
        /// Which.
        function: String,
        /// Its version.
        version: u32,
    },
    /// Give all requests to the version that the alias points to.
    Withdraw {
        /// Which.
        function: String,
    },
    /// Delete a version.
    Delete {
        /// Which.
        function: String,
        /// Its version.
        version: u32,
    },
}

/// What came of an act.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Did {
    /// It is done.
    Done,
    /// There is this version.
    Published(u32),
    /// The version answered well, or this was wrong with the answer.
    Smoked(Result<(), String>),
}

impl Act {
    /// The function that it is about.
    #[must_use]
    pub fn function(&self) -> &str {
        match self {
            Self::Upload { function }
            | Self::Publish { function }
            | Self::Smoke { function, .. }
            | Self::Weigh { function, .. }
            | Self::Remember { function, .. }
            | Self::Move { function, .. }
            | Self::Withdraw { function }
            | Self::Delete { function, .. } => function,
        }
    }

    /// Whether AWS is as the act would make it: then its answer alone was lost. `sha` is the digest of
    /// the code that an upload brings.
    #[must_use]
    pub(crate) fn is_done(&self, seen: &Function, sha: Option<&String>) -> bool {
        match self {
            Self::Upload { .. } => Some(&seen.sha) == sha,
            Self::Weigh { version, percent, .. } => {
                seen.alias.weighed == Some((*version, *percent))
            }
            Self::Remember { version, moving, .. } => {
                (seen.before, seen.moving) == (Some(*version), *moving)
            }
            Self::Move { version, .. } => {
                let by_aws = seen.warm > 0;
                seen.alias.version == *version && (seen.alias.weighed.is_none() || by_aws)
            }
            Self::Withdraw { .. } => seen.alias.weighed.is_none(),
            Self::Delete { version, .. } => !seen.versions.contains_key(version),
            // What these give is needed.
            Self::Publish { .. } | Self::Smoke { .. } => false,
        }
    }
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Upload { .. } => f.write_str("upload the code"),
            Self::Publish { .. } => f.write_str("publish a version"),
            Self::Smoke { version, .. } => write!(f, "invoke version {version}"),
            Self::Weigh { version, percent, .. } => {
                write!(f, "give version {version} {percent} % of requests")
            }
            Self::Remember { version, moving: None, .. } => {
                write!(f, "keep version {version} as the one to go back to")
            }
            Self::Remember { version, .. } => {
                write!(f, "remember version {version} as the one to go back to")
            }
            Self::Move { version, .. } => write!(f, "give version {version} all requests"),
            Self::Withdraw { .. } => f.write_str("give the new version no more requests"),
            Self::Delete { version, .. } => write!(f, "delete version {version}"),
        }
    }
}
