//! `shutterbug evaluate compare`: systems side by side, over several seeds.

use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::Context;
use serde_json::{Map, Value, json};

use super::super::{UsageError, Verdict};
use crate::evaluation::comparison::{Row, markdown, mean};

/// Where figures stand in the files of a run.
const GROUPS: [&str; 2] = ["figures", "losses"];

/// Compare systems by the JSON files of their runs, with intervals over seeds
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A run is a folder: figures are taken from all its JSON files, such as the report.json of `evaluate
run`, and what `evaluate losses` and `train` print on stdout. Intervals are Student's t over the runs
of a system.

Example: shutterbug evaluate compare --figure text_loss --figure photos.picture.object \\
             --out table.md word=word-1,word-2,word-3 none=none-1,none-2,none-3")]
pub(crate) struct Arguments {
    /// Figure to compare, by its name in the files; may be given several times
    #[arg(long, value_name = "NAME", required = true)]
    figure: Vec<String>,

    /// File for the table in Markdown
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// Systems with the folders of their runs
    #[arg(value_name = "SYSTEM=DIR[,DIR…]", required = true)]
    systems: Vec<Runs>,
}

#[derive(Debug, Clone)]
struct Runs {
    name: String,
    folders: Vec<PathBuf>,
}

impl FromStr for Runs {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, folders) = text.split_once('=').ok_or("give SYSTEM=DIR[,DIR…]")?;
        let folders = folders.split(',').map(PathBuf::from).collect();
        Ok(Self { name: name.to_owned(), folders })
    }
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<Verdict> {
    let Arguments { figure: figures, out, systems } = arguments;
    let rows = systems.iter().map(|system| row(system, figures)).collect::<Result<Vec<_>, _>>()?;
    for (place, figure) in figures.iter().enumerate() {
        if rows.iter().all(|row| row.values[place].is_empty()) {
            return Err(UsageError(format!("no run has a figure {figure}")).into());
        }
    }
    if let Some(path) = out {
        let table = markdown(figures, &rows);
        fs::write(path, table).with_context(|| format!("can't write {}", path.display()))?;
    }
    let systems: Map<String, Value> =
        rows.iter().map(|row| (row.name.clone(), described(row, figures))).collect();
    println!("{}", json!({ "systems": systems }));
    Ok(Verdict::Fine)
}

fn described(row: &Row, figures: &[String]) -> Value {
    let figures = figures.iter().zip(&row.values).map(|(figure, values)| {
        let found = mean(values).map(|estimate| estimate.json("runs", values.len()));
        (figure.clone(), found.unwrap_or(Value::Null))
    });
    Value::Object(figures.collect())
}

fn row(system: &Runs, figures: &[String]) -> anyhow::Result<Row> {
    let mut values = vec![Vec::new(); figures.len()];
    for folder in &system.folders {
        let documents = documents(folder)?;
        for (figure, values) in figures.iter().zip(&mut values) {
            values.extend(documents.iter().find_map(|document| find(document, figure)));
        }
    }
    Ok(Row { name: system.name.clone(), values })
}

/// The JSON files of a run, in the order of their names.
fn documents(folder: &Path) -> anyhow::Result<Vec<Value>> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("can't read {}", folder.display()))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.with_context(|| format!("can't read {}", folder.display()))?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            files.push(path);
        }
    }
    files.sort();
    let read = |path: &PathBuf| {
        let text = fs::read(path).with_context(|| format!("can't read {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("{} is no JSON", path.display()))
    };
    files.iter().map(read).collect()
}

/// A figure as a number, or as an object with its value.
fn find(document: &Value, figure: &str) -> Option<f64> {
    let found = GROUPS.iter().find_map(|group| document.get(group)?.get(figure))?;
    found.as_f64().or_else(|| found.get("value")?.as_f64())
}
