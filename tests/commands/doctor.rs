//! `shutterbug doctor`: every kind of damage is found before anything is loaded, and told with the
//! file and what would be right.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use shutterbug::systems::Finding;
use tch::Tensor;

use super::{shutterbug, tiny};

/// Exit status and report of a doctor's visit to `model`.
fn doctor(model: &Path, options: &[&str]) -> (i32, String) {
    let output =
        shutterbug().args(["doctor", "--model"]).arg(model).args(options).output().unwrap();
    let report = String::from_utf8(output.stdout).unwrap();
    (output.status.code().unwrap(), report)
}

/// A whole model directory that may be spoiled.
fn model() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let made = shutterbug::systems::convert(
        &tiny("llama"),
        &tiny("diffusion"),
        &folder.path().join("model"),
        shutterbug::systems::Transfer::Copy,
    );
    made.unwrap();
    folder
}

fn remove(file: &Path) {
    fs::remove_file(file).unwrap();
}

fn garble(file: &Path) {
    fs::write(file, "{ this is no JSON").unwrap();
}

fn edit(file: &Path, change: impl FnOnce(&mut Value)) {
    let mut value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    change(&mut value);
    fs::write(file, value.to_string()).unwrap();
}

fn edit_weights(file: &Path, change: impl FnOnce(&mut BTreeMap<String, Tensor>)) {
    let mut tensors = Tensor::read_safetensors(file).unwrap().into_iter().collect();
    change(&mut tensors);
    let tensors: Vec<(String, Tensor)> = tensors.into_iter().collect();
    Tensor::write_safetensors(&tensors, file).unwrap();
}

fn cut(file: &Path, bytes: usize) {
    let whole = fs::read(file).unwrap();
    fs::write(file, &whole[..whole.len() - bytes]).unwrap();
}

fn set_template(folder: &Path, template: &str) {
    edit(&folder.join("chat_template.json"), |json| json["chat_template"] = template.into());
}

/// A file, what happens to it, and what must stand in the report.
type Damage = (&'static str, fn(&Path), &'static [&'static str]);

const NORM: &str = "language_model.model.norm.weight";
const CONV: &str = "decoder.conv_in.bias";

const DAMAGES: &[Damage] = &[
    (
        "shutterbug.toml",
        remove,
        &["it has no shutterbug.toml; make one with `shutterbug models convert"],
    ),
    (
        "shutterbug.toml",
        garble,
        &["shutterbug.toml can't be understood; make the model directory again"],
    ),
    (
        "shutterbug.toml",
        |file| {
            let text = fs::read_to_string(file).unwrap();
            fs::write(file, text.replace("tiles_max = 4", "tiles_max = 3")).unwrap();
        },
        &["perceptron.tiles_max is 3, but ", "/llama has 4; put the files back"],
    ),
    ("llama/config.json", remove, &["llama/config.json: can't read "]),
    ("llama/config.json", garble, &["llama/config.json can't be understood; put the published"]),
    (
        "llama/config.json",
        |file| edit(file, |config| config["model_type"] = "llama".into()),
        &["llama/config.json: model_type is `llama`; `mllama` is understood"],
    ),
    ("llama/tokenizer.json", remove, &["llama/tokenizer.json: ", "llama/tokenizer.json"]),
    ("llama/tokenizer.json", garble, &["llama/tokenizer.json can't be understood"]),
    (
        "llama/tokenizer.json",
        |file| {
            let text = fs::read_to_string(file).unwrap();
            fs::write(file, text.replace("<|image|>", "<|picture|>")).unwrap();
        },
        &["there is no special token <|image|>"],
    ),
    (
        "llama/tokenizer.json",
        |file| {
            edit(file, |json| {
                let tokens = json["added_tokens"].as_array_mut().unwrap();
                let mut token = tokens[0].clone();
                token["id"] = 5000.into();
                token["content"] = "<|stranger|>".into();
                tokens.push(token);
            });
        },
        &["llama/tokenizer.json makes ids up to 5000, but", "llama has 408 rows"],
    ),
    ("llama/chat_template.json", remove, &["there is no chat template: chat_template.jinja"]),
    (
        "llama",
        |folder| set_template(folder, "{% for message in messages %}"),
        &["chat_template.json holds no chat template that can be read"],
    ),
    (
        "llama",
        |folder| set_template(folder, "{{ raise_exception('no') }}"),
        &["llama chat template: the chat template in ", "put the original file"],
    ),
    (
        "llama",
        |folder| set_template(folder, "hello"),
        &["the chat template doesn't keep the dialogue's order"],
    ),
    ("llama/preprocessor_config.json", remove, &["llama/preprocessor_config.json: "]),
    (
        "llama/preprocessor_config.json",
        |file| edit(file, |config| config["size"] = json!({"height": 56, "width": 56})),
        &["it makes 4 tiles of 56 pixels, but the vision encoder in config.json reads 4 of 28"],
    ),
    ("llama/generation_config.json", garble, &["llama/generation_config.json can't be understood"]),
    (
        "llama/generation_config.json",
        |file| edit(file, |config| config["eos_token_id"] = json!([389, 77_777])),
        &["generation_config.json: eos_token_id names 77777, but the tokenizer's ids end at 400"],
    ),
    ("llama/special_tokens_map.json", garble, &["special_tokens_map.json can't be understood"]),
    ("llama/model.safetensors", remove, &["no weights in ", "neither model.safetensors nor"]),
    (
        "llama/model.safetensors",
        |file| cut(file, 100),
        &["llama/model.safetensors is cut off: it has ", "bytes; download it again"],
    ),
    (
        "llama/model.safetensors",
        |file| edit_weights(file, |tensors| drop(tensors.remove(NORM))),
        &["llama/model.safetensors lacks the tensor language_model.model.norm.weight [64]"],
    ),
    (
        "llama/model.safetensors",
        |file| {
            edit_weights(file, |tensors| {
                tensors.insert(NORM.to_owned(), Tensor::ones([65], tch::kind::FLOAT_CPU));
                tensors.insert("stranger".to_owned(), Tensor::ones([3], tch::kind::FLOAT_CPU));
            });
        },
        &[
            "the tensor language_model.model.norm.weight has shape [65], but the configuration asks for [64]",
            "llama/model.safetensors holds the tensor stranger [3], which this model does not use",
        ],
    ),
    (
        "llama/model.safetensors",
        |file| {
            edit_weights(file, |tensors| {
                tensors.insert(NORM.to_owned(), Tensor::ones([64], tch::kind::INT64_CPU));
            });
        },
        &[
            "the tensor language_model.model.norm.weight is stored as I64; take the original weights",
        ],
    ),
    ("diffusion/model_index.json", remove, &["diffusion/model_index.json: can't read"]),
    (
        "diffusion/model_index.json",
        |file| edit(file, |index| index["_class_name"] = "FluxPipeline".into()),
        &["the pipeline is FluxPipeline; StableDiffusion3Pipeline is understood"],
    ),
    (
        "diffusion/model_index.json",
        |file| {
            edit(file, |index| {
                index["text_encoder_3"] = json!(["transformers", "T5EncoderModel"]);
            });
        },
        &["diffusion/tokenizer_3: ", "diffusion/text_encoder_3 weights: no weights in "],
    ),
    ("diffusion/scheduler/scheduler_config.json", remove, &["scheduler_config.json: can't read "]),
    (
        "diffusion/scheduler/scheduler_config.json",
        |file| edit(file, |config| config["use_karras_sigmas"] = true.into()),
        &["use_karras_sigmas is set; only the fixed shift"],
    ),
    ("diffusion/tokenizer/vocab.json", remove, &["diffusion/tokenizer: ", "vocab.json"]),
    ("diffusion/tokenizer_2/merges.txt", remove, &["diffusion/tokenizer_2: ", "merges.txt"]),
    (
        "diffusion/tokenizer/merges.txt",
        |file| cut(file, 200),
        &["diffusion/tokenizer/merges.txt: it does not make the token ", "download it again"],
    ),
    (
        "diffusion/tokenizer_2/special_tokens_map.json",
        |file| edit(file, |map| map["pad_token"] = "<|pad|>".into()),
        &["diffusion/tokenizer_2: ", "there is no token <|pad|>"],
    ),
    (
        "diffusion/tokenizer/vocab.json",
        |file| edit(file, |vocab| vocab["🦓"] = 5000.into()),
        &["diffusion/tokenizer makes ids up to 5000, but text_model.embeddings.token_embedding"],
    ),
    (
        "diffusion/text_encoder/config.json",
        garble,
        &["text_encoder/config.json can't be understood"],
    ),
    (
        "diffusion/text_encoder/config.json",
        |file| edit(file, |config| config["hidden_size"] = 32.into()),
        &["diffusion/text_encoder weights: ", "but the configuration asks for [616, 32]"],
    ),
    (
        "diffusion/text_encoder_2/model.safetensors",
        |file| {
            edit_weights(file, |tensors| {
                let table = tensors["text_projection.weight"].repeat([2, 1]);
                tensors.insert("text_projection.weight".to_owned(), table);
            });
        },
        &[
            "text_encoder_2/model.safetensors: the tensor text_projection.weight has shape [",
            "asks for [",
        ],
    ),
    (
        "diffusion/transformer/config.json",
        |file| edit(file, |config| config["caption_projection_dim"] = 31.into()),
        &["transformer/config.json: caption_projection_dim is 31, but the blocks are"],
    ),
    (
        "diffusion/transformer/config.json",
        |file| edit(file, |config| config["qk_norm"] = "rms_norm".into()),
        &[
            "transformer/diffusion_pytorch_model.safetensors lacks the tensor transformer_blocks.0.attn.norm",
        ],
    ),
    (
        "diffusion/vae/diffusion_pytorch_model.safetensors",
        |file| edit_weights(file, |tensors| drop(tensors.remove(CONV))),
        &["vae/diffusion_pytorch_model.safetensors lacks the tensor decoder.conv_in.bias [16]"],
    ),
    (
        "adapter",
        |folder| fs::create_dir(folder).unwrap(),
        &["adapter: ", "is no adapter: neither llama/adapter_model.safetensors"],
    ),
    (
        "adapter",
        |folder| {
            let from = tiny("../systems/adapter");
            for file in ["llama/adapter_config.json", "llama/adapter_model.safetensors"] {
                fs::create_dir_all(folder.join("llama")).unwrap();
                fs::copy(from.join(file), folder.join(file)).unwrap();
            }
            edit_weights(&folder.join("llama/adapter_model.safetensors"), |tensors| {
                let foreign = |(name, tensor): (String, Tensor)| {
                    (name.replace("layers.0.", "layers.90."), tensor)
                };
                *tensors = std::mem::take(tensors).into_iter().map(foreign).collect();
            });
        },
        &["which this base model does not have"],
    ),
];

/// What the doctor's lines are made of, without starting a process for each.
fn findings(model: &Path) -> Vec<String> {
    let adapter = Some(model.join("adapter")).filter(|folder| folder.is_dir());
    let findings = shutterbug::systems::inspect(model, adapter.as_deref()).findings;
    let problem = |finding: Finding| {
        let error = anyhow::Error::from(finding.verdict.err()?);
        Some(format!("{}: {error:#}", finding.place))
    };
    findings.into_iter().filter_map(problem).collect()
}

#[test]
fn every_kind_of_damage_is_found_and_told_with_what_would_be_right() {
    let mut untold = Vec::new();
    for (place, spoil, expected) in DAMAGES {
        let folder = model();
        let model = folder.path().join("model");
        spoil(&model.join(place));
        let report = findings(&model).join("\n");
        let missing: Vec<_> = expected.iter().filter(|part| !report.contains(**part)).collect();
        if !missing.is_empty() {
            untold.push(format!("{place}: without {missing:?} in\n{report}"));
        }
    }
    assert!(untold.is_empty(), "{}", untold.join("\n"));
}

#[test]
fn several_damages_are_told_in_one_visit() {
    let folder = model();
    let model = folder.path().join("model");
    remove(&model.join("llama/chat_template.json"));
    garble(&model.join("diffusion/text_encoder/config.json"));
    edit(&model.join("diffusion/text_encoder_2/config.json"), |config| {
        config["hidden_size"] = 48.into();
    });
    let (status, report) = doctor(&model, &["--device", "cpu"]);
    assert_eq!(status, 3, "{report}");
    for line in [
        "problem  llama chat template: ",
        "problem  diffusion/text_encoder weights: ",
        "problem  diffusion/text_encoder_2 weights: and ",
        "ok       diffusion/vae weights: ",
        " problems.\n",
    ] {
        assert!(report.contains(line), "{line:?} is not in\n{report}");
    }
}

#[test]
fn a_sound_model_gets_a_line_for_everything_and_its_memory() {
    let folder = model();
    let model = folder.path().join("model");
    let (status, report) = doctor(&model, &["--device", "cpu"]);
    assert_eq!(status, 0, "{report}");
    for line in [
        "ok       shutterbug.toml: describes model@",
        "ok       llama/config.json: 4 layers, 2048 tokens of context",
        "ok       llama/tokenizer.json: 401 ids, [IMG] is 390, [/IMG] 391",
        "ok       llama/preprocessor_config.json: 4 tiles of 28 pixels",
        "ok       llama chat template: makes ",
        "ok       llama weights: ",
        "ok       diffusion/model_index.json: without T5",
        "ok       diffusion/scheduler/scheduler_config.json: shift 3",
        "ok       diffusion/tokenizer_2: 616 ids",
        "ok       diffusion/vae weights: ",
        "ok       diffusion: its parts are of one model",
        "ok       shutterbug.toml: is that of these files",
        "ok       device: the model would run on the CPU in float32",
        " free: it fits\nEverything is in order.\n",
    ] {
        assert!(report.contains(line), "{line:?} is not in\n{report}");
    }

    let own = model.join("adapter/llama");
    fs::create_dir_all(&own).unwrap();
    for file in ["adapter_config.json", "adapter_model.safetensors"] {
        fs::copy(tiny("../systems/adapter/llama").join(file), own.join(file)).unwrap();
    }
    let (status, report) = doctor(&model, &["--device", "cpu"]);
    assert_eq!(status, 0, "{report}");
    assert!(report.contains("/adapter: is ") && report.contains(", for this model"), "{report}");
    let (_, report) = doctor(&model, &["--device", "cpu", "--adapter", "none"]);
    assert!(!report.contains("/adapter"), "{report}");
}

#[test]
fn what_is_not_there_is_named() {
    let folder = model();
    let (status, report) = doctor(&folder.path().join("nowhere"), &["--device", "cpu"]);
    assert_eq!(status, 3, "{report}");
    assert!(report.contains("shutterbug models convert --llama DIR"), "{report}");
    let (status, report) = doctor(&folder.path().join("model"), &["--device", "cuda:99"]);
    assert_eq!(status, 3, "{report}");
    assert!(report.contains("problem  device: CUDA device 99 was asked for"), "{report}");
}
