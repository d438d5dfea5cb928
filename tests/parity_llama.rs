//! Llama 3.2 Vision against transformers, on tiny models in which every parameter matters.
//!
//! The references come from `tests/parity/llama.py`: fresh ones below `$SHUTTERBUG_PARITY` where
//! that is set, and otherwise the frozen ones of `tests/fixtures`.

mod set_aside;
mod sketches;

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use shutterbug::llama_vision::{
    Config, Decoding, Finish, GenerationSettings, LlamaVision, PhotoTiles, Prompt, SeenPhoto,
    Written, cross_attention_mask,
};
use shutterbug::nn::{Activations, Adapter, Dropout, Lora};
use shutterbug::torch::{Checkpoint, Compute, Generator, Weights};
use tch::{Device, Kind, Tensor};

const MODELS: [&str; 3] = ["grouped", "separate", "shared"];

#[derive(Deserialize)]
struct Facts {
    cases: Vec<Case>,
    adapter: AdapterFacts,
}

#[derive(Deserialize)]
struct Case {
    ids: Vec<u32>,
    tiles: Vec<usize>,
    aspect_ratio_ids: Vec<i64>,
    greedy: Vec<u32>,
    beam: Beam,
    bfloat16_error: f64,
}

#[derive(Deserialize)]
struct Beam {
    width: usize,
    tokens_max: usize,
    end: u32,
    ids: Vec<u32>,
}

#[derive(Deserialize)]
struct AdapterFacts {
    layers: Vec<String>,
    scale: f64,
}

fn root() -> PathBuf {
    match std::env::var_os("SHUTTERBUG_PARITY") {
        Some(fresh) => PathBuf::from(fresh).join("llama"),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/llama"),
    }
}

struct Reference {
    name: &'static str,
    facts: Facts,
    tensors: HashMap<String, Tensor>,
}

impl Reference {
    fn read(name: &'static str) -> Self {
        let dir = root().join(name);
        let facts = std::fs::read(dir.join("reference.json")).unwrap();
        let tensors = Tensor::read_safetensors(dir.join("reference.safetensors")).unwrap();
        Self {
            name,
            facts: serde_json::from_slice(&facts).unwrap(),
            tensors: tensors.into_iter().collect(),
        }
    }

    fn all() -> impl Iterator<Item = Self> {
        MODELS.into_iter().map(Self::read)
    }

    fn model(&self, compute: Compute) -> LlamaVision {
        LlamaVision::load(&root().join(self.name), compute, None).unwrap()
    }

    fn photos(&self, index: usize) -> Vec<PhotoTiles> {
        let case = &self.facts.cases[index];
        let photo = |(place, (&tiles, &aspect_ratio_id)): (usize, (&usize, &i64))| {
            let pixels = self.tensors[&format!("case{index}.pixel_values")].get(place as i64);
            let pixels = Vec::try_from(pixels.flatten(0, -1)).unwrap();
            PhotoTiles { pixels, tiles, aspect_ratio_id }
        };
        case.tiles.iter().zip(&case.aspect_ratio_ids).enumerate().map(photo).collect()
    }

    fn cases(&self) -> impl Iterator<Item = (usize, &Case)> {
        self.facts.cases.iter().enumerate()
    }

    #[track_caller]
    fn close(&self, key: &str, ours: &Tensor) {
        let theirs = &self.tensors[key];
        assert_eq!(ours.size(), theirs.size(), "{} {key}", self.name);
        let worst = (ours - theirs).abs().max().double_value(&[]);
        assert!(worst <= 1e-4, "{} {key}: off by {worst}", self.name);
    }
}

fn settings(decoding: Decoding, new_tokens_max: usize, end_tokens: Vec<u32>) -> GenerationSettings {
    GenerationSettings { decoding, new_tokens_max, end_tokens, photos: None }
}

fn go_on(_: Written) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

#[test]
fn photos_become_the_features_and_states_of_the_reference() {
    let _no_grad = tch::no_grad_guard();
    for reference in Reference::all() {
        let model = reference.model(Compute::CPU);
        for (index, case) in reference.cases().filter(|(_, case)| !case.tiles.is_empty()) {
            let photos = reference.photos(index);
            reference.close(&format!("case{index}.features"), &model.features(&photos, None));
            let seen = model.perceive(&photos, None);
            let states: Vec<&Tensor> = seen.iter().map(|photo| &photo.states_sd).collect();
            reference.close(&format!("case{index}.states"), &Tensor::stack(&states, 0));

            let positions = photo_positions(&model, case);
            let tiles_max = model.config().vision.tiles_max as usize;
            let mask = cross_attention_mask(&positions, &case.tiles, case.ids.len(), tiles_max);
            let theirs = &reference.tensors[&format!("case{index}.cross_attention_mask")];
            let theirs: Vec<bool> =
                Vec::try_from(theirs.flatten(0, -1).to_kind(Kind::Bool)).unwrap();
            assert_eq!(mask, theirs, "{} case {index}", reference.name);
        }
    }
}

fn photo_positions(model: &LlamaVision, case: &Case) -> Vec<usize> {
    let image = model.config().image_token;
    let places = case.ids.iter().enumerate();
    places.filter_map(|(place, &id)| (id == image).then_some(place)).collect()
}

#[test]
fn logits_equal_the_references_at_every_position() {
    let _no_grad = tch::no_grad_guard();
    for reference in Reference::all() {
        let model = reference.model(Compute::CPU);
        for (index, case) in reference.cases() {
            let seen = model.perceive(&reference.photos(index), None);
            let logits = model.logits(&[Prompt { ids: &case.ids, photos: &seen }], None);
            reference.close(&format!("case{index}.logits"), &logits.get(0));
        }
    }
}

#[test]
fn bfloat16_is_as_close_to_float32_as_the_references_is() {
    let _no_grad = tch::no_grad_guard();
    let half = Compute { device: Device::Cpu, kind: Kind::BFloat16 };
    for reference in Reference::all() {
        let model = reference.model(half);
        for (index, case) in reference.cases() {
            let seen = model.perceive(&reference.photos(index), None);
            let logits = model.logits(&[Prompt { ids: &case.ids, photos: &seen }], None);
            let exact = &reference.tensors[&format!("case{index}.logits")];
            let error = (logits.get(0).to_kind(Kind::Float) - exact).abs().mean(Kind::Float);
            let error = error.double_value(&[]);
            let bound = 1.5 * case.bfloat16_error;
            assert!(error <= bound, "{} case {index}: {error} > {bound}", reference.name);
        }
    }
}

#[test]
fn greedy_tokens_equal_the_references_with_the_cache() {
    for reference in Reference::all() {
        let model = reference.model(Compute::CPU);
        for (index, case) in reference.cases() {
            let seen = tch::no_grad(|| model.perceive(&reference.photos(index), None));
            let settings = settings(Decoding::Greedy, case.greedy.len(), vec![]);
            let prompt = Prompt { ids: &case.ids, photos: &seen };
            let mut told = Vec::new();
            let mut watcher = |written: Written| {
                told.push(written.token.unwrap());
                ControlFlow::Continue(())
            };
            let reply =
                model.generate(prompt, &settings, &mut Generator::new(0), None, &mut watcher);
            assert_eq!(reply.ids, case.greedy, "{} case {index}", reference.name);
            assert_eq!(told, case.greedy);
            assert_eq!(reply.finish, Finish::TokensMax);
            let logits = &reference.tensors[&format!("case{index}.logits")];
            let first = Tensor::from_slice(&reply.first_logits);
            let worst = (first - logits.get(-1)).abs().max().double_value(&[]);
            assert!(worst <= 1e-4, "{} case {index}: first logits off by {worst}", reference.name);
        }
    }
}

#[test]
fn greedy_tokens_equal_the_references_without_a_cache() {
    let _no_grad = tch::no_grad_guard();
    for reference in Reference::all() {
        let model = reference.model(Compute::CPU);
        for (index, case) in reference.cases() {
            let seen = model.perceive(&reference.photos(index), None);
            let mut ids = case.ids.clone();
            for _ in 0..case.greedy.len() {
                let logits = model.logits(&[Prompt { ids: &ids, photos: &seen }], None);
                ids.push(logits.get(0).get(-1).argmax(-1, false).int64_value(&[]) as u32);
            }
            assert_eq!(ids[case.ids.len()..], case.greedy, "{} case {index}", reference.name);
        }
    }
}

#[test]
fn a_batch_of_different_lengths_writes_what_each_prompt_alone_does() {
    for reference in Reference::all() {
        let model = reference.model(Compute::CPU);
        let seen: Vec<Vec<SeenPhoto>> = tch::no_grad(|| {
            let see = |index| model.perceive(&reference.photos(index), None);
            (0..reference.facts.cases.len()).map(see).collect()
        });
        let prompts: Vec<Prompt<'_>> = reference
            .cases()
            .map(|(index, case)| Prompt { ids: &case.ids, photos: &seen[index] })
            .collect();
        let settings = settings(Decoding::Greedy, 64, vec![]);
        let mut generators: Vec<Generator> = prompts.iter().map(|_| Generator::new(0)).collect();
        let mut generators: Vec<&mut Generator> = generators.iter_mut().collect();
        let replies = model.generate_batch(&prompts, &settings, &mut generators, None, &mut go_on);
        for ((index, case), reply) in reference.cases().zip(replies) {
            assert_eq!(reply.ids, case.greedy, "{} case {index}", reference.name);
        }
        // The full-sequence pass pads as well.
        let logits = tch::no_grad(|| model.logits(&prompts, None));
        for (index, case) in reference.cases() {
            let length = case.ids.len() as i64;
            let own = logits.get(index as i64).narrow(0, logits.size()[1] - length, length);
            reference.close(&format!("case{index}.logits"), &own);
        }
    }
}

#[test]
fn a_beam_finds_what_the_references_finds() {
    let mut ended = 0;
    for reference in Reference::all() {
        let model = reference.model(Compute::CPU);
        for (index, case) in reference.cases() {
            let seen = tch::no_grad(|| model.perceive(&reference.photos(index), None));
            let Beam { width, tokens_max, end, ids } = &case.beam;
            let settings = settings(Decoding::Beam { width: *width }, *tokens_max, vec![*end]);
            let prompt = Prompt { ids: &case.ids, photos: &seen };
            let reply = model.generate(prompt, &settings, &mut Generator::new(0), None, &mut go_on);
            assert_eq!(&reply.ids, ids, "{} case {index}", reference.name);
            ended += usize::from(reply.finish == Finish::EndToken);
        }
    }
    assert!(ended > 0, "no case ended with its end token");
}

#[test]
fn adapters_change_logits_and_receive_gradients_as_in_the_reference() {
    for reference in Reference::all() {
        let model = reference.model(Compute::CPU);
        let AdapterFacts { layers, scale } = &reference.facts.adapter;
        let tensor = |key: &str| reference.tensors[&format!("adapter.{key}")].shallow_clone();
        let lora = |name: &String| {
            let [a, b] = ["a", "b"]
                .map(|part| tensor(&format!("{name}.{part}")).copy().set_requires_grad(true));
            (name.clone(), Lora { a, b, scale: *scale })
        };
        let adapter = Adapter::of_layers(layers.iter().map(lora).collect());
        let case = &reference.facts.cases[0];
        let seen = model.perceive(&reference.photos(0), Some(&adapter));
        let logits = model.logits(&[Prompt { ids: &case.ids, photos: &seen }], Some(&adapter));
        reference.close("adapter.logits", &logits.detach().get(0));
        (logits.get(0) * tensor("weights")).sum(Kind::Float).backward();
        for (name, lora) in &adapter.layers {
            for (part, ours) in [("a", &lora.a), ("b", &lora.b)] {
                let theirs = tensor(&format!("{name}.{part}.gradient"));
                let error = (ours.grad() - &theirs).norm().double_value(&[]);
                let size = theirs.norm().double_value(&[]);
                assert!(size > 1e-3, "{}: {name}.{part} has no gradient", reference.name);
                assert!(
                    error <= 1e-4 * size,
                    "{}: {name}.{part}: {error} of {size}",
                    reference.name
                );
            }
        }
    }
}

#[test]
fn no_tensor_could_be_missing_unnoticed() {
    for reference in Reference::all() {
        let dir = root().join(reference.name);
        let checkpoint = Checkpoint::open(&dir, LlamaVision::STEM).unwrap();
        let weights = Weights::trainable(checkpoint, Compute::CPU, &[""]);
        let model = LlamaVision::from_weights(&weights, Config::read(&dir).unwrap()).unwrap();
        let (index, case) = reference.cases().find(|(_, case)| !case.tiles.is_empty()).unwrap();
        let photos = reference.photos(index);
        let seen = tch::no_grad(|| model.perceive(&photos, None));
        set_aside::every_tensor_matters(
            reference.name,
            &weights.tensors(),
            |_| false,
            |name| {
                // What the decoder holds changes nothing of what was seen.
                let again = !name.starts_with("language_model.");
                let seen = if again { model.perceive(&photos, None) } else { seen.clone() };
                vec![model.logits(&[Prompt { ids: &case.ids, photos: &seen }], None)]
            },
        );
    }
}

#[test]
fn the_published_models_names_and_shapes_are_those_that_the_tables_expect() {
    let dir = root().join("published");
    let published: BTreeMap<String, Vec<i64>> =
        serde_json::from_slice(&std::fs::read(dir.join("shapes.json")).unwrap()).unwrap();
    let weights = Weights::shapes_only();
    LlamaVision::from_weights(&weights, Config::read(&dir).unwrap()).unwrap();
    let asked = weights.asked();
    for (name, shape) in &published {
        assert_eq!(asked.get(name), Some(shape), "{name}");
    }
    assert_eq!(asked.len(), published.len());
}

/// A model of which every parameter is trained, and its parameters.
fn trainable(name: &str, compute: Compute) -> (LlamaVision, Weights) {
    let dir = root().join(name);
    let checkpoint = Checkpoint::open(&dir, LlamaVision::STEM).unwrap();
    let weights = Weights::trainable(checkpoint, compute, &[""]);
    let model = LlamaVision::from_weights(&weights, Config::read(&dir).unwrap()).unwrap();
    (model, weights)
}

/// The case with several photos.
const TRAINED_CASE: usize = 1;

/// The reference's linear function of the logits, with the adapter of this call if there is one.
fn linear_loss(reference: &Reference, model: &LlamaVision, adapter: Option<&Adapter>) -> Tensor {
    let case = &reference.facts.cases[TRAINED_CASE];
    let seen = model.perceive(&reference.photos(TRAINED_CASE), adapter);
    let logits = model.logits(&[Prompt { ids: &case.ids, photos: &seen }], adapter).get(0);
    (logits.to_kind(Kind::Float) * sketches::wave(&logits)).sum(Kind::Float)
}

#[test]
fn every_parameter_receives_the_references_gradient() {
    for reference in Reference::all() {
        let (model, weights) = trainable(reference.name, Compute::CPU);
        let loss = linear_loss(&reference, &model, None);
        let gradients = sketches::differentiate(&loss, &weights.parameters());
        let file = root().join(reference.name).join("gradients.safetensors");
        sketches::assert_same(reference.name, &gradients, &file);
    }
}

#[test]
fn in_bfloat16_every_parameter_is_a_float32_leaf_with_nearly_the_same_gradient() {
    let half = Compute { device: Device::Cpu, kind: Kind::BFloat16 };
    for reference in Reference::all() {
        let [exact, rounded] = [Compute::CPU, half].map(|compute| {
            let (model, weights) = trainable(reference.name, compute);
            sketches::flat_gradient(&linear_loss(&reference, &model, None), &weights.parameters())
        });
        let error = ((&rounded - &exact).norm() / exact.norm()).double_value(&[]);
        assert!(error < 0.1, "{}: {error}", reference.name);
    }
}

/// A low-rank update of every linear layer of the decoder and new rows for two tokens, all away
/// from zero, with dropout.
fn training_adapter(reference: &Reference, model: &LlamaVision, weights: &Weights) -> Adapter {
    let shapes = weights.asked();
    let layers = shapes.iter().filter_map(|(name, shape)| {
        let layer = name.strip_suffix(".weight").filter(|layer| layer.ends_with("_proj"))?;
        let shape = <[i64; 2]>::try_from(shape.as_slice()).ok()?;
        layer.starts_with("language_model").then_some((layer, shape))
    });
    let mut adapter = Adapter::fresh(layers, 2, 3.0, 5, Device::Cpu);
    let mut generator = Generator::new(6);
    for lora in adapter.layers.values_mut() {
        lora.b = (generator.randn(&lora.b.size()) * 0.2).set_requires_grad(true);
    }
    let ids = &reference.facts.cases[TRAINED_CASE].ids;
    adapter.rows = model.token_rows(&[ids[2], ids[4]]);
    adapter.with_dropout(Dropout { probability: 0.3, seed: 8 })
}

#[test]
fn recomputed_layers_give_the_same_bits_dropout_and_rows_included() {
    for reference in Reference::all() {
        let (mut model, weights) = trainable(reference.name, Compute::CPU);
        let adapter = training_adapter(&reference, &model, &weights);
        let mut parameters = weights.parameters();
        parameters.extend(adapter.parameters());
        let [kept, recomputed] = [Activations::Keep, Activations::Recompute].map(|activations| {
            model.set_activations(activations);
            let loss = linear_loss(&reference, &model, Some(&adapter));
            (loss.double_value(&[]), sketches::differentiate(&loss, &parameters))
        });
        assert_eq!(recomputed.0.to_bits(), kept.0.to_bits(), "{}", reference.name);
        for (name, gradient) in &kept.1 {
            assert_eq!(&recomputed.1[name], gradient, "{}: {name}", reference.name);
            let of_adapter = name.contains(".lora_") || name.ends_with(".token_rows");
            assert!(!of_adapter || gradient.norm().double_value(&[]) > 0.0, "{name}");
        }
        // Another seed drops something else.
        let other = adapter.with_dropout(Dropout { probability: 0.3, seed: 9 });
        let other = linear_loss(&reference, &model, Some(&other)).double_value(&[]);
        assert!((other - kept.0).abs() > 1e-3, "{}", reference.name);
    }
}

/// Nothing that a model keeps may be of its weights as they once were.
#[test]
fn after_a_step_a_model_computes_with_its_new_weights() {
    for reference in Reference::all() {
        let (model, weights) = trainable(reference.name, Compute::CPU);
        let before = linear_loss(&reference, &model, None);
        sketches::step(&before, &weights.parameters());
        let after = linear_loss(&reference, &model, None).double_value(&[]);
        assert!((after - before.double_value(&[])).abs() > 1e-3, "{}", reference.name);
        let folder = tempfile::tempdir().unwrap();
        let from = root().join(reference.name);
        std::fs::copy(from.join("config.json"), folder.path().join("config.json")).unwrap();
        sketches::save(&weights, &folder.path().join("model.safetensors"));
        let again = LlamaVision::load(folder.path(), Compute::CPU, None).unwrap();
        let loaded = linear_loss(&reference, &again, None).double_value(&[]);
        assert!((loaded - after).abs() <= 1e-6 * after.abs(), "{}: {loaded}", reference.name);
    }
}
