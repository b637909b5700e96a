//! What clients ask for: the operations of the reference service, and how often each.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use http::Method;
use spillway_model::Config;

/// Users that the reference service starts with: `u000001` and up.
const USERS: u32 = 2000;
/// Venues that it starts with: `v001` and up.
const VENUES: u64 = 100;

/// One operation of the reference service. Its name is that of its route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Fetch a user's code.
    Code,
    /// Fetch it as a picture.
    Qr,
    /// Record a scan at a venue.
    Scan,
    /// A user's scans.
    History,
    /// A venue's statistics.
    Stats,
    /// The notices.
    Notices,
    /// Register a user.
    Register,
}

impl Operation {
    /// All of them, in the order of [`Mix`] weights.
    pub const ALL: [Self; 7] = [
        Self::Code,
        Self::Qr,
        Self::Scan,
        Self::History,
        Self::Stats,
        Self::Notices,
        Self::Register,
    ];

    /// Its name, which is the id of its route.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Code => "code",
            Self::Qr => "qr",
            Self::Scan => "scan",
            Self::History => "history",
            Self::Stats => "stats",
            Self::Notices => "notices",
            Self::Register => "register",
        }
    }

    /// Whether the configuration lets requests of this operation leave the site. One that may not
    /// says nothing about the side its client is on.
    pub(crate) fn moves(self, config: &Config) -> bool {
        let route = config.routes.iter().find(|route| route.id.as_str() == self.name());
        route.is_none_or(|route| !route.spill.is_empty())
    }

    /// The request of a client. A client is a person: it asks for its own user's things. `token` is
    /// random and chooses all else.
    pub(crate) fn call(self, client: u32, token: u64) -> Call {
        let user = 1 + client % USERS;
        let venue = 1 + token % VENUES;
        let get = |path: String| Call { method: Method::GET, path, body: Bytes::new() };
        let post = |path: &str, body: String| Call {
            method: Method::POST,
            path: path.to_owned(),
            body: body.into(),
        };
        match self {
            Self::Code => get(format!("/v1/users/u{user:06}/code")),
            Self::Qr => get(format!("/v1/users/u{user:06}/qr")),
            Self::History => get(format!("/v1/users/u{user:06}/scans")),
            Self::Stats => get(format!("/v1/venues/v{venue:03}/stats")),
            Self::Notices => get("/v1/notices".to_owned()),
            Self::Scan => {
                post("/v1/scans", format!("{{\"user\":\"u{user:06}\",\"venue\":\"v{venue:03}\"}}"))
            }
            Self::Register => {
                let number = token % 1_000_000_000_000_000_000;
                post(
                    "/v1/users",
                    format!("{{\"name\":\"Storm {number}\",\"id_number\":\"{number:018}\"}}"),
                )
            }
        }
    }
}

/// A request, short of where it goes.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) body: Bytes,
}

/// How often each operation is asked for, relative to the others.
#[derive(Debug, Clone, PartialEq)]
pub struct Mix {
    weights: [f64; 7],
}

impl Default for Mix {
    fn default() -> Self {
        Self { weights: [40.0, 25.0, 15.0, 8.0, 5.0, 5.0, 2.0] }
    }
}

/// Why a mix was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MixError {
    /// Not `NAME=WEIGHT`.
    #[error("`{0}` is not NAME=WEIGHT, as in `code=40,qr=25`")]
    Form(String),
    /// There is no such operation.
    #[error(
        "there is no operation `{0}`; there are code, qr, scan, history, stats, notices and register"
    )]
    Unknown(String),
    /// Named twice.
    #[error("`{0}` is named twice")]
    Twice(String),
    /// Not a weight.
    #[error("`{0}` is not a weight: use a number from 0 to 1000000")]
    Weight(String),
    /// Nothing left to do.
    #[error("a mix needs an operation with a weight above 0")]
    Nothing,
}

impl FromStr for Mix {
    type Err = MixError;

    /// Reads `code=40,qr=25`; operations not named have weight 0.
    fn from_str(text: &str) -> Result<Self, MixError> {
        let mut weights = [None; 7];
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (name, weight) =
                part.split_once('=').ok_or_else(|| MixError::Form(part.to_owned()))?;
            let name = name.trim();
            let index = Operation::ALL
                .iter()
                .position(|operation| operation.name() == name)
                .ok_or_else(|| MixError::Unknown(name.to_owned()))?;
            let value: Option<f64> = weight.trim().parse().ok();
            let value = value
                .filter(|value| (0.0..=1e6).contains(value))
                .ok_or_else(|| MixError::Weight(weight.trim().to_owned()))?;
            if weights[index].replace(value).is_some() {
                return Err(MixError::Twice(name.to_owned()));
            }
        }
        let weights = weights.map(Option::unwrap_or_default);
        if weights.iter().sum::<f64>() > 0.0 {
            Ok(Self { weights })
        } else {
            Err(MixError::Nothing)
        }
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut comma = "";
        for (operation, weight) in Operation::ALL.iter().zip(self.weights) {
            if weight > 0.0 {
                write!(f, "{comma}{}={weight}", operation.name())?;
                comma = ",";
            }
        }
        Ok(())
    }
}

impl Mix {
    /// The operation that a number drawn evenly from [0,1) stands for.
    #[must_use]
    pub fn pick(&self, drawn: f64) -> Operation {
        let mut left = drawn * self.weights.iter().sum::<f64>();
        let mut picked = Operation::Code;
        for (operation, weight) in Operation::ALL.into_iter().zip(self.weights) {
            if weight > 0.0 {
                picked = operation;
                if left < weight {
                    break;
                }
                left -= weight;
            }
        }
        picked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        let default = Mix::default();
        assert_eq!(
            default.to_string(),
            "code=40,qr=25,scan=15,history=8,stats=5,notices=5,register=2"
        );
        assert_eq!(default.to_string().parse(), Ok(default));
        assert_eq!(" qr = 1 ,".parse::<Mix>().map(|mix| mix.to_string()), Ok("qr=1".to_owned()));
    }

    #[test]
    fn mistakes_are_named() {
        let wrong = |text: &str| text.parse::<Mix>().unwrap_err();
        assert_eq!(wrong("code"), MixError::Form("code".into()));
        assert_eq!(wrong("login=1"), MixError::Unknown("login".into()));
        assert_eq!(wrong("qr=1,qr=2"), MixError::Twice("qr".into()));
        for weight in ["-1", "x", "NaN", "inf"] {
            assert_eq!(wrong(&format!("qr={weight}")), MixError::Weight(weight.into()));
        }
        assert_eq!(wrong("qr=0"), MixError::Nothing);
        assert_eq!(wrong(""), MixError::Nothing);
    }

    #[test]
    fn weights_decide_and_zero_is_never_picked() {
        let mix: Mix = "scan=1,notices=3".parse().unwrap();
        assert_eq!(mix.pick(0.0), Operation::Scan);
        assert_eq!(mix.pick(0.2499), Operation::Scan);
        assert_eq!(mix.pick(0.25), Operation::Notices);
        assert_eq!(mix.pick(0.999_999_999), Operation::Notices);
    }

    #[test]
    fn calls_are_those_of_the_service() {
        let code = Operation::Code.call(2122, 5);
        assert_eq!((code.method, code.path.as_str()), (Method::GET, "/v1/users/u000123/code"));
        let scan = Operation::Scan.call(122, 741);
        assert_eq!(scan.body, r#"{"user":"u000123","venue":"v042"}"#);
        let register = Operation::Register.call(0, u64::MAX);
        let body: serde_json::Value = serde_json::from_slice(&register.body).unwrap();
        assert_eq!(body["id_number"].as_str().map(str::len), Some(18));
    }
}
