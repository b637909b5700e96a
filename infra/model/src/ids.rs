//! Names of things. Each is a short lower-case label, so that it can stand in a URL, a metric label
//! and a log line without quoting.

use std::fmt;

use serde::Serialize;
use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// Why a name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a name: use 1 to 63 of a-z, 0-9, '-' and '_', starting with a letter")]
pub struct BadName(String);

pub(crate) fn checked(name: &str) -> Result<String, BadName> {
    let mut bytes = name.bytes();
    let starts = bytes.next().is_some_and(|b| b.is_ascii_lowercase());
    let rest =
        bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_');
    if starts && rest && name.len() <= 63 {
        Ok(name.to_owned())
    } else {
        Err(BadName(name.to_owned()))
    }
}

/// Checks a name where it is read, and not after: an error then has the place of the name itself,
/// not that of the list it stands in.
struct Name;

impl Visitor<'_> for Name {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<String, E> {
        checked(name).map_err(E::custom)
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks and wraps a name.
            ///
            /// # Errors
            /// When the name is not 1 to 63 of `a-z 0-9 - _` starting with a letter.
            pub fn new(name: &str) -> Result<Self, BadName> {
                checked(name).map(Self)
            }

            /// The name as written.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(Name).map(Self)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = BadName;
            fn from_str(name: &str) -> Result<Self, BadName> {
                checked(name).map(Self)
            }
        }
    };
}

id! {
    /// A site: one private data centre.
    SiteId
}
id! {
    /// A route of the gateway, the unit of cost weights and spill policy.
    RouteId
}
id! {
    /// A knob: a degradation flag.
    KnobId
}
id! {
    /// An event that an operator announced.
    EventId
}

#[cfg(test)]
mod tests {
    use super::SiteId;

    #[test]
    fn names_are_short_lower_case_labels() {
        for good in ["a", "east-1", "qr_text", &"x".repeat(63)] {
            assert!(SiteId::new(good).is_ok(), "{good}");
        }
        for bad in ["", "East", "1a", "-a", "a b", "a/b", &"x".repeat(64)] {
            assert!(SiteId::new(bad).is_err(), "{bad}");
        }
    }
}
