//! A whole model directory, loaded: it is held once, whatever its files' format.

mod tiny_copy;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use shutterbug::llama_vision::{Config, LlamaVision};
use shutterbug::stable_diffusion::Part;
use shutterbug::systems::{EndToEnd, Footprint, ModelDirectory, Transfer, convert};
use shutterbug::torch::{Compute, Weights, resident_bytes_max};
use tch::{Device, Kind, Tensor};

use tiny_copy::copy_without_weights;

/// Bytes of a shard.
const SHARD_BYTES_MAX: usize = 32 << 20;

fn edit(file: &Path, change: impl FnOnce(&mut Value)) {
    let mut value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    change(&mut value);
    fs::write(file, value.to_string()).unwrap();
}

/// Weights of these shapes in shards, as `stem`-….safetensors in `folder`.
fn write_shards(folder: &Path, stem: &str, shapes: &BTreeMap<String, Vec<i64>>, kind: Kind) {
    let mut shards: Vec<Vec<(String, Tensor)>> = vec![Vec::new()];
    let mut bytes = 0;
    for (name, shape) in shapes {
        let tensor = Tensor::full(shape, 0.01, (kind, Device::Cpu));
        let size = tensor.numel() * kind.elt_size_in_bytes();
        if bytes > 0 && bytes + size > SHARD_BYTES_MAX {
            shards.push(Vec::new());
            bytes = 0;
        }
        bytes += size;
        shards.last_mut().unwrap().push((name.clone(), tensor));
    }
    let mut places = serde_json::Map::new();
    for (index, shard) in shards.iter().enumerate() {
        let file = format!("{stem}-{:05}-of-{:05}.safetensors", index + 1, shards.len());
        Tensor::write_safetensors(shard, folder.join(&file)).unwrap();
        places.extend(shard.iter().map(|(name, _)| (name.clone(), file.clone().into())));
    }
    let index = json!({"metadata": {}, "weight_map": places});
    fs::write(folder.join(format!("{stem}.safetensors.index.json")), index.to_string()).unwrap();
}

/// A model directory of about 100 million weights, stored in `kind`.
fn write_model(folder: &Path, kind: Kind) -> ModelDirectory {
    let tiny = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny");
    let (llama, diffusion) = (folder.join("llama"), folder.join("diffusion"));
    copy_without_weights(&tiny.join("llama"), &llama);
    copy_without_weights(&tiny.join("diffusion"), &diffusion);
    edit(&llama.join("config.json"), |config| {
        config["text_config"]["hidden_size"] = 1024.into();
        config["text_config"]["intermediate_size"] = 5120.into();
    });
    edit(&diffusion.join("transformer/config.json"), |config| {
        config["num_attention_heads"] = 10.into();
        config["attention_head_dim"] = 64.into();
        config["caption_projection_dim"] = 640.into();
    });
    let names = Weights::shapes_only();
    LlamaVision::from_weights(&names, Config::read(&llama).unwrap()).unwrap();
    write_shards(&llama, LlamaVision::STEM, &names.asked(), kind);
    for part in Part::of(&diffusion).unwrap() {
        let names = part.names(&diffusion).unwrap();
        write_shards(&diffusion.join(part.folder()), part.stem(), &names, kind);
    }
    convert(&llama, &diffusion, &folder.join("model"), Transfer::Link).unwrap()
}

const CHILD: &str = "SHUTTERBUG_TEST_LOAD";

/// Peak resident memory is a process's own, so the test runs itself again as a child.
#[test]
fn a_whole_model_is_held_once() {
    if let Some(folder) = std::env::var_os(CHILD) {
        let directory = ModelDirectory::open(Path::new(&folder)).unwrap();
        let model = EndToEnd::load(&directory, Compute::CPU).unwrap();
        println!("peak {}", resident_bytes_max().unwrap());
        drop(model);
        return;
    }
    let mut peaks = Vec::new();
    for stored in [Kind::Float, Kind::Half, Kind::BFloat16] {
        let folder = tempfile::tempdir().unwrap();
        let directory = write_model(folder.path(), stored);
        let footprint = Footprint::of(&directory.path, Kind::Float, 16, None).unwrap();
        let running = footprint.weights.iter().map(|share| share.bytes).sum::<u64>() as f64;
        assert!(running > 350e6, "a model of {running} bytes shows little");
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_whole_model_is_held_once", "--nocapture"])
            .env(CHILD, &directory.path)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let peak: f64 =
            text.lines().find_map(|line| line.split("peak ").nth(1)).unwrap().parse().unwrap();
        // All of it was read, and nothing of it twice.
        assert!(peak >= running, "stored as {stored:?}: peak {peak} for {running} bytes");
        assert!(
            peak <= 1.1 * running + 300e6,
            "stored as {stored:?}: peak {:.0} MB for {:.0} MB of tensors",
            peak / 1e6,
            running / 1e6
        );
        peaks.push(peak);
    }
    // Files in another format than the running one are given back as they are converted.
    let single = peaks[0];
    assert!(peaks.iter().all(|peak| *peak <= 1.05 * single), "peaks {peaks:?}");
}
