//! `one-code`: the reference service, on-prem or as a Lambda function.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use spillway_one_code::{SEED_MAX, lambda, onprem};
use spillway_part::{log, start};

const USAGE: &str = "\
Runs the health-code service.

    one-code --config FILE --name NAME

  --config FILE   the configuration; SPILLWAY_CONFIG when absent
  --name NAME     which [[site.service]] of it to be

Where AWS_LAMBDA_RUNTIME_API is set it is a Lambda function instead: SPILLWAY_CONFIG names the
configuration, beside which plan.pub may lie, and SPILLWAY_FUNCTION, or else AWS_LAMBDA_FUNCTION_NAME,
which [[cloud.function]] of it to be.

  ONE_CODE_SECRET      key of tokens and user numbers, a line of base64 of 32 bytes; without it the
                       key is in the state folder, made when missing
  PGPASSWORD           password of postgres:// shards whose URLs have none
  SPILLWAY_REPLICAS    SHARD=REPLICA, names of hosts, with commas between several: the shard at host
                       SHARD has its replica at REPLICA, be there one in store.replicas or not
  ONE_CODE_SECRET_ARN, PGPASSWORD_ARN, SPILLWAY_REPLICAS_ARN   as a function: secrets of Secrets
                       Manager that hold them
  SPILLWAY_CACHE       a redis:// or rediss:// URL in place of store.cache; a function also reads the
                       plan there, where the agent keeps it (plan.mirrors)
  ONE_CODE_SEED=N      fill an empty database with N demo users (on-prem)
  SPILLWAY_LOG         what to log (info)
  SPILLWAY_LOG_FORMAT  json writes a JSON object a line
";

/// What `sysexits.h` calls `EX_USAGE`.
const EXIT_USAGE: u8 = 64;

fn main() -> ExitCode {
    let as_function = std::env::var_os("AWS_LAMBDA_RUNTIME_API").is_some();
    let outcome = if as_function {
        log::init();
        run_function()
    } else {
        match parse(std::env::args().skip(1), std::env::var("SPILLWAY_CONFIG").ok()) {
            Ok(Wish::Run { config, name }) => {
                log::init();
                run_service(&config, &name)
            }
            Ok(Wish::Help) => {
                say(USAGE);
                return ExitCode::SUCCESS;
            }
            Err(message) => {
                complain(&format!("{message}\n\n{USAGE}"));
                return ExitCode::from(EXIT_USAGE);
            }
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            complain(&format!("one-code: {e:#}"));
            ExitCode::FAILURE
        }
    }
}

fn complain(text: &str) {
    use std::io::Write as _;
    // A standard error that takes nothing must not become a panic, and so another exit code.
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn say(text: &str) {
    use std::io::Write as _;
    // A reader that has gone away is no failure.
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn run_function() -> anyhow::Result<()> {
    // One request at a time needs one thread.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(lambda::run(|name| std::env::var(name).ok()))?)
}

fn run_service(config: &std::path::Path, name: &str) -> anyhow::Result<()> {
    start::end_with_parent().context("cannot follow the supervisor")?;
    start::open_files();
    let seed = match std::env::var("ONE_CODE_SEED") {
        Ok(text) => text.parse().ok().filter(|n| *n <= SEED_MAX).with_context(|| {
            format!("ONE_CODE_SEED is `{text}`; write a number up to {SEED_MAX}")
        })?,
        Err(_) => 0,
    };
    let environment = onprem::Environment {
        secret: std::env::var("ONE_CODE_SECRET").ok(),
        cache: std::env::var("SPILLWAY_CACHE").ok().filter(|url| !url.is_empty()),
        replicas: std::env::var("SPILLWAY_REPLICAS").ok(),
        seed,
    };
    let config = start::load_config(config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(async {
        let shutdown = start::shutdown_on_signals()?;
        onprem::run(config, name, environment, shutdown).await?;
        anyhow::Ok(())
    });
    // What did not end within the drain is not waited for again.
    runtime.shutdown_background();
    outcome
}

#[derive(Debug, PartialEq, Eq)]
enum Wish {
    Run { config: PathBuf, name: String },
    Help,
}

fn parse(
    mut arguments: impl Iterator<Item = String>,
    usual_config: Option<String>,
) -> Result<Wish, String> {
    let (mut config, mut name) = (usual_config, None);
    while let Some(argument) = arguments.next() {
        let (key, inline) = match argument.split_once('=') {
            Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
            None => (argument, None),
        };
        let field = match key.as_str() {
            "--config" | "-c" => &mut config,
            "--name" | "-n" => &mut name,
            "--help" | "-h" => return Ok(Wish::Help),
            _ => return Err(format!("one-code knows no `{key}`")),
        };
        let value = inline.or_else(|| arguments.next());
        *field = Some(value.ok_or_else(|| format!("`{key}` wants a value"))?);
    }
    match (config, name) {
        (Some(config), Some(name)) => Ok(Wish::Run { config: config.into(), name }),
        (None, _) => Err("`--config FILE` is missing".to_owned()),
        (_, None) => Err("`--name NAME` is missing".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &[&str], usual: Option<&str>) -> Result<Wish, String> {
        parse(arguments.iter().map(ToString::to_string), usual.map(str::to_owned))
    }

    #[test]
    fn arguments() {
        let run = Wish::Run { config: "a.toml".into(), name: "x".to_owned() };
        assert_eq!(parsed(&["--config", "a.toml", "--name=x"], None).unwrap(), run);
        assert_eq!(parsed(&["-n", "x"], Some("a.toml")).unwrap(), run);
        assert_eq!(parsed(&["--help"], None).unwrap(), Wish::Help);
        for (bad, says) in [
            (&["--config", "a"][..], "--name NAME"),
            (&["--name", "a"], "--config FILE"),
            (&["--config"], "wants a value"),
            (&["--nmae", "x"], "knows no `--nmae`"),
        ] {
            let message = parsed(bad, None).unwrap_err();
            assert!(message.contains(says), "{message}");
        }
    }
}
