//! Models made from nothing, training of a part, and what recomputing layers saves.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use shutterbug::llama_vision::{Config, LlamaVision, PhotoTiles, Prompt};
use shutterbug::nn::Activations;
use shutterbug::stable_diffusion::{
    ClipConfig, Part, StableDiffusion3, StableDiffusion3Config, TextConditioning,
};
use shutterbug::tokens::CaptionIds;
use shutterbug::torch::{
    AdamW, Checkpoint, Compute, FusedAdamW, Generator, Parameters, SaveKind, Weights, gradients,
    resident_bytes_max, write_safetensors,
};
use tch::{Kind, Reduction, Tensor};

fn fixtures(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn llama(weights: &Weights) -> LlamaVision {
    LlamaVision::from_weights(weights, Config::read(&fixtures("llama/grouped")).unwrap()).unwrap()
}

/// Cross-entropy of `ids` behind a photo of noise.
fn text_loss(model: &LlamaVision, ids: &[u32]) -> Tensor {
    let vision = &model.config().vision;
    let size = [vision.tiles_max, vision.channels, vision.tile_size, vision.tile_size];
    let pixels = Generator::new(3).randn(&size).flatten(0, -1);
    let photo = PhotoTiles {
        pixels: Vec::try_from(pixels).unwrap(),
        tiles: vision.tiles_max as usize,
        aspect_ratio_id: 1,
    };
    let seen = model.perceive(&[photo], None);
    let ids: Vec<u32> =
        std::iter::once(model.config().image_token).chain(ids.iter().copied()).collect();
    let logits = model.logits(&[Prompt { ids: &ids, photos: &seen }], None).get(0);
    let next: Vec<i64> = ids[1..].iter().map(|&id| i64::from(id)).collect();
    let scored = logits.narrow(0, 0, next.len() as i64).to_kind(Kind::Float);
    scored.cross_entropy_loss::<Tensor>(
        &Tensor::from_slice(&next),
        None,
        Reduction::Mean,
        -100,
        0.0,
    )
}

#[test]
fn a_model_from_nothing_has_the_checkpoints_names_and_follows_its_seed() {
    let made = |seed| {
        let weights = Weights::fresh(seed, Compute::CPU);
        let model = llama(&weights);
        (model, weights)
    };
    let (model, weights) = made(1);
    let published = Checkpoint::open(&fixtures("llama/grouped"), LlamaVision::STEM).unwrap();
    assert_eq!(weights.asked(), published.shapes());
    let parameters = weights.parameters();
    assert_eq!(parameters.len(), weights.asked().len());
    assert_eq!(made(1).1.parameters(), parameters);
    let other = made(2).1.parameters();
    let drawn = "language_model.model.layers.0.mlp.up_proj.weight";
    assert_ne!(other[drawn], parameters[drawn]);
    // U(±1/√32), whose standard deviation is 1/√96.
    let deviation = parameters[drawn].std(true).double_value(&[]);
    assert!((deviation - 96f64.sqrt().recip()).abs() < 0.01, "{deviation}");
    let norm = &parameters["language_model.model.layers.0.input_layernorm.weight"];
    assert_eq!(norm, &norm.ones_like());
    let gate = &parameters["language_model.model.layers.1.cross_attn_attn_gate"];
    assert!(gate.double_value(&[0]) > 0.0);

    // Everything learns from the first step on.
    let tensors: Vec<&Tensor> = parameters.values().collect();
    let by_parameter = gradients(&text_loss(&model, &[5, 9, 40, 7]), &tensors);
    for (name, gradient) in parameters.keys().zip(&by_parameter) {
        assert!(gradient.as_ref().unwrap().norm().double_value(&[]) > 0.0, "{name}");
    }
}

#[test]
fn a_model_from_nothing_learns() {
    let weights = Weights::fresh(4, Compute::CPU);
    let model = llama(&weights);
    let parameters = weights.parameters();
    let tensors: Vec<&Tensor> = parameters.values().collect();
    let mut adamw = FusedAdamW::new(&tensors);
    let how = AdamW { learning_rate: 1e-2, ..AdamW::default() };
    let ids = [5, 9, 40, 7, 100, 3];
    let first = text_loss(&model, &ids).double_value(&[]);
    for _ in 0..20 {
        let by_parameter = gradients(&text_loss(&model, &ids), &tensors);
        adamw.step(&tensors, &by_parameter, &how);
    }
    let last = text_loss(&model, &ids).double_value(&[]);
    assert!(last < first / 4.0, "from {first} to {last}");
}

#[test]
fn only_what_lies_below_the_prefixes_is_trained() {
    let checkpoint = Checkpoint::open(&fixtures("llama/grouped"), LlamaVision::STEM).unwrap();
    let below = ["language_model.model.layers.1.", "multi_modal_projector."];
    let weights = Weights::trainable(checkpoint, Compute::CPU, &below);
    let model = llama(&weights);
    let (parameters, all) = (weights.parameters(), weights.tensors());
    assert!(parameters.len() > 10 && parameters.len() < all.len());
    for (name, tensor) in &all {
        let wanted = below.iter().any(|prefix| name.starts_with(prefix));
        assert_eq!(tensor.requires_grad(), wanted, "{name}");
        assert_eq!(parameters.contains_key(name), wanted, "{name}");
    }
    let tensors: Vec<&Tensor> = parameters.values().collect();
    let by_parameter = gradients(&text_loss(&model, &[5, 9, 40, 7]), &tensors);
    assert!(by_parameter.iter().flatten().all(|it| it.norm().double_value(&[]) > 0.0));
    assert!(by_parameter.iter().all(Option::is_some));
}

#[test]
fn a_pipeline_from_nothing_begins_without_a_velocity_and_loads_as_it_was_saved() {
    for (case, positions) in [("sd3", true), ("computed-positions", false)] {
        let model_dir = fixtures("stable_diffusion").join(case).join("model");
        let config = || StableDiffusion3Config::read(&model_dir).unwrap();
        let parts: RefCell<BTreeMap<Part, Weights>> = RefCell::default();
        let model = StableDiffusion3::from_weights(config(), Compute::CPU, |part, compute| {
            let weights = Weights::fresh(7, compute);
            parts.borrow_mut().insert(part, weights.clone());
            Ok(weights)
        })
        .unwrap();
        let parts = parts.into_inner();
        for (part, weights) in &parts {
            assert_eq!(weights.asked(), part.open(&model_dir).unwrap().shapes(), "{part:?}");
        }
        // A table of positions is no parameter.
        let transformer = &parts[&Part::Transformer];
        let table = "pos_embed.pos_embed";
        assert!(!transformer.parameters().contains_key(table));
        assert_eq!(transformer.tensors().contains_key(table), positions);

        let picture = Generator::new(8).rand(&[2, 3, 16, 16]);
        let latents = model.encode_image(&picture, None);
        let captions = captions(&model);
        let sigmas = Tensor::from_slice(&[0.3f32, 0.8]);
        let velocity = model.velocity(&latents, &sigmas, &captions, None);
        assert_eq!(velocity, latents.zeros_like());

        let folder = tempfile::tempdir().unwrap();
        let file = |part: Part| folder.path().join(part.folder());
        for (part, weights) in &parts {
            save(&weights.tensors(), &file(*part));
        }
        let again = StableDiffusion3::from_weights(config(), Compute::CPU, |part, compute| {
            Ok(Weights::new(Checkpoint::file(&file(part))?, compute))
        })
        .unwrap();
        let difference = |a: &Tensor, b: &Tensor| (a - b).abs().max().double_value(&[]);
        assert!(difference(&again.encode_image(&picture, None), &latents) < 1e-5);
        let encoded = again.encode(&caption_ids(&again));
        assert!(difference(&encoded.prompt_embeds(), &captions.prompt_embeds()) < 1e-5);
    }
}

fn caption_ids(model: &StableDiffusion3) -> Vec<CaptionIds> {
    let positions = |config: &ClipConfig| {
        (0..config.max_position_embeddings).map(|at| at % config.vocab_size).collect()
    };
    let config = model.config();
    let ids = CaptionIds {
        clip_l: positions(&config.clip_l),
        clip_g: positions(&config.clip_g),
        t5: None,
    };
    vec![ids.clone(), ids]
}

fn captions(model: &StableDiffusion3) -> TextConditioning {
    model.encode(&caption_ids(model))
}

fn save(tensors: &Parameters, file: &Path) {
    let named = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor));
    write_safetensors(file, named, SaveKind::Float32, &[]).unwrap();
}

#[test]
fn tensors_are_saved_in_the_format_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.safetensors");
    let values = Tensor::from_slice(&[1.0f32, 1.003, -2.5]).set_requires_grad(true);
    let ids = Tensor::from_slice(&[7i64]);
    let scattered = Tensor::from_slice(&[1.0f32, 2.0, 3.0, 4.0]).view([2, 2]).tr();
    for (kind, expected) in [(SaveKind::Own, Kind::Float), (SaveKind::Bfloat16, Kind::BFloat16)] {
        let tensors = [("values", &values), ("ids", &ids), ("scattered", &scattered)];
        write_safetensors(&file, tensors, kind, &[("who", "me")]).unwrap();
        let read: BTreeMap<String, Tensor> =
            Tensor::read_safetensors(&file).unwrap().into_iter().collect();
        assert_eq!(read["values"], values.detach().to_kind(expected));
        assert_eq!(read["ids"], ids);
        assert_eq!(read["scattered"], scattered.to_kind(expected));
        let checkpoint = Checkpoint::file(&file).unwrap();
        assert_eq!(
            (checkpoint.metadata("who"), checkpoint.metadata("format")),
            (Some("me"), Some("pt"))
        );
    }
}

const CHILD: &str = "SHUTTERBUG_TEST_ACTIVATIONS";

/// A decoder of which the activations are far larger than the weights: 12 layers of width 128.
fn broad() -> (LlamaVision, Weights) {
    let folder = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(fixtures("llama/grouped/config.json")).unwrap();
    let mut config: serde_json::Value = serde_json::from_str(&text).unwrap();
    for (key, value) in
        [("hidden_size", 128), ("intermediate_size", 512), ("num_hidden_layers", 12)]
    {
        config["text_config"][key] = value.into();
    }
    std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    let weights = Weights::fresh(1, Compute::CPU);
    let model = LlamaVision::from_weights(&weights, Config::read(folder.path()).unwrap()).unwrap();
    (model, weights)
}

/// Peak resident memory is a process's own, so the test runs itself again as a child.
#[test]
fn recomputing_layers_saves_most_of_the_activations() {
    if let Some(activations) = std::env::var_os(CHILD) {
        let (mut model, weights) = broad();
        if activations == "recompute" {
            model.set_activations(Activations::Recompute);
        }
        let ids: Vec<u32> = (0..512).map(|at| at % 100).collect();
        let parameters = weights.parameters();
        let tensors: Vec<&Tensor> = parameters.values().collect();
        let differentiate = |ids: &[u32], count| {
            let logits = model.logits(&vec![Prompt { ids, photos: &[] }; count], None);
            drop(gradients(&logits.square().mean(Kind::Float), &tensors));
        };
        // What libtorch takes once for all.
        differentiate(&ids[..8], 1);
        let before = resident_bytes_max().unwrap();
        differentiate(&ids, 8);
        println!("grown {}", resident_bytes_max().unwrap() - before);
        return;
    }
    let [kept, recomputed] = ["keep", "recompute"].map(|activations| -> f64 {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "recomputing_layers_saves_most_of_the_activations", "--nocapture"])
            .env(CHILD, activations)
            // A mapping for every tensor: what they take, not how the C library cuts its heap.
            .env("MALLOC_MMAP_THRESHOLD_", "65536")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        text.lines().find_map(|line| line.split("grown ").nth(1)).unwrap().parse().unwrap()
    });
    println!("{:.0} MB kept, {:.0} MB recomputed", kept / 1e6, recomputed / 1e6);
    assert!(recomputed < 0.3 * kept, "{:.0} MB of {:.0} MB", recomputed / 1e6, kept / 1e6);
}
