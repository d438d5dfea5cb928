//! `shutterbug data photochat` and `shutterbug data dialogcc`.

use std::fs::File;
use std::io::{BufReader, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::ValueEnum;
use serde_json::json;

use super::super::options::{DrawingOptions, LOCAL, ModelOptions, follow};
use super::super::{UsageError, Verdict};
use super::bar;
use crate::config::Settings;
use crate::data::{
    Example, ExampleWriter, ImportError, PhotoFolder, Picture, Statistics, error_line,
    read_dialogcc, read_photochat,
};
use crate::dialogue::Pixels;
use crate::engine::{Engine, Outcome, Work};
use crate::systems::{DrawRequest, Drawing};

/// Import PhotoChat's JSON files
#[derive(Debug, clap::Args)]
#[command(after_help = "\
PhotoChat's files name photos but don't hold them. A photo is looked for in --photos under its
photo_id and under the file name of its address, with any photo's extension.

Example: shutterbug data photochat --photos photos --missing skip --out dev.jsonl dev/*.json")]
pub(crate) struct PhotoChat {
    #[command(flatten)]
    import: Import,
}

/// Import DialogCC's JSON files
#[derive(Debug, clap::Args)]
#[command(after_help = "\
DialogCC's files name photos but don't hold them. A photo is looked for in --photos under the file
name of its address, and as DIALOGUE-TURN-PHOTO, counted from 0, with any photo's extension.

Example: shutterbug data dialogcc --photos photos --missing skip --out test.jsonl test.json")]
pub(crate) struct DialogCc {
    #[command(flatten)]
    import: Import,
}

#[derive(Debug, clap::Args)]
struct Import {
    /// Folder of the photos
    #[arg(long, value_name = "DIR")]
    photos: Option<PathBuf>,

    /// What to do about a photo that isn't there: keep its words alone, leave its dialogue out with
    /// an error, or draw it from its caption
    #[arg(long, value_name = "skip|fail|draw", default_value = "fail")]
    missing: Missing,

    #[command(flatten)]
    model: ModelOptions,

    #[command(flatten)]
    drawing: DrawingOptions,

    /// Seed of drawn photos
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,

    /// JSON Lines file to write; drawn photos go to `photos/` beside it
    #[arg(long, value_name = "FILE")]
    out: PathBuf,

    /// The dataset's files
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Missing {
    Skip,
    Fail,
    Draw,
}

/// One element of a dataset's file.
type Read = Result<Example, ImportError>;

pub(crate) fn photochat(arguments: &PhotoChat, settings: &Settings) -> anyhow::Result<Verdict> {
    arguments.import.run(settings, |file, stem, photos, read| {
        Ok(read_photochat(BufReader::new(file), stem, photos, |example| read.push(example))?)
    })
}

pub(crate) fn dialogcc(arguments: &DialogCc, settings: &Settings) -> anyhow::Result<Verdict> {
    arguments.import.run(settings, |file, stem, photos, read| {
        Ok(read_dialogcc(BufReader::new(file), stem, photos, |example| read.push(example))?)
    })
}

impl Import {
    fn run(
        &self,
        settings: &Settings,
        parse: impl Fn(File, &str, &PhotoFolder, &mut Vec<Read>) -> anyhow::Result<()>,
    ) -> anyhow::Result<Verdict> {
        let photos = PhotoFolder::new(self.folder()?);
        let artist =
            (self.missing == Missing::Draw).then(|| Artist::start(self, settings)).transpose()?;
        let mut writer = ExampleWriter::create(&self.out)?;
        let (mut kept, mut failed) = (Vec::new(), 0);
        for path in &self.files {
            let file =
                File::open(path).with_context(|| format!("can't read {}", path.display()))?;
            let mut read = Vec::new();
            let whole = parse(file, &stem(path), &photos, &mut read);
            let bar = bar(read.len() as u64, "importing");
            for (index, example) in read.into_iter().enumerate() {
                let example = example
                    .map_err(anyhow::Error::from)
                    .and_then(|example| self.settle(example, &writer, artist.as_ref()));
                match example {
                    Ok(example) => {
                        writer.write(example.clone())?;
                        kept.push(example);
                    }
                    Err(error) => {
                        failed += 1;
                        let mut line = error_line(index + 1, error.as_ref());
                        line["file"] = json!(path);
                        line["dialogue"] = line["line"].take();
                        let mut out = std::io::stdout().lock();
                        writeln!(out, "{line}").context("can't write to stdout")?;
                    }
                }
                bar.inc(1);
            }
            bar.finish_and_clear();
            whole.with_context(|| format!("{} is no list of dialogues", path.display()))?;
        }
        anyhow::ensure!(!kept.is_empty(), "no dialogue could be imported");
        writer.finish()?;
        println!("{}", serde_json::to_string(&Statistics::of(&kept))?);
        anyhow::ensure!(
            failed == 0,
            "{failed} dialogues could not be imported; the other {} are in {}",
            kept.len(),
            self.out.display()
        );
        Ok(Verdict::Fine)
    }

    /// The folder of photos, as an absolute path, so that the new file may lie anywhere.
    fn folder(&self) -> anyhow::Result<Option<PathBuf>> {
        let Some(folder) = &self.photos else { return Ok(None) };
        let absolute = folder.canonicalize().ok().filter(|path| path.is_dir());
        let message = format!("--photos {} is no folder", folder.display());
        absolute.map(Some).ok_or_else(|| UsageError(message).into())
    }

    /// Does about missing photos what was asked.
    fn settle(
        &self,
        mut example: Example,
        writer: &ExampleWriter,
        artist: Option<&Artist>,
    ) -> anyhow::Result<Example> {
        let id = example.id.clone();
        for (number, photo) in example.photos_mut().enumerate() {
            if photo.picture != Picture::Missing || self.missing == Missing::Skip {
                continue;
            }
            let name = photo.photo_id.as_ref().or(photo.photo_url.as_ref());
            let name = name.cloned().unwrap_or_else(|| format!("{}", number + 1));
            match (artist, &photo.caption) {
                (Some(artist), Some(caption)) => {
                    let pixels = artist.draw(caption, &id, number)?;
                    photo.picture = Picture::Drawn(writer.write_photo(&id, number, &pixels)?);
                }
                _ => return Err(ImportError::MissingPhoto(name).into()),
            }
        }
        Ok(example)
    }
}

/// The file's name as a part of ids.
fn stem(path: &Path) -> String {
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let stem: String =
        stem.chars().map(|c| if c.is_alphanumeric() || c == '-' { c } else { '_' }).collect();
    if stem.is_empty() { "data".to_owned() } else { stem }
}

/// Draws missing photos.
struct Artist {
    engine: Engine,
    adapter: Option<String>,
    drawing: Drawing,
    seed: u64,
}

impl Artist {
    fn start(import: &Import, settings: &Settings) -> anyhow::Result<Self> {
        let drawing = import.drawing.drawing(settings)?;
        let demand = import.drawing.demand(settings).without_text();
        let (engine, adapter) = import.model.prepare(settings, &demand)?.load()?;
        Ok(Self { engine, adapter, drawing, seed: import.seed })
    }

    /// Draws a caption. The picture is a function of caption, seed and place in the dataset.
    fn draw(&self, caption: &str, id: &str, number: usize) -> anyhow::Result<Pixels> {
        let hash = blake3::hash(format!("{} {id} {number}", self.seed).as_bytes());
        let seed = u64::from_le_bytes(hash.as_bytes()[..8].try_into().expect("8 of 32 bytes"));
        let request = DrawRequest {
            caption: caption.to_owned(),
            drawing: self.drawing.clone(),
            // Seeds are stored as JSON numbers.
            seed: seed >> 11,
            adapter: self.adapter.clone(),
            trace: None,
        };
        let job = self.engine.submit(LOCAL, Work::Draw(request))?;
        let Outcome::Picture(pixels) = follow(job, id)? else {
            anyhow::bail!("the engine answered something else");
        };
        Ok(pixels)
    }
}
