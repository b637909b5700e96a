//! `spillway replay`: the decisions in the journal computed again, and under another configuration.

mod again;
mod tell;
mod under;

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use anyhow::Context as _;
use serde::Serialize;
use spillway_daemon::{Journal, Policy};
use spillway_model::UnixMillis;
use spillway_part::start::load_config;

use crate::args::{Args, ReplayOptions, When};
use crate::{output, up};

use again::{Again, Checked};
use under::{Compared, Under};

/// Ticks between two words on how far it is.
const TELL_TICKS: u64 = 5000;

/// All that is told.
#[derive(Serialize)]
struct Told {
    journal: String,
    from: String,
    to: String,
    #[serde(flatten)]
    checked: Checked,
    #[serde(skip_serializing_if = "Option::is_none")]
    under: Option<Compared>,
}

pub(crate) fn run(args: &Args, options: &ReplayOptions) -> anyhow::Result<ExitCode> {
    let config = load_config(&args.config_path())?;
    let path = options.journal.clone().unwrap_or_else(|| config.state_path("journal.db"));
    let other = options.under.as_ref().map(|path| load_config(path)).transpose()?;
    let policy = Policy::new(&config);
    let other = options.under.as_ref().zip(other).map(|(path, config)| {
        Under::new(path.display().to_string(), Policy::new(&config), config.agent.tick_ms)
    });
    let told = up::current_thread()?.block_on(async {
        let journal = Journal::open_to_read(&path).await.map_err(|error| match error {
            error if error.is_damage() => anyhow::anyhow!(
                "{} is no journal, or a copy without the file of that name with `-wal` behind it",
                path.display()
            ),
            error => error.into(),
        })?;
        let told = replay(&journal, Again::new(policy), other, options).await;
        journal.close().await;
        told
    })?;
    if args.json {
        output::json(&told)?;
    } else {
        output::line(&tell::text(&told, output::width()));
    }
    // Under another configuration decisions are meant to differ.
    let failed = told.under.is_none() && told.checked.different > 0;
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

async fn replay(
    journal: &Journal,
    mut again: Again,
    mut other: Option<Under>,
    options: &ReplayOptions,
) -> anyhow::Result<Told> {
    let name = journal.path().display();
    let (first, last) = journal.span().await?.with_context(|| format!("{name} holds nothing"))?;
    let moment = |when: Option<When>, or: UnixMillis| match when {
        None => or,
        Some(When::At(at)) => at,
        Some(When::BeforeEnd(secs)) => UnixMillis(last.0.saturating_sub(secs * 1000)),
    };
    let (from, to) = (moment(options.from, first), moment(options.to, last));
    let mut ticks = journal.ticks(from);
    let mut read = 0;
    while let Some(tick) = ticks.next().await? {
        let at = tick.observation.at;
        if at > to {
            break;
        }
        let Some(step) = again.step(&tick, at >= from) else { continue };
        if let Some(other) = &mut other {
            other.step(&tick.observation, &step, at >= from);
        }
        again.keep(step);
        read += 1;
        if read % TELL_TICKS == 0 {
            tell_progress(at, from, to);
        }
    }
    end_progress(read);
    let mut checked = again.end();
    checked.skipped += ticks.skipped();
    if checked.ticks == 0 {
        anyhow::bail!("{name} has no decision from {from} to {to}: it holds {first} to {last}");
    }
    Ok(Told {
        journal: name.to_string(),
        from: from.max(first).to_string(),
        to: to.min(last).to_string(),
        checked,
        under: other.map(Under::end),
    })
}

/// On a terminal, a line that is rewritten.
fn tell_progress(at: UnixMillis, from: UnixMillis, to: UnixMillis) {
    if std::io::stderr().is_terminal() {
        let part = at.millis_since(from) as f64 / to.millis_since(from).max(1) as f64;
        // Nothing depends on whether it could be written.
        let _ = write!(std::io::stderr(), "\r{:.0} %\x1b[K", part * 100.0);
    }
}

fn end_progress(read: u64) {
    if read >= TELL_TICKS && std::io::stderr().is_terminal() {
        let _ = write!(std::io::stderr(), "\r\x1b[K");
    }
}
