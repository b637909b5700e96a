//! What people and machines read: tables and sentences on standard output, errors on standard error.

use std::io::Write as _;

/// Prints a line on standard output. A reader that has gone away (`| head`) is no error.
pub(crate) fn line(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// Prints a line on standard error.
pub(crate) fn note(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
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
    line(&serde_json::to_string(value)?);
    Ok(())
}

/// A table with a head, as plain as a terminal shows it.
pub(crate) fn table(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = comfy_table::Table::new();
    table.load_preset(comfy_table::presets::NOTHING);
    table.set_content_arrangement(comfy_table::ContentArrangement::Dynamic);
    table.set_header(head.to_vec());
    table.add_rows(rows);
    table.to_string()
}

/// Bits per second with a unit.
pub(crate) fn bits(per_sec: f64) -> String {
    match per_sec {
        n if n >= 1e9 => format!("{:.2} Gbit/s", n / 1e9),
        n if n >= 1e6 => format!("{:.2} Mbit/s", n / 1e6),
        n => format!("{:.0} kbit/s", n / 1e3),
    }
}
