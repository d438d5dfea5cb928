//! The joint objective: the language model learns dialogues, the image generator the photos that A
//! shares in them, and what makes a photo hard to draw reaches the words of its caption through
//! the bridge (Guo et al., ICME 2025, section III-D).
//!
//! A caption is teacher-forced: the logits at its positions predict the reference's tokens. One
//! Gumbel draw of these logits drives the image generator's text encoders, by the reference caption
//! or by the draw's own.

mod batch;
mod loss;

use std::collections::BTreeMap;
use std::path::Path;

use tch::{Device, Kind, Tensor};

use super::objectives::{activations, cut_note, own_side, place, unusable};
use super::parts::{LLAMA, Parts};
use super::reading::ReadDialogue;
use super::{
    Batch, Counts, Draws, MicroLoss, Objective, ObjectiveError, Parameters, Purpose, StepContext,
    TrainError,
};
use crate::adapters::{self, Bases, JointAdapter, Shapes};
use crate::bridge::{self, Bridge, DrivingCaption, Temperature};
use crate::config::{self, BridgeMode, TokenRows, Trained, Training};
use crate::data::Example;
use crate::llama_vision::{BUFFERS, Config, LlamaVision};
use crate::nn::Adapter;
use crate::prompt::{CaptionTokenizers, LlamaTokenizer, PromptBuilder, PromptError};
use crate::stable_diffusion::{Part, StableDiffusion3, StableDiffusion3Config};
use crate::systems::{self, ADAPTER, ModelDirectory};
use crate::torch::Compute;

pub use batch::{Driver, JointMicroBatch, MicroDraws, PhotoDraws};

/// What the names of trained updates begin with.
const LANGUAGE: &str = "llama";
const DIFFUSION: &str = "diffusion";
/// The part of the language model whose layers are adapted.
const DECODER: &str = "language_model.";

/// Learns both models from the dialogues of a dataset.
pub struct JointObjective {
    parts: Parts,
    bases: Bases,
    parameters: Parameters,
    settings: Training,
    compute: Compute,
    examples: Vec<Example>,
    prompts: PromptBuilder,
    encoders: CaptionTokenizers,
    empty_caption: DrivingCaption,
    llama: LlamaVision,
    diffusion: StableDiffusion3,
    /// Updates of the language model, where it is adapted.
    language: Option<Adapter>,
    /// Updates of the diffusion transformer, where it is adapted.
    transformer: Option<Adapter>,
    /// Of the adapter that the run began with.
    adapter_revision: Option<String>,
    bridge: Option<Bridge>,
    /// Bool `[v]`: control tokens, which no caption holds.
    barred_v: Tensor,
    /// Side of the pictures in pixels.
    side: i64,
    /// `[c, h, w]` of a picture's latents.
    latents: [i64; 3],
}

impl JointObjective {
    /// Opens both models of the model directory `model`. Where they are adapted, training goes on
    /// from `adapter`, or else from updates that change nothing yet.
    ///
    /// # Errors
    /// If a part can't be read, or neither model is trained.
    pub fn load(
        model: &Path,
        adapter: Option<&Path>,
        examples: Vec<Example>,
        settings: &Training,
        compute: Compute,
    ) -> Result<Self, TrainError> {
        if (settings.language, settings.diffusion) == (Trained::Nothing, Trained::Nothing) {
            let reason = "training.language and training.diffusion are both \"nothing\": let the \
                          stage \"joint\" train one of them";
            return Err(TrainError::Setting(reason.to_owned()));
        }
        let directory = ModelDirectory::open(model).map_err(unusable)?;
        let bases = directory.bases().map_err(unusable)?;
        let parts = Parts::new(model, settings.begin, settings.seed);
        let parts = parts.over(recorded(&settings.bridge));
        let llama = open_llama(&parts, &directory, settings, compute)?;
        let diffusion = open_diffusion(&parts, &directory, settings, compute)?;
        let tags = directory.manifest.tokens;
        let prompts = PromptBuilder::load(&directory.llama(), Some(tags)).map_err(unusable)?;
        let encoders = CaptionTokenizers::load(&directory.diffusion()).map_err(unusable)?;
        let earlier = adapter.map(|folder| read_adapter(folder, &bases, compute)).transpose()?;
        let adapter_revision = earlier.as_ref().map(|adapter| adapter.revision.clone());
        let (language, transformer) =
            adapters(&directory, earlier, &bases, &llama, settings, compute)?;
        let tokenizer = prompts.tokenizer();
        let side =
            settings.pictures.picture_px.map_or_else(|| own_side(diffusion.config()), i64::from);
        let side_px = u32::try_from(side).unwrap_or(u32::MAX);
        let latents = diffusion
            .latents_shape(Some((side_px, side_px)))
            .map_err(|error| TrainError::Setting(format!("diffusion.picture_px: {error}")))?;
        let mut parameters = parts.parameters();
        for (model, adapter, trained) in [
            (LANGUAGE, &language, settings.language),
            (DIFFUSION, &transformer, settings.diffusion),
        ] {
            let adapter = adapter.iter().filter(|_| trained == Trained::Adapters);
            let tensors = adapter.flat_map(Adapter::parameters);
            parameters.extend(tensors.map(|(name, tensor)| (format!("{model}.{name}"), tensor)));
        }
        Ok(Self {
            empty_caption: DrivingCaption::gold("", tokenizer, &encoders).map_err(unusable)?,
            bridge: open_bridge(&settings.bridge, tokenizer, &encoders, &diffusion)
                .map_err(unusable)?,
            barred_v: barred(tokenizer, llama.config().text.vocabulary, compute.device),
            parts,
            bases,
            parameters,
            settings: settings.clone(),
            compute,
            examples,
            prompts,
            encoders,
            llama,
            diffusion,
            language,
            transformer,
            adapter_revision,
            side,
            latents,
        })
    }

    /// How soft the backward pass through a caption's draw is at temperature `tau`.
    pub fn temperature(&self, tau: f64) -> Temperature {
        Temperature { tau, floor: self.settings.bridge.temperature_floor }
    }

    /// Those of the trained `parameters` that belong to `model`, by the adapter's own names.
    fn of_adapter(adapter: &Adapter, model: &str, parameters: &Parameters) -> Option<Adapter> {
        let own: BTreeMap<_, _> = parameters
            .iter()
            .filter_map(|(name, tensor)| {
                let name = name.strip_prefix(model)?.strip_prefix('.')?;
                Some((name.to_owned(), tensor.shallow_clone()))
            })
            .collect();
        adapter.over(&own)
    }
}

impl Objective for JointObjective {
    type MicroBatch = JointMicroBatch;

    fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Also the adapter that the run began with: its scales, and a half that stays as it is, are in
    /// no checkpoint.
    fn bases(&self) -> Vec<(String, String)> {
        let adapter = self.adapter_revision.iter();
        let adapter = adapter.map(|revision| (ADAPTER.to_owned(), revision.clone()));
        self.parts.bases().into_iter().chain(adapter).collect()
    }

    fn examples(&self) -> usize {
        self.examples.len()
    }

    fn prepare(
        &mut self,
        places: &[usize],
        step: &StepContext,
    ) -> Result<Batch<JointMicroBatch>, ObjectiveError> {
        let mut batch = Batch::default();
        let mut dialogues = Vec::new();
        let context_tokens = self.llama.config().text.positions_max as usize;
        for (place, &index) in (0..).zip(places) {
            let example = &self.examples[index];
            match ReadDialogue::read(example, &self.prompts, &self.settings.text, context_tokens) {
                Ok((dialogue, note)) => {
                    batch.left_out.extend(note);
                    for shared in &dialogue.shared {
                        let note = cut_note(&example.id, &shared.caption, &self.encoders);
                        batch.left_out.extend(note);
                    }
                    if self.settings.language == Trained::Nothing && dialogue.shared.is_empty() {
                        batch.left_out.push(format!("{}: A shares no photo in it", example.id));
                    } else {
                        dialogues.push((place, dialogue));
                    }
                }
                Err(sentence) => batch.left_out.push(sentence),
            }
        }
        // Dialogues of like length go together: less padding.
        dialogues.sort_by_key(|(_, dialogue)| dialogue.prompt.ids.len());
        let mirrored = self.settings.pictures.mirrored;
        let mut dialogues = dialogues.into_iter().peekable();
        for place in 0.. {
            if dialogues.peek().is_none() {
                break;
            }
            let together = dialogues.by_ref().take(self.settings.micro_batch_examples).collect();
            let micro_batch =
                JointMicroBatch::new(together, self.side, place, mirrored, &step.draws);
            let counts = micro_batch.counts();
            batch.push(micro_batch, counts);
        }
        Ok(batch)
    }

    fn forward(
        &mut self,
        micro_batch: &JointMicroBatch,
        step: &StepContext,
        counts: Counts,
    ) -> Result<MicroLoss, ObjectiveError> {
        let draws = MicroDraws::of_step(
            micro_batch,
            step,
            &batch::DrawSettings {
                pictures: &self.settings.pictures,
                noise: self.settings.bridge.noise,
                shift: self.diffusion.config().scheduler.shift,
                vocabulary: self.llama.config().text.vocabulary,
                latents: self.latents,
            },
        );
        let temperature = self.temperature(step.temperature);
        self.loss(micro_batch, &draws, temperature, counts, &step.recorder)
    }

    /// Writes `adapter/` where models are adapted, and `model/` where their weights are trained.
    fn write(&self, parameters: &Parameters, out: &Path) -> Result<(), ObjectiveError> {
        let over = |adapter: &Option<Adapter>, model, trained| match (adapter, trained) {
            (Some(adapter), Trained::Adapters) => Self::of_adapter(adapter, model, parameters),
            (adapter, _) => adapter.clone(),
        };
        let trained = [self.settings.language, self.settings.diffusion];
        let language = over(&self.language, LANGUAGE, trained[0]);
        let transformer = over(&self.transformer, DIFFUSION, trained[1]);
        if language.is_some() || transformer.is_some() {
            let dropout = self.settings.lora.dropout;
            adapters::write(
                &out.join(ADAPTER),
                language.as_ref(),
                transformer.as_ref(),
                &self.bases,
                dropout,
            )?;
        }
        if trained.contains(&Trained::Weights) {
            self.parts.write(parameters, out, self.settings.written, |_| Ok(()))?;
        }
        Ok(())
    }
}

fn open_llama(
    parts: &Parts,
    directory: &ModelDirectory,
    settings: &Training,
    compute: Compute,
) -> Result<LlamaVision, TrainError> {
    let folder = directory.llama();
    let config = Config::read(&folder)?;
    let weights = match settings.language {
        Trained::Weights => parts.trained(LLAMA, compute, &[""])?,
        Trained::Adapters | Trained::Nothing => parts.frozen(LLAMA, compute)?,
    };
    let mut llama = LlamaVision::from_weights(&weights, config)?;
    weights.finish(BUFFERS)?;
    if !parts.tags_trained_before() {
        llama.neutralise(directory.manifest.tokens);
    }
    llama.set_activations(activations(settings));
    Ok(llama)
}

fn open_diffusion(
    parts: &Parts,
    directory: &ModelDirectory,
    settings: &Training,
    compute: Compute,
) -> Result<StableDiffusion3, TrainError> {
    let config = StableDiffusion3Config::read(&directory.diffusion())?;
    let open = |part: Part, compute: Compute| match (part, settings.diffusion) {
        (Part::Transformer, Trained::Weights) => parts.trained(place(part), compute, &[""]),
        _ => parts.frozen(place(part), compute),
    };
    let mut diffusion = StableDiffusion3::from_weights(config, compute, open)?;
    diffusion.set_activations(activations(settings));
    Ok(diffusion)
}

/// The adapter that training goes on from, in float32.
fn read_adapter(
    folder: &Path,
    bases: &Bases,
    compute: Compute,
) -> Result<JointAdapter, TrainError> {
    let float = Compute { kind: Kind::Float, ..compute };
    JointAdapter::read(folder, bases, float).map_err(unusable)
}

/// The updates of language model and diffusion transformer.
fn adapters(
    directory: &ModelDirectory,
    earlier: Option<JointAdapter>,
    bases: &Bases,
    llama: &LlamaVision,
    settings: &Training,
    compute: Compute,
) -> Result<(Option<Adapter>, Option<Adapter>), TrainError> {
    let lora = &settings.lora;
    let seed = |place| Draws::new(settings.seed, 0).seed(Purpose::Initial, place);
    let fresh = |layers: Vec<(&str, [i64; 2])>, place| {
        Adapter::fresh(layers, lora.rank, lora.alpha, seed(place), compute.device)
    };
    let (earlier_language, earlier_transformer) =
        earlier.map_or((None, None), |JointAdapter { llama, diffusion, .. }| (llama, diffusion));
    let language = begun("language", settings.language, earlier_language, || {
        let decoder = |name: &str| name.starts_with(DECODER);
        let chosen = chosen("lora.llama_layers", &bases.llama.shapes, &lora.llama_layers, decoder)?;
        let tags = directory.manifest.tokens;
        let rows: Vec<u32> = match lora.train_rows {
            TokenRows::Tags => vec![tags.img, tags.img_end],
            TokenRows::All => (0..llama.config().text.vocabulary as u32).collect(),
        };
        Ok(Adapter { rows: llama.token_rows(&rows), ..fresh(chosen, 0) })
    })?;
    let transformer = begun("diffusion", settings.diffusion, earlier_transformer, || {
        let (key, shapes) = ("lora.diffusion_layers", &bases.diffusion.shapes);
        Ok(fresh(chosen(key, shapes, &lora.diffusion_layers, |_| true)?, 1))
    })?;
    Ok((language, transformer))
}

/// The updates that the half `model` begins with: those that it has already, or `fresh` ones. One
/// that isn't trained stays as it is, and serves.
fn begun(
    model: &str,
    trained: Trained,
    earlier: Option<Adapter>,
    fresh: impl FnOnce() -> Result<Adapter, TrainError>,
) -> Result<Option<Adapter>, TrainError> {
    match (trained, earlier) {
        (Trained::Nothing, earlier) => Ok(earlier),
        (Trained::Weights, None) => Ok(None),
        (Trained::Weights, Some(_)) => Err(TrainError::Setting(format!(
            "training.{model} is \"weights\", but the model has an adapter there: train the adapter \
             on, or give --adapter none to leave it out"
        ))),
        (Trained::Adapters, Some(adapter)) => Ok(Some(adapter.trainable())),
        (Trained::Adapters, None) => fresh().map(Some),
    }
}

/// Names and shapes `[out, in]` of the linear layers whose names end with one of `ends`, the value
/// of the setting `key`; each must find one.
fn chosen<'a>(
    key: &str,
    shapes: &'a Shapes,
    ends: &[String],
    within: impl Fn(&str) -> bool,
) -> Result<Vec<(&'a str, [i64; 2])>, TrainError> {
    let linear = |(name, shape): (&'a String, &Vec<i64>)| {
        let name = name.strip_suffix(".weight").filter(|name| within(name))?;
        Some((name, <[i64; 2]>::try_from(shape.as_slice()).ok()?))
    };
    let linear: Vec<(&str, [i64; 2])> = shapes.iter().filter_map(linear).collect();
    let ends_so = |name: &str, end: &String| {
        name.strip_suffix(end.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    let lost = ends.iter().find(|end| !linear.iter().any(|(name, _)| ends_so(name, end)));
    if let Some(end) = lost {
        let reason = format!("{key} names \"{end}\", but no linear layer's name ends so");
        return Err(TrainError::Setting(reason));
    }
    if ends.is_empty() {
        return Err(TrainError::Setting(format!("{key} is empty: name at least one layer")));
    }
    let wanted = |(name, _): &(&str, _)| ends.iter().any(|end| ends_so(name, end));
    Ok(linear.into_iter().filter(wanted).collect())
}

/// The bridge as a manifest records it.
fn recorded(settings: &config::Bridge) -> Option<systems::Bridge> {
    let mode = match settings.mode {
        BridgeMode::None => return None,
        BridgeMode::Static => systems::BridgeMode::Static,
        BridgeMode::Sentence => systems::BridgeMode::Sentence,
        BridgeMode::Word => systems::BridgeMode::Word,
        BridgeMode::Position => systems::BridgeMode::Position,
    };
    Some(systems::Bridge { mode, temperature_floor: settings.temperature_floor })
}

fn open_bridge(
    settings: &config::Bridge,
    tokenizer: &LlamaTokenizer,
    encoders: &CaptionTokenizers,
    diffusion: &StableDiffusion3,
) -> Result<Option<Bridge>, PromptError> {
    let mode = match settings.mode {
        BridgeMode::None => return Ok(None),
        BridgeMode::Static => bridge::Mode::Static(match settings.static_match {
            config::StaticMatch::Raw => bridge::StaticMatch::Raw,
            config::StaticMatch::Folded => bridge::StaticMatch::Folded,
        }),
        BridgeMode::Sentence => bridge::Mode::Sentence,
        BridgeMode::Word => bridge::Mode::Word,
        BridgeMode::Position => bridge::Mode::Position,
    };
    let pooling = match settings.pooling {
        config::Pooling::Mean => bridge::Pooling::Mean,
        config::Pooling::Sum => bridge::Pooling::Sum,
    };
    let tables = [diffusion.clip_l().tokens().weight(), diffusion.clip_g().tokens().weight()];
    Ok(Some(Bridge::new(mode, pooling, tokenizer, encoders, tables)?))
}

/// Bool `[v]`: which tokens of the vocabulary are control tokens.
fn barred(tokenizer: &LlamaTokenizer, vocabulary: i64, device: Device) -> Tensor {
    let mut barred = vec![false; vocabulary as usize];
    for (_, id) in tokenizer.controls() {
        if let Some(barred) = barred.get_mut(id as usize) {
            *barred = true;
        }
    }
    Tensor::from_slice(&barred).to_device(device)
}
