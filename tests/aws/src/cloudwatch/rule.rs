//! Rules of composite alarms: `ALARM("a") AND (OK(b) OR NOT INSUFFICIENT_DATA(c))`.

use super::reader::Reader;

/// A rule that was read.
#[derive(Debug, Clone)]
pub(super) enum Rule {
    Always(bool),
    /// Whether the named alarm is in the named state.
    Is(&'static str, String),
    Not(Box<Rule>),
    Both(Box<Rule>, Box<Rule>),
    Either(Box<Rule>, Box<Rule>),
}

impl Rule {
    /// Whether it holds, given whether an alarm is in a state.
    pub(super) fn holds(&self, is: &dyn Fn(&str, &str) -> bool) -> bool {
        match self {
            Self::Always(truth) => *truth,
            Self::Is(state, alarm) => is(alarm, state),
            Self::Not(inner) => !inner.holds(is),
            Self::Both(left, right) => left.holds(is) && right.holds(is),
            Self::Either(left, right) => left.holds(is) || right.holds(is),
        }
    }

    /// The alarms that it names.
    pub(super) fn alarms(&self) -> Vec<&str> {
        match self {
            Self::Always(_) => Vec::new(),
            Self::Is(_, alarm) => vec![alarm],
            Self::Not(inner) => inner.alarms(),
            Self::Both(left, right) | Self::Either(left, right) => {
                [left.alarms(), right.alarms()].concat()
            }
        }
    }
}

/// Reads a rule; none when it is not one. `AND` binds closer than `OR`.
pub(super) fn parse(text: &str) -> Option<Rule> {
    let mut reader = Reader::new(text);
    let rule = reader.either()?;
    reader.rest.is_empty().then_some(rule)
}

impl Reader<'_> {
    fn either(&mut self) -> Option<Rule> {
        let mut left = self.both()?;
        while self.skip("OR") {
            left = Rule::Either(Box::new(left), Box::new(self.both()?));
        }
        Some(left)
    }

    fn both(&mut self) -> Option<Rule> {
        let mut left = self.one()?;
        while self.skip("AND") {
            left = Rule::Both(Box::new(left), Box::new(self.one()?));
        }
        Some(left)
    }

    fn one(&mut self) -> Option<Rule> {
        self.enter()?;
        let rule = if self.skip("NOT") {
            Rule::Not(Box::new(self.one()?))
        } else if self.skip("(") {
            let inner = self.either()?;
            self.skip(")").then_some(inner)?
        } else if self.skip("TRUE") {
            Rule::Always(true)
        } else if self.skip("FALSE") {
            Rule::Always(false)
        } else {
            let states = ["ALARM", "OK", "INSUFFICIENT_DATA"];
            let state = states.into_iter().find(|state| self.skip(state))?;
            Rule::Is(state, self.name()?)
        };
        self.leave();
        Some(rule)
    }

    /// An alarm's name or ARN, in quotes or not.
    fn name(&mut self) -> Option<String> {
        if !self.skip("(") {
            return None;
        }
        let quote = ['"', '\''].into_iter().find(|quote| self.rest.starts_with(*quote));
        let (name, rest) = match quote {
            Some(quote) => self.rest[1..].split_once(quote)?,
            None => self.rest.split_at(self.rest.find(')')?),
        };
        self.rest = rest.trim_start();
        let name = name.trim();
        let name = name.split_once(":alarm:").map_or(name, |(_, name)| name).to_owned();
        self.skip(")").then_some(name)
    }
}
