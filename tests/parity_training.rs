//! One whole training step of the joint objective against transformers, peft and diffusers: the
//! same dialogues, weights and draws give the same losses and the same gradient of every trained
//! tensor, for every mode of the bridge and every driving caption (`tests/parity/training.py`).

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use shutterbug::config::{Preset, Training};
use shutterbug::data::Dataset;
use shutterbug::systems::{Transfer, convert};
use shutterbug::torch::{Compute, Generator, gradients};
use shutterbug::training::{
    Counts, Draws, Driver, JointObjective, Measures, MicroDraws, Objective, PhotoDraws, Recorder,
    StepContext,
};
use tch::Tensor;

#[derive(Deserialize)]
struct Expected {
    system_text: String,
    picture_weight: f64,
    vocabulary: i64,
    captions: Vec<String>,
    ids: Vec<Vec<u32>>,
    scored: Vec<Vec<usize>>,
    seeds: Vec<u64>,
    sigmas: Vec<f64>,
    cases: Vec<Case>,
}

/// Shape of a picture's latents.
const LATENTS: [i64; 3] = [16, 8, 8];

#[derive(Deserialize)]
struct Case {
    mode: String,
    drivers: Vec<String>,
    tau: f64,
    floor: f64,
    text_loss: f64,
    caption_loss: f64,
    picture_loss: f64,
    norms: Vec<f64>,
    drawn: Vec<Vec<u32>>,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Freshly made expectations where `make parity` put some, the frozen ones otherwise.
fn fixtures() -> PathBuf {
    match std::env::var_os("SHUTTERBUG_PARITY") {
        Some(parity) => PathBuf::from(parity).join("training"),
        None => root().join("tests/fixtures/training"),
    }
}

fn expected() -> Expected {
    let text = fs::read_to_string(fixtures().join("expected.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn tensors(file: &str) -> HashMap<String, Tensor> {
    Tensor::read_safetensors(fixtures().join(file)).unwrap().into_iter().collect()
}

/// The tiny model with the fixture's adapter, as one directory.
fn model(folder: &Path) -> PathBuf {
    let out = folder.join("model");
    let fresh = fixtures().join("tiny");
    let tiny = if fresh.is_dir() { fresh } else { root().join("tests/fixtures/tiny") };
    convert(&tiny.join("llama"), &tiny.join("diffusion"), &out, Transfer::Copy).unwrap();
    for file in [
        "llama/adapter_config.json",
        "llama/adapter_model.safetensors",
        "diffusion/pytorch_lora_weights.safetensors",
    ] {
        let to = out.join("adapter").join(file);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(fixtures().join("adapter").join(file), to).unwrap();
    }
    out
}

/// The objective with the case's bridge, and so many dialogues at once.
fn objective(model: &Path, expected: &Expected, case: &Case, at_once: usize) -> JointObjective {
    let (mode, sameness) = match case.mode.as_str() {
        "static_raw" => ("static", "raw"),
        "static_folded" => ("static", "folded"),
        mode => (mode, "raw"),
    };
    let settings = [
        format!("training.micro_batch_examples={at_once}"),
        format!("text.system_text={}", expected.system_text),
        format!("bridge.mode={mode}"),
        format!("bridge.static_match={sameness}"),
        format!("bridge.picture_weight={}", expected.picture_weight),
        format!("bridge.temperature_floor={}", case.floor),
        "lora.dropout=0".to_owned(),
    ];
    let settings = Training::load(Preset::Default, None, &settings).unwrap();
    let dataset = Dataset::read(&[fixtures().join("dialogues.jsonl")]).unwrap();
    assert!(dataset.faults.is_empty());
    let adapter = model.join("adapter");
    JointObjective::load(model, Some(&adapter), dataset.examples, &settings, Compute::CPU).unwrap()
}

fn context(tau: f64, recorder: Recorder) -> StepContext {
    StepContext {
        step: 0,
        epoch: 0.0,
        temperature: tau,
        own_caption_share: 0.0,
        draws: Draws::new(0, 0),
        recorder,
    }
}

/// The fixture's draws for photo `at` of the batch.
fn photo_draws(expected: &Expected, case: &Case, at: usize, vocabulary: i64) -> PhotoDraws {
    let mut generator = Generator::new(expected.seeds[at]);
    let size = [case.drawn[at].len() as i64, vocabulary];
    let uniform = generator.rand(&size).clamp(1e-7, 1.0 - 1e-7);
    PhotoDraws {
        driver: match case.drivers[at].as_str() {
            "gold" => Driver::Gold,
            "own" => Driver::Own,
            "empty" => Driver::Empty,
            other => panic!("{other}"),
        },
        gumbel_mv: -(-uniform.log()).log(),
        noise_chw: generator.randn(&LATENTS),
        latents_chw: generator.randn(&LATENTS),
        sigma: expected.sigmas[at],
    }
}

/// What a step comes to.
#[derive(Default)]
struct Outcome {
    loss: f64,
    measures: Measures,
    gradients: BTreeMap<String, Tensor>,
    /// Of the gradients by the captions' logits, smallest first; only where one flows.
    norms: Vec<f64>,
}

fn step(objective: &mut JointObjective, expected: &Expected, case: &Case) -> Outcome {
    let context = context(case.tau, Recorder::default());
    let batch = objective.prepare(&[0, 1], &context).unwrap();
    assert_eq!(batch.left_out.len(), 1, "the one caption that is too long: {:?}", batch.left_out);
    let counts: Counts = batch.counts.iter().copied().sum();
    let temperature = objective.temperature(case.tau);
    let (names, leaves): (Vec<String>, Vec<Tensor>) = objective
        .parameters()
        .iter()
        .map(|(name, tensor)| (name.clone(), tensor.shallow_clone()))
        .unzip();
    let mut outcome = Outcome::default();
    for micro_batch in &batch.micro_batches {
        let photos = micro_batch
            .captions()
            .map(|caption| {
                let at = expected.captions.iter().position(|other| other == caption).unwrap();
                photo_draws(expected, case, at, expected.vocabulary)
            })
            .collect();
        let draws = MicroDraws { photos, language_dropout: 0, diffusion_dropout: 0 };
        let made =
            objective.loss(micro_batch, &draws, temperature, counts, &context.recorder).unwrap();
        outcome.loss += made.loss.double_value(&[]);
        outcome.measures.merge(made.measures);
        let probes = made.probes.iter().map(|(_, probe)| probe);
        let of: Vec<&Tensor> = leaves.iter().chain(probes).collect();
        let mut gradients = gradients(&made.loss, &of);
        for probe in gradients.split_off(leaves.len()) {
            outcome.norms.push(probe.map_or(0.0, |probe| probe.norm().double_value(&[])));
        }
        for (name, gradient) in names.iter().zip(gradients) {
            let Some(gradient) = gradient else { continue };
            let sum = outcome.gradients.remove(name).map_or(gradient.copy(), |sum| sum + gradient);
            outcome.gradients.insert(name.clone(), sum);
        }
    }
    outcome.norms.sort_by(f64::total_cmp);
    outcome
}

fn close(what: &str, found: f64, expected: f64) {
    let error = (found - expected).abs();
    assert!(error <= 1e-4 * expected.abs() + 1e-7, "{what}: {found}, not {expected}");
}

/// Holds one case against the reference; gives the largest relative error of a gradient.
fn check(
    objective: &mut JointObjective,
    expected: &Expected,
    at: usize,
    theirs: &HashMap<String, Tensor>,
) -> f64 {
    let case = &expected.cases[at];
    let what = format!("case {at}, {}, {:?}", case.mode, case.drivers);
    let outcome = step(objective, expected, case);
    let figures = outcome.measures.figures();
    for (name, value) in [
        ("text_loss", case.text_loss),
        ("caption_loss", case.caption_loss),
        ("picture_loss", case.picture_loss),
    ] {
        close(&format!("{what}: {name}"), figures[name], value);
    }
    let total = case.text_loss + expected.picture_weight * case.picture_loss;
    close(&format!("{what}: loss"), outcome.loss, total);

    let mut norms: Vec<f64> = case.norms.iter().copied().filter(|norm| *norm > 0.0).collect();
    norms.sort_by(f64::total_cmp);
    assert_eq!(outcome.norms.len(), norms.len(), "{what}: captions with a gradient");
    for (found, expected) in outcome.norms.iter().zip(&norms) {
        close(&format!("{what}: norm by the logits"), *found, *expected);
    }

    let prefix = format!("{at}.");
    let theirs: BTreeMap<&str, &Tensor> = theirs
        .iter()
        .filter_map(|(name, tensor)| Some((name.strip_prefix(&prefix)?, tensor)))
        .collect();
    let ours: Vec<&str> = objective.parameters().keys().map(String::as_str).collect();
    assert_eq!(ours, theirs.keys().copied().collect::<Vec<_>>(), "{what}: trained tensors");
    let mut worst = 0.0f64;
    for (name, expected) in theirs {
        // The last block's text queries answer nobody; the reference computes them all the same.
        let Some(found) = outcome.gradients.get(name) else {
            assert!(expected.norm().double_value(&[]) == 0.0, "{what}: {name} has no gradient");
            continue;
        };
        assert_eq!(found.size(), expected.size(), "{what}: {name}");
        let norm = expected.norm().double_value(&[]);
        let error = (found - expected).norm().double_value(&[]);
        assert!(error <= (1e-4 * norm).max(1e-7), "{what}: {name} is off by {error:e} of {norm:e}");
        if norm > 1e-3 {
            worst = worst.max(error / norm);
        }
    }
    worst
}

#[test]
fn losses_and_gradients_are_those_of_the_reference() {
    let expected = expected();
    let folder = tempfile::tempdir().unwrap();
    let model = model(folder.path());
    let gradients = tensors("gradients.safetensors");
    assert!(expected.cases.len() >= 13);
    for (at, case) in expected.cases.iter().enumerate() {
        let mut objective = objective(&model, &expected, case, 2);
        let worst = check(&mut objective, &expected, at, &gradients);
        println!("{} {:?}: {worst:.1e}", case.mode, case.drivers);
    }
}

/// Losses of micro-batches add up to the batch's, whatever its cut.
#[test]
fn accumulation_divides_by_the_whole_batch() {
    let expected = expected();
    let folder = tempfile::tempdir().unwrap();
    let model = model(folder.path());
    let gradients = tensors("gradients.safetensors");
    let at = expected.cases.len() - 1;
    let mut objective = objective(&model, &expected, &expected.cases[at], 1);
    check(&mut objective, &expected, at, &gradients);
}

/// What the reference saw, and what is scored of it, in the trace of a step with draws of its own.
#[test]
fn a_trace_holds_the_batch_and_every_draw() {
    let expected = expected();
    let folder = tempfile::tempdir().unwrap();
    let model = model(folder.path());
    let mut objective = objective(&model, &expected, &expected.cases[0], 1);
    let context = context(0.5, Recorder::keeping());
    let batch = objective.prepare(&[0, 1], &context).unwrap();
    let counts = batch.counts.iter().copied().sum();
    for micro_batch in &batch.micro_batches {
        objective.forward(micro_batch, &context, counts).unwrap();
    }
    let kept: HashMap<String, Tensor> = context.recorder.take().into_iter().collect();
    // The shorter dialogue is first.
    for (name, at) in [("", 1), (".1", 0)] {
        let integers = |tensor: &str| -> Vec<i64> {
            let tensor = &kept[&format!("{tensor}{name}")];
            tensor.try_into().unwrap()
        };
        let ids: Vec<i64> = expected.ids[at].iter().map(|&id| i64::from(id)).collect();
        assert_eq!(integers("prompt_ids"), ids);
        let scored: Vec<i64> = expected.scored[at].iter().map(|&place| place as i64).collect();
        assert_eq!(integers("scored_places"), scored);
    }
    for name in [
        "pixel_values",
        "aspect_ratio_ids",
        "cross_attention_mask",
        "caption_tokens",
        "picture",
        "driver",
        "gumbel_noise",
        "sigma",
        "noise",
        "latent_noise",
        "dropout_seeds",
        "clip_l_ids",
    ] {
        assert!(kept.contains_key(name), "{name} is missing among {:?}", kept.keys());
    }
}
