//! `shutterbug models`: model directories.

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};

use super::Verdict;
use crate::data::{Dataset, Example, ExampleTurn};
use crate::systems::{Preset, Texts, Transfer, convert, create};

/// Make model directories
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Convert(Convert),
    New(New),
}

/// Make a small model that has learned nothing but its vocabularies
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: shutterbug models new --preset pocket --data pocket/train.jsonl --out base"
)]
struct New {
    /// The shapes: `pocket` is for pictures of 64 x 64 and a few hundred words
    #[arg(long, value_name = "NAME")]
    preset: PresetName,

    /// Dialogues as JSON Lines, whose texts and captions the vocabularies are learned from
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    data: Vec<PathBuf>,

    /// Seed of the weights
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    /// Folder to make
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum PresetName {
    Pocket,
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
    let directory = match &arguments.command {
        Command::Convert(Convert { llama, diffusion, out, copy }) => {
            let transfer = if *copy { Transfer::Copy } else { Transfer::Link };
            convert(llama, diffusion, out, transfer)?
        }
        Command::New(arguments) => {
            let PresetName::Pocket = arguments.preset;
            let (said, captions) = texts(&Dataset::read(&arguments.data)?);
            let texts = Texts { said: &said, captions: &captions };
            create(Preset::Pocket, texts, arguments.seed, &arguments.out)?
        }
    };
    eprintln!("made the model {}", directory.revision());
    println!("{}", directory.path.display());
    Ok(Verdict::Fine)
}

/// What is said in a dataset, and its photos' captions.
fn texts(dataset: &Dataset) -> (Vec<String>, Vec<String>) {
    let turns = dataset.examples.iter().flat_map(Example::turns);
    let said = turns.flat_map(ExampleTurn::texts).map(str::to_owned);
    let photos = dataset.examples.iter().flat_map(Example::photos);
    let captions = photos.filter_map(|(_, _, photo)| photo.caption.clone());
    (said.collect(), captions.collect())
}
