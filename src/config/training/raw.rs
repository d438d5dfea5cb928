//! From the file's words to checked values.

use serde::Deserialize;

use super::super::ConfigError;
use super::super::settings::{non_empty, out_of_range, switch, within};
use super::{
    Accumulation, Beginning, Bridge, BridgeMode, CheckpointPolicy, DiffusionLoss, EncodersLoss,
    GumbelNoise, Lora, OptimizerSettings, Pooling, RateSchedule, Scored, ScoredSpeakers, Stage,
    StaticMatch, TextEncoders, TextLoss, TokenRows, Trained, Training, VaeLoss, WrittenPrecision,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    training: RawTraining,
    optimizer: RawOptimizer,
    text: RawText,
    bridge: RawBridge,
    diffusion: RawDiffusion,
    lora: RawLora,
    vae: RawVae,
    encoders: RawEncoders,
    checkpoint: RawCheckpoint,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTraining {
    stage: String,
    language: String,
    diffusion: String,
    begin: String,
    written: String,
    seed: i64,
    steps: i64,
    epochs: f64,
    batch_examples: i64,
    micro_batch_examples: i64,
    accumulation: String,
    recompute: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawOptimizer {
    learning_rate: f64,
    schedule: String,
    learning_rate_end: f64,
    warmup_steps: i64,
    weight_decay: f64,
    beta1: f64,
    beta2: f64,
    epsilon: f64,
    gradient_norm_max: f64,
    mean_decay: f64,
    skipped_steps_max: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawText {
    speakers: String,
    scored: String,
    system_text: String,
    tokens_max: i64,
    tiles_max: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBridge {
    mode: String,
    static_match: String,
    pooling: String,
    noise: String,
    temperature_first: f64,
    temperature_last: f64,
    temperature_epochs: f64,
    temperature_floor: f64,
    picture_weight: f64,
    gold_epochs: f64,
    own_caption_share: f64,
    own_caption_epochs: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDiffusion {
    noise_level_mean: f64,
    noise_level_deviation: f64,
    caption_dropout: f64,
    picture_px: i64,
    mirrored: String,
    text_encoders: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLora {
    rank: i64,
    alpha: f64,
    dropout: f64,
    llama_layers: Vec<String>,
    diffusion_layers: Vec<String>,
    train_rows: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_field_names, reason = "the keys' names in the file")]
struct RawVae {
    absolute_weight: f64,
    square_weight: f64,
    divergence_weight: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEncoders {
    similarity_scale: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCheckpoint {
    every_steps: i64,
    kept: i64,
}

const MANY: i64 = 1_000_000_000_000;

pub(super) fn resolve(raw: Raw, document: String) -> Result<Training, ConfigError> {
    let own = raw.training;
    Ok(Training {
        stage: choice("training.stage", &own.stage, &STAGES, STAGES_REASON)?,
        language: choice("training.language", &own.language, &TRAINED, TRAINED_REASON)?,
        diffusion: choice("training.diffusion", &own.diffusion, &TRAINED, TRAINED_REASON)?,
        begin: choice(
            "training.begin",
            &own.begin,
            &[("model", Beginning::Model), ("nothing", Beginning::Nothing)],
            "must be \"model\" or \"nothing\"",
        )?,
        written: choice(
            "training.written",
            &own.written,
            &[("float32", WrittenPrecision::Float32), ("bfloat16", WrittenPrecision::Bfloat16)],
            "must be \"float32\" or \"bfloat16\"",
        )?,
        seed: within("training.seed", own.seed, 0, i64::MAX)?,
        steps: Some(within("training.steps", own.steps, 0, MANY)?).filter(|&steps| steps > 0),
        epochs: above_zero("training.epochs", own.epochs)?,
        batch_examples: within("training.batch_examples", own.batch_examples, 1, 1_000_000)?,
        micro_batch_examples: within(
            "training.micro_batch_examples",
            own.micro_batch_examples,
            1,
            1_000_000,
        )?,
        accumulation: choice(
            "training.accumulation",
            &own.accumulation,
            &[("mean", Accumulation::Mean), ("sum", Accumulation::Sum)],
            "must be \"mean\" or \"sum\"",
        )?,
        recompute: switch("training.recompute", &own.recompute)?,
        optimizer: optimizer(&raw.optimizer)?,
        text: text(raw.text)?,
        bridge: bridge(&raw.bridge)?,
        pictures: diffusion(&raw.diffusion)?,
        lora: lora(raw.lora)?,
        vae: VaeLoss {
            absolute_weight: not_negative("vae.absolute_weight", raw.vae.absolute_weight)?,
            square_weight: not_negative("vae.square_weight", raw.vae.square_weight)?,
            divergence_weight: not_negative("vae.divergence_weight", raw.vae.divergence_weight)?,
        },
        encoders: EncodersLoss {
            similarity_scale: from_to(
                "encoders.similarity_scale",
                raw.encoders.similarity_scale,
                [1.0, 100.0],
                "must be from 1 to 100",
            )?,
        },
        checkpoint: CheckpointPolicy {
            every_steps: within("checkpoint.every_steps", raw.checkpoint.every_steps, 1, MANY)?,
            kept: within("checkpoint.kept", raw.checkpoint.kept, 1, 1_000_000)?,
        },
        document,
    })
}

const STAGES: [(&str, Stage); 5] = [
    ("vae", Stage::Vae),
    ("encoders", Stage::Encoders),
    ("text", Stage::Text),
    ("diffusion", Stage::Diffusion),
    ("joint", Stage::Joint),
];
const STAGES_REASON: &str = "must be \"vae\", \"encoders\", \"text\", \"diffusion\" or \"joint\"";

const TRAINED: [(&str, Trained); 3] =
    [("adapters", Trained::Adapters), ("weights", Trained::Weights), ("nothing", Trained::Nothing)];
const TRAINED_REASON: &str = "must be \"adapters\", \"weights\" or \"nothing\"";

fn optimizer(raw: &RawOptimizer) -> Result<OptimizerSettings, ConfigError> {
    let norm_max = not_negative("optimizer.gradient_norm_max", raw.gradient_norm_max)?;
    let mean_decay = below_one("optimizer.mean_decay", raw.mean_decay)?;
    Ok(OptimizerSettings {
        learning_rate: above_zero("optimizer.learning_rate", raw.learning_rate)?,
        schedule: choice(
            "optimizer.schedule",
            &raw.schedule,
            &[
                ("constant", RateSchedule::Constant),
                ("linear", RateSchedule::Linear),
                ("cosine", RateSchedule::Cosine),
            ],
            "must be \"constant\", \"linear\" or \"cosine\"",
        )?,
        learning_rate_end: share("optimizer.learning_rate_end", raw.learning_rate_end)?,
        warmup_steps: within("optimizer.warmup_steps", raw.warmup_steps, 0, MANY)?,
        weight_decay: not_negative("optimizer.weight_decay", raw.weight_decay)?,
        beta1: below_one("optimizer.beta1", raw.beta1)?,
        beta2: below_one("optimizer.beta2", raw.beta2)?,
        epsilon: above_zero("optimizer.epsilon", raw.epsilon)?,
        gradient_norm_max: Some(norm_max).filter(|&norm| norm > 0.0),
        mean_decay: Some(mean_decay).filter(|&decay| decay > 0.0),
        skipped_steps_max: within("optimizer.skipped_steps_max", raw.skipped_steps_max, 0, MANY)?,
    })
}

fn text(raw: RawText) -> Result<TextLoss, ConfigError> {
    Ok(TextLoss {
        speakers: choice(
            "text.speakers",
            &raw.speakers,
            &[("both", ScoredSpeakers::Both), ("a", ScoredSpeakers::A)],
            "must be \"both\" or \"a\"",
        )?,
        scored: choice(
            "text.scored",
            &raw.scored,
            &[("turns", Scored::Turns), ("everything", Scored::Everything)],
            "must be \"turns\" or \"everything\"",
        )?,
        system_text: non_empty(raw.system_text),
        tokens_max: within("text.tokens_max", raw.tokens_max, 2, 10_000_000)?,
        tiles_max: within("text.tiles_max", raw.tiles_max, 0, 10_000)?,
    })
}

fn bridge(raw: &RawBridge) -> Result<Bridge, ConfigError> {
    Ok(Bridge {
        mode: choice(
            "bridge.mode",
            &raw.mode,
            &[
                ("static", BridgeMode::Static),
                ("sentence", BridgeMode::Sentence),
                ("word", BridgeMode::Word),
                ("position", BridgeMode::Position),
                ("none", BridgeMode::None),
            ],
            "must be \"static\", \"sentence\", \"word\", \"position\" or \"none\"",
        )?,
        static_match: choice(
            "bridge.static_match",
            &raw.static_match,
            &[("raw", StaticMatch::Raw), ("folded", StaticMatch::Folded)],
            "must be \"raw\" or \"folded\"",
        )?,
        pooling: choice(
            "bridge.pooling",
            &raw.pooling,
            &[("mean", Pooling::Mean), ("sum", Pooling::Sum)],
            "must be \"mean\" or \"sum\"",
        )?,
        noise: choice(
            "bridge.noise",
            &raw.noise,
            &[("gumbel", GumbelNoise::Gumbel), ("none", GumbelNoise::None)],
            "must be \"gumbel\" or \"none\"",
        )?,
        temperature_first: above_zero("bridge.temperature_first", raw.temperature_first)?,
        temperature_last: above_zero("bridge.temperature_last", raw.temperature_last)?,
        temperature_epochs: not_negative("bridge.temperature_epochs", raw.temperature_epochs)?,
        temperature_floor: not_negative("bridge.temperature_floor", raw.temperature_floor)?,
        picture_weight: not_negative("bridge.picture_weight", raw.picture_weight)?,
        gold_epochs: not_negative("bridge.gold_epochs", raw.gold_epochs)?,
        own_caption_share: share("bridge.own_caption_share", raw.own_caption_share)?,
        own_caption_epochs: not_negative("bridge.own_caption_epochs", raw.own_caption_epochs)?,
    })
}

fn diffusion(raw: &RawDiffusion) -> Result<DiffusionLoss, ConfigError> {
    if !raw.noise_level_mean.is_finite() {
        return Err(out_of_range("diffusion.noise_level_mean", "must be a finite number"));
    }
    let picture_px: u32 = within("diffusion.picture_px", raw.picture_px, 0, 16_384)?;
    Ok(DiffusionLoss {
        noise_level_mean: raw.noise_level_mean,
        noise_level_deviation: above_zero(
            "diffusion.noise_level_deviation",
            raw.noise_level_deviation,
        )?,
        caption_dropout: share("diffusion.caption_dropout", raw.caption_dropout)?,
        picture_px: Some(picture_px).filter(|&side| side > 0),
        mirrored: switch("diffusion.mirrored", &raw.mirrored)?,
        text_encoders: choice(
            "diffusion.text_encoders",
            &raw.text_encoders,
            &[("frozen", TextEncoders::Frozen), ("trained", TextEncoders::Trained)],
            "must be \"frozen\" or \"trained\"",
        )?,
    })
}

fn lora(raw: RawLora) -> Result<Lora, ConfigError> {
    let dropout = below_one("lora.dropout", raw.dropout)?;
    Ok(Lora {
        rank: within("lora.rank", raw.rank, 1, 65_536)?,
        alpha: above_zero("lora.alpha", raw.alpha)?,
        dropout,
        llama_layers: raw.llama_layers,
        diffusion_layers: raw.diffusion_layers,
        train_rows: choice(
            "lora.train_rows",
            &raw.train_rows,
            &[("tags", TokenRows::Tags), ("all", TokenRows::All)],
            "must be \"tags\" or \"all\"",
        )?,
    })
}

fn choice<T: Copy>(
    key: &'static str,
    text: &str,
    known: &[(&str, T)],
    reason: &'static str,
) -> Result<T, ConfigError> {
    let found = known.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
    found.ok_or_else(|| out_of_range(key, reason))
}

fn above_zero(key: &'static str, value: f64) -> Result<f64, ConfigError> {
    if value > 0.0 && value.is_finite() {
        Ok(value)
    } else {
        Err(out_of_range(key, "must be above 0"))
    }
}

fn not_negative(key: &'static str, value: f64) -> Result<f64, ConfigError> {
    from_to(key, value, [0.0, f64::MAX], "must be at least 0")
}

fn share(key: &'static str, value: f64) -> Result<f64, ConfigError> {
    from_to(key, value, [0.0, 1.0], "must be from 0 to 1")
}

fn below_one(key: &'static str, value: f64) -> Result<f64, ConfigError> {
    if (0.0..1.0).contains(&value) {
        Ok(value)
    } else {
        Err(out_of_range(key, "must be at least 0 and below 1"))
    }
}

fn from_to(
    key: &'static str,
    value: f64,
    [least, most]: [f64; 2],
    reason: &'static str,
) -> Result<f64, ConfigError> {
    if (least..=most).contains(&value) { Ok(value) } else { Err(out_of_range(key, reason)) }
}
