//! Reading and writing adapters: what is refused, and what a person is told.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use shutterbug::adapters::{self, AdapterError, Base, Bases, JointAdapter};
use shutterbug::nn::{Adapter, TokenRows};
use shutterbug::torch::{Checkpoint, Compute, Generator};
use tch::Device;

const LAYER: &str = "language_model.model.layers.0.self_attn.q_proj";
const TABLE: &str = "language_model.model.embed_tokens";

fn bases(fingerprint: &str) -> Bases {
    let shapes = |names: &[(&str, [i64; 2])]| {
        let entry = |(name, shape): &(&str, [i64; 2])| (format!("{name}.weight"), shape.to_vec());
        names.iter().map(entry).collect()
    };
    let base = |name: &str, shapes| Base {
        name: name.to_owned(),
        fingerprint: format!("{name}-{fingerprint}"),
        shapes,
    };
    Bases {
        llama: base("llama", shapes(&[(LAYER, [4, 6]), (TABLE, [9, 6])])),
        diffusion: base("diffusion", shapes(&[("transformer_blocks.0.attn.to_q", [5, 5])])),
    }
}

/// An adapter of the language model as written for the bases `"a"`.
fn written(folder: &Path) -> Adapter {
    let mut adapter = Adapter::fresh([(LAYER, [4, 6])], 2, 3.0, 1, Device::Cpu);
    let rows_kd = Generator::new(2).randn(&[2, 6]);
    adapter.rows.insert(TABLE.to_owned(), TokenRows { ids: vec![7, 3], rows_kd });
    adapters::write(folder, Some(&adapter), None, &bases("a"), 0.1).unwrap();
    adapter
}

fn config(folder: &Path) -> PathBuf {
    folder.join("llama/adapter_config.json")
}

fn set(folder: &Path, key: &str, value: Value) {
    let mut all: Value = serde_json::from_slice(&fs::read(config(folder)).unwrap()).unwrap();
    all[key] = value;
    fs::write(config(folder), all.to_string()).unwrap();
}

fn read(folder: &Path) -> Result<JointAdapter, AdapterError> {
    JointAdapter::read(folder, &bases("a"), Compute::CPU)
}

fn refusal(folder: &Path) -> String {
    read(folder).err().expect("a refusal").to_string()
}

#[test]
fn what_is_written_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let adapter = written(folder.path());
    let read = read(folder.path()).unwrap();
    let llama = read.llama.unwrap();
    assert_eq!(llama.parameters(), adapter.parameters());
    assert_eq!(llama.rows[TABLE].ids, [7, 3]);
    assert!((llama.layers[LAYER].scale - 1.5).abs() < 1e-12);
    assert!(read.diffusion.is_none());
    // What trains goes on as leaves of its own.
    let trained = llama.trainable();
    assert!(trained.parameters().values().all(|tensor| tensor.requires_grad() && tensor.is_leaf()));
    assert_eq!(trained.over(&adapter.parameters()).unwrap().parameters(), adapter.parameters());
    assert!(trained.over(&HashMap::new().into_iter().collect()).is_none());
}

#[test]
fn another_base_is_refused_naming_both_hashes() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path());
    let error = JointAdapter::read(folder.path(), &bases("b"), Compute::CPU).err().unwrap();
    let error = error.to_string();
    assert!(error.contains("adapter_model.safetensors was trained on the base llama-a"), "{error}");
    assert!(error.contains("this model's base is llama-b"), "{error}");
}

#[test]
fn what_python_reads_is_there() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path());
    let all: Value = serde_json::from_slice(&fs::read(config(folder.path())).unwrap()).unwrap();
    assert_eq!(all["peft_type"], "LORA");
    assert_eq!(
        (&all["r"], &all["lora_alpha"], &all["lora_dropout"]),
        (&json!(2), &json!(3), &json!(0.1))
    );
    assert_eq!(all["target_modules"], json!(["model.language_model.layers.0.self_attn.q_proj"]));
    assert_eq!(all["trainable_token_indices"], json!({"embed_tokens": [7, 3]}));
    assert_eq!(all["base_model_name_or_path"], "llama");
    let file = Checkpoint::file(&folder.path().join("llama/adapter_model.safetensors")).unwrap();
    assert_eq!(file.metadata("format"), Some("pt"));
    let rows =
        "base_model.model.model.language_model.embed_tokens.token_adapter.trainable_tokens_delta";
    assert_eq!(file.shapes()[rows], [2, 6]);
}

#[test]
fn rows_and_ids_must_agree() {
    for ids in
        [json!([7]), json!({"embed_tokens": [7, 3, 1]}), json!({"lm_head": [7, 3]}), json!(null)]
    {
        let folder = tempfile::tempdir().unwrap();
        written(folder.path());
        set(folder.path(), "trainable_token_indices", ids.clone());
        let error = refusal(folder.path());
        assert!(
            error.contains("2 rows of base_model.model.model.language_model.embed_tokens"),
            "{error}"
        );
    }
    let folder = tempfile::tempdir().unwrap();
    written(folder.path());
    // A list is the input embedding's.
    set(folder.path(), "trainable_token_indices", json!([7, 3]));
    assert_eq!(read(folder.path()).unwrap().llama.unwrap().rows[TABLE].ids, [7, 3]);
    set(folder.path(), "trainable_token_indices", json!([7, 9]));
    assert!(refusal(folder.path()).contains("names 2 ids"));
}

#[test]
fn what_is_not_plain_lora_is_refused_by_name() {
    for (key, value, expected) in [
        ("use_dora", json!(true), "DoRA"),
        ("alpha_pattern", json!({"q_proj": 3}), "alpha_pattern"),
        ("bias", json!("all"), "trained biases"),
        ("modules_to_save", json!(["lm_head"]), "modules trained whole"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        written(folder.path());
        set(folder.path(), key, value);
        let error = refusal(folder.path());
        assert!(error.contains(&format!("the adapter uses {expected}, which")), "{error}");
    }
    let folder = tempfile::tempdir().unwrap();
    let mut adapter = written(folder.path());
    let other = Adapter::fresh([(TABLE, [9, 6])], 3, 3.0, 1, Device::Cpu);
    adapter.layers.extend(other.layers);
    let error = adapters::write(folder.path(), Some(&adapter), None, &bases("a"), 0.0).unwrap_err();
    assert!(error.to_string().contains("2 different ranks and scales"), "{error}");
}

#[test]
fn a_rank_stabilised_adapter_counts_by_the_root_of_its_rank() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path());
    set(folder.path(), "use_rslora", json!(true));
    let scale = read(folder.path()).unwrap().llama.unwrap().layers[LAYER].scale;
    assert!((scale - 3.0 / 2.0f64.sqrt()).abs() < 1e-12);
}

#[test]
fn a_layer_that_the_base_lacks_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let adapter = Adapter::fresh([("language_model.lm_head", [9, 6])], 2, 3.0, 1, Device::Cpu);
    adapters::write(folder.path(), Some(&adapter), None, &bases("a"), 0.0).unwrap();
    let error = refusal(folder.path());
    assert!(error.contains("it adapts base_model.model.lm_head, which this base model"), "{error}");
}

#[test]
fn a_file_appears_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path());
    let file = folder.path().join("llama/adapter_model.safetensors");
    let before = fs::read(&file).unwrap();
    // A folder where the new file would be written: writing fails.
    let part = folder.path().join("llama/adapter_model.safetensors.part");
    fs::create_dir(&part).unwrap();
    let adapter = Adapter::fresh([(LAYER, [4, 6])], 2, 3.0, 9, Device::Cpu);
    let error = adapters::write(folder.path(), Some(&adapter), None, &bases("a"), 0.0).unwrap_err();
    assert!(error.to_string().contains("adapter_model.safetensors"), "{error}");
    assert_eq!(fs::read(&file).unwrap(), before);
    fs::remove_dir(&part).unwrap();
    adapters::write(folder.path(), Some(&adapter), None, &bases("a"), 0.0).unwrap();
    assert_ne!(fs::read(&file).unwrap(), before);
    assert!(!part.exists());
    let again = read(folder.path()).unwrap().llama.unwrap();
    assert_eq!(again.layers[LAYER].a, adapter.layers[LAYER].a);
}
