//! Tokens, templates and pixels equal those of transformers. `tests/parity/prompt.py` writes the
//! cases: small ones kept in `tests/fixtures/prompt`, and with `make parity` fresh ones that take in
//! the published vocabularies and sizes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use safetensors::SafeTensors;
use serde::Deserialize;
use shutterbug::dialogue::{Dialogue, Element, Photo, Pixels, Speaker};
use shutterbug::prompt::{
    Budget, CaptionTokenizer, CaptionTokenizers, Closing, Detail, ImageProcessor, ImageTiles,
    PromptBuilder, TextToken,
};

#[derive(Deserialize)]
struct Expected {
    llamas: Vec<Llama>,
    captions: Vec<Captions>,
    pixels: Vec<Photos>,
}

#[derive(Deserialize)]
struct Llama {
    directory: String,
    texts: Vec<Sample>,
    dialogues: Vec<Talk>,
}

#[derive(Deserialize)]
struct Sample {
    text: String,
    ids: Vec<u32>,
    /// Character ranges.
    characters: Vec<(usize, usize)>,
    /// As an encoder takes it.
    padded: Option<Vec<i64>>,
}

#[derive(Deserialize)]
struct Talk {
    dialogue: Conversation,
    ids: Vec<u32>,
}

#[derive(Deserialize)]
struct Conversation {
    turns: Vec<(String, Vec<serde_json::Map<String, serde_json::Value>>)>,
    system: Option<String>,
    #[serde(default)]
    complete: bool,
}

#[derive(Deserialize)]
struct Captions {
    directory: String,
    clip_l: Vec<Sample>,
    clip_g: Vec<Sample>,
    t5: Option<Vec<Padded>>,
}

#[derive(Deserialize)]
struct Padded {
    text: String,
    padded: Vec<i64>,
}

#[derive(Deserialize)]
struct Photos {
    directory: String,
    seed: u64,
    sizes: Vec<(u32, u32)>,
}

fn root() -> PathBuf {
    match std::env::var_os("SHUTTERBUG_PARITY") {
        Some(fresh) => Path::new(&fresh).join("prompt"),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/prompt"),
    }
}

fn expected() -> Expected {
    let text = std::fs::read_to_string(root().join("expected.json")).expect("the cases are there");
    serde_json::from_str(&text).expect("the cases are well-formed")
}

/// Byte ranges as Python counts: in characters.
fn characters(text: &str, tokens: &[TextToken]) -> Vec<(usize, usize)> {
    let count = |bytes: usize| text[..bytes].chars().count();
    tokens.iter().map(|token| (count(token.bytes.start), count(token.bytes.end))).collect()
}

#[test]
fn llama_tokens_are_equal() {
    for llama in expected().llamas {
        let builder = PromptBuilder::load(&root().join(&llama.directory), None).unwrap();
        assert!(llama.texts.len() >= 60);
        for Sample { text, ids, characters: ranges, .. } in llama.texts {
            let tokens = builder.tokenizer().encode(&text).unwrap();
            let ours: Vec<u32> = tokens.iter().map(|token| token.id).collect();
            assert_eq!(ours, ids, "{}: {text:?}", llama.directory);
            assert_eq!(characters(&text, &tokens), ranges, "{}: {text:?}", llama.directory);
            assert_eq!(builder.tokenizer().decode(&ids), text, "{}", llama.directory);
        }
    }
}

fn dialogue(turns: &Conversation) -> Dialogue {
    let mut dialogue = Dialogue::default();
    for (speaker, elements) in &turns.turns {
        let speaker = if speaker == "A" { Speaker::A } else { Speaker::B };
        let elements = elements.iter().map(|element| match element.get("text") {
            Some(text) => Element::Utterance(text.as_str().unwrap().to_owned()),
            None => Element::Photo(Photo {
                pixels: Some(Arc::new(Pixels { width: 1, height: 1, rgb: vec![9; 3] })),
                caption: element["photo"].as_str().map(str::to_owned),
            }),
        });
        dialogue.push(speaker, elements);
    }
    dialogue
}

#[test]
fn chat_templates_are_equal() {
    let budget = Budget { tokens_max: 4096, tiles_max: 64 };
    for llama in expected().llamas {
        let builder = PromptBuilder::load(&root().join(&llama.directory), None).unwrap();
        assert!(llama.dialogues.len() >= 4);
        for Talk { dialogue: turns, ids } in llama.dialogues {
            let closing = if turns.complete { Closing::Complete } else { Closing::ReplyOpened };
            let talk = dialogue(&turns);
            let prompt = builder.build(&talk, turns.system.as_deref(), budget, closing).unwrap();
            assert_eq!(prompt.ids, ids, "{}", llama.directory);
        }
    }
}

fn check_clip(tokenizer: &CaptionTokenizer, cases: Vec<Sample>) {
    assert!(cases.len() >= 60);
    for Sample { text, ids, characters: ranges, padded } in cases {
        let encoded = tokenizer.encode(&text).unwrap();
        assert_eq!(Some(&encoded.ids), padded.as_ref(), "{text:?}");
        let kept = encoded.content.len();
        let content: Vec<i64> = ids.into_iter().take(kept).map(i64::from).collect();
        assert_eq!(encoded.ids[encoded.content.clone()], content, "{text:?}");
        let bytes = encoded.bytes.iter().cloned().map(|bytes| TextToken { id: 0, bytes });
        let ours = characters(&text, &bytes.collect::<Vec<_>>());
        assert_eq!(ours, ranges[..kept], "{text:?}");
    }
}

#[test]
fn caption_tokens_are_equal() {
    let mut with_t5 = 0;
    for captions in expected().captions {
        let tokenizers = CaptionTokenizers::load(&root().join(&captions.directory)).unwrap();
        check_clip(&tokenizers.clip_l, captions.clip_l);
        check_clip(&tokenizers.clip_g, captions.clip_g);
        assert_eq!(tokenizers.t5.is_some(), captions.t5.is_some());
        for Padded { text, padded } in captions.t5.unwrap_or_default() {
            with_t5 += 1;
            assert_eq!(tokenizers.encode(&text).unwrap().t5.unwrap(), padded, "{text:?}");
        }
    }
    assert!(with_t5 >= 60);
}

/// The generator's picture of that size.
fn photo(width: u32, height: u32, seed: u64) -> Pixels {
    let mut rgb = Vec::with_capacity(width as usize * height as usize * 3);
    for y in 0..u64::from(height) {
        for x in 0..u64::from(width) {
            for c in 0..3 {
                let value = x * x * 3 + y * y * 5 + x * y * 7 + c * 85 + seed * 11;
                rgb.push((value >> 3 & 255) as u8);
            }
        }
    }
    Pixels { width, height, rgb }
}

fn floats(file: &SafeTensors<'_>, name: &str) -> Vec<f32> {
    let data = file.tensor(name).unwrap().data();
    data.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

fn integers(file: &SafeTensors<'_>, name: &str) -> Vec<i64> {
    let data = file.tensor(name).unwrap().data();
    data.as_chunks::<8>().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect()
}

fn check_values(tiles: &ImageTiles, expected: &[f32], what: &str) {
    let (used, unused) = tiles.pixel_values.split_at(expected.len());
    let worst = used.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst <= 1e-5, "{what}: off by {worst}");
    assert!(unused.iter().all(|&value| value == 0.0), "{what}");
    let len = tiles.tiles_max * 3 * tiles.tile_px * tiles.tile_px;
    assert_eq!(tiles.pixel_values.len(), len, "{what}");
}

#[test]
fn pixel_values_are_equal() {
    for photos in expected().pixels {
        let directory = root().join(&photos.directory);
        let processor = ImageProcessor::load(&directory).unwrap();
        let bytes = std::fs::read(directory.join("pixels.safetensors")).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        assert!(photos.sizes.len() >= 15);
        for (width, height) in photos.sizes {
            let key = format!("{width}x{height}");
            let what = format!("{} {key}", photos.directory);
            let picture = photo(width, height, photos.seed);
            let tiles = processor.process(&picture, Detail::Full);
            check_values(&tiles, &floats(&file, &format!("{key}.pixel_values")), &what);
            assert_eq!(tiles.tiles, processor.tiles(width, height), "{what}");
            let mask = integers(&file, &format!("{key}.aspect_ratio_mask"));
            assert_eq!(tiles.aspect_ratio_mask, mask, "{what}");
            let id = integers(&file, &format!("{key}.aspect_ratio_id"));
            assert_eq!([tiles.aspect_ratio_id], id[..], "{what}");

            let single = processor.process(&picture, Detail::OneTile);
            check_values(&single, &floats(&file, &format!("{key}.one_tile")), &what);
            assert_eq!((single.tiles, single.aspect_ratio_id), (1, 1), "{what}");
        }
    }
}
