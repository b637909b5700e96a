//! What a request says, whichever protocol it came by: a tree whose leaves may be text (query) or
//! typed (JSON).

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::aws::Refusal;
use crate::time;

/// Deepest nesting of a query's names that is followed.
const DEPTH_MAX: usize = 12;

/// A part of a request. What is not there reads as nothing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Input<'a>(pub(crate) &'a Value);

impl<'a> Input<'a> {
    /// The member of that name.
    pub(crate) fn get(self, key: &str) -> Self {
        Self(self.0.get(key).unwrap_or(&Value::Null))
    }

    /// Whether anything was said here.
    pub(crate) fn is_there(self) -> bool {
        !self.0.is_null()
    }

    /// This leaf as text.
    pub(crate) fn as_text(self) -> Option<String> {
        match self.0 {
            Value::String(s) => Some(s.clone()),
            Value::Number(n) => Some(n.to_string()),
            Value::Bool(b) => Some(b.to_string()),
            _ => None,
        }
    }

    /// A member's text, if it is not empty.
    pub(crate) fn text(self, key: &str) -> Option<String> {
        self.get(key).as_text().filter(|text| !text.is_empty())
    }

    /// A member's text, which must be there.
    pub(crate) fn required(self, key: &str) -> Result<String, Refusal> {
        self.text(key).ok_or_else(|| {
            let message = format!("The request must contain the parameter {key}");
            Refusal::new(400, "MissingParameter", message)
        })
    }

    fn parsed<T: std::str::FromStr>(self, key: &str) -> Result<Option<T>, Refusal> {
        self.text(key).map(|text| text.parse().map_err(|_| wrong(key, &text))).transpose()
    }

    /// A whole number.
    pub(crate) fn number(self, key: &str) -> Result<Option<i64>, Refusal> {
        self.parsed(key)
    }

    /// A count, which is not negative.
    pub(crate) fn count(self, key: &str) -> Result<Option<u32>, Refusal> {
        self.parsed(key)
    }

    /// Any number.
    pub(crate) fn real(self, key: &str) -> Result<Option<f64>, Refusal> {
        self.parsed(key)
    }

    /// A truth value.
    pub(crate) fn flag(self, key: &str) -> Result<Option<bool>, Refusal> {
        self.parsed(key)
    }

    /// A point in time, in milliseconds since the epoch: seconds in JSON, ISO 8601 in a query.
    pub(crate) fn time(self, key: &str) -> Result<Option<u64>, Refusal> {
        self.text(key).map(|text| time::parse(&text).ok_or_else(|| wrong(key, &text))).transpose()
    }

    /// The elements of a list.
    pub(crate) fn list(self, key: &str) -> Vec<Input<'a>> {
        match self.get(key).0 {
            Value::Array(elements) => elements.iter().map(Input).collect(),
            _ => Vec::new(),
        }
    }

    /// The elements of a list of texts.
    pub(crate) fn texts(self, key: &str) -> Vec<String> {
        self.list(key).into_iter().filter_map(Input::as_text).collect()
    }

    /// A map of texts: an object, or a query's list of entries.
    pub(crate) fn map(self, key: &str) -> BTreeMap<String, String> {
        let here = self.get(key);
        let entries = here.list("entry");
        if !entries.is_empty() {
            let pair = |e: Input<'_>| Some((e.text("key")?, e.get("value").as_text()?));
            return entries.into_iter().filter_map(pair).collect();
        }
        let Value::Object(members) = here.0 else { return BTreeMap::new() };
        let text = |(k, v)| Some((String::clone(k), Input(v).as_text()?));
        members.iter().filter_map(text).collect()
    }

    /// A list of `Key` and `Value`.
    pub(crate) fn tags(self, key: &str) -> BTreeMap<String, String> {
        let tag = |t: Input<'_>| Some((t.text("Key")?, t.text("Value").unwrap_or_default()));
        self.list(key).into_iter().filter_map(tag).collect()
    }
}

fn wrong(key: &str, text: &str) -> Refusal {
    let message = format!("Value ({text}) for parameter {key} is invalid.");
    Refusal::new(400, "InvalidParameterValue", message)
}

/// The tree that a form's pairs describe: `A.member.1.B=c` is `{"A": [{"B": "c"}]}`, and so is
/// `A.1.B=c`, EC2's way of writing it.
pub(crate) fn from_pairs(pairs: impl Iterator<Item = (String, String)>) -> Value {
    let mut root = Value::Object(Map::new());
    for (name, text) in pairs {
        let mut here = &mut root;
        for step in name.splitn(DEPTH_MAX, '.') {
            if !here.is_object() {
                *here = Value::Object(Map::new());
            }
            let Value::Object(members) = here else { break };
            here = members.entry(step).or_insert(Value::Null);
        }
        *here = Value::String(text);
    }
    listed(root)
}

/// Turns objects whose members are numbered into lists.
fn listed(value: Value) -> Value {
    let Value::Object(members) = value else { return value };
    let mut members: Map<String, Value> =
        members.into_iter().map(|(name, value)| (name, listed(value))).collect();
    if members.len() == 1 && members.get("member").is_some_and(Value::is_array) {
        return members.remove("member").unwrap_or_default();
    }
    let places: Option<Vec<u32>> = members.keys().map(|name| name.parse().ok()).collect();
    match places {
        Some(places) if !places.is_empty() => {
            let mut elements: Vec<(u32, Value)> =
                places.into_iter().zip(members.into_iter().map(|(_, value)| value)).collect();
            elements.sort_by_key(|(place, _)| *place);
            Value::Array(elements.into_iter().map(|(_, value)| value).collect())
        }
        _ => Value::Object(members),
    }
}
