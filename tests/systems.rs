//! The end-to-end system on its own: cancellation, adapters beside the base, and model directories
//! with something wrong in them.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use shutterbug::data::with_causes;
use shutterbug::dialogue::{Dialogue, Element, Reply, Speaker, Timings};
use shutterbug::systems::{
    Decoding, DrawRequest, Drawing, EndToEnd, ModelDirectory, PhotoSharing, Progress, ReplyRequest,
    RespondError, System, Transfer, convert,
};
use shutterbug::torch::Compute;
use tempfile::TempDir;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn tiny(transfer: Transfer) -> (TempDir, ModelDirectory) {
    let folder = tempfile::tempdir().unwrap();
    let (llama, diffusion) = (fixtures().join("tiny/llama"), fixtures().join("tiny/diffusion"));
    let directory = convert(&llama, &diffusion, &folder.path().join("model"), transfer).unwrap();
    (folder, directory)
}

fn system() -> (TempDir, EndToEnd) {
    let (folder, directory) = tiny(Transfer::Link);
    (folder, EndToEnd::load(&directory, Compute::CPU).unwrap())
}

fn drawing(steps: usize) -> Drawing {
    Drawing { steps, guidance: 3.0, size: None, latents: None }
}

/// Greedy, and biased so that the reply begins with a photo.
fn request(adapter: Option<&str>) -> ReplyRequest {
    let mut dialogue = Dialogue::default();
    dialogue.push(Speaker::B, [Element::Utterance("show me".to_owned())]);
    ReplyRequest {
        dialogue,
        system_text: None,
        photos: PhotoSharing::On,
        decoding: Decoding::Greedy,
        share_bias: 100.0,
        new_tokens_max: 16,
        drawing: drawing(4),
        seed: 5,
        adapter: adapter.map(str::to_owned),
        trace: None,
    }
}

fn respond(system: &mut EndToEnd, adapter: Option<&str>) -> Reply {
    let reply = system.respond(&request(adapter), &mut |_| ControlFlow::Continue(())).unwrap();
    Reply { timings: Timings::default(), ..reply }
}

#[test]
fn progress_comes_in_order_and_can_be_stopped_at_every_point() {
    let (_folder, mut system) = system();
    let mut said = Vec::new();
    system
        .respond(&request(None), &mut |progress| {
            said.push(progress);
            ControlFlow::Continue(())
        })
        .unwrap();
    let drawn = said.iter().position(|said| matches!(said, Progress::Drawing { .. })).unwrap();
    assert!(said[..drawn].iter().all(|said| matches!(said, Progress::TextDelta(_))));
    let step = |step| Progress::Drawing { photo: 1, step, steps: 4 };
    assert_eq!(said[drawn..drawn + 4], [step(1), step(2), step(3), step(4)]);

    for stop_after in 1..=said.len() {
        let mut told = 0;
        let outcome = system.respond(&request(None), &mut |_| {
            told += 1;
            if told == stop_after { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert!(matches!(outcome, Err(RespondError::Cancelled)), "after {stop_after}: {outcome:?}");
        assert_eq!(told, stop_after, "it went on after being told to stop");
    }
}

#[test]
fn several_adapters_are_resident_and_each_call_says_which() {
    let (_folder, mut system) = system();
    let base = respond(&mut system, None);
    let whole = system.add_adapter(&fixtures().join("systems/adapter")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("diffusion")).unwrap();
    let lora = "diffusion/pytorch_lora_weights.safetensors";
    fs::copy(fixtures().join("systems/adapter").join(lora), folder.path().join(lora)).unwrap();
    let half = system.add_adapter(folder.path()).unwrap();
    assert_ne!(whole, half);

    let whole_reply = respond(&mut system, Some(&whole));
    let half_reply = respond(&mut system, Some(&half));
    assert_ne!(whole_reply.tokens, base.tokens);
    // Its language model is the base's, so that the caption is the same; the picture is not.
    assert_eq!(half_reply.tokens, base.tokens);
    assert_ne!(half_reply.elements, base.elements);
    // The base is what it was before, and so is the first adapter.
    assert_eq!(respond(&mut system, None), base);
    assert_eq!(respond(&mut system, Some(&whole)), whole_reply);

    let unknown = system.respond(&request(Some("?")), &mut |_| ControlFlow::Continue(()));
    assert!(matches!(unknown, Err(RespondError::Failed(_))));
}

#[test]
fn drawing_alone_stops_between_steps() {
    let (_folder, mut system) = system();
    let request = DrawRequest {
        caption: "a cup".to_owned(),
        drawing: drawing(4),
        seed: 1,
        adapter: None,
        trace: None,
    };
    let mut steps = 0;
    let outcome = system.draw(&request, &mut |_| {
        steps += 1;
        if steps == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(matches!(outcome, Err(RespondError::Cancelled)));
    assert_eq!(steps, 2);
}

fn edit(file: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(file).unwrap();
    assert!(text.contains(from), "{} lacks {from}", file.display());
    fs::write(file, text.replacen(from, to, 1)).unwrap();
}

fn refused(spoil: impl Fn(&ModelDirectory), expected: &[&str]) {
    let (_folder, directory) = tiny(Transfer::Copy);
    spoil(&directory);
    let error = with_causes(&EndToEnd::load(&directory, Compute::CPU).err().unwrap());
    for expected in expected {
        assert!(error.contains(expected), "{expected:?} is not in {error:?}");
    }
}

#[test]
fn a_configuration_that_does_not_fit_the_weights_names_tensor_and_shapes() {
    refused(
        |directory| {
            let config = directory.llama().join("config.json");
            edit(&config, "\"intermediate_size\": 128", "\"intermediate_size\": 136");
        },
        &["llama/model.safetensors", "mlp", "[128, 64]", "[136, 64]"],
    );
    refused(
        |directory| {
            let config = directory.llama().join("config.json");
            edit(&config, "\"vocab_size\": 400", "\"vocab_size\": 408");
        },
        &["llama", "408"],
    );
}

#[test]
fn a_vocabulary_that_does_not_fit_names_both_sides() {
    refused(
        |directory| {
            let vocabulary = directory.diffusion().join("tokenizer/vocab.json");
            edit(&vocabulary, "{", "{\"🦓\": 5000, ");
        },
        &["diffusion/tokenizer makes ids up to 5000", "diffusion/text_encoder has "],
    );
}

#[test]
fn a_processor_of_another_tile_size_and_a_wrong_image_token_are_named() {
    refused(
        |directory| {
            let config = directory.llama().join("preprocessor_config.json");
            edit(&config, "\"max_image_tiles\": 4", "\"max_image_tiles\": 2");
        },
        &["preprocessor_config.json: it makes 2 tiles of 28 pixels", "reads 4 of 28"],
    );
    refused(
        |directory| {
            let config = directory.llama().join("config.json");
            edit(&config, "\"image_token_index\": 400", "\"image_token_index\": 401");
        },
        &["tokenizer.json: <|image|> is 400, but config.json says 401"],
    );
}

#[test]
fn missing_and_truncated_files_are_named() {
    refused(
        |directory| {
            let weights = directory.diffusion().join("vae/diffusion_pytorch_model.safetensors");
            let bytes = fs::read(&weights).unwrap();
            fs::write(&weights, &bytes[..bytes.len() - 100]).unwrap();
        },
        &["vae/diffusion_pytorch_model.safetensors is cut off: "],
    );
    refused(
        |directory| {
            let weights = directory.diffusion().join("text_encoder_2/model.safetensors");
            fs::remove_file(weights).unwrap();
        },
        &["text_encoder_2", "neither model.safetensors nor model.safetensors.index.json"],
    );
    refused(
        |directory| fs::remove_file(directory.llama().join("tokenizer.json")).unwrap(),
        &["llama/tokenizer.json"],
    );
}

#[test]
fn an_adapter_that_does_not_fit_is_refused_by_name() {
    let (_folder, mut system) = system();
    let folder = tempfile::tempdir().unwrap();
    let error = with_causes(&system.add_adapter(folder.path()).unwrap_err());
    assert!(error.contains("is no adapter: neither"), "{error}");

    let llama = folder.path().join("llama");
    fs::create_dir(&llama).unwrap();
    for file in ["adapter_config.json", "adapter_model.safetensors"] {
        fs::copy(fixtures().join("systems/adapter/llama").join(file), llama.join(file)).unwrap();
    }
    edit(&llama.join("adapter_config.json"), "\"use_dora\": false", "\"use_dora\": true");
    let error = with_causes(&system.add_adapter(folder.path()).unwrap_err());
    assert!(error.contains("the adapter uses DoRA, which is not supported"), "{error}");

    // The other half's file: its layers are of another model.
    edit(&llama.join("adapter_config.json"), "\"use_dora\": true", "\"use_dora\": false");
    let foreign = fixtures().join("systems/adapter/diffusion/pytorch_lora_weights.safetensors");
    fs::copy(foreign, llama.join("adapter_model.safetensors")).unwrap();
    let error = with_causes(&system.add_adapter(folder.path()).unwrap_err());
    assert!(error.contains("which this base model does not have"), "{error}");
}
