//! `spillway keygen`: the keys that sign and verify plans, and the operator's token.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use ed25519_dalek::SigningKey;
use spillway_model::plan;
use spillway_part::start::load_config;

use crate::args::Args;
use crate::output;

/// Makes them in a folder, or else in the configuration's state folder.
pub(crate) fn keygen(args: &Args, to: Option<&Path>) -> anyhow::Result<ExitCode> {
    let made = match to {
        // What is made of them may be needed for a configuration to come to be, so none is read.
        Some(folder) => ensure(folder)?,
        None => ensure(&load_config(&args.config_path())?.state_path(""))?,
    };
    if args.json {
        output::json(&serde_json::json!({ "made": made }))?;
    } else if made.is_empty() {
        output::line("nothing to make: all keys are there");
    } else {
        output::line(&format!("made {}", made.join(", ")));
    }
    Ok(ExitCode::SUCCESS)
}

/// Makes what is missing of `plan.key`, `plan.pub` and `operator.token` in a folder, and the folder where
/// it is missing; returns what it made.
pub(crate) fn ensure(folder: &Path) -> anyhow::Result<Vec<String>> {
    std::fs::create_dir_all(folder)
        .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let mut made = Vec::new();
    let first = !folder.join("plan.key").exists();
    let [private, public] = ["plan.key", "plan.pub"].map(|name| folder.join(name));
    let key = if private.exists() {
        let text = spillway_part::files::read_secret(&private)
            .with_context(|| format!("cannot read {}", private.display()))?;
        plan::signing_key(&text).with_context(|| private.display().to_string())?
    } else {
        anyhow::ensure!(
            !public.exists(),
            "{} is there but its private half {} is not: bring that back, or remove both to start anew",
            public.display(),
            private.display()
        );
        let key = SigningKey::from_bytes(&random()?);
        write(&private, 0o600, &plan::encode_key(&key.to_bytes()))?;
        made.push(private.display().to_string());
        key
    };
    if !public.exists() {
        write(&public, 0o644, &plan::encode_key(key.verifying_key().as_bytes()))?;
        made.push(public.display().to_string());
    }
    let token = folder.join("operator.token");
    if !token.exists() {
        write(&token, 0o600, &plan::encode_key(&random()?))?;
        if !first {
            output::note(&lost_token(&token));
        }
        made.push(token.display().to_string());
    }
    Ok(made)
}

/// Unlike the private key, a token can be replaced without any part noticing; the people do.
fn lost_token(token: &Path) -> String {
    format!(
        "warning: {} was missing and has been made anew. Whoever has the old token can give no orders \
         any more: hand out the new one. An agent that is running knows only the old one until it is \
         started again.",
        token.display()
    )
}

fn random() -> anyhow::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|e| anyhow::anyhow!("no randomness for a key: {e}"))?;
    Ok(bytes)
}

/// Writes a new file in one piece: a crash leaves either nothing or all of it.
fn write(path: &Path, mode: u32, line: &str) -> anyhow::Result<()> {
    let beside = path.with_extension("new");
    let written = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(&beside)
        .and_then(|mut file| writeln!(file, "{line}"))
        .and_then(|()| std::fs::rename(&beside, path));
    written.with_context(|| format!("cannot write {}", path.display()))
}
