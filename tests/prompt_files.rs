//! Model directories whose prompt files can't be used: each is refused by its file's name, and with
//! what would be right.

mod tiny_copy;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use shutterbug::data::with_causes;
use shutterbug::prompt::{CaptionTokenizers, ImageProcessor, PromptBuilder, PromptLoadError};
use shutterbug::tokens::PhotoTags;

use tiny_copy::copy_without_weights;

fn tiny(part: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny").join(part)
}

/// A copy of the tiny model's part, without its weights.
fn damaged(part: &str, damage: impl FnOnce(&Path)) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    copy_without_weights(&tiny(part), folder.path());
    damage(folder.path());
    folder
}

fn edit(path: &Path, change: impl FnOnce(&mut Value)) {
    let mut json = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    change(&mut json);
    fs::write(path, json.to_string()).unwrap();
}

/// The error and its causes, the folder's own path left out.
fn told(folder: &Path, error: &PromptLoadError) -> String {
    with_causes(error).replace(&folder.display().to_string(), "DIR")
}

fn llama_refusal(damage: impl FnOnce(&Path)) -> String {
    let folder = damaged("llama", damage);
    told(folder.path(), &PromptBuilder::load(folder.path(), None).expect_err("refused"))
}

fn diffusion_refusal(damage: impl FnOnce(&Path)) -> String {
    let folder = damaged("diffusion", damage);
    told(folder.path(), &CaptionTokenizers::load(folder.path()).expect_err("refused"))
}

#[test]
fn a_llama_directory_is_refused_by_name() {
    let refusals = [
        llama_refusal(|dir| fs::remove_file(dir.join("tokenizer.json")).unwrap()),
        llama_refusal(|dir| fs::write(dir.join("tokenizer.json"), "{").unwrap()),
        llama_refusal(|dir| {
            edit(&dir.join("tokenizer.json"), |json| json["decoder"] = json!({"type": "Fuse"}));
        }),
        llama_refusal(|dir| {
            edit(&dir.join("tokenizer.json"), |json| {
                json["added_tokens"]
                    .as_array_mut()
                    .unwrap()
                    .retain(|t| t["content"] != "<|image|>");
            });
        }),
        // A special token that shares its id with a letter.
        llama_refusal(|dir| {
            edit(&dir.join("tokenizer.json"), |json| {
                let id = json["model"]["vocab"]["<"].clone();
                let token = json!({"content": "<stop>", "id": id, "special": true});
                json["added_tokens"].as_array_mut().unwrap().push(token);
            });
        }),
        llama_refusal(|dir| fs::remove_file(dir.join("chat_template.json")).unwrap()),
        llama_refusal(|dir| {
            edit(&dir.join("chat_template.json"), |json| json["chat_template"] = json!("{% if"));
        }),
        llama_refusal(|dir| fs::remove_file(dir.join("preprocessor_config.json")).unwrap()),
        llama_refusal(|dir| {
            edit(&dir.join("preprocessor_config.json"), |json| json["do_pad"] = json!(false));
        }),
        llama_refusal(|dir| {
            edit(&dir.join("preprocessor_config.json"), |json| json["resample"] = json!(3));
        }),
        llama_refusal(|dir| {
            edit(&dir.join("preprocessor_config.json"), |json| json["size"]["width"] = json!(29));
        }),
    ];
    insta::assert_snapshot!(refusals.join("\n"), @r"
    can't read DIR/tokenizer.json; see that it is there and that you may read it: entity not found
    DIR/tokenizer.json can't be understood; put the original file in its place: EOF while parsing an object at line 1 column 1
    DIR/tokenizer.json: the decoder must be ByteLevel, as Llama 3's is
    DIR/tokenizer.json: there is no special token <|image|>; take the file of the same model
    DIR/tokenizer.json: the text <stop> makes control token 27 even as text; put the original file in its place
    DIR: there is no chat template: chat_template.jinja, or a chat_template in chat_template.json or tokenizer_config.json
    DIR/chat_template.json holds no chat template that can be read; put the original file in its place: syntax error: unexpected end of input, expected expression (in chat:1)
    can't read DIR/preprocessor_config.json; see that it is there and that you may read it: entity not found
    DIR/preprocessor_config.json: do_resize and do_pad must be true, or photos make no tiles
    DIR/preprocessor_config.json: resample must be 2 (bilinear), the only filter that is served
    DIR/preprocessor_config.json: size must have an equal height and width above 0
    ");
}

#[test]
fn photo_tags_must_be_special_tokens() {
    let tags = PhotoTags { img: 5, img_end: 391 };
    let refused = PromptBuilder::load(&tiny("llama"), Some(tags)).expect_err("refused");
    assert!(refused.to_string().contains("photo tag 5 is no special token"));
}

#[test]
fn a_diffusion_directory_is_refused_by_name() {
    let refusals = [
        diffusion_refusal(|dir| fs::remove_file(dir.join("tokenizer/vocab.json")).unwrap()),
        diffusion_refusal(|dir| fs::remove_file(dir.join("tokenizer_2/merges.txt")).unwrap()),
        diffusion_refusal(|dir| {
            edit(&dir.join("tokenizer/vocab.json"), |json| {
                json.as_object_mut().unwrap().remove("<|endoftext|>");
            });
        }),
        diffusion_refusal(|dir| {
            edit(&dir.join("tokenizer_2/special_tokens_map.json"), |json| {
                json["pad_token"] = json!("<pad>");
            });
        }),
        diffusion_refusal(|dir| {
            fs::create_dir(dir.join("tokenizer_3")).unwrap();
            fs::write(dir.join("tokenizer_3/spiece.model"), "").unwrap();
        }),
    ];
    insta::assert_snapshot!(refusals.join("\n"), @r"
    can't read DIR/tokenizer/vocab.json; see that it is there and that you may read it: entity not found
    can't read DIR/tokenizer_2/merges.txt; see that it is there and that you may read it: entity not found
    DIR/tokenizer/vocab.json: there is no token <|endoftext|>; take the files of the same model
    DIR/tokenizer_2/vocab.json: there is no token <pad>; take the files of the same model
    DIR/tokenizer_3/tokenizer.json: T5's tokenizer is read from tokenizer.json alone; a spiece.model can be turned into one with transformers' T5TokenizerFast
    ");
}

#[test]
fn a_clip_tokenizer_json_serves_as_well() {
    let folder = damaged("diffusion", |dir| {
        let read = |file: &str| fs::read_to_string(dir.join("tokenizer").join(file)).unwrap();
        let vocab: Value = serde_json::from_str(&read("vocab.json")).unwrap();
        let merges: Vec<String> = read("merges.txt").lines().skip(1).map(str::to_owned).collect();
        let json = json!({"model": {"type": "BPE", "vocab": vocab, "merges": merges}});
        fs::write(dir.join("tokenizer/tokenizer.json"), json.to_string()).unwrap();
        fs::remove_file(dir.join("tokenizer/vocab.json")).unwrap();
        fs::remove_file(dir.join("tokenizer/merges.txt")).unwrap();
    });
    let caption = "A photo of my cat, isn't she fluffy?";
    let published = CaptionTokenizers::load(&tiny("diffusion")).unwrap();
    let converted = CaptionTokenizers::load(folder.path()).unwrap();
    assert_eq!(converted.encode(caption).unwrap(), published.encode(caption).unwrap());
}

#[test]
fn a_processor_without_rescaling_or_normalising_says_so_in_its_pixels() {
    let folder = damaged("llama", |dir| {
        edit(&dir.join("preprocessor_config.json"), |json| {
            json["do_rescale"] = json!(false);
            json["do_normalize"] = json!(false);
        });
    });
    let photo = shutterbug::dialogue::Pixels { width: 1, height: 1, rgb: vec![7, 8, 9] };
    let processor = ImageProcessor::load(folder.path()).unwrap();
    let tiles = processor.process(&photo, shutterbug::prompt::Detail::Full);
    let plane = 28 * 28;
    let seen = [0, plane, 2 * plane].map(|at| tiles.pixel_values[at].to_bits());
    assert_eq!(seen, [7.0_f32, 8.0, 9.0].map(f32::to_bits));
}
