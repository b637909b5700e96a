//! What people and machines read: tables and sentences on standard output, errors on standard error.

use std::io::{ErrorKind, Write as _};
use std::sync::OnceLock;

use serde_json::Value;
use spillway_model::UnixMillis;
use spillway_model::api::unprintable;

/// Why something that was to be printed is lost: the disk behind standard output is full, say.
static LOST: OnceLock<std::io::Error> = OnceLock::new();

/// Prints a line on standard output. A reader that has gone away (`| head`) is no error; any other is kept
/// for [`lost`].
pub(crate) fn line(text: &str) {
    let written = writeln!(std::io::stdout().lock(), "{}", escaped(text, &['\n', '\t']));
    if let Err(e) = written
        && e.kind() != ErrorKind::BrokenPipe
    {
        // The first says it all.
        let _ = LOST.set(e);
    }
}

/// Why something that was printed on standard output has not arrived there, if it has not.
pub(crate) fn lost() -> Option<&'static std::io::Error> {
    LOST.get()
}

/// Prints a line on standard error.
pub(crate) fn note(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{}", escaped(text, &['\n', '\t']));
}

/// Text that others wrote, on one line and with nothing in it that a terminal would obey.
pub(crate) fn clean(text: &str) -> String {
    escaped(text, &[])
}

fn escaped(text: &str, except: &[char]) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if unprintable(c) && !except.contains(&c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// Prints an error and its causes on standard error.
pub(crate) fn error(error: &anyhow::Error) {
    note(&format!("spillway: {error:#}"));
}

/// Prints an error and its causes on standard output, as the JSON that was asked for.
pub(crate) fn error_json(error: &anyhow::Error) {
    line(&serde_json::json!({ "error": format!("{error:#}") }).to_string());
}

/// Prints a value as one line of JSON.
pub(crate) fn json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    line(&json_line(&serde_json::to_string(value)?));
    Ok(())
}

/// Prints a value as one line of JSON in which every time is there twice: as RFC 3339 under its own
/// name, and in milliseconds since 1970 under the name with `_ms`.
pub(crate) fn people_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    let mut value = serde_json::to_value(value)?;
    tell_times(&mut value);
    json(&value)
}

/// What JSON lets stand in strings but a terminal would obey, escaped as JSON does it. Outside of
/// strings there is none of it.
fn json_line(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if unprintable(c) {
            out.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            out.push(c);
        }
    }
    out
}

/// The names under which the API has times.
const TIMES: [&str; 5] = ["at", "expires_at", "issued_at", "since", "until"];
/// RFC 3339 ends with the year 9999.
pub(crate) const TIME_MAX: UnixMillis = UnixMillis(253_402_300_799_999);

fn tell_times(value: &mut Value) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(tell_times),
        Value::Object(fields) => {
            fields.values_mut().for_each(tell_times);
            for name in TIMES {
                let Some(millis) = fields.get(name).and_then(Value::as_u64) else { continue };
                let at = UnixMillis(millis);
                let text = if at <= TIME_MAX { at.to_string().into() } else { Value::Null };
                fields.insert(name.to_owned(), text);
                fields.insert(format!("{name}_ms"), millis.into());
            }
        }
        _ => {}
    }
}

/// The width of the terminal that standard output is, if it is one and says its width.
pub(crate) fn width() -> Option<u16> {
    comfy_table::Table::new().width().filter(|width| *width > 0)
}

/// A table with a head, as plain as a terminal shows it, wrapped to the terminal.
pub(crate) fn table(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    table_within(head, rows, width())
}

/// The same, wrapped to `width` columns.
pub(crate) fn table_within(
    head: &[&str],
    rows: impl IntoIterator<Item = Vec<String>>,
    width: Option<u16>,
) -> String {
    let mut table = comfy_table::Table::new();
    table.load_preset(comfy_table::presets::NOTHING);
    table.set_content_arrangement(comfy_table::ContentArrangement::Dynamic);
    match width {
        Some(width) => table.set_width(width),
        None => table.force_no_tty(),
    };
    table.set_header(head.to_vec());
    let rows = rows.into_iter().map(|row| row.iter().map(|cell| clean(cell)).collect::<Vec<_>>());
    table.add_rows(rows);
    // The first column names things: what is broken cannot be copied.
    if let Some(names) = table.column_mut(0) {
        names.set_constraint(comfy_table::ColumnConstraint::ContentWidth);
    }
    // Each cell has a blank on either side, which serves nobody at the edges.
    let lines =
        table.lines().map(|line| line.strip_prefix(' ').unwrap_or(&line).trim_end().to_owned());
    lines.collect::<Vec<_>>().join("\n")
}

/// Bits per second with a unit.
pub(crate) fn bits(per_sec: f64) -> String {
    match per_sec {
        n if n >= 1e9 => format!("{:.2} Gbit/s", n / 1e9),
        n if n >= 1e6 => format!("{:.2} Mbit/s", n / 1e6),
        n => format!("{:.0} kbit/s", n / 1e3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_not_told_what_to_do() {
        let evil = "ann\u{1b}[2J\u{9b}1m\nroot: fine\u{202e}";
        assert_eq!(clean(evil), "ann\\u{1b}[2J\\u{9b}1m\\nroot: fine\\u{202e}");
        let shown = table_within(&["by"], [vec![evil.to_owned()]], None);
        assert!(!shown.contains('\u{1b}') && shown.lines().count() == 2, "{shown}");
        let json = json_line(&serde_json::to_string(evil).unwrap());
        assert!(!json.contains(unprintable), "{json}");
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), evil);
    }

    #[test]
    fn times_in_json_are_for_people_and_for_machines() {
        let mut value = serde_json::json!({
            "at": 0, "orders": [{"until": 951_827_696_789_u64}], "expires_at": u64::MAX, "rank": 7,
        });
        tell_times(&mut value);
        let told = serde_json::json!({
            "at": "1970-01-01T00:00:00.000Z", "at_ms": 0,
            "orders": [{"until": "2000-02-29T12:34:56.789Z", "until_ms": 951_827_696_789_u64}],
            "expires_at": null, "expires_at_ms": u64::MAX,
            "rank": 7,
        });
        assert_eq!(value, told);
    }
}
