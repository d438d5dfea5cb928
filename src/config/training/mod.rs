//! The settings of training; the keys' meaning and units stand in `config/training.toml`.

mod raw;

use std::path::Path;

use clap::ValueEnum;

use super::ConfigError;
use super::raw::{Document, Layers, Source, merge, sections};
use super::settings::{OwnedSource, Switch, environment, read_file};

/// Settings under one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Preset {
    /// The defaults in config/training.toml.
    #[default]
    Default,
    /// The paper's hyper-parameters.
    Paper,
    /// Those of the paper's published code.
    PublishedCode,
}

impl Preset {
    fn source(self) -> Option<Source<'static>> {
        let (origin, text) = match self {
            Self::Default => return None,
            Self::Paper => {
                ("config/presets/paper.toml", include_str!("../../../config/presets/paper.toml"))
            }
            Self::PublishedCode => (
                "config/presets/published-code.toml",
                include_str!("../../../config/presets/published-code.toml"),
            ),
        };
        Some(Source { origin, text })
    }
}

/// Everything that can be set about training.
#[derive(Debug, Clone, PartialEq)]
pub struct Training {
    /// What is learned.
    pub stage: Stage,
    /// What of the language model the stage `joint` trains.
    pub language: Trained,
    /// What of the diffusion transformer the stage `joint` trains.
    pub diffusion: Trained,
    /// Where the other stages begin.
    pub begin: Beginning,
    /// Format of the weights that the other stages write.
    pub written: WrittenPrecision,
    /// Of every random draw.
    pub seed: u64,
    /// Optimizer steps; `None` counts epochs.
    pub steps: Option<u64>,
    /// Passes over the data; above 0.
    pub epochs: f64,
    /// Examples of an optimizer step; at least 1.
    pub batch_examples: usize,
    /// Examples at once; at least 1.
    pub micro_batch_examples: usize,
    /// How micro-batches make a step.
    pub accumulation: Accumulation,
    /// Whether blocks are recomputed in the backward pass.
    pub recompute: Switch,
    /// Section `[optimizer]`.
    pub optimizer: OptimizerSettings,
    /// Section `[text]`.
    pub text: TextLoss,
    /// Section `[bridge]`.
    pub bridge: Bridge,
    /// Section `[diffusion]`.
    pub pictures: DiffusionLoss,
    /// Section `[lora]`.
    pub lora: Lora,
    /// Section `[vae]`.
    pub vae: VaeLoss,
    /// Section `[encoders]`.
    pub encoders: EncodersLoss,
    /// Section `[checkpoint]`.
    pub checkpoint: CheckpointPolicy,
    /// All of this as a file.
    pub document: String,
}

/// What is learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Stage {
    /// The picture autoencoder.
    Vae,
    /// Text and vision encoders, by contrast.
    Encoders,
    /// The language model with its eyes.
    Text,
    /// The diffusion transformer.
    Diffusion,
    /// Both models through the bridge.
    Joint,
}

/// How much of a model is trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trained {
    /// Low-rank updates and token rows.
    Adapters,
    /// Every weight.
    Weights,
    /// Nothing: it is frozen.
    Nothing,
}

/// Where full training begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beginning {
    /// The weights there are.
    Model,
    /// Initial values, drawn by the seed.
    Nothing,
}

/// Format of written weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WrittenPrecision {
    /// As they are trained.
    Float32,
    /// Half of the size.
    Bfloat16,
}

/// How micro-batches make a step's loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accumulation {
    /// The mean over the whole batch.
    Mean,
    /// The sum of the micro-batches' means.
    Sum,
}

/// AdamW and its schedule.
#[derive(Debug, Clone, PartialEq)]
pub struct OptimizerSettings {
    /// The peak; above 0.
    pub learning_rate: f64,
    /// After the warm-up.
    pub schedule: RateSchedule,
    /// Share of the peak at the last step, 0…1.
    pub learning_rate_end: f64,
    /// Steps of linear rise.
    pub warmup_steps: u64,
    /// Of matrices.
    pub weight_decay: f64,
    /// Decay of the mean of gradients, in [0, 1).
    pub beta1: f64,
    /// Decay of the mean of squared gradients, in [0, 1).
    pub beta2: f64,
    /// Added to the root.
    pub epsilon: f64,
    /// Largest norm of all gradients together; `None` never clips.
    pub gradient_norm_max: Option<f64>,
    /// Decay of the running mean of the trained tensors; `None` keeps none.
    pub mean_decay: Option<f64>,
    /// Steps in a row that may be skipped.
    pub skipped_steps_max: u64,
}

/// The learning rate after its warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RateSchedule {
    /// Stays.
    Constant,
    /// Falls in a line.
    Linear,
    /// Falls in half a cosine.
    Cosine,
}

/// How dialogues are read and scored.
#[derive(Debug, Clone, PartialEq)]
pub struct TextLoss {
    /// Whose turns.
    pub speakers: ScoredSpeakers,
    /// What of the prompt.
    pub scored: Scored,
    /// Opens every dialogue.
    pub system_text: Option<String>,
    /// Longest dialogue, in tokens; at least 2.
    pub tokens_max: usize,
    /// Most photo tiles of a dialogue.
    pub tiles_max: usize,
}

/// Whose turns are scored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScoredSpeakers {
    /// Both speakers'.
    Both,
    /// The bot's alone.
    A,
}

/// What of a prompt is scored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scored {
    /// What was said.
    Turns,
    /// Every token but those of photos.
    Everything,
}

/// The way from the caption's tokens to the text encoders.
#[derive(Debug, Clone, PartialEq)]
pub struct Bridge {
    /// Which way.
    pub mode: BridgeMode,
    /// When tokens are the same for `BridgeMode::Static`.
    pub static_match: StaticMatch,
    /// How rows are pooled.
    pub pooling: Pooling,
    /// Whether noise is drawn.
    pub noise: GumbelNoise,
    /// τ at the first step; above 0.
    pub temperature_first: f64,
    /// τ in the end; above 0.
    pub temperature_last: f64,
    /// Epochs in between.
    pub temperature_epochs: f64,
    /// Least τ of the backward pass.
    pub temperature_floor: f64,
    /// α of L = L_t + α L_v.
    pub picture_weight: f64,
    /// Epochs of gold captions alone.
    pub gold_epochs: f64,
    /// Largest share of own captions, 0…1.
    pub own_caption_share: f64,
    /// Epochs over which the share grows.
    pub own_caption_epochs: f64,
}

/// Modes of the bridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BridgeMode {
    /// Eq. 3.
    Static,
    /// Eq. 4 and 5, the paper's.
    Sentence,
    /// Word by word.
    Word,
    /// Position by position.
    Position,
    /// No gradient crosses.
    None,
}

/// When two tokens are the same for the static mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StaticMatch {
    /// Equal strings.
    Raw,
    /// Stripped and lower-cased.
    Folded,
}

/// How one-hot rows are pooled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// Their mean.
    Mean,
    /// Their sum.
    Sum,
}

/// What is added to the logits of the straight-through softmax.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GumbelNoise {
    /// Gumbel draws.
    Gumbel,
    /// Nothing.
    None,
}

/// How pictures are learned.
#[derive(Debug, Clone, PartialEq)]
pub struct DiffusionLoss {
    /// Mean of a noise level's logit.
    pub noise_level_mean: f64,
    /// Its standard deviation; above 0.
    pub noise_level_deviation: f64,
    /// Share of empty captions, 0…1.
    pub caption_dropout: f64,
    /// Side of the pictures in pixels; `None` is the model's own.
    pub picture_px: Option<u32>,
    /// Whether pictures are mirrored at random.
    pub mirrored: Switch,
    /// What becomes of the CLIP encoders.
    pub text_encoders: TextEncoders,
}

/// What becomes of the text encoders in the stage `diffusion`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextEncoders {
    /// They stay.
    Frozen,
    /// They learn too.
    Trained,
}

/// Low-rank updates.
#[derive(Debug, Clone, PartialEq)]
pub struct Lora {
    /// At least 1.
    pub rank: i64,
    /// Updates count α / rank times.
    pub alpha: f64,
    /// Share of inputs that are zeroed, in [0, 1).
    pub dropout: f64,
    /// Ends of the names of adapted layers of the decoder.
    pub llama_layers: Vec<String>,
    /// Ends of the names of adapted layers of the diffusion transformer.
    pub diffusion_layers: Vec<String>,
    /// Trained rows of embedding and head.
    pub train_rows: TokenRows,
}

/// Trained rows of the token tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenRows {
    /// Those of the photo tags.
    Tags,
    /// All.
    All,
}

/// The autoencoder's loss.
#[derive(Debug, Clone, PartialEq)]
pub struct VaeLoss {
    /// Of the absolute error.
    pub absolute_weight: f64,
    /// Of the squared error.
    pub square_weight: f64,
    /// Of the Kullback-Leibler divergence.
    pub divergence_weight: f64,
}

/// The contrast of captions and photos.
#[derive(Debug, Clone, PartialEq)]
pub struct EncodersLoss {
    /// Initial factor of the similarities; 1…100.
    pub similarity_scale: f64,
}

/// When checkpoints are written.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckpointPolicy {
    /// Steps between two; at least 1.
    pub every_steps: u64,
    /// How many stay; at least 1.
    pub kept: usize,
}

impl Training {
    /// The preset's settings, with `file` (else the one that `SHUTTERBUG_CONFIG` names), the
    /// environment and `overrides` (`section.key=value`) over them, in this order.
    ///
    /// # Errors
    /// If a file can't be read or is no TOML, or a key or value can't be.
    pub fn load(
        preset: Preset,
        file: Option<&Path>,
        overrides: &[String],
    ) -> Result<Self, ConfigError> {
        Self::over(preset.source(), file, overrides)
    }

    /// As `load`, over the settings of an earlier run, which its `document` gave.
    ///
    /// # Errors
    /// As `load`.
    pub fn load_again(
        earlier: &Path,
        file: Option<&Path>,
        overrides: &[String],
    ) -> Result<Self, ConfigError> {
        let earlier = OwnedSource::read(earlier)?;
        Self::over(Some(earlier.borrowed()), file, overrides)
    }

    fn over(
        preset: Option<Source<'_>>,
        file: Option<&Path>,
        overrides: &[String],
    ) -> Result<Self, ConfigError> {
        let environment = environment();
        let file = read_file(file, &environment)?;
        let file = file.as_ref().map(OwnedSource::borrowed);
        Self::from_layers(Layers { preset, file, environment: &environment, overrides })
    }

    fn from_layers(layers: Layers<'_>) -> Result<Self, ConfigError> {
        let (raw, table) = sections(merge(layers)?, Document::Training)?;
        raw::resolve(raw, table.to_string())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn with(preset: Preset, file: &str, overrides: &[&str]) -> Result<Training, ConfigError> {
        let overrides: Vec<String> = overrides.iter().map(|&text| text.to_owned()).collect();
        Training::from_layers(Layers {
            preset: preset.source(),
            file: Some(Source { origin: "my.toml", text: file }),
            environment: &BTreeMap::from([("SHUTTERBUG_LORA_RANK".to_owned(), "16".to_owned())]),
            overrides: &overrides,
        })
    }

    #[test]
    fn presets_files_environment_and_options_lie_over_one_another_in_this_order() {
        let file = "[optimizer]\nwarmup_steps = 7\nweight_decay = 0.5\n[model]\ndevice = \"cpu\"";
        let training = with(Preset::Paper, file, &["optimizer.weight_decay=0.25"]).unwrap();
        assert_eq!(training.bridge.mode, BridgeMode::Sentence);
        assert_eq!((training.optimizer.warmup_steps, training.lora.rank), (7, 16));
        assert!((training.optimizer.weight_decay - 0.25).abs() < f64::EPSILON);
        assert_eq!((training.steps, training.optimizer.mean_decay), (None, None));
    }

    #[test]
    fn the_presets_are_those_of_the_paper_and_of_its_code() {
        let paper = with(Preset::Paper, "", &[]).unwrap();
        assert!(paper.bridge.temperature_floor.abs() < f64::EPSILON);
        assert_eq!((paper.batch_examples, paper.optimizer.warmup_steps), (32, 1000));
        let code = with(Preset::PublishedCode, "", &[]).unwrap();
        assert_eq!((code.accumulation, code.bridge.noise), (Accumulation::Sum, GumbelNoise::None));
        assert_eq!((code.bridge.pooling, code.text.scored), (Pooling::Sum, Scored::Everything));
        assert_eq!((code.diffusion, code.lora.train_rows), (Trained::Weights, TokenRows::All));
    }

    #[test]
    fn a_run_s_document_gives_the_same_settings_again() {
        let first = with(Preset::Paper, "[training]\nseed = 5", &[]).unwrap();
        let again = Training::from_layers(Layers {
            preset: Some(Source { origin: "settings.toml", text: &first.document }),
            file: None,
            environment: &BTreeMap::new(),
            overrides: &[],
        });
        assert_eq!(again.unwrap(), first);
    }

    #[test]
    fn what_can_not_be_says_where_and_why() {
        let error = |file, set: &[&str]| with(Preset::Default, file, set).unwrap_err().to_string();
        for (text, sentence) in [
            (
                "training.steps=many",
                "--set: `training.steps` must be a whole number, not a text in quotes",
            ),
            (
                "training.step=5",
                "--set: there is no key `step` in [training]; did you mean `steps`?",
            ),
            ("brige.mode=word", "--set: there is no section [brige]; did you mean [bridge]?"),
            (
                "bridge.mode=words",
                "setting `bridge.mode` must be \"static\", \"sentence\", \"word\", \"position\" or \"none\"",
            ),
            ("optimizer.learning_rate=0", "setting `optimizer.learning_rate` must be above 0"),
            ("lora.dropout=1", "setting `lora.dropout` must be at least 0 and below 1"),
            (
                "diffusion.caption_dropout=1.5",
                "setting `diffusion.caption_dropout` must be from 0 to 1",
            ),
            (
                "nonsense",
                "`--set nonsense` sets nothing: write SECTION.KEY=VALUE, such as training.seed=7",
            ),
        ] {
            assert_eq!(error("", &[text]), sentence);
        }
        assert_eq!(
            error("[lora]\nrnak = 3", &[]),
            "my.toml: there is no key `rnak` in [lora]; did you mean `rank`?"
        );
    }
}
