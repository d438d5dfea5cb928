//! `shutterbug generate`: replies to dialogues in a file.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::ValueEnum;

use super::options::{
    Demand, DrawingOptions, LOCAL, ModelOptions, RecordOptions, follow, make_folder,
};
use super::{UsageError, Verdict};
use crate::config::{Settings, Switch};
use crate::data::{Record, error_line, load_photo, read_line, reply_line};
use crate::dialogue::{Element, Reply};
use crate::engine::{Engine, Outcome, Work};
use crate::imaging;
use crate::systems::{Decoding, PhotoSharing, ReplyRequest};

/// Reply to dialogues, one JSON object a line; one object with the reply goes to stdout for each
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: shutterbug generate --model model --seed 7 --out out dialogues.jsonl > replies.jsonl"
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: ModelOptions,

    #[command(flatten)]
    drawing: DrawingOptions,

    #[command(flatten)]
    record: RecordOptions,

    /// Always take the most probable token
    #[arg(long, conflicts_with_all = ["beams", "temperature", "top_p"])]
    greedy: bool,

    /// Keep the N best hypotheses
    #[arg(long, value_name = "N", conflicts_with_all = ["temperature", "top_p"],
          value_parser = clap::value_parser!(u8).range(1..=16))]
    beams: Option<u8>,

    /// Divides the logits before a draw [default: the setting reply.temperature]
    #[arg(long, value_name = "T")]
    temperature: Option<f64>,

    /// Draw from the smallest set of tokens of this probability [default: the setting reply.top_p]
    #[arg(long, value_name = "P")]
    top_p: Option<f64>,

    /// Whether photos may be shared [default: the setting reply.photos]
    #[arg(long, value_name = "on|off")]
    photos: Option<Photos>,

    /// Added to the logit of [IMG]: above 0, photos become more frequent [default: the setting
    /// reply.share_bias]
    #[arg(long, value_name = "B", allow_hyphen_values = true)]
    share_bias: Option<f64>,

    /// Most tokens in a reply, captions included [default: the setting reply.new_tokens_max]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_new_tokens: Option<u32>,

    /// Folder for photos, `<id>-0.png` and so on
    #[arg(long, value_name = "DIR")]
    out: PathBuf,

    /// Dialogues as JSON Lines
    file: PathBuf,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Photos {
    On,
    Off,
}

impl Arguments {
    fn decoding(&self, settings: &Settings) -> anyhow::Result<Decoding> {
        if let Some(width) = self.beams {
            return Ok(Decoding::Beam { width: usize::from(width) });
        }
        let temperature = self.temperature.unwrap_or(settings.reply.temperature);
        let top_p = self.top_p.unwrap_or(settings.reply.top_p);
        if !temperature.is_finite() || temperature < 0.0 {
            return Err(UsageError("--temperature must be 0 or above".to_owned()).into());
        }
        if !(top_p > 0.0 && top_p <= 1.0) {
            return Err(UsageError("--top-p must be above 0 and at most 1".to_owned()).into());
        }
        if self.greedy || temperature == 0.0 {
            return Ok(Decoding::Greedy);
        }
        Ok(Decoding::Sample { temperature, top_p })
    }

    fn photo_sharing(&self, settings: &Settings) -> PhotoSharing {
        match self.photos {
            Some(Photos::On) => PhotoSharing::On,
            Some(Photos::Off) => PhotoSharing::Off,
            None => match settings.reply.photos {
                Switch::On => PhotoSharing::On,
                Switch::Off => PhotoSharing::Off,
            },
        }
    }

    fn demand(&self, settings: &Settings) -> Demand {
        let new_tokens_max = self.max_new_tokens.map(|tokens| tokens as usize);
        self.drawing.demand(settings).with_new_tokens_max(new_tokens_max)
    }

    /// The request of a record, but for the dialogue and the trace.
    fn request(&self, settings: &Settings) -> anyhow::Result<ReplyRequest> {
        Ok(ReplyRequest {
            dialogue: crate::dialogue::Dialogue::default(),
            system_text: settings.reply.system_text.clone(),
            photos: self.photo_sharing(settings),
            decoding: self.decoding(settings)?,
            share_bias: self.share_bias.unwrap_or(settings.reply.share_bias),
            new_tokens_max: self
                .max_new_tokens
                .map_or(settings.reply.new_tokens_max, |tokens| tokens as usize),
            drawing: self.drawing.drawing(settings)?,
            seed: self.record.seed,
            adapter: None,
            trace: None,
        })
    }
}

pub(crate) fn run(arguments: &Arguments, settings: &Settings) -> anyhow::Result<Verdict> {
    let mut template = arguments.request(settings)?;
    let file = File::open(&arguments.file)
        .with_context(|| format!("can't read {}", arguments.file.display()))?;
    let folder = arguments.file.parent().unwrap_or(Path::new("")).to_owned();
    make_folder(&arguments.out)?;
    arguments.record.make_folder()?;
    let (engine, adapter) =
        arguments.model.prepare(settings, &arguments.demand(settings))?.load()?;
    template.adapter = adapter;

    let mut failed = 0;
    let mut ids = HashSet::new();
    for (index, line) in BufReader::new(file).split(b'\n').enumerate() {
        let line = line.with_context(|| format!("can't read {}", arguments.file.display()))?;
        if line.trim_ascii().is_empty() {
            continue;
        }
        let answer = std::str::from_utf8(&line)
            .context("not UTF-8")
            .and_then(|line| Ok(read_line(line, &folder, load_photo)?))
            .and_then(|record| {
                // Photos and traces are named by it.
                anyhow::ensure!(
                    ids.insert(record.id.clone()),
                    "the id {:?} was there before",
                    record.id
                );
                Ok(record)
            })
            .and_then(|record| answer(&engine, &template, record, arguments));
        let answer = answer.unwrap_or_else(|error| {
            failed += 1;
            error_line(index + 1, error.as_ref())
        });
        let mut out = std::io::stdout().lock();
        writeln!(out, "{answer}").context("can't write to stdout")?;
    }
    if failed > 0 {
        anyhow::bail!(
            "{failed} lines of {} got no reply; see them for the reasons",
            arguments.file.display()
        );
    }
    Ok(Verdict::Fine)
}

fn answer(
    engine: &Engine,
    template: &ReplyRequest,
    record: Record,
    arguments: &Arguments,
) -> anyhow::Result<serde_json::Value> {
    let trace = arguments.record.trace(&record.id);
    let request = ReplyRequest { dialogue: record.dialogue, trace, ..template.clone() };
    let job = engine.submit(LOCAL, Work::Reply(request))?;
    let Outcome::Reply(reply) = follow(job, &record.id)? else {
        anyhow::bail!("the engine answered something else");
    };
    let photos = write_photos(&reply, &record.id, &arguments.out)?;
    Ok(reply_line(&record.id, &reply, &photos))
}

fn write_photos(reply: &Reply, id: &str, folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let pixels = reply.elements.iter().filter_map(|element| match element {
        Element::Photo(photo) => photo.pixels.as_ref(),
        Element::Utterance(_) => None,
    });
    let mut written = Vec::new();
    for (index, pixels) in pixels.enumerate() {
        let path = folder.join(format!("{id}-{index}.png"));
        fs::write(&path, imaging::encode_png(pixels))
            .with_context(|| format!("can't write {}", path.display()))?;
        written.push(path);
    }
    Ok(written)
}
