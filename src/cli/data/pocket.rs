//! `shutterbug data pocket`: dialogues of the pocket world.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::super::Verdict;
use super::bar;
use crate::data::ExampleWriter;
use crate::data::pocket::{PocketWorld, Split};

/// Make dialogues with photos whose truth is known
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Writes train.jsonl, validation.jsonl and test.jsonl and their photos to a folder. A quarter of the
test dialogues each is like training, of held-out combinations, of held-out phrasings, and of both.

Example: shutterbug data pocket --train 20000 --validation 500 --test 500 --out pocket")]
pub(crate) struct Arguments {
    /// The world's seed: the same one makes the same dialogues
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    /// Dialogues to train on
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    train: u64,

    /// Dialogues to watch training with
    #[arg(long, value_name = "N", default_value_t = 500)]
    validation: u64,

    /// Dialogues to evaluate with
    #[arg(long, value_name = "N", default_value_t = 2_000)]
    test: u64,

    /// Folder for the files
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<Verdict> {
    let world = PocketWorld { seed: arguments.seed };
    let mut made = Vec::new();
    for split in Split::ALL {
        let dialogues = match split {
            Split::Train => arguments.train,
            Split::Validation => arguments.validation,
            Split::Test => arguments.test,
        };
        if dialogues > 0 {
            let file = arguments.out.join(format!("{}.jsonl", split.name()));
            write(world, split, dialogues, &file)?;
            made.push(json!({ "file": file, "dialogues": dialogues }));
        }
    }
    println!("{}", json!({ "seed": arguments.seed, "files": made }));
    Ok(Verdict::Fine)
}

fn write(world: PocketWorld, split: Split, dialogues: u64, file: &Path) -> anyhow::Result<()> {
    let mut writer = ExampleWriter::create(file)?;
    let bar = bar(dialogues, split.name());
    for index in 0..dialogues {
        writer.write(world.dialogue(split, index))?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(writer.finish()?)
}
