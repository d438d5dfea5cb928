//! Vocabularies learned from texts, written in the published layouts: byte-pair encoding (Sennrich
//! et al., 2016) over bytes, as Llama 3 and CLIP have it.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use tokenizers::{
    OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer, PreTokenizerWrapper,
};

use super::bytes::alphabet;
use super::caption::{CLIP_BEGIN, CLIP_END, clip_pre_tokenizer};
use super::llama_tokenizer::IMAGE;

/// Llama 3's words: contractions, runs of letters with what stands before them, up to three digits,
/// runs of anything else, whitespace.
const LLAMA_WORDS: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// The first of Llama 3's 256 special tokens, in the published order.
const LLAMA_SPECIAL: [&str; 16] = [
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|reserved_special_token_0|>",
    "<|reserved_special_token_1|>",
    "<|finetune_right_pad_id|>",
    "<|reserved_special_token_2|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eom_id|>",
    "<|eot_id|>",
    "<|python_tag|>",
    "<|reserved_special_token_3|>",
    "<|reserved_special_token_4|>",
    "<|reserved_special_token_5|>",
    "<|reserved_special_token_6|>",
    "<|reserved_special_token_7|>",
];

/// Headers, contents and ends of turns; photos where they stand, beside a system message too.
const CHAT_TEMPLATE: &str = "\
{{- bos_token }}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>' }}
    {%- if message['content'] is string %}
        {{- message['content'] }}
    {%- else %}
        {%- for part in message['content'] %}
            {{- '<|image|>' if part['type'] == 'image' else part['text'] }}
        {%- endfor %}
    {%- endif %}
    {{- '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>' }}
{%- endif %}
";

/// Roles that the template names, and so must every vocabulary, in one token each.
const ROLES: [&str; 3] = ["system", "user", "assistant"];

/// Why a vocabulary can't be made.
#[derive(Debug, thiserror::Error)]
pub enum VocabularyError {
    /// A file can't be written.
    #[error("can't write {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The texts can't be cut into words.
    #[error("the texts can't be cut into words")]
    Words(#[source] tokenizers::Error),
}

/// Ids of the tokens that configurations name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LlamaIds {
    /// Begins every prompt.
    pub begin_of_text: u32,
    /// End a turn or a text.
    pub ends: [u32; 3],
    /// Fills batches up.
    pub pad: u32,
    /// `<|image|>`, which is also the number of rows of the head.
    pub image: u32,
}

/// Learns a vocabulary of at most `tokens_max` tokens, special ones included, and writes the
/// tokenizer, its configuration and a chat template to `directory`, as a mllama directory has them.
///
/// # Errors
/// If a file can't be written.
pub fn write_llama_vocabulary<'a>(
    texts: impl IntoIterator<Item = &'a str>,
    tokens_max: usize,
    directory: &Path,
) -> Result<LlamaIds, VocabularyError> {
    let pre_tokenizer = json!({ "type": "Sequence", "pretokenizers": [
        {
            "type": "Split",
            "pattern": { "Regex": LLAMA_WORDS },
            "behavior": "Isolated",
            "invert": false,
        },
        { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false },
    ]});
    let mut counts = count_words(texts, &pre_tokenizer)?;
    for role in ROLES {
        *counts.entry(role.to_owned()).or_default() += 1_000_000;
    }
    let words = counts.iter().map(|(word, count)| (letters(word), *count)).collect();
    let special = LLAMA_SPECIAL.len();
    let merges = learn_merges(words, tokens_max.saturating_sub(256 + special));
    let symbols: Vec<String> = alphabet().map(String::from).chain(merged(&merges)).collect();
    let vocab = ranked(&symbols);
    let first = vocab.len() as u32;
    let names: Vec<&str> = LLAMA_SPECIAL.iter().copied().chain([IMAGE]).collect();
    let id = |name: &str| {
        let place = names.iter().position(|known| *known == name);
        first + place.expect("a special token of Llama 3's") as u32
    };
    let added: Vec<Value> = names.iter().map(|name| added_token(name, id(name))).collect();
    let begin = "<|begin_of_text|>";
    let tokenizer = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": null,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": { "type": "Sequence", "processors": [
            { "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": true },
            {
                "type": "TemplateProcessing",
                "single": [special_piece(begin), sequence_piece("A")],
                "pair": [
                    special_piece(begin), sequence_piece("A"),
                    special_piece(begin), sequence_piece("B"),
                ],
                "special_tokens": {
                    begin: { "id": begin, "ids": [id(begin)], "tokens": [begin] },
                },
            },
        ]},
        "decoder": { "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true },
        "model": {
            "type": "BPE",
            "dropout": null,
            "unk_token": null,
            "continuing_subword_prefix": null,
            "end_of_word_suffix": null,
            "fuse_unk": false,
            "byte_fallback": false,
            "ignore_merges": true,
            "vocab": vocab,
            "merges": merges,
        },
    });
    let names = json!({
        "bos_token": begin,
        "eos_token": "<|eot_id|>",
        "pad_token": "<|finetune_right_pad_id|>",
    });
    let mut config = names.clone();
    config["clean_up_tokenization_spaces"] = json!(false);
    config["model_input_names"] = json!(["input_ids", "attention_mask"]);
    config["model_max_length"] = json!(131_072);
    config["tokenizer_class"] = json!("PreTrainedTokenizerFast");
    write(directory, "tokenizer.json", &tokenizer.to_string())?;
    write(directory, "special_tokens_map.json", &pretty(&names))?;
    write(directory, "tokenizer_config.json", &pretty(&config))?;
    write(directory, "chat_template.jinja", CHAT_TEMPLATE)?;
    Ok(LlamaIds {
        begin_of_text: id(begin),
        ends: ["<|end_of_text|>", "<|eom_id|>", "<|eot_id|>"].map(id),
        pad: id("<|finetune_right_pad_id|>"),
        image: id(IMAGE),
    })
}

/// Learns a vocabulary of bytes, bytes that end a word and at most `merges_max` merges, and writes
/// `vocab.json`, `merges.txt` and their configuration as published CLIP tokenizers have them, to
/// each of `directories` with its own padding token. Gives the number of tokens.
///
/// # Errors
/// If a file can't be written.
pub fn write_clip_vocabulary<'a>(
    captions: impl IntoIterator<Item = &'a str>,
    merges_max: usize,
    directories: &[(PathBuf, &str)],
) -> Result<usize, VocabularyError> {
    let captions: Vec<String> = captions.into_iter().map(str::to_lowercase).collect();
    let captions = captions.iter().map(String::as_str);
    let counts = count_words(captions, &clip_pre_tokenizer())?;
    let ending = |word: &str| {
        let mut letters = letters(word);
        if let Some(last) = letters.last_mut() {
            last.push_str("</w>");
        }
        letters
    };
    let words = counts.iter().map(|(word, count)| (ending(word), *count)).collect();
    let merges = learn_merges(words, merges_max);
    let symbols: Vec<String> = alphabet()
        .map(String::from)
        .chain(alphabet().map(|letter| format!("{letter}</w>")))
        .chain(merged(&merges))
        .chain([CLIP_BEGIN, CLIP_END].map(str::to_owned))
        .collect();
    let vocab = ranked(&symbols);
    let lines = merges.iter().map(|(left, right)| format!("{left} {right}\n"));
    let lines: String = ["#version: 0.2\n".to_owned()].into_iter().chain(lines).collect();
    for (directory, pad) in directories {
        write(directory, "vocab.json", &Value::Object(vocab.clone()).to_string())?;
        write(directory, "merges.txt", &lines)?;
        let token = |content: &str| {
            json!({
                "content": content,
                "lstrip": false,
                "normalized": true,
                "rstrip": false,
                "single_word": false,
            })
        };
        let names = json!({
            "bos_token": token(CLIP_BEGIN),
            "eos_token": token(CLIP_END),
            "pad_token": pad,
            "unk_token": token(CLIP_END),
        });
        write(directory, "special_tokens_map.json", &pretty(&names))?;
        let config = json!({
            "add_prefix_space": false,
            "bos_token": CLIP_BEGIN,
            "clean_up_tokenization_spaces": true,
            "do_lower_case": true,
            "eos_token": CLIP_END,
            "errors": "replace",
            "model_max_length": crate::tokens::CLIP_POSITIONS,
            "pad_token": pad,
            "tokenizer_class": "CLIPTokenizer",
            "unk_token": CLIP_END,
        });
        write(directory, "tokenizer_config.json", &pretty(&config))?;
    }
    Ok(vocab.len())
}

type Merges = Vec<(String, String)>;

/// How often each word is there, written in the alphabet of bytes.
fn count_words<'a>(
    texts: impl IntoIterator<Item = &'a str>,
    pre_tokenizer: &Value,
) -> Result<BTreeMap<String, u64>, VocabularyError> {
    let splitter: PreTokenizerWrapper =
        serde_json::from_value(pre_tokenizer.clone()).expect("the pre-tokenizer is well formed");
    let mut counts = BTreeMap::new();
    for text in texts {
        let mut words = PreTokenizedString::from(text);
        splitter.pre_tokenize(&mut words).map_err(VocabularyError::Words)?;
        for (word, _, _) in words.get_splits(OffsetReferential::Normalized, OffsetType::Byte) {
            *counts.entry(word.to_owned()).or_default() += 1;
        }
    }
    Ok(counts)
}

fn letters(word: &str) -> Vec<String> {
    word.chars().map(String::from).collect()
}

/// The most frequent pair of neighbours becomes one symbol, again and again: at most `count` times,
/// and no pair that is there only once. Of equally frequent pairs the last in the alphabet is taken.
fn learn_merges(mut words: Vec<(Vec<String>, u64)>, count: usize) -> Merges {
    let mut merges = Merges::new();
    while merges.len() < count {
        let mut pairs: HashMap<(&str, &str), u64> = HashMap::new();
        for (symbols, times) in &words {
            for pair in symbols.windows(2) {
                *pairs.entry((&pair[0], &pair[1])).or_default() += times;
            }
        }
        let best = pairs.into_iter().map(|(pair, times)| (times, pair)).max();
        let Some((_, (left, right))) = best.filter(|(times, _)| *times > 1) else { break };
        let (left, right) = (left.to_owned(), right.to_owned());
        for (symbols, _) in &mut words {
            let mut at = 0;
            while at + 1 < symbols.len() {
                if symbols[at] == left && symbols[at + 1] == right {
                    let second = symbols.remove(at + 1);
                    symbols[at] += &second;
                }
                at += 1;
            }
        }
        merges.push((left, right));
    }
    merges
}

fn merged(merges: &Merges) -> impl Iterator<Item = String> {
    merges.iter().map(|(left, right)| format!("{left}{right}"))
}

/// Ids in order; a symbol that two merges give has the first one's.
fn ranked(symbols: &[String]) -> Map<String, Value> {
    let mut vocab = Map::new();
    for symbol in symbols {
        let next = vocab.len();
        vocab.entry(symbol.clone()).or_insert_with(|| next.into());
    }
    vocab
}

fn added_token(content: &str, id: u32) -> Value {
    json!({
        "id": id,
        "content": content,
        "single_word": false,
        "lstrip": false,
        "rstrip": false,
        "normalized": false,
        "special": true,
    })
}

fn special_piece(token: &str) -> Value {
    json!({ "SpecialToken": { "id": token, "type_id": 0 } })
}

fn sequence_piece(name: &str) -> Value {
    json!({ "Sequence": { "id": name, "type_id": 0 } })
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

fn write(directory: &Path, name: &str, text: &str) -> Result<(), VocabularyError> {
    let path = directory.join(name);
    fs::create_dir_all(directory)
        .and_then(|()| fs::write(&path, text))
        .map_err(|source| VocabularyError::Io { path, source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prompt::{CaptionTokenizer, LlamaTokenizer};

    const TEXTS: [&str; 3] = [
        "A red ball on the beach! A red ball, please.",
        "the red cat on the beach",
        "don't show the ball",
    ];

    #[test]
    fn frequent_words_become_tokens_and_everything_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let ids = write_llama_vocabulary(TEXTS, 400, folder.path()).unwrap();
        let tokenizer = LlamaTokenizer::load(folder.path(), None).unwrap();
        assert_eq!(tokenizer.image(), ids.image);
        assert_eq!(tokenizer.rows(), ids.image as usize + 1);
        assert_eq!(tokenizer.control("<|eot_id|>"), Some(ids.ends[2]));
        assert!(tokenizer.ends().contains(&ids.ends[2]));
        let encode = |text: &str| -> Vec<u32> {
            tokenizer.encode(text).unwrap().iter().map(|token| token.id).collect()
        };
        for text in [" ball", " beach", " red", " the", "user", "assistant"] {
            assert_eq!(encode(text).len(), 1, "{text}");
        }
        for text in ["A blue ball!", "é \u{1F600}\n x", "<|eot_id|>"] {
            assert_eq!(tokenizer.decode(&encode(text)), text);
        }
    }

    #[test]
    fn captions_have_their_own_vocabulary_with_two_paddings() {
        let folder = tempfile::tempdir().unwrap();
        let directories = [(folder.path().join("1"), CLIP_END), (folder.path().join("2"), "!")];
        let rows = write_clip_vocabulary(TEXTS, 100, &directories).unwrap();
        let load = |number: &str| CaptionTokenizer::clip(&folder.path().join(number)).unwrap();
        let (one, two) = (load("1"), load("2"));
        assert_eq!((one.rows(), two.rows()), (rows, rows));
        let caption = one.encode("Red ball on the BEACH").unwrap();
        assert_eq!(caption.content, 1..6);
        assert_eq!(caption.ids[0], rows as i64 - 2);
        assert_eq!((caption.ids[6], caption.ids[76]), (rows as i64 - 1, rows as i64 - 1));
        let other = two.encode("red ball on the beach").unwrap();
        assert_eq!((&other.ids[..7], other.ids[76]), (&caption.ids[..7], 0));
    }

    #[test]
    fn the_same_texts_give_the_same_vocabulary() {
        let folder = tempfile::tempdir().unwrap();
        let written = |name: &str| {
            let directory = folder.path().join(name);
            write_llama_vocabulary(TEXTS, 350, &directory).unwrap();
            fs::read(directory.join("tokenizer.json")).unwrap()
        };
        assert_eq!(written("a"), written("b"));
    }
}
