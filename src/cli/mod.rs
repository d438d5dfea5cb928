//! The commands: each file builds the parts that its command needs and hands them over.
//!
//! Machine output goes to stdout, everything else to stderr.

mod bench;
mod data;
mod doctor;
mod draw;
mod evaluate;
mod generate;
mod models;
mod options;
mod run;
mod train;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{ConfigError, LogFormat, Settings};
use crate::evaluation::EvaluateError;
use crate::telemetry;
use crate::torch::{DeviceError, keep_freed_memory};
use crate::training::TrainError;

/// A Discord bot that sees a channel's photos, talks, and shares photos of its own.
#[derive(Debug, Parser)]
#[command(name = "shutterbug", version, propagate_version = true)]
struct Arguments {
    /// Settings; every key is optional, see config/shutterbug.toml and config/training.toml [default: $SHUTTERBUG_CONFIG]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,

    /// How log lines on stderr look [default: the setting log.format]
    #[arg(long, global = true, value_name = "FORMAT")]
    log_format: Option<LogFormat>,

    #[command(subcommand)]
    command: Command,
}

/// One variant a command, in the order of the help text.
#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Arguments),
    Generate(generate::Arguments),
    Draw(draw::Arguments),
    Data(data::Arguments),
    Train(train::Arguments),
    Evaluate(evaluate::Arguments),
    Models(models::Arguments),
    Doctor(doctor::Arguments),
    Bench(bench::Arguments),
}

/// What a command that did not fail came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Done, and nothing to object.
    Fine,
    /// A check found something.
    Problems,
}

/// The command line can't be carried out as it stands.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct UsageError(pub(crate) String);

/// Parses the command line, runs the command and gives its exit status: 0, 1 (failed), 2 (usage or
/// configuration), 3 (a check found something).
pub fn main() -> ExitCode {
    keep_freed_memory();
    // clap itself answers --help with 0 and bad usage with 2.
    let arguments = Arguments::parse();
    match execute(arguments) {
        Ok(Verdict::Fine) => ExitCode::SUCCESS,
        Ok(Verdict::Problems) => ExitCode::from(3),
        Err(error) => {
            // A failure can come before the log is set up, so it is told on stderr directly.
            eprintln!("error: {error:#}");
            ExitCode::from(exit_status(&error))
        }
    }
}

fn execute(arguments: Arguments) -> anyhow::Result<Verdict> {
    let settings = Settings::load(arguments.config.as_deref())?;
    telemetry::start(arguments.log_format.unwrap_or(settings.log.format), settings.log.level);
    match arguments.command {
        Command::Run(arguments) => run::run(&arguments, &settings),
        Command::Generate(arguments) => generate::run(&arguments, &settings),
        Command::Draw(arguments) => draw::run(&arguments, &settings),
        Command::Data(arguments) => data::run(&arguments, &settings),
        Command::Train(own) => train::run(&own, &settings, arguments.config.as_deref()),
        Command::Evaluate(own) => evaluate::run(&own, &settings, arguments.config.as_deref()),
        Command::Models(arguments) => models::run(&arguments),
        Command::Doctor(arguments) => Ok(doctor::run(&arguments, &settings)),
        Command::Bench(own) => bench::run(&own, arguments.config.as_deref()),
    }
}

fn exit_status(error: &anyhow::Error) -> u8 {
    let asked_wrongly = error.is::<ConfigError>()
        || error.is::<UsageError>()
        || error.is::<DeviceError>()
        || matches!(error.downcast_ref(), Some(TrainError::Setting(_)))
        || matches!(error.downcast_ref(), Some(EvaluateError::OtherRun { .. }));
    if asked_wrongly { 2 } else { 1 }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn configuration_and_usage_exit_with_2_and_failures_with_1() {
        let usage = anyhow::Error::new(UsageError("no such folder".into())).context("generate");
        assert_eq!(exit_status(&usage), 2);
        assert_eq!(exit_status(&anyhow::anyhow!("the model failed")), 1);
    }
}
