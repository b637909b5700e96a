//! How far the agent acts on what it decides.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How far the agent acts on what it decides.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// What it decides is published and done.
    #[default]
    Act,
    /// What it would do is told, and what is in force stays, renewed. Orders act.
    Recommend,
    /// The same, and nothing is published: not even what renews leases.
    Shadow,
}

impl Mode {
    /// All modes.
    pub const ALL: [Self; 3] = [Self::Act, Self::Recommend, Self::Shadow];

    /// Its name, as the configuration has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Act => "act",
            Self::Recommend => "recommend",
            Self::Shadow => "shadow",
        }
    }

    /// Whether what is decided is done.
    #[must_use]
    pub fn acts(&self) -> bool {
        *self == Self::Act
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that is no mode.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no mode: write `act`, `recommend` or `shadow`")]
pub struct BadMode(String);

impl FromStr for Mode {
    type Err = BadMode;

    fn from_str(text: &str) -> Result<Self, BadMode> {
        let mode = Self::ALL.into_iter().find(|mode| mode.as_str() == text);
        mode.ok_or_else(|| BadMode(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_written_as_they_are_read() {
        for mode in Mode::ALL {
            assert_eq!(mode.to_string().parse(), Ok(mode));
            assert_eq!(serde_json::to_value(mode).unwrap(), mode.as_str());
        }
        let bad = "Act".parse::<Mode>().unwrap_err().to_string();
        assert_eq!(bad, "`Act` is no mode: write `act`, `recommend` or `shadow`");
        assert!(Mode::default().acts() && !Mode::Shadow.acts());
    }
}
