//! The whole way, through the commands, against transformers, peft and diffusers: a dialogue with
//! photos in, what the model saw, wrote and drew out (`tests/parity/systems.py`).

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use serde_json::Value;
use shutterbug::adapters::{self, Bases};
use shutterbug::llama_vision::LlamaVision;
use shutterbug::nn::Adapter;
use shutterbug::systems::ModelDirectory;
use shutterbug::torch::{Compute, Generator};
use tch::{Kind, Tensor};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Freshly made expectations where `make parity` put some, the frozen ones otherwise.
fn fixtures() -> PathBuf {
    match std::env::var_os("SHUTTERBUG_PARITY") {
        Some(parity) => PathBuf::from(parity).join("systems"),
        None => root().join("tests/fixtures/systems"),
    }
}

fn tiny() -> PathBuf {
    let fresh = fixtures().join("tiny");
    if fresh.is_dir() { fresh } else { root().join("tests/fixtures/tiny") }
}

fn shutterbug() -> Command {
    Command::new(env!("CARGO_BIN_EXE_shutterbug"))
}

fn convert(out: &Path) {
    shutterbug()
        .args(["models", "convert", "--llama"])
        .arg(tiny().join("llama"))
        .arg("--diffusion")
        .arg(tiny().join("diffusion"))
        .arg("--out")
        .arg(out)
        .assert()
        .success();
}

fn tensors(file: &Path) -> HashMap<String, Tensor> {
    Tensor::read_safetensors(file)
        .unwrap_or_else(|error| panic!("{}: {error}", file.display()))
        .into_iter()
        .collect()
}

fn settings() -> Value {
    serde_json::from_str(&fs::read_to_string(fixtures().join("settings.json")).unwrap()).unwrap()
}

/// Largest difference allowed, by the tensor's name.
fn tolerance(name: &str) -> f64 {
    match name {
        "prompt_ids"
        | "reply_ids"
        | "aspect_ratio_ids"
        | "aspect_ratio_mask"
        | "cross_attention_mask"
        | "photo0.clip_ids"
        | "photo0.latents_first" => 0.0,
        "pixel_values" => 1e-5,
        "photo0.image" => 2.0 / 255.0,
        _ => 1e-4,
    }
}

fn compare(expected: &Path, trace: &Path) {
    let (expected, trace) = (tensors(expected), tensors(trace));
    let mut wrong = Vec::new();
    for (name, expected) in &expected {
        let Some(have) = trace.get(name) else {
            wrong.push(format!("{name} is missing"));
            continue;
        };
        if have.size() != expected.size() {
            wrong.push(format!("{name} is {:?}, not {:?}", have.size(), expected.size()));
            continue;
        }
        let difference = (have.to_kind(Kind::Double) - expected.to_kind(Kind::Double)).abs();
        let largest = difference.max().double_value(&[]);
        if largest.is_nan() || largest > tolerance(name) {
            wrong.push(format!("{name} differs by {largest:e}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Runs `generate` on the fixture's dialogue as the reference did; gives the reply.
fn generate(model: &Path, out: &Path, share_bias: &Value, adapter: Option<&Path>) -> Value {
    let settings = settings();
    let option = |key: &str| settings[key].to_string();
    let mut command = shutterbug();
    command
        .args(["generate", "--greedy", "--device", "cpu", "--precision", "float32"])
        .args(["--share-bias", &share_bias.to_string()])
        .args(["--max-new-tokens", &option("new_tokens")])
        .args(["--steps", &option("steps"), "--guidance", &option("guidance")])
        .arg("--latents")
        .arg(fixtures().join("latents.safetensors"))
        .arg("--model")
        .arg(model)
        .arg("--out")
        .arg(out)
        .arg("--trace")
        .arg(out);
    if let Some(adapter) = adapter {
        command.arg("--adapter").arg(adapter);
    }
    let output = command.arg(fixtures().join("dialogue.jsonl")).assert().success();
    serde_json::from_slice(&output.get_output().stdout).unwrap()
}

#[test]
fn the_base_sees_writes_and_draws_what_the_reference_does() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model");
    convert(&model);
    let reply = generate(&model, folder.path(), &settings()["base_share_bias"], None);
    compare(&fixtures().join("base.safetensors"), &folder.path().join("talk.safetensors"));

    let elements = reply["reply"]["elements"].as_array().unwrap();
    let photo = elements.iter().find(|element| element.get("photo").is_some()).unwrap();
    let caption = photo["caption"].as_str().unwrap();
    let png = image::open(photo["photo"].as_str().unwrap()).unwrap().to_rgb8();
    assert_eq!(png.dimensions(), (64, 64));
    assert!(reply["share_probability"].as_f64().unwrap() > 0.0);
    assert_eq!(reply["adapter"], Value::Null);

    // The file holds what the trace says was drawn.
    let image = &tensors(&folder.path().join("talk.safetensors"))["photo0.image"];
    let bytes: Vec<u8> = (image * 255.0)
        .round()
        .permute([1, 2, 0])
        .contiguous()
        .view([-1])
        .to_kind(Kind::Uint8)
        .try_into()
        .unwrap();
    assert_eq!(bytes, png.into_raw());

    // The drawing half alone draws the same.
    let alone = folder.path().join("alone.png");
    let settings = settings();
    shutterbug()
        .args(["draw", "--device", "cpu", "--precision", "float32"])
        .args(["--steps", &settings["steps"].to_string()])
        .args(["--guidance", &settings["guidance"].to_string(), "--latents"])
        .arg(fixtures().join("latents.safetensors"))
        .arg("--model")
        .arg(&model)
        .arg("--out")
        .arg(&alone)
        .arg(caption)
        .assert()
        .success();
    assert_eq!(fs::read(&alone).unwrap(), fs::read(photo["photo"].as_str().unwrap()).unwrap());
}

#[test]
fn an_adapter_changes_both_halves_as_peft_and_diffusers_do() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model");
    convert(&model);
    let adapter = fixtures().join("adapter");
    let share_bias = &settings()["adapter_share_bias"];
    let reply = generate(&model, folder.path(), share_bias, Some(&adapter));
    compare(&fixtures().join("adapter.safetensors"), &folder.path().join("talk.safetensors"));
    assert!(reply["adapter"].is_string());
}

/// An update of every layer that training adapts, and both tags' rows, all away from the base's.
fn random_adapters(directory: &ModelDirectory, bases: &Bases) -> [Adapter; 2] {
    let mut generator = Generator::new(11);
    let mut adapter = |shapes: &adapters::Shapes, ends: &[&str]| {
        let layers = shapes.iter().filter_map(|(name, shape)| {
            let layer = name.strip_suffix(".weight")?;
            let wanted = !name.starts_with("vision_model")
                && ends.iter().any(|end| layer.ends_with(&format!(".{end}")));
            wanted.then(|| (layer, <[i64; 2]>::try_from(shape.as_slice()).unwrap()))
        });
        let mut adapter = Adapter::fresh(layers, 3, 4.5, 5, Compute::CPU.device);
        let mut names: Vec<String> = adapter.layers.keys().cloned().collect();
        names.sort();
        for name in names {
            let lora = adapter.layers.get_mut(&name).unwrap();
            lora.b = generator.randn(&lora.b.size()) * 0.3;
        }
        adapter
    };
    let mut llama = adapter(&bases.llama.shapes, &["q_proj", "k_proj", "v_proj"]);
    let ends = [
        "to_q",
        "to_k",
        "to_v",
        "to_out.0",
        "add_q_proj",
        "add_k_proj",
        "add_v_proj",
        "to_add_out",
    ];
    let diffusion = adapter(&bases.diffusion.shapes, &ends);
    let model = LlamaVision::load(&directory.llama(), Compute::CPU, None).unwrap();
    let tokens = directory.manifest.tokens;
    llama.rows = model.token_rows(&[tokens.img, tokens.img_end]);
    for rows in llama.rows.values_mut() {
        rows.rows_kd = generator.randn(&rows.rows_kd.size());
    }
    [llama, diffusion]
}

/// Where `make parity` asks, adapter and trace are left for `tests/parity/systems_check.py`, which
/// holds them against peft and diffusers.
#[test]
fn an_adapter_written_here_serves_after_reading_as_it_did_before() {
    let folder = tempfile::tempdir().unwrap();
    let ours = match std::env::var_os("SHUTTERBUG_PARITY") {
        Some(_) => fixtures().join("ours"),
        None => folder.path().join("ours"),
    };
    let model = folder.path().join("model");
    convert(&model);
    let directory = ModelDirectory::open(&model).unwrap();
    let bases = directory.bases().unwrap();
    let [llama, diffusion] = random_adapters(&directory, &bases);
    adapters::write(&ours.join("adapter"), Some(&llama), Some(&diffusion), &bases, 0.1).unwrap();

    let read = adapters::JointAdapter::read(&ours.join("adapter"), &bases, Compute::CPU).unwrap();
    assert_eq!(read.llama.as_ref().unwrap().parameters(), llama.parameters());
    assert_eq!(read.diffusion.as_ref().unwrap().parameters(), diffusion.parameters());
    for (written, read) in [(llama, read.llama.unwrap()), (diffusion, read.diffusion.unwrap())] {
        for (name, lora) in &written.layers {
            assert!((read.layers[name].scale - lora.scale).abs() < 1e-12, "{name}");
        }
        for (name, rows) in &written.rows {
            assert_eq!(read.rows[name].ids, rows.ids, "{name}");
        }
    }
    let reply = generate(&model, &ours, &Value::from(100), Some(&ours.join("adapter")));
    assert_eq!(reply["adapter"], read.revision);
}
