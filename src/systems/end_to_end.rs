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

use super::adapters::JointAdapter;
use super::draw::{Drawer, Order};
use super::model_directory::{ModelDirectory, ModelError, PhotoTags as PhotoTagIds};
use super::trace::{Trace, ids_tensor};
use super::{DrawRequest, PhotoSharing, Progress, ReplyRequest, RespondError, System, Watcher};
use crate::dialogue::{Element, Photo, Pixels, Reply, Timings};
use crate::llama_vision::{
    Generation, GenerationSettings, LlamaVision, PhotoRules, PhotoTags, PhotoTiles, Prompt,
    SeenPhoto, TextConfig, Written, cross_attention_mask,
};
use crate::prompt::{
    self, Budget, CaptionTokenizers, Closing, PromptBuilder, PromptError, ReplyDecoder, Step,
};
use crate::stable_diffusion::StableDiffusion3;
use crate::torch::{Checkpoint, Compute, Generator};

/// Most photos in one reply.
const PHOTOS_MAX: usize = 4;
/// Most tokens of one caption: beyond CLIP's 77 positions nothing is read.
const CAPTION_TOKENS_MAX: usize = 64;

/// Most tokens of a prompt: a long enough talk, and a short enough wait.
const PROMPT_TOKENS_MAX: usize = 8192;
/// Most photo tiles of a prompt: eight photos in full, in Llama-3.2-Vision's four tiles.
const TILES_MAX: usize = 32;

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
        let PhotoTagIds { img, img_end } = directory.manifest.tokens;
        let tags = PhotoTags { begin: img, end: img_end };
        let prompt_tags = prompt::PhotoTags { img, img_end };
        let prompts = PromptBuilder::load(&directory.llama(), Some(prompt_tags))?;
        let llama = LlamaVision::load(&directory.llama(), compute, Some(tags))?;
        let tokenizers = CaptionTokenizers::load(&directory.diffusion())?;
        let diffusion = StableDiffusion3::load(&directory.diffusion(), compute)?;
        check_sight(directory, &prompts, &llama)?;
        check_vocabularies(directory, &prompts, &llama, &tokenizers, &diffusion)?;
        let drawer = Drawer::new(diffusion, tokenizers).map_err(ModelError::EmptyCaption)?;
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
        let llama = Checkpoint::open(&self.directory.llama(), "model")?.shapes();
        let transformer = self.directory.diffusion().join("transformer");
        let transformer = Checkpoint::open(&transformer, "diffusion_pytorch_model")?.shapes();
        let adapter = JointAdapter::read(folder, &llama, &transformer, self.compute)?;
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
        let tokens = self.directory.manifest.tokens;
        let tokenizer = self.prompts.tokenizer();
        let settings = GenerationSettings {
            decoding: request.decoding,
            new_tokens_max: request.new_tokens_max,
            end_tokens: tokenizer.ends().to_vec(),
            photos: Some(PhotoRules {
                tags: PhotoTags { begin: tokens.img, end: tokens.img_end },
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
        let mut on_token = |written: Written| {
            read.get_or_insert_with(|| ms_since(begun));
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
        let mut decoder = ReplyDecoder::new(tokenizer);
        for &id in &generation.ids {
            decoder.push(id);
        }
        let (_, elements) = decoder.finish();
        Ok((generation, elements))
    }
}

/// Holds the image processor and the tokenizer's `<|image|>` against the model that reads photos.
fn check_sight(
    directory: &ModelDirectory,
    prompts: &PromptBuilder,
    llama: &LlamaVision,
) -> Result<(), ModelError> {
    let (processor, config) = (prompts.processor(), llama.config());
    let (tile_px, tiles_max) = (config.vision.tile_size as usize, config.vision.tiles_max as usize);
    let image = prompts.tokenizer().image();
    let (path, reason) = if (processor.tile_px(), processor.tiles_max()) != (tile_px, tiles_max) {
        let reason = format!(
            "it makes {} tiles of {} pixels, but the vision encoder in config.json reads \
             {tiles_max} of {tile_px}",
            processor.tiles_max(),
            processor.tile_px()
        );
        ("preprocessor_config.json", reason)
    } else if image != config.image_token {
        let reason = format!("<|image|> is {image}, but config.json says {}", config.image_token);
        ("tokenizer.json", reason)
    } else {
        return Ok(());
    };
    Err(ModelError::Base { path: directory.llama().join(path), reason })
}

/// Holds every tokenizer against the token table that its ids index.
fn check_vocabularies(
    directory: &ModelDirectory,
    prompts: &PromptBuilder,
    llama: &LlamaVision,
    captions: &CaptionTokenizers,
    diffusion: &StableDiffusion3,
) -> Result<(), ModelError> {
    const CLIP_TABLE: &str = "text_model.embeddings.token_embedding.weight";
    let llama_rows = llama.config().text.vocabulary + TextConfig::EXTRA_ROWS;
    let config = diffusion.config();
    let mut pairs = vec![
        (
            "llama/tokenizer.json",
            prompts.tokenizer().rows(),
            "llama",
            "language_model.model.embed_tokens.weight",
            llama_rows,
        ),
        (
            "diffusion/tokenizer",
            captions.clip_l.rows(),
            "diffusion/text_encoder",
            CLIP_TABLE,
            config.clip_l.vocab_size,
        ),
        (
            "diffusion/tokenizer_2",
            captions.clip_g.rows(),
            "diffusion/text_encoder_2",
            CLIP_TABLE,
            config.clip_g.vocab_size,
        ),
    ];
    if let (Some(tokenizer), Some(encoder)) = (&captions.t5, &config.t5) {
        pairs.push((
            "diffusion/tokenizer_3",
            tokenizer.rows(),
            "diffusion/text_encoder_3",
            "shared.weight",
            encoder.vocab_size,
        ));
    }
    for (tokenizer, tokens, weights, tensor, rows) in pairs {
        let rows = rows as usize;
        if tokens > rows {
            let (tokenizer, weights) =
                (directory.path.join(tokenizer), directory.path.join(weights));
            return Err(ModelError::Vocabulary { tokenizer, tokens, weights, tensor, rows });
        }
    }
    Ok(())
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

fn failed(error: tch::TchError) -> RespondError {
    RespondError::Failed(Box::new(error))
}
