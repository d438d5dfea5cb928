//! Files that are not what they should be.

use std::collections::BTreeMap;
use std::path::Path;

use shutterbug::stable_diffusion::StableDiffusion3;
use shutterbug::torch::{Compute, LoadError};
use tch::{Device, Kind, Tensor};

use super::case::{CASES, Case};

/// A copy of the model of `case` that can be broken.
fn copy_of(case: &str) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    let from = Case::open(CASES.into_iter().find(|name| *name == case).unwrap()).model;
    for part in std::fs::read_dir(&from).unwrap() {
        let part = part.unwrap();
        let place = to.path().join(part.file_name());
        if part.file_type().unwrap().is_dir() {
            std::fs::create_dir(&place).unwrap();
            for file in std::fs::read_dir(part.path()).unwrap() {
                let file = file.unwrap();
                std::fs::copy(file.path(), place.join(file.file_name())).unwrap();
            }
        } else {
            std::fs::copy(part.path(), place).unwrap();
        }
    }
    to
}

fn edit_tensors(path: &Path, edit: impl FnOnce(&mut BTreeMap<String, Tensor>)) {
    let mut tensors = Tensor::read_safetensors(path).unwrap().into_iter().collect();
    edit(&mut tensors);
    let tensors: Vec<(String, Tensor)> = tensors.into_iter().collect();
    Tensor::write_safetensors(&tensors, path).unwrap();
}

/// One weights file of each part, and a tensor in it.
const PARTS: [(&str, &str); 5] = [
    (
        "transformer/diffusion_pytorch_model.safetensors",
        "transformer_blocks.0.attn.norm_added_q.weight",
    ),
    ("vae/diffusion_pytorch_model.safetensors", "post_quant_conv.bias"),
    ("text_encoder/model.safetensors", "text_projection.weight"),
    ("text_encoder_2/model.safetensors", "text_model.encoder.layers.2.mlp.fc1.bias"),
    (
        "text_encoder_3/model.safetensors",
        "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
    ),
];

#[test]
fn missing_misshapen_and_unused_tensors_are_named() {
    for (file, tensor) in PARTS {
        let load = |edit: &dyn Fn(&mut BTreeMap<String, Tensor>)| {
            let dir = copy_of("sd3.5-large");
            edit_tensors(&dir.path().join(file), edit);
            StableDiffusion3::load(dir.path(), Compute::CPU).err().expect("an error")
        };
        let error = load(&|tensors| drop(tensors.remove(tensor).unwrap()));
        assert!(matches!(&error, LoadError::Missing { tensor: name, .. } if name == tensor));

        let error = load(&|tensors| {
            let wider = Tensor::cat(&[&tensors[tensor], &tensors[tensor]], 0);
            tensors.insert(tensor.to_owned(), wider);
        });
        let LoadError::Shape { path, tensor: name, expected, found } = &error else {
            panic!("{error}")
        };
        assert!(path.ends_with(file) && name == tensor, "{error}");
        assert_eq!(2 * expected[0], found[0]);

        let error = load(&|tensors| {
            tensors.insert("stranger".to_owned(), Tensor::zeros([3], (Kind::Float, Device::Cpu)));
        });
        assert!(
            matches!(&error, LoadError::Unused { first, .. } if first == "stranger"),
            "{error}"
        );
    }
}

#[test]
fn buffers_and_second_names_of_published_files_are_no_surprise() {
    let dir = copy_of("sd3.5-large");
    edit_tensors(&dir.path().join("text_encoder/model.safetensors"), |tensors| {
        let positions = Tensor::zeros([1, 77], (Kind::Float, Device::Cpu));
        tensors.insert("text_model.embeddings.position_ids".to_owned(), positions);
    });
    edit_tensors(&dir.path().join("text_encoder_3/model.safetensors"), |tensors| {
        let table = tensors.remove("shared.weight").unwrap();
        tensors.insert("encoder.embed_tokens.weight".to_owned(), table);
    });
    let case = Case::open("sd3.5-large");
    let captions =
        StableDiffusion3::load(dir.path(), Compute::CPU).unwrap().encode(&case.captions());
    case.close("encode.embeds", &captions.prompt_embeds(), 1e-4);
}

#[test]
fn configurations_that_can_t_be_run_are_refused_by_name() {
    let cases = [
        (
            "scheduler/scheduler_config.json",
            "use_dynamic_shifting",
            "true",
            "use_dynamic_shifting is set",
        ),
        ("scheduler/scheduler_config.json", "shift_terminal", "0.1", "shift_terminal is set"),
        (
            "scheduler/scheduler_config.json",
            "_class_name",
            "\"DDIMScheduler\"",
            "\"DDIMScheduler\"",
        ),
        ("model_index.json", "_class_name", "\"FluxPipeline\"", "FluxPipeline"),
        ("transformer/config.json", "qk_norm", "\"layer_norm\"", "rms_norm"),
        ("transformer/config.json", "caption_projection_dim", "31", "blocks are 32 wide"),
        ("transformer/config.json", "pooled_projection_dim", "41", "together is 40"),
        ("transformer/config.json", "in_channels", "5", "in_channels 5"),
        ("vae/config.json", "latent_channels", "5", "latent_channels is 5"),
        ("vae/config.json", "act_fn", "\"relu\"", "act_fn is relu"),
        ("vae/config.json", "down_block_types", "[\"A\",\"B\"]", "blocks A and"),
        ("text_encoder/config.json", "hidden_act", "\"relu\"", "quick_gelu"),
        ("text_encoder/config.json", "num_hidden_layers", "1", "num_hidden_layers is 1"),
        ("text_encoder_3/config.json", "feed_forward_proj", "\"relu\"", "gated-gelu"),
        ("text_encoder_3/config.json", "d_model", "50", "T5's d_model is 50"),
    ];
    for (file, key, value, expected) in cases {
        let dir = copy_of("sd3.5-large");
        let path = dir.path().join(file);
        let mut config: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        config[key] = serde_json::from_str(value).unwrap();
        std::fs::write(&path, config.to_string()).unwrap();
        let error = StableDiffusion3::load(dir.path(), Compute::CPU).err().expect("an error");
        let mut text = error.to_string();
        if let Some(source) = std::error::Error::source(&error) {
            text = format!("{text}: {source}");
        }
        assert!(text.contains(expected), "{key}: {text}");
        assert!(text.contains(dir.path().to_str().unwrap()), "{text}");
    }
}
