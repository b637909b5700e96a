//! Names of things. Each is a short lower-case label, so that it can stand in a URL, a metric label
//! and a log line without quoting.

use std::cmp::Ordering;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde::{Serialize, Serializer};

/// Why a name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a name: use 1 to 63 of a-z, 0-9, '-' and '_', starting with a letter")]
pub struct BadName(String);

/// A name of up to so many bytes is kept in place.
const SHORT_MAX: usize = 23;

/// A checked name. A load has hundreds, as keys that are compared each second; a short one is compared, copied
/// and read without a place of its own in memory.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) enum Name {
    /// Filled up with zeros, which no name has: so these have the order of the names.
    Short([u8; SHORT_MAX]),
    Long(Box<str>),
}

impl Name {
    fn as_str(&self) -> &str {
        match self {
            Self::Short(bytes) => {
                let len = bytes.iter().position(|b| *b == 0).unwrap_or(SHORT_MAX);
                // It was made from a `str`.
                bytes.get(..len).and_then(|name| str::from_utf8(name).ok()).unwrap_or_default()
            }
            Self::Long(name) => name,
        }
    }
}

impl From<&str> for Name {
    fn from(name: &str) -> Self {
        let mut bytes = [0; SHORT_MAX];
        match bytes.get_mut(..name.len()) {
            Some(short) => {
                short.copy_from_slice(name.as_bytes());
                Self::Short(bytes)
            }
            None => Self::Long(name.into()),
        }
    }
}

impl Ord for Name {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Short(a), Self::Short(b)) => a.cmp(b),
            _ => self.as_str().cmp(other.as_str()),
        }
    }
}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

pub(crate) fn checked(name: &str) -> Result<Name, BadName> {
    let mut bytes = name.bytes();
    let starts = bytes.next().is_some_and(|b| b.is_ascii_lowercase());
    let rest =
        bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_');
    if starts && rest && name.len() <= 63 { Ok(name.into()) } else { Err(BadName(name.to_owned())) }
}

/// Checks a name where it is read, and not after: an error then has the place of the name itself,
/// not that of the list it stands in.
struct Checked;

impl Visitor<'_> for Checked {
    type Value = Name;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Name, E> {
        checked(name).map_err(E::custom)
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Name);

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
                self.0.as_str()
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(Checked).map(Self)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.as_str().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
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
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// However long it is, a name is what was written, in the order of what was written.
        #[test]
        fn names_are_what_was_written(a in "[a-z][a-z0-9_-]{0,62}", b in "[a-z][a-b]{0,40}", cut in 0..64_usize) {
            let near = a.get(..cut.clamp(1, a.len())).unwrap_or(&a);
            for (a, b) in [(a.as_str(), b.as_str()), (a.as_str(), near)] {
                let (x, y) = (RouteId::new(a).unwrap(), RouteId::new(b).unwrap());
                prop_assert_eq!(x.as_str(), a);
                prop_assert_eq!(x.cmp(&y), a.cmp(b));
                prop_assert_eq!(x == y, a == b);
                prop_assert_eq!(format!("{x:?} {x}"), format!("RouteId({a:?}) {a}"));
                let json = serde_json::to_string(&x).unwrap();
                prop_assert_eq!(&json, &format!("\"{a}\""));
                prop_assert_eq!(serde_json::from_str::<RouteId>(&json).unwrap(), x);
            }
        }
    }

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
