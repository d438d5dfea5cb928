//! The end-to-end model: one system sees, talks and draws (Guo et al., ICME 2025).
//!
//! The language model writes `[IMG] caption [/IMG]` where a photo belongs, and the caption's
//! tokens, written anew by the text encoders' own tokenizers (eq. 5's R̃), drive the image
//! generator. At inference nothing else crosses the bridge.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use tch::{Kind, Tensor};

use super::agreement;
use super::draw::{Drawer, Order};
use super::error::ModelError;
use super::model_directory::ModelDirectory;
use super::trace::{Trace, ids_tensor};
use super::{DrawRequest, PhotoSharing, Progress, ReplyRequest, RespondError, System, Watcher};
use crate::adapters::JointAdapter;
use crate::dialogue::{Element, Photo, Pixels, Reply, Timings};
use crate::llama_vision::{
    Generation, GenerationSettings, LlamaVision, PhotoRules, PhotoTiles, Prompt, SeenPhoto,
    Written, cross_attention_mask,
};
use crate::prompt::{
    self, Budget, CaptionTokenizers, Closing, PromptBuilder, PromptError, ReplyDecoder, Step,
};
use crate::stable_diffusion::StableDiffusion3;
use crate::torch::{Compute, Generator, SaveError};

/// Most photos in one reply.
const PHOTOS_MAX: usize = 4;
/// Most tokens of one caption: beyond CLIP's 77 positions nothing is read.
const CAPTION_TOKENS_MAX: usize = 64;

/// Most tokens of a prompt: a long enough talk, and a short enough wait.
pub(super) const PROMPT_TOKENS_MAX: usize = 8192;
/// Most photo tiles of a prompt: eight photos in full, in Llama-3.2-Vision's four tiles.
pub(super) const TILES_MAX: usize = 32;

/// Llama-3.2-Vision and Stable Diffusion 3, loaded, with any number of adapters beside them.
pub struct EndToEnd {
    directory: ModelDirectory,
    revision: String,
    compute: Compute,
    prompts: PromptBuilder,
    llama: LlamaVision,
    drawer: Drawer,
    adapters: HashMap<String, JointAdapter>,
}

impl EndToEnd {
    /// Loads both bases of `directory`.
    pub fn load(directory: &ModelDirectory, compute: Compute) -> Result<Self, ModelError> {
        let (llama_folder, diffusion_folder) = (directory.llama(), directory.diffusion());
        let tags = directory.manifest.tokens;
        let prompts = PromptBuilder::load(&llama_folder, Some(tags))?;
        let tokenizers = CaptionTokenizers::load(&diffusion_folder)?;
        let llama = LlamaVision::load(&llama_folder, compute, Some(tags))?;
        let tokenizer = prompts.tokenizer();
        agreement::sight(&llama_folder, prompts.processor(), tokenizer, llama.config())?;
        agreement::llama_vocabulary(&llama_folder, tokenizer, llama.config())?;
        let diffusion = StableDiffusion3::load(&diffusion_folder, compute)?;
        agreement::caption_vocabularies(&diffusion_folder, &tokenizers, diffusion.config())?;
        let drawer = Drawer::new(diffusion, tokenizers)
            .map_err(|source| ModelError::EmptyCaption { path: diffusion_folder, source })?;
        Ok(Self {
            revision: directory.revision(),
            directory: directory.clone(),
            compute,
            prompts,
            llama,
            drawer,
            adapters: HashMap::new(),
        })
    }

    /// Makes an adapter resident; gives the revision under which requests choose it.
    pub fn add_adapter(&mut self, folder: &Path) -> Result<String, ModelError> {
        let adapter = JointAdapter::read(folder, &self.directory.bases()?, self.compute)?;
        let revision = adapter.revision.clone();
        self.adapters.insert(revision.clone(), adapter);
        Ok(revision)
    }

    fn adapter(&self, revision: Option<&str>) -> Result<Option<&JointAdapter>, RespondError> {
        let Some(revision) = revision else { return Ok(None) };
        let adapter = self.adapters.get(revision);
        adapter.map(Some).ok_or_else(|| {
            RespondError::Failed(format!("the adapter {revision} is not resident").into())
        })
    }
}

impl System for EndToEnd {
    fn revision(&self) -> &str {
        &self.revision
    }

    fn respond(
        &mut self,
        request: &ReplyRequest,
        watcher: &mut Watcher<'_>,
    ) -> Result<Reply, RespondError> {
        let adapter = self.adapter(request.adapter.as_deref())?;
        let mut timings = Timings::default();
        let mut trace = Trace::new(request.trace.as_deref());

        let begun = Instant::now();
        let budget = self.budget(request.new_tokens_max);
        let system_text = request.system_text.as_deref();
        let prompt = self
            .prompts
            .build(&request.dialogue, system_text, budget, Closing::ReplyOpened)
            .map_err(unanswerable)?;
        let seen = self.perceive(&prompt, adapter, watcher, &mut trace)?;
        timings.perceive_ms = ms_since(begun);

        let (written, mut elements) =
            self.write(request, &prompt, &seen, adapter, watcher, &mut timings)?;
        trace.keep("first_logits", || Tensor::from_slice(&written.first_logits));
        trace.keep("reply_ids", || ids_tensor(&written.ids));

        let begun = Instant::now();
        let mut photos = 0;
        for element in &mut elements {
            let Element::Photo(Photo { pixels, caption: Some(caption) }) = element else {
                continue;
            };
            let order =
                Order { caption, drawing: &request.drawing, index: photos, seed: request.seed };
            photos += 1;
            let steps = request.drawing.steps;
            let mut step = |step| watcher(Progress::Drawing { photo: photos, step, steps });
            let diffusion = adapter.and_then(|adapter| adapter.diffusion.as_ref());
            *pixels = Some(Arc::new(self.drawer.draw(&order, diffusion, &mut step, &mut trace)?));
        }
        timings.draw_ms = ms_since(begun);

        trace.write().map_err(failed)?;
        Ok(Reply {
            elements,
            tokens: written.ids,
            seed: request.seed,
            share_probability: written.share_probability,
            timings,
            model: self.revision.clone(),
            adapter: request.adapter.clone(),
        })
    }

    fn draw(
        &mut self,
        request: &DrawRequest,
        watcher: &mut Watcher<'_>,
    ) -> Result<Pixels, RespondError> {
        let adapter = self.adapter(request.adapter.as_deref())?;
        let mut trace = Trace::new(request.trace.as_deref());
        let order = Order {
            caption: &request.caption,
            drawing: &request.drawing,
            index: 0,
            seed: request.seed,
        };
        let steps = request.drawing.steps;
        let mut step = |step| watcher(Progress::Drawing { photo: 1, step, steps });
        let diffusion = adapter.and_then(|adapter| adapter.diffusion.as_ref());
        let pixels = self.drawer.draw(&order, diffusion, &mut step, &mut trace)?;
        trace.write().map_err(failed)?;
        Ok(pixels)
    }
}

impl EndToEnd {
    /// What a prompt may take and still leave room for the reply.
    fn budget(&self, new_tokens_max: usize) -> Budget {
        let context = self.llama.config().text.positions_max as usize;
        Budget {
            tokens_max: context.saturating_sub(new_tokens_max).min(PROMPT_TOKENS_MAX),
            tiles_max: TILES_MAX,
        }
    }

    /// Looks at the prompt's photos, each once.
    fn perceive(
        &self,
        prompt: &prompt::Prompt,
        adapter: Option<&JointAdapter>,
        watcher: &mut Watcher<'_>,
        trace: &mut Trace<'_>,
    ) -> Result<Vec<SeenPhoto>, RespondError> {
        let _no_grad = tch::no_grad_guard();
        let vision = &self.llama.config().vision;
        let photos: Vec<PhotoTiles> = prompt
            .images
            .iter()
            .map(|image| PhotoTiles {
                pixels: image.pixel_values.clone(),
                tiles: image.tiles,
                aspect_ratio_id: image.aspect_ratio_id,
            })
            .collect();
        trace.keep("prompt_ids", || ids_tensor(&prompt.ids));
        if photos.is_empty() {
            return Ok(Vec::new());
        }
        if watcher(Progress::Perceiving { photos: photos.len() }).is_break() {
            return Err(RespondError::Cancelled);
        }
        let (n, k) = (photos.len() as i64, vision.tiles_max);
        trace.keep("pixel_values", || {
            let pixels: Vec<&[f32]> = photos.iter().map(|photo| photo.pixels.as_slice()).collect();
            let side = vision.tile_size;
            Tensor::from_slice(&pixels.concat()).view([n, k, 3, side, side])
        });
        trace.keep("aspect_ratio_ids", || {
            let ids: Vec<i64> = photos.iter().map(|photo| photo.aspect_ratio_id).collect();
            Tensor::from_slice(&ids)
        });
        trace.keep("aspect_ratio_mask", || {
            let shown: Vec<&[i64]> =
                prompt.images.iter().map(|image| image.aspect_ratio_mask.as_slice()).collect();
            Tensor::from_slice(&shown.concat()).view([n, k])
        });
        trace.keep("cross_attention_mask", || {
            let shown: Vec<usize> = photos.iter().map(|photo| photo.tiles).collect();
            let length = prompt.ids.len();
            let mask = cross_attention_mask(&prompt.image_positions, &shown, length, k as usize);
            Tensor::from_slice(&mask).to_kind(Kind::Int64).view([length as i64, n, k])
        });
        Ok(self.llama.perceive(&photos, adapter.and_then(|adapter| adapter.llama.as_ref())))
    }

    /// Writes the reply's tokens, telling text as it becomes readable.
    fn write(
        &self,
        request: &ReplyRequest,
        prompt: &prompt::Prompt,
        seen: &[SeenPhoto],
        adapter: Option<&JointAdapter>,
        watcher: &mut Watcher<'_>,
        timings: &mut Timings,
    ) -> Result<(Generation, Vec<Element>), RespondError> {
        let tokenizer = self.prompts.tokenizer();
        let settings = GenerationSettings {
            decoding: request.decoding,
            new_tokens_max: request.new_tokens_max,
            end_tokens: tokenizer.ends().to_vec(),
            photos: Some(PhotoRules {
                tags: tokenizer.tags(),
                photos_max: if request.photos == PhotoSharing::On { PHOTOS_MAX } else { 0 },
                caption_tokens_max: CAPTION_TOKENS_MAX,
                control_tokens: tokenizer.controls().map(|(_, id)| id).collect(),
                logit_bias: request.share_bias,
            }),
        };
        let begun = Instant::now();
        let mut read = None;
        let mut stopped = false;
        let mut decoder = ReplyDecoder::new(tokenizer);
        let mut told = 0;
        let mut on_token = |written: Written| {
            read.get_or_insert_with(|| ms_since(begun));
            told += usize::from(written.token.is_some());
            let text = match written.token.map(|token| decoder.push(token)) {
                Some(Step::Text(text)) => text,
                Some(Step::Caption | Step::Photo { .. } | Step::End) | None => String::new(),
            };
            let flow = watcher(Progress::TextDelta(text));
            stopped |= flow.is_break();
            flow
        };
        let generation = self.llama.generate(
            Prompt { ids: &prompt.ids, photos: seen },
            &settings,
            &mut Generator::new(request.seed),
            adapter.and_then(|adapter| adapter.llama.as_ref()),
            &mut on_token,
        );
        timings.prefill_ms = read.unwrap_or_else(|| ms_since(begun));
        timings.decode_ms = ms_since(begun) - timings.prefill_ms;
        // A stop at the last token comes too late for the decoder, but not for the photos.
        if stopped {
            return Err(RespondError::Cancelled);
        }
        // The winner of a beam is known at the end only.
        for &id in &generation.ids[told..] {
            decoder.push(id);
        }
        let (_, elements) = decoder.finish();
        Ok((generation, elements))
    }
}

fn ms_since(begun: Instant) -> f64 {
    begun.elapsed().as_secs_f64() * 1e3
}

fn unanswerable(error: PromptError) -> RespondError {
    match error {
        PromptError::Empty | PromptError::NoRoom { .. } => {
            RespondError::Unanswerable(error.to_string())
        }
        PromptError::Template(_) | PromptError::Reordered | PromptError::Tokenizer(_) => {
            RespondError::Failed(Box::new(error))
        }
    }
}

fn failed(error: SaveError) -> RespondError {
    RespondError::Failed(Box::new(error))
}
