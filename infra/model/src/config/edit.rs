//! Making one configuration out of another: what a demonstration or a test changes in the example.

use toml::{Table, Value};

/// Why an edit was refused.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// The text is not TOML.
    #[error("the configuration to change is not TOML")]
    Read(#[source] toml::de::Error),
    /// The result cannot be written.
    #[error("the changed configuration cannot be written")]
    Write(#[source] toml::ser::Error),
    /// The path leads nowhere.
    #[error("`{0}` leads nowhere in this configuration")]
    NoSuchPlace(String),
}

/// `text` with the values at some paths replaced or added. A path is keys and indices joined by
/// dots, as in `site.0.uplink.bits_per_sec`; all but its last step must exist. Comments are lost.
///
/// # Errors
/// When the text is not TOML or a path leads nowhere.
pub fn edited(text: &str, edits: &[(&str, Value)]) -> Result<String, EditError> {
    let mut document = Value::Table(text.parse::<Table>().map_err(EditError::Read)?);
    for (path, value) in edits {
        set(&mut document, path, value.clone())
            .ok_or_else(|| EditError::NoSuchPlace((*path).to_owned()))?;
    }
    toml::to_string(&document).map_err(EditError::Write)
}

fn set(document: &mut Value, path: &str, value: Value) -> Option<()> {
    let (above, last) =
        path.rsplit_once('.').map_or((None, path), |(above, last)| (Some(above), last));
    let mut here = document;
    for step in above.into_iter().flat_map(|above| above.split('.')) {
        here = match here {
            Value::Table(table) => table.get_mut(step)?,
            Value::Array(items) => items.get_mut(step.parse::<usize>().ok()?)?,
            _ => return None,
        };
    }
    match here {
        Value::Table(table) => {
            table.insert(last.to_owned(), value);
        }
        Value::Array(items) => *items.get_mut(last.parse::<usize>().ok()?)? = value,
        _ => return None,
    }
    Some(())
}
