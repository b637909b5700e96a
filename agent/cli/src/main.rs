//! The `spillway` program: one entry for operators, for the supervisor's children and for
//! demonstrations.

mod args;
mod check;
mod cloud;
mod demo;
mod keys;
mod operator;
mod output;
mod parts;
mod replay;
mod run;
mod simulate;
mod storm;
mod traffic;
mod up;

use std::process::ExitCode;

use clap::Parser as _;
use spillway_part::StartError;

use args::{Args, Command, ExplainCommand};

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(e) => {
            // Printing fails only if the terminal is gone.
            let _ = e.print();
            // EX_USAGE of sysexits.h, but asking for help is no mistake.
            return if e.use_stderr() { ExitCode::from(64) } else { ExitCode::SUCCESS };
        }
    };
    let result = match &args.command {
        Command::Check { file } => check::check(&args, file.as_deref()),
        Command::Keygen { to } => keys::keygen(&args, to.as_deref()),
        Command::Run { part, name } => run::run(&args, *part, name.as_deref()),
        Command::Up(options) => up::up(&args, options),
        Command::Storm(options) => storm::storm(&args, options),
        Command::Demo(options) => demo::demo(&args, options),
        Command::Simulate(options) => simulate::run(&args, options),
        Command::Traffic(options) => traffic::run(&args, options),
        Command::Replay(options) => replay::run(&args, options),
        Command::Status => operator::status(&args),
        Command::Explain { command: Some(ExplainCommand::Decision { which }), .. } => {
            operator::explain_decision(&args, which)
        }
        Command::Explain { client, command: None } => operator::explain(&args, *client),
        Command::Plan { command: args::PlanCommand::Show } => operator::plan_show(&args),
        Command::Cloud { command } => cloud::hand_over(&args, *command),
        Command::Deploy(handed) => cloud::hand_on(&args, "deploy", &handed.words),
        Command::Rollback(handed) => cloud::hand_on(&args, "rollback", &handed.words),
        Command::Tier { command } => operator::tier(&args, command),
        Command::Share(options) => operator::share(&args, options),
        Command::Gateways(options) => operator::gateways(&args, options),
        Command::Mode(options) => operator::mode(&args, options),
        Command::Event { command } => operator::event(&args, command),
        Command::Knob { command } => operator::knob(&args, command),
    };
    match result {
        Ok(code) => match output::lost() {
            None => code,
            Some(e) => {
                output::note(&format!("spillway: cannot write standard output: {e}"));
                ExitCode::FAILURE
            }
        },
        Err(e) => {
            match e.downcast_ref::<StartError>() {
                _ if args.json => output::error_json(&e),
                // A line a mistake, each beginning with its place, as editors have it.
                Some(StartError::BadConfig { .. }) => output::note(&e.to_string()),
                _ => output::error(&e),
            }
            // EX_CONFIG for a wrong configuration, else the general failure.
            let config = e.downcast_ref::<StartError>();
            let config = matches!(
                config,
                Some(StartError::BadConfig { .. } | StartError::ReadConfig { .. })
            );
            ExitCode::from(if config { 78 } else { 1 })
        }
    }
}
