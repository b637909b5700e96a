//! `spillway cloud`: handed over to `spillway-aws`, the only program that names AWS.

use std::io::ErrorKind;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};

use crate::args::{Args, CloudCommand};

/// The program, by its name.
const PROGRAM: &str = "spillway-aws";

/// Becomes `spillway-aws`: the one beside this program, or else the one on PATH.
pub(crate) fn hand_over(args: &Args, command: CloudCommand) -> anyhow::Result<ExitCode> {
    let beside = std::env::current_exe().ok().map(|here| here.with_file_name(PROGRAM));
    let program = beside.filter(|path| path.is_file()).unwrap_or_else(|| PROGRAM.into());
    let error = handed(&program, &args.config_path(), args.json, command).exec();
    if error.kind() == ErrorKind::NotFound {
        anyhow::bail!(
            "`{PROGRAM}` is neither beside this program nor on PATH: install it, or build it with `./just build-aws`"
        );
    }
    Err(anyhow::Error::new(error).context(format!("cannot start {}", program.display())))
}

fn handed(program: &Path, config: &Path, json: bool, command: CloudCommand) -> Command {
    let mut handed = Command::new(program);
    handed.arg("--config").arg(config);
    if json {
        handed.arg("--json");
    }
    let (name, options) = match command {
        CloudCommand::Plan => ("plan", None),
        CloudCommand::Apply(options) => ("apply", Some(options)),
        CloudCommand::Drain(options) => ("drain", Some(options)),
    };
    handed.arg(name);
    if let Some(options) = options {
        handed.args(["--within", &options.within.to_string()]);
        if options.dry_run {
            handed.arg("--dry-run");
        }
    }
    handed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::CloudOptions;

    #[test]
    fn what_was_asked_for_is_handed_on_whole() {
        let options = CloudOptions { dry_run: true, within: 90 };
        let config = Path::new("east.toml");
        let handed = handed(Path::new("/x"), config, true, CloudCommand::Drain(options));
        let words: Vec<_> = handed.get_args().map(|word| word.to_str().unwrap()).collect();
        let expected = ["--config", "east.toml", "--json", "drain", "--within", "90", "--dry-run"];
        assert_eq!(words, expected);
    }
}
