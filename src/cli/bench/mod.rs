//! `shutterbug bench`: how fast it is here. Figures go to stdout as one JSON object.
//!
//! `benches/side_by_side.py` calls these commands in turn with transformers and diffusers.

mod draw;
mod load;
mod memory;
mod published;
mod sizes;
mod talk;
mod train;

use std::path::Path;
use std::str::FromStr;

use clap::Subcommand;

use super::Verdict;
use crate::torch::{Compute, DeviceChoice, Precision};

/// Measure speed and memory; figures go to stdout as JSON
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: shutterbug bench published --device cuda")]
pub(crate) struct Arguments {
    /// auto, cpu, cuda or cuda:N
    #[arg(long, global = true, default_value = "cpu")]
    device: String,

    /// auto, float32 or bfloat16
    #[arg(long, global = true, default_value = "auto")]
    precision: String,

    /// Threads on the CPU [default: one a core]
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure how fast memory is read
    Memory,
    Talk(talk::Arguments),
    Draw(draw::Arguments),
    Load(load::Arguments),
    Train(train::Arguments),
    Published(published::Arguments),
}

pub(crate) fn run(arguments: &Arguments, config: Option<&Path>) -> anyhow::Result<Verdict> {
    let device = DeviceChoice::from_str(&arguments.device)?;
    let compute = Compute::choose(device, Precision::from_str(&arguments.precision)?)?;
    if let Some(threads) = arguments.threads {
        tch::set_num_threads(i32::from(threads));
    }
    let figures = match &arguments.command {
        Command::Memory => memory::run(compute)?,
        Command::Talk(arguments) => talk::run(arguments, compute)?,
        Command::Draw(arguments) => draw::run(arguments, compute)?,
        Command::Load(arguments) => load::run(arguments, compute)?,
        Command::Train(arguments) => train::run(arguments, config, compute)?,
        Command::Published(arguments) => published::run(arguments, compute)?,
    };
    println!("{figures:#}");
    Ok(Verdict::Fine)
}
