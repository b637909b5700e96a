//! Logging: `tracing` events to standard error, as text for people and as JSON for machines.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

/// Sets up logging for a process. `SPILLWAY_LOG` filters (`info` when unset, in the syntax of
/// `EnvFilter`); `SPILLWAY_LOG_FORMAT=json` writes a JSON object a line. A second call does nothing.
pub fn init() {
    let filter = EnvFilter::try_from_env("SPILLWAY_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // Said how? On standard error, which is what has failed; and that would panic. A line that
        // cannot be written, as on a full disk, is lost, and the process serves on.
        .log_internal_errors(false)
        .with_target(false);
    let json = std::env::var("SPILLWAY_LOG_FORMAT").is_ok_and(|format| format == "json");
    // A subscriber that is already there (a test's) stays.
    let _already = if json {
        builder.json().flatten_event(true).try_init()
    } else {
        builder.with_ansi(std::io::stderr().is_terminal()).try_init()
    };
}
