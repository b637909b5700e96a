//! The change from one JSON value to the next.
//!
//! Successive observations differ in a few counters out of thousands; journalled as changes they
//! take a tenth of the room. A change is
//!
//! - a scalar: the new value;
//! - `{"=": VALUE}`: the new value, an array or an object;
//! - `{"o": {KEY: CHANGE, …}, "-": [KEY, …]}`: members changed or added, and members removed;
//! - `{"a": {INDEX: CHANGE, …}}`: elements changed of an array that kept its length.

use serde_json::{Map, Value};

/// Why a change could not be applied.
#[derive(Debug, thiserror::Error)]
#[error("a change in the journal does not fit what it is applied to")]
pub struct BadChange;

/// The change that makes `old` into `new`.
pub(super) fn change(old: &Value, new: &Value) -> Value {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => members(old, new),
        (Value::Array(old), Value::Array(new)) if old.len() == new.len() => elements(old, new),
        _ => whole(new),
    }
}

fn whole(new: &Value) -> Value {
    if new.is_object() || new.is_array() { tagged("=", new.clone()) } else { new.clone() }
}

fn tagged(tag: &str, value: Value) -> Value {
    Value::Object(Map::from_iter([(tag.to_owned(), value)]))
}

fn members(old: &Map<String, Value>, new: &Map<String, Value>) -> Value {
    let changed = new.iter().filter(|(key, value)| old.get(*key) != Some(*value));
    let changed = changed.map(|(key, value)| {
        let change = old.get(key).map_or_else(|| whole(value), |old| change(old, value));
        (key.clone(), change)
    });
    let mut parts = Map::from_iter([("o".to_owned(), Value::Object(changed.collect()))]);
    let removed: Vec<Value> =
        old.keys().filter(|key| !new.contains_key(*key)).cloned().map(Value::String).collect();
    if !removed.is_empty() {
        parts.insert("-".to_owned(), Value::Array(removed));
    }
    Value::Object(parts)
}

fn elements(old: &[Value], new: &[Value]) -> Value {
    let changed = old.iter().zip(new).enumerate().filter(|(_, (old, new))| old != new);
    let changed = changed.map(|(index, (old, new))| (index.to_string(), change(old, new)));
    tagged("a", Value::Object(changed.collect()))
}

/// Applies a change.
pub(super) fn apply(base: &mut Value, change: Value) -> Result<(), BadChange> {
    let mut parts = match change {
        Value::Object(parts) => parts,
        Value::Array(_) => return Err(BadChange),
        scalar => {
            *base = scalar;
            return Ok(());
        }
    };
    if let Some(value) = parts.remove("=") {
        *base = value;
    } else if let Some(Value::Object(changed)) = parts.remove("o") {
        let members = base.as_object_mut().ok_or(BadChange)?;
        if let Some(Value::Array(removed)) = parts.remove("-") {
            for key in &removed {
                members.remove(key.as_str().ok_or(BadChange)?);
            }
        }
        for (key, change) in changed {
            apply(members.entry(key).or_insert(Value::Null), change)?;
        }
    } else if let Some(Value::Object(changed)) = parts.remove("a") {
        let elements = base.as_array_mut().ok_or(BadChange)?;
        for (index, change) in changed {
            let index: usize = index.parse().map_err(|_| BadChange)?;
            apply(elements.get_mut(index).ok_or(BadChange)?, change)?;
        }
    } else {
        return Err(BadChange);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "[a=o-]{0,2}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map("[a=o-]{1}", inner, 0..5)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_change_leads_from_old_to_new(old in any_value(), new in any_value()) {
            let written = change(&old, &new).to_string();
            let mut value = old;
            apply(&mut value, serde_json::from_str(&written).unwrap()).unwrap();
            prop_assert_eq!(value.to_string(), new.to_string());
        }

        #[test]
        fn no_change_breaks_the_reader(mut base in any_value(), change in any_value()) {
            let _either = apply(&mut base, change);
        }
    }

    #[test]
    fn what_stayed_takes_no_room() {
        let old = json!({"a": [1, 2, 3], "b": {"c": 1, "d": 2}, "e": 5});
        let new = json!({"a": [1, 9, 3], "b": {"c": 1}, "e": 5});
        let expected = json!({"o": {"a": {"a": {"1": 9}}, "b": {"o": {}, "-": ["d"]}}});
        assert_eq!(change(&old, &new), expected);
    }
}
