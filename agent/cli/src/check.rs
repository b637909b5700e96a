//! `spillway check`: every mistake of a configuration and of the zones it names, in one go.

use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;
use spillway_dns::ZoneError;
use spillway_model::config::Draft;
use spillway_part::StartError;
use spillway_part::start::read_config;

use crate::args::Args;
use crate::output;

/// EX_CONFIG of sysexits.h.
const WRONG: u8 = 78;

/// One mistake. A zone's has no column, one of a zone as a whole no line.
#[derive(Debug, Serialize)]
struct Mistake {
    file: String,
    line: Option<usize>,
    column: Option<usize>,
    message: String,
}

pub(crate) fn check(args: &Args, file: Option<&Path>) -> anyhow::Result<ExitCode> {
    let path = file.map_or_else(|| args.config_path(), Path::to_owned);
    let (read, in_zones) = match read_config(&path) {
        Ok(text) => {
            let mut draft = Draft::read(&text, path.parent().unwrap_or_else(|| Path::new("")));
            let in_zones = zone_mistakes(&mut draft);
            (draft.finish(), in_zones)
        }
        Err(StartError::BadConfig { problems, .. }) => (Err(problems), Vec::new()),
        Err(e) => return Err(e.into()),
    };
    let in_config = read.as_ref().err().map(|problems| problems.0.as_slice()).unwrap_or_default();
    let mut mistakes: Vec<_> = in_config
        .iter()
        .map(|problem| Mistake {
            file: path.display().to_string(),
            line: Some(problem.line),
            column: Some(problem.column),
            message: problem.message.clone(),
        })
        .collect();
    mistakes.extend(in_zones);

    if args.json {
        output::json(&serde_json::json!({ "problems": mistakes }))?;
    } else if let (Ok(config), true) = (&read, mistakes.is_empty()) {
        output::line(&format!(
            "{}: good: {} site(s), {} routes, {} knobs",
            path.display(),
            config.sites.len(),
            config.routes.len(),
            config.knobs.len()
        ));
    }
    if mistakes.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    if !args.json {
        for mistake in &mistakes {
            // A line a mistake, each beginning with its place, as editors have it.
            let place = [mistake.line, mistake.column].into_iter().flatten();
            let place: String = place.map(|number| format!(":{number}")).collect();
            output::note(&format!("{}{place}: {}", mistake.file, mistake.message));
        }
    }
    Ok(ExitCode::from(WRONG))
}

/// The mistakes of the zone files. Those of the settings that name them go to the draft.
fn zone_mistakes(draft: &mut Draft<'_>) -> Vec<Mistake> {
    let Some(config) = draft.config() else { return Vec::new() };
    let files: Vec<_> = config.dns.zone_files.iter().map(|file| config.path(file)).collect();
    let errors = spillway_dns::zones(config).err().map(|errors| errors.0).unwrap_or_default();
    let mut mistakes = Vec::new();
    for error in errors {
        let (file, line, message) = match error {
            ZoneError::Read { path, source } => {
                let message = format!("cannot read the zone file {}: {source}", path.display());
                let named = files.iter().position(|file| *file == path);
                let setting = named.map(|i| format!("dns.zone_files.{i}"));
                draft.fault(setting.as_deref().unwrap_or("dns.zone_files"), &[], message);
                continue;
            }
            ZoneError::Name { setting, reason } => {
                draft.fault(setting, &["dns.zone_files", "cloud.local"], reason);
                continue;
            }
            ZoneError::Line { place, reason } => {
                (place.file().display().to_string(), Some(place.line()), reason)
            }
            ZoneError::Zone { path, reason } => (path.display().to_string(), None, reason),
        };
        mistakes.push(Mistake { file, line, column: None, message });
    }
    mistakes
}
