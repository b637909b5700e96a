//! `spillway check`.

use std::path::Path;
use std::process::ExitCode;

use spillway_part::StartError;
use spillway_part::start::load_config;

use crate::args::Args;
use crate::output;

pub(crate) fn check(args: &Args, file: Option<&Path>) -> anyhow::Result<ExitCode> {
    let path = file.map_or_else(|| args.config_path(), Path::to_owned);
    match load_config(&path) {
        Ok(config) => {
            // The steered name and its zones must fit, or the name server would not start.
            spillway_dns::zones(&config)?;
            if args.json {
                output::line(r#"{"problems":[]}"#);
            } else {
                output::line(&format!(
                    "{}: good: {} site(s), {} routes, {} knobs",
                    path.display(),
                    config.sites.len(),
                    config.routes.len(),
                    config.knobs.len()
                ));
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(StartError::BadConfig { problems, .. }) if args.json => {
            let problems: Vec<_> = problems
                .0
                .iter()
                .map(|p| serde_json::json!({"line": p.line, "column": p.column, "message": p.message}))
                .collect();
            output::json(&serde_json::json!({ "problems": problems }))?;
            Ok(ExitCode::from(78))
        }
        Err(e) => Err(e.into()),
    }
}
