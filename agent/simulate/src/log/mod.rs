//! Access logs: what each line says, and what all of them say about the load.
//!
//! Three formats are read, all line by line: the gateways' own ([`Format::Spillway`]), `combined` of Nginx
//! and Apache with what is usually appended to it ([`Format::Combined`]), and AWS's of an Application Load
//! Balancer ([`Format::Alb`]). A line that cannot be read is counted and passed over. No address, user or
//! query is taken from any.
//!
//! ```text
//! line ─▶ Format ─▶ Entry ─▶ name of the route ─▶ Survey ─▶ Trace, a row for each route, windows
//! ```

mod alb;
mod combined;
mod names;
mod own;
mod reading;
mod request;
mod series;
mod survey;
mod words;

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use spillway_model::UnixMillis;

pub use names::{FindRoute, Names};
pub use reading::{LogError, Reading, Unreadable};
pub use survey::{RouteRow, Survey, Window};

/// A known format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A gateway's: one JSON object a line.
    Spillway,
    /// `combined` of Nginx and Apache. The request time is the first number with a decimal point after the
    /// user agent, or what stands behind `rt=` or `request_time=`; `urt=` or `upstream_response_time=` goes
    /// before.
    Combined,
    /// AWS's of an Application Load Balancer
    /// (<https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-access-logs.html>).
    Alb,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Spillway, Self::Combined, Self::Alb];

    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Spillway => "spillway",
            Self::Combined => "combined",
            Self::Alb => "alb",
        }
    }

    /// The format that `line` is of, if it is one.
    #[must_use]
    pub fn of(line: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.parse(line).is_ok())
    }

    /// What a line says.
    ///
    /// # Errors
    /// When it is not of this format.
    pub fn parse(self, line: &str) -> Result<Entry<'_>, BadLine> {
        match self {
            Self::Spillway => own::parse(line),
            Self::Combined => combined::parse(line),
            Self::Alb => alb::parse(line),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Spillway => "a gateway's access log",
            Self::Combined => "the combined format of Nginx and Apache",
            Self::Alb => "the access log of an Application Load Balancer",
        })
    }
}

/// A name that is no format's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no format `{0}`; the formats are {list}", list = Format::ALL.map(Format::name).join(", "))]
pub struct NoFormat(String);

impl FromStr for Format {
    type Err = NoFormat;
    fn from_str(text: &str) -> Result<Self, NoFormat> {
        let named = Self::ALL.into_iter().find(|format| format.name() == text);
        named.ok_or_else(|| NoFormat(text.to_owned()))
    }
}

/// Why a line could not be read.
#[derive(Debug, thiserror::Error)]
pub enum BadLine {
    /// It is no JSON, or not a gateway's.
    #[error("is no line of a gateway: {0}")]
    Json(serde_json::Error),
    /// A field is not there or not what it should be.
    #[error("{0}")]
    Field(&'static str),
}

/// One request, as far as a log tells.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry<'a> {
    /// When it came: the time of the line, less how long it took where a log tells the end.
    pub at: UnixMillis,
    /// What was asked for; `None` where the client sent no request that could be read.
    pub request: Option<Request<'a>>,
    /// The name of its route, where the log has one.
    pub route: Option<Cow<'a, str>>,
    /// The status of the answer.
    pub status: u16,
    /// Bytes of the answer.
    pub bytes: u64,
    /// Seconds that a service took for it; `None` where the log does not tell.
    pub service_secs: Option<f64>,
    /// Whether it was answered by a service as it should be, so that bytes and time are usual ones.
    pub answered: bool,
}

/// A request's first line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request<'a> {
    /// The method, as it was sent.
    pub method: Cow<'a, str>,
    /// The host without a port, where the log has it.
    pub host: Option<Cow<'a, str>>,
    /// The path without a query.
    pub path: Cow<'a, str>,
}

/// Whether a status is that of a whole answer by a service: no error of its own, and the client stayed.
fn whole(status: u16) -> bool {
    (200..500).contains(&status) && status != 499
}
