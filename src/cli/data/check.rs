//! `shutterbug data check` and `shutterbug data stats`.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use serde_json::{Value, json};

use super::super::Verdict;
use super::bar;
use crate::data::{Dataset, DatasetError, Fault, Statistics, error_line, load_photo};

/// Read every line and open every photo of a dataset
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Each line that can't be used is named on stdout with its reason; the exit status is then 3.

Example: shutterbug data check pocket/train.jsonl")]
pub(crate) struct Check {
    /// Dialogues as JSON Lines
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

/// Count what a dataset holds
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: shutterbug data stats pocket/train.jsonl")]
pub(crate) struct Stats {
    /// Dialogues as JSON Lines
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

pub(crate) fn check(arguments: &Check) -> anyhow::Result<Verdict> {
    let mut problems = 0;
    let mut say = |line: Value| {
        problems += 1;
        writeln!(std::io::stdout().lock(), "{line}").context("can't write to stdout")
    };
    for file in &arguments.files {
        let dataset = match Dataset::read(&[file]) {
            Ok(dataset) => dataset,
            Err(error @ DatasetError::Empty(_)) => {
                say(json!({ "file": file, "error": error.to_string() }))?;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        for fault in &dataset.faults {
            say(located(file, fault))?;
        }
        let bar = bar(dataset.examples.len() as u64, "opening photos");
        for example in &dataset.examples {
            if let Err(error) = example.dialogue(load_photo) {
                let mut line = error_line(0, &error);
                line["line"] = Value::Null;
                line["file"] = json!(file);
                line["id"] = json!(example.id);
                say(line)?;
            }
            bar.inc(1);
        }
        bar.finish_and_clear();
        eprintln!("{}: {} dialogues", file.display(), dataset.examples.len());
    }
    if problems == 0 {
        return Ok(Verdict::Fine);
    }
    eprintln!("{problems} problems");
    Ok(Verdict::Problems)
}

fn located(file: &PathBuf, fault: &Fault) -> Value {
    let mut line = error_line(fault.line, &fault.error);
    line["file"] = json!(file);
    line
}

pub(crate) fn stats(arguments: &Stats) -> anyhow::Result<Verdict> {
    let dataset = Dataset::read(&arguments.files)?;
    if !dataset.faults.is_empty() {
        tracing::warn!(
            "{} lines can't be used and are not counted; `shutterbug data check` names them",
            dataset.faults.len()
        );
    }
    println!("{}", serde_json::to_string_pretty(&Statistics::of(&dataset.examples))?);
    Ok(Verdict::Fine)
}
