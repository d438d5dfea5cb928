//! Checks a model directory completely, before anything of it is loaded.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::agreement;
use super::error::ModelError;
use super::manifest::{MANIFEST, Manifest};
use super::model_directory::{Bases, ModelDirectory};
use crate::adapters::JointAdapter;
use crate::dialogue::{Dialogue, Element, Photo, Pixels, Speaker};
use crate::llama_vision::{Config, LlamaVision};
use crate::prompt::{
    Budget, CaptionTokenizer, CaptionTokenizers, Closing, ImageProcessor, LlamaTokenizer,
    PromptBuilder,
};
use crate::stable_diffusion::{Part, PipelineIndex, SchedulerConfig, StableDiffusion3Config};
use crate::tokens::PhotoTags;
use crate::torch::{Compute, LoadError};

/// One thing that was looked at.
#[derive(Debug)]
pub struct Finding {
    /// File or folder, relative to the model directory where it lies in it.
    pub place: String,
    /// What it is like, or what is wrong with it.
    pub verdict: Result<String, ModelError>,
}

/// What an inspection found, in the order of the layout.
#[derive(Debug, Default)]
pub struct Inspection {
    /// Everything looked at; a place with several problems stands there several times.
    pub findings: Vec<Finding>,
}

/// Looks at every file of the model directory `path`, and at `adapter` where one is to be used.
/// Of the weights only the headers are read.
pub fn inspect(path: &Path, adapter: Option<&Path>) -> Inspection {
    let (llama, diffusion) = (path.join("llama"), path.join("diffusion"));
    let mut inspection = Inspection::default();
    let manifest = Manifest::read(path);
    let tags = manifest.as_ref().ok().map(|manifest| manifest.tokens);
    let no_model = manifest.is_err() && !llama.is_dir() && !diffusion.is_dir();
    let manifest = inspection
        .note(MANIFEST, manifest, |manifest| format!("describes {}", manifest.revision()));
    if no_model {
        return inspection;
    }
    inspection.llama(&llama, tags);
    inspection.diffusion(&diffusion);
    let Some(manifest) = manifest else { return inspection };
    let directory = ModelDirectory { path: path.to_owned(), manifest };
    if inspection.is_sound() {
        let agrees = Bases::read(&llama, &diffusion).and_then(|bases| directory.check(&bases));
        inspection.note(MANIFEST, agrees, |()| "is that of these files".to_owned());
    }
    if let Some(adapter) = adapter {
        inspection.adapter(adapter, &directory);
    }
    inspection
}

impl Inspection {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.findings.iter().all(|finding| finding.verdict.is_ok())
    }

    /// Notes what a check came to; gives what it read.
    fn note<T>(
        &mut self,
        place: impl Into<String>,
        read: Result<T, impl Into<ModelError>>,
        praise: impl FnOnce(&T) -> String,
    ) -> Option<T> {
        let (verdict, read) = match read {
            Ok(read) => (Ok(praise(&read)), Some(read)),
            Err(error) => (Err(error.into()), None),
        };
        self.findings.push(Finding { place: place.into(), verdict });
        read
    }

    /// Notes what became of the weights in a folder.
    fn note_weights(&mut self, place: String, weights: Result<usize, Vec<LoadError>>) {
        match weights {
            Ok(tensors) => {
                let praise = format!("{tensors} tensors, as its configuration says");
                self.findings.push(Finding { place, verdict: Ok(praise) });
            }
            Err(problems) => self.findings.extend(
                problems
                    .into_iter()
                    .map(|problem| Finding { place: place.clone(), verdict: Err(problem.into()) }),
            ),
        }
    }

    fn llama(&mut self, folder: &Path, tags: Option<PhotoTags>) {
        let config = self.note("llama/config.json", Config::read(folder), |config| {
            format!(
                "{} layers, {} tokens of context",
                config.text.layers, config.text.positions_max
            )
        });
        let tokenizer =
            self.note("llama/tokenizer.json", LlamaTokenizer::load(folder, tags), |tokenizer| {
                let PhotoTags { img, img_end } = tokenizer.tags();
                format!("{} ids, [IMG] is {img}, [/IMG] {img_end}", tokenizer.rows())
            });
        let processor = self.note(
            "llama/preprocessor_config.json",
            ImageProcessor::load(folder),
            |processor| {
                format!("{} tiles of {} pixels", processor.tiles_max(), processor.tile_px())
            },
        );
        if let (Some(tokenizer), Some(processor)) = (&tokenizer, &processor) {
            self.note("llama chat template", template(folder, tags), |tokens| {
                format!("makes {tokens} tokens of a short dialogue with photos")
            });
            if let Some(config) = &config {
                let agrees = agreement::sight(folder, processor, tokenizer, config)
                    .and_then(|()| agreement::llama_vocabulary(folder, tokenizer, config));
                self.note("llama", agrees, |()| {
                    "tokenizer and image processor are the model's".to_owned()
                });
            }
        }
        if config.is_some() {
            self.note_weights("llama weights".to_owned(), LlamaVision::inspect(folder));
        }
    }

    fn diffusion(&mut self, folder: &Path) {
        let index = self.note("diffusion/model_index.json", PipelineIndex::read(folder), |index| {
            if index.has_t5 { "with T5".to_owned() } else { "without T5".to_owned() }
        });
        self.note(
            "diffusion/scheduler/scheduler_config.json",
            SchedulerConfig::read(folder),
            |scheduler| format!("shift {}", scheduler.shift),
        );
        let has_t5 = index.is_some_and(|index| index.has_t5);
        let clip_l = self.caption_tokenizer(folder, "tokenizer", CaptionTokenizer::clip);
        let clip_g = self.caption_tokenizer(folder, "tokenizer_2", CaptionTokenizer::clip);
        let t5 =
            has_t5.then(|| self.caption_tokenizer(folder, "tokenizer_3", CaptionTokenizer::t5));
        let mut whole = true;
        for part in Part::of(folder).unwrap_or_default() {
            let weights = part.inspect(folder);
            whole &= weights.is_ok();
            self.note_weights(format!("diffusion/{} weights", part.folder()), weights);
        }
        if let (Some(_), Some(clip_l), Some(clip_g), true) = (index, clip_l, clip_g, whole) {
            let tokenizers = CaptionTokenizers { clip_l, clip_g, t5: t5.flatten() };
            let agrees = StableDiffusion3Config::read(folder)
                .map_err(ModelError::from)
                .and_then(|config| agreement::caption_vocabularies(folder, &tokenizers, &config));
            self.note("diffusion", agrees, |()| "its parts are of one model".to_owned());
        }
    }

    fn caption_tokenizer(
        &mut self,
        folder: &Path,
        name: &str,
        load: impl FnOnce(&Path) -> Result<CaptionTokenizer, crate::prompt::PromptLoadError>,
    ) -> Option<CaptionTokenizer> {
        let path = folder.join(name);
        let tokenizer = load(&path).map_err(ModelError::from).and_then(|tokenizer| match tokenizer
            .encode("")
        {
            Ok(_) => Ok(tokenizer),
            Err(source) => Err(ModelError::EmptyCaption { path, source }),
        });
        self.note(format!("diffusion/{name}"), tokenizer, |tokenizer| {
            format!("{} ids", tokenizer.rows())
        })
    }

    fn adapter(&mut self, adapter: &Path, directory: &ModelDirectory) {
        let read = || -> Result<JointAdapter, ModelError> {
            Ok(JointAdapter::read(adapter, &directory.bases()?, Compute::CPU)?)
        };
        self.note(adapter.display().to_string(), read(), |adapter| {
            format!("is {}, for this model", adapter.revision)
        });
    }
}

/// Makes a prompt of a small dialogue with photos of both speakers, with a system text and without,
/// for a reply and as a whole: the tokens of the longest.
fn template(folder: &Path, tags: Option<PhotoTags>) -> Result<usize, ModelError> {
    let prompts = PromptBuilder::load(folder, tags)?;
    let pixels = || Some(Arc::new(Pixels { width: 1, height: 1, rgb: vec![0; 3] }));
    let text = |text: &str| Element::Utterance(text.to_owned());
    let mut dialogue = Dialogue::default();
    dialogue.push(
        Speaker::B,
        [text("look"), Element::Photo(Photo { pixels: pixels(), caption: None })],
    );
    let drawn = Photo { pixels: pixels(), caption: Some("a cat".to_owned()) };
    dialogue.push(Speaker::A, [text("here is mine"), Element::Photo(drawn)]);
    dialogue.push(Speaker::B, [text("lovely")]);
    let budget = Budget { tokens_max: usize::MAX, tiles_max: usize::MAX };
    let mut tokens = 0;
    for system_text in [None, Some("Be kind.")] {
        for closing in [Closing::ReplyOpened, Closing::Complete] {
            let prompt = prompts
                .build(&dialogue, system_text, budget, closing)
                .map_err(|source| ModelError::Template { path: PathBuf::from(folder), source })?;
            tokens = tokens.max(prompt.ids.len());
        }
    }
    Ok(tokens)
}
