//! The whole way, through the commands, against transformers, peft and diffusers: a dialogue with
//! photos in, what the model saw, wrote and drew out (`tests/parity/systems.py`).

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use serde_json::Value;
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
fn generate(model: &Path, out: &Path, name: &str, adapter: Option<&Path>) -> Value {
    let settings = settings();
    let option = |key: &str| settings[key].to_string();
    let mut command = shutterbug();
    command
        .args(["generate", "--greedy", "--device", "cpu", "--precision", "float32"])
        .args(["--share-bias", &option(&format!("{name}_share_bias"))])
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
    let reply = generate(&model, folder.path(), "base", None);
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
    let reply = generate(&model, folder.path(), "adapter", Some(&adapter));
    compare(&fixtures().join("adapter.safetensors"), &folder.path().join("talk.safetensors"));
    assert!(reply["adapter"].is_string());
}
