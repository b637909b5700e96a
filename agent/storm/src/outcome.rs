//! How requests end.

use serde::{Deserialize, Serialize};

/// Why a request failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// An answer 5xx that no knob asked for.
    Http5xx,
    /// An answer 4xx.
    Http4xx,
    /// No whole answer within the deadline, counted from the intended start.
    Timeout,
    /// No connection.
    Connect,
    /// The connection broke, or what came over it was no HTTP.
    Reset,
    /// The name could not be looked up.
    Dns,
    /// More than three 307, one back to where the request had been, or one that cannot be followed.
    RedirectLoop,
    /// The generator itself fell short: a second late, too many requests under way, or out of
    /// sockets.
    Overrun,
}

impl Failure {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Http5xx,
        Self::Http4xx,
        Self::Timeout,
        Self::Connect,
        Self::Reset,
        Self::Dns,
        Self::RedirectLoop,
        Self::Overrun,
    ];

    /// Its name, as in the report.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Http5xx => "http_5xx",
            Self::Http4xx => "http_4xx",
            Self::Timeout => "timeout",
            Self::Connect => "connect",
            Self::Reset => "reset",
            Self::Dns => "dns",
            Self::RedirectLoop => "redirect_loop",
            Self::Overrun => "overrun",
        }
    }
}

/// Failed requests by kind; see [`Failure`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "documented where they are defined, in Failure")]
pub struct Failures {
    pub http_5xx: u64,
    pub http_4xx: u64,
    pub timeout: u64,
    pub connect: u64,
    pub reset: u64,
    pub dns: u64,
    pub redirect_loop: u64,
    pub overrun: u64,
}

impl Failures {
    /// How many of a kind.
    #[must_use]
    pub fn of(&self, kind: Failure) -> u64 {
        match kind {
            Failure::Http5xx => self.http_5xx,
            Failure::Http4xx => self.http_4xx,
            Failure::Timeout => self.timeout,
            Failure::Connect => self.connect,
            Failure::Reset => self.reset,
            Failure::Dns => self.dns,
            Failure::RedirectLoop => self.redirect_loop,
            Failure::Overrun => self.overrun,
        }
    }

    /// Counts one more.
    pub(crate) fn count(&mut self, kind: Failure) {
        *match kind {
            Failure::Http5xx => &mut self.http_5xx,
            Failure::Http4xx => &mut self.http_4xx,
            Failure::Timeout => &mut self.timeout,
            Failure::Connect => &mut self.connect,
            Failure::Reset => &mut self.reset,
            Failure::Dns => &mut self.dns,
            Failure::RedirectLoop => &mut self.redirect_loop,
            Failure::Overrun => &mut self.overrun,
        } += 1;
    }

    /// How many in all.
    #[must_use]
    pub fn total(&self) -> u64 {
        Failure::ALL.iter().map(|kind| self.of(*kind)).sum()
    }
}

/// Who served a request; sites by their place in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Served {
    Site(usize),
    Cloud,
    /// An address that the configuration does not know.
    Elsewhere,
}
