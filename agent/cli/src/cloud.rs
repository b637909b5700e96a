//! `spillway cloud`, `deploy` and `rollback`: handed over to `spillway-aws`, the only program that names
//! AWS.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};

use crate::args::{Args, CloudCommand};

/// The program, by its name.
const PROGRAM: &str = "spillway-aws";

/// Has `spillway-aws` carry out a command of `spillway cloud`.
pub(crate) fn hand_over(args: &Args, command: CloudCommand) -> anyhow::Result<ExitCode> {
    become_it(|program| handed(program, &args.config_path(), args.json, command))
}

/// Has `spillway-aws` carry out a command whose words it reads itself, under this program's name.
pub(crate) fn hand_on(args: &Args, name: &str, words: &[OsString]) -> anyhow::Result<ExitCode> {
    become_it(|program| handed_on(program, args.config.as_deref(), args.json, name, words))
}

/// Becomes `spillway-aws`: the one beside this program, or else the one on PATH.
fn become_it(command: impl FnOnce(&Path) -> Command) -> anyhow::Result<ExitCode> {
    let beside = std::env::current_exe().ok().map(|here| here.with_file_name(PROGRAM));
    let program = beside.filter(|path| path.is_file()).unwrap_or_else(|| PROGRAM.into());
    let error = command(&program).exec();
    if error.kind() == ErrorKind::NotFound {
        anyhow::bail!(
            "`{PROGRAM}` is neither beside this program nor on PATH: install it, or build it with `./just build-aws`"
        );
    }
    Err(anyhow::Error::new(error).context(format!("cannot start {}", program.display())))
}

fn handed_on(
    program: &Path,
    config: Option<&Path>,
    json: bool,
    name: &str,
    words: &[OsString],
) -> Command {
    let mut handed = Command::new(program);
    // So that its help tells what was typed.
    handed.arg0("spillway");
    if let Some(config) = config {
        handed.arg("--config").arg(config);
    }
    if json {
        handed.arg("--json");
    }
    handed.arg(name).args(words);
    handed
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
    #[test]
    fn words_that_only_the_other_program_knows_are_handed_on() {
        use clap::Parser as _;
        let typed = [
            "spillway", "--config", "a.toml", "deploy", "--json", "codes", "--from", "lambda",
            "--help",
        ];
        let args = Args::try_parse_from(typed).unwrap();
        let crate::args::Command::Deploy(words) = &args.command else { panic!("{args:?}") };
        let program = Path::new("/x");
        let handed = handed_on(program, args.config.as_deref(), args.json, "deploy", &words.words);
        let words: Vec<_> = handed.get_args().map(|word| word.to_str().unwrap()).collect();
        let expected =
            ["--config", "a.toml", "--json", "deploy", "codes", "--from", "lambda", "--help"];
        assert_eq!(words, expected);
    }
}
