//! Loading a whole model, beside reading its files once.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context;
use clap::ValueEnum;
use serde_json::{Value, json};

use crate::systems::{EndToEnd, Footprint, ModelDirectory};
use crate::torch::{Compute, forget_file, resident_bytes_max};

/// Time loading a whole model, beside reading its files once
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Model directory
    #[arg(long, value_name = "DIR")]
    model: PathBuf,

    /// Times that both are done; medians count
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..))]
    rounds: u8,

    /// Where the files are when it begins
    #[arg(long, value_enum, default_value_t = Files::InMemory)]
    files: Files,
}

/// Where files are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Files {
    /// Read before, so that the system still has them in memory.
    InMemory,
    /// On the disk alone.
    OnDisk,
}

pub(super) fn run(arguments: &Arguments, compute: Compute) -> anyhow::Result<Value> {
    let directory = ModelDirectory::open(&arguments.model)?;
    let mut files: Vec<PathBuf> = Vec::new();
    for checkpoint in directory.checkpoints()? {
        files.extend(checkpoint.files().map(Path::to_owned));
    }
    let footprint = Footprint::of(&directory.path, compute.kind, 1, None)?;
    let tensor_bytes: u64 = footprint.weights.iter().map(|share| share.bytes).sum();

    let mut file_bytes = read(&files)?;
    let (mut read_s, mut load_s) = (Vec::new(), Vec::new());
    let mut resident = None;
    for _ in 0..arguments.rounds {
        prepare(&files, arguments.files)?;
        let begun = Instant::now();
        file_bytes = read(&files)?;
        read_s.push(begun.elapsed().as_secs_f64());

        prepare(&files, arguments.files)?;
        let begun = Instant::now();
        let model = EndToEnd::load(&directory, compute)?;
        load_s.push(begun.elapsed().as_secs_f64());
        // Later rounds may find memory that earlier ones left behind.
        resident = resident.or_else(resident_bytes_max);
        drop(model);
    }
    let (read_s, load_s) = (median(read_s), median(load_s));
    Ok(json!({
        "runs_on": compute.to_string(),
        "file_bytes": file_bytes,
        "tensor_bytes": tensor_bytes,
        "read_s": read_s,
        "load_s": load_s,
        "load_per_read": load_s / read_s,
        "resident_bytes_max": resident,
    }))
}

/// Brings files to where they shall be.
fn prepare(files: &[PathBuf], place: Files) -> anyhow::Result<()> {
    if place == Files::OnDisk {
        for path in files {
            let file =
                File::open(path).with_context(|| format!("can't read {}", path.display()))?;
            anyhow::ensure!(forget_file(&file), "the system keeps {} in memory", path.display());
        }
    }
    Ok(())
}

/// Reads files from beginning to end; gives their bytes.
fn read(files: &[PathBuf]) -> anyhow::Result<u64> {
    let mut buffer = vec![0; 1 << 20];
    let mut bytes = 0;
    for path in files {
        let context = || format!("can't read {}", path.display());
        let mut file = File::open(path).with_context(context)?;
        loop {
            match file.read(&mut buffer).with_context(context)? {
                0 => break,
                count => bytes += count as u64,
            }
        }
    }
    Ok(bytes)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
