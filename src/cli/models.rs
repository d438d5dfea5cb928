//! `shutterbug models`: model directories.

use std::path::PathBuf;

use clap::Subcommand;

use super::Verdict;
use crate::systems::{Transfer, convert};

/// Make model directories
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Convert(Convert),
}

/// Join a downloaded Llama-3.2-Vision and a downloaded Stable Diffusion 3 into a model directory
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: shutterbug models convert --llama Llama-3.2-11B-Vision-Instruct \\
           --diffusion stable-diffusion-3-medium-diffusers --out model"
)]
struct Convert {
    /// Hugging Face folder of the language model (mllama)
    #[arg(long, value_name = "DIR")]
    llama: PathBuf,

    /// diffusers folder of the image generator (StableDiffusion3Pipeline)
    #[arg(long, value_name = "DIR")]
    diffusion: PathBuf,

    /// Folder to make
    #[arg(long, value_name = "DIR")]
    out: PathBuf,

    /// Copy the weights instead of linking to them
    #[arg(long)]
    copy: bool,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<Verdict> {
    let Command::Convert(convert_arguments) = &arguments.command;
    let Convert { llama, diffusion, out, copy } = convert_arguments;
    let transfer = if *copy { Transfer::Copy } else { Transfer::Link };
    let directory = convert(llama, diffusion, out, transfer)?;
    eprintln!("made the model {}", directory.revision());
    println!("{}", directory.path.display());
    Ok(Verdict::Fine)
}
