//! A model directory: the two bases, and a manifest that says what they must be.
//!
//! ```text
//! model/
//!   shutterbug.toml   bases by name and fingerprint, photo tags, sizes
//!   llama/            Hugging Face mllama
//!   diffusion/        diffusers' StableDiffusion3Pipeline
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::prompt::{PromptError, PromptLoadError};
use crate::torch::{Checkpoint, LoadError};

/// File name of the manifest.
pub const MANIFEST: &str = "shutterbug.toml";

/// Llama 3 keeps reserved special tokens for uses like these; the two photo tags are its first two.
const RESERVED: [&str; 2] = ["<|reserved_special_token_0|>", "<|reserved_special_token_1|>"];

/// The one part that may be absent.
const T5: &str = "text_encoder_3";

/// The parts of the diffusion folder that hold weights, with the stem of their files.
const DIFFUSION_PARTS: [(&str, &str); 5] = [
    ("text_encoder", "model"),
    ("text_encoder_2", "model"),
    (T5, "model"),
    ("transformer", "diffusion_pytorch_model"),
    ("vae", "diffusion_pytorch_model"),
];

/// Why a model directory can't be used or made.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// A file can't be read or written.
    #[error("{path}")]
    Io {
        /// File concerned.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// There is no manifest.
    #[error(
        "{0} is no model directory: it has no shutterbug.toml; \
         make one with `shutterbug models convert --llama DIR --diffusion DIR --out {0}`"
    )]
    NoManifest(PathBuf),
    /// The manifest is not of its form.
    #[error("{path} can't be understood")]
    Manifest {
        /// File concerned.
        path: PathBuf,
        /// What the parser says.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A JSON file of a base is not of its form.
    #[error("{path} can't be understood")]
    Json {
        /// File concerned.
        path: PathBuf,
        /// What the parser says.
        #[source]
        source: serde_json::Error,
    },
    /// A base's file lacks something.
    #[error("{path}: {reason}")]
    Base {
        /// File concerned.
        path: PathBuf,
        /// What is missing, and what would be right.
        reason: String,
    },
    /// The manifest and the files disagree.
    #[error("{manifest}: {what} is {expected}, but {path} has {found}")]
    Mismatch {
        /// The manifest.
        manifest: PathBuf,
        /// Which entry.
        what: &'static str,
        /// What the manifest says.
        expected: String,
        /// The file on the other side.
        path: PathBuf,
        /// What that file says.
        found: String,
    },
    /// The output is already there.
    #[error("{0} is not empty: choose another folder, or remove it first")]
    Occupied(PathBuf),
    /// A base's weights can't be opened.
    #[error(transparent)]
    Weights(#[from] LoadError),
    /// A base's tokenizers, template or processor can't be used.
    #[error(transparent)]
    Prompt(#[from] PromptLoadError),
    /// A tokenizer makes tokens that the weights have no row for.
    #[error("{tokenizer} makes ids up to {}, but {tensor} of {weights} has {rows} rows", .tokens - 1)]
    Vocabulary {
        /// The tokenizer's file or folder.
        tokenizer: PathBuf,
        /// One more than its largest id.
        tokens: usize,
        /// The weights' folder.
        weights: PathBuf,
        /// The token table.
        tensor: &'static str,
        /// Its rows.
        rows: usize,
    },
    /// The tokenizers can't even encode an empty caption.
    #[error("the image generator's tokenizers fail on the empty caption")]
    EmptyCaption(#[source] PromptError),
}

/// `shutterbug.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// What the model is called.
    pub name: String,
    /// The language model.
    pub llama: Base,
    /// The image generator.
    pub diffusion: Base,
    /// The photo tags.
    pub tokens: PhotoTags,
    /// Sizes that the two sides of the bridge must agree on.
    pub sizes: Sizes,
}

/// One base model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Base {
    /// Folder name or hub name that it was converted from.
    pub name: String,
    /// `Checkpoint::fingerprint` in hexadecimal; of several parts, BLAKE3 over theirs.
    pub fingerprint: String,
}

/// Token ids of `[IMG]` and `[/IMG]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PhotoTags {
    /// Opens a caption.
    pub img: u32,
    /// Closes it.
    pub img_end: u32,
}

/// Vocabulary and hidden sizes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sizes {
    /// Rows of the language model's head.
    pub llama_vocabulary: u64,
    /// Width of the language model.
    pub llama_hidden: u64,
    /// Rows of the text encoders' token tables.
    pub clip_vocabulary: u64,
    /// Width of CLIP-L.
    pub clip_l_hidden: u64,
    /// Width of CLIP-G.
    pub clip_g_hidden: u64,
}

/// A model directory whose manifest agrees with its files.
#[derive(Debug, Clone)]
pub struct ModelDirectory {
    /// The folder.
    pub path: PathBuf,
    /// Its manifest.
    pub manifest: Manifest,
}

impl ModelDirectory {
    /// Reads the manifest and holds it against the bases.
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        let file = path.join(MANIFEST);
        if !file.is_file() {
            return Err(ModelError::NoManifest(path.to_owned()));
        }
        let text = fs::read_to_string(&file)
            .map_err(|source| ModelError::Io { path: file.clone(), source })?;
        let manifest: Manifest = toml::from_str(&text)
            .map_err(|source| ModelError::Manifest { path: file, source: Box::new(source) })?;
        let directory = Self { path: path.to_owned(), manifest };
        directory.check()?;
        Ok(directory)
    }

    /// Folder of the language model.
    pub fn llama(&self) -> PathBuf {
        self.path.join("llama")
    }

    /// Folder of the image generator.
    pub fn diffusion(&self) -> PathBuf {
        self.path.join("diffusion")
    }

    /// The model's revision, as records keep it: its name and the beginnings of both fingerprints.
    pub fn revision(&self) -> String {
        let Manifest { name, llama, diffusion, .. } = &self.manifest;
        let short = |base: &Base| base.fingerprint.chars().take(8).collect::<String>();
        format!("{name}@{}-{}", short(llama), short(diffusion))
    }

    /// How many weights each part has, in loading order.
    pub fn sizes(&self) -> Result<Vec<PartSize>, ModelError> {
        let mut sizes = vec![PartSize {
            name: "llama",
            elements: Checkpoint::open(&self.llama(), "model")?.elements(),
        }];
        for (name, stem) in DIFFUSION_PARTS {
            let folder = self.diffusion().join(name);
            if name != T5 || folder.is_dir() {
                sizes
                    .push(PartSize { name, elements: Checkpoint::open(&folder, stem)?.elements() });
            }
        }
        Ok(sizes)
    }

    fn check(&self) -> Result<(), ModelError> {
        let manifest = self.path.join(MANIFEST);
        let found = describe(&self.llama(), &self.diffusion())?;
        let mismatch = |what, expected: &dyn ToString, path: PathBuf, found: &dyn ToString| {
            let (expected, found) = (expected.to_string(), found.to_string());
            Err(ModelError::Mismatch { manifest: manifest.clone(), what, expected, path, found })
        };
        let Manifest { llama, diffusion, tokens, sizes, .. } = &self.manifest;
        if llama.fingerprint != found.llama {
            return mismatch("llama.fingerprint", &llama.fingerprint, self.llama(), &found.llama);
        }
        if diffusion.fingerprint != found.diffusion {
            let (expected, path) = (&diffusion.fingerprint, self.diffusion());
            return mismatch("diffusion.fingerprint", expected, path, &found.diffusion);
        }
        for (what, expected, have, path) in [
            (
                "sizes.llama_vocabulary",
                sizes.llama_vocabulary,
                found.sizes.llama_vocabulary,
                "llama",
            ),
            ("sizes.llama_hidden", sizes.llama_hidden, found.sizes.llama_hidden, "llama"),
            (
                "sizes.clip_vocabulary",
                sizes.clip_vocabulary,
                found.sizes.clip_vocabulary,
                "diffusion",
            ),
            ("sizes.clip_l_hidden", sizes.clip_l_hidden, found.sizes.clip_l_hidden, "diffusion"),
            ("sizes.clip_g_hidden", sizes.clip_g_hidden, found.sizes.clip_g_hidden, "diffusion"),
        ] {
            if expected != have {
                return mismatch(what, &expected, self.path.join(path), &have);
            }
        }
        for (what, id) in [("tokens.img", tokens.img), ("tokens.img_end", tokens.img_end)] {
            if u64::from(id) >= sizes.llama_vocabulary {
                let found = format!("a vocabulary of {}", sizes.llama_vocabulary);
                return mismatch(what, &id, self.llama(), &found);
            }
        }
        Ok(())
    }
}

/// The size of one part of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartSize {
    /// `llama`, or the name of the part's folder in `diffusion/`.
    pub name: &'static str,
    /// Number of weights.
    pub elements: u64,
}

/// How `convert` brings the weights over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transfer {
    /// Symbolic links: no space, but the sources must stay.
    Link,
    /// Copies.
    Copy,
}

/// Makes a model directory at `out` from a Hugging Face mllama folder and a diffusers folder.
///
/// Both are checked as far as they can be without loading them, before anything is written.
pub fn convert(
    llama: &Path,
    diffusion: &Path,
    out: &Path,
    transfer: Transfer,
) -> Result<ModelDirectory, ModelError> {
    if out.is_dir() && out.read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(ModelError::Occupied(out.to_owned()));
    }
    let found = describe(llama, diffusion)?;
    let name = |path: &Path| {
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        path.file_name()
            .map_or_else(|| "base".to_owned(), |name| name.to_string_lossy().into_owned())
    };
    let manifest = Manifest {
        name: name(out),
        llama: Base { name: name(llama), fingerprint: found.llama },
        diffusion: Base { name: name(diffusion), fingerprint: found.diffusion },
        tokens: photo_tags(&llama.join("tokenizer.json"))?,
        sizes: found.sizes,
    };
    bring(llama, &out.join("llama"), transfer)?;
    bring(diffusion, &out.join("diffusion"), transfer)?;
    let file = out.join(MANIFEST);
    let text = toml::to_string(&manifest).expect("a manifest is plain strings and numbers");
    fs::write(&file, text).map_err(|source| ModelError::Io { path: file, source })?;
    ModelDirectory::open(out)
}

struct Described {
    llama: String,
    diffusion: String,
    sizes: Sizes,
}

/// What the two bases are, by their own files.
fn describe(llama: &Path, diffusion: &Path) -> Result<Described, ModelError> {
    let llama_config = read_json(&llama.join("config.json"))?;
    let clip_l = read_json(&diffusion.join("text_encoder/config.json"))?;
    let clip_g = read_json(&diffusion.join("text_encoder_2/config.json"))?;
    let sizes = Sizes {
        llama_vocabulary: size(llama, &llama_config, "/text_config/vocab_size")?,
        llama_hidden: size(llama, &llama_config, "/text_config/hidden_size")?,
        clip_vocabulary: size(&diffusion.join("text_encoder"), &clip_l, "/vocab_size")?,
        clip_l_hidden: size(&diffusion.join("text_encoder"), &clip_l, "/hidden_size")?,
        clip_g_hidden: size(&diffusion.join("text_encoder_2"), &clip_g, "/hidden_size")?,
    };
    let mut parts = blake3::Hasher::new();
    for (part, stem) in DIFFUSION_PARTS {
        let folder = diffusion.join(part);
        if part == T5 && !folder.is_dir() {
            continue;
        }
        parts.update(Checkpoint::open(&folder, stem)?.fingerprint().as_bytes());
    }
    Ok(Described {
        llama: Checkpoint::open(llama, "model")?.fingerprint().to_hex().to_string(),
        diffusion: parts.finalize().to_hex().to_string(),
        sizes,
    })
}

fn read_json(path: &Path) -> Result<Value, ModelError> {
    let text = fs::read(path).map_err(|source| ModelError::Io { path: path.to_owned(), source })?;
    serde_json::from_slice(&text)
        .map_err(|source| ModelError::Json { path: path.to_owned(), source })
}

fn size(folder: &Path, config: &Value, pointer: &str) -> Result<u64, ModelError> {
    config.pointer(pointer).and_then(Value::as_u64).ok_or_else(|| ModelError::Base {
        path: folder.join("config.json"),
        reason: format!(
            "it lacks the number {}",
            pointer.trim_start_matches('/').replace('/', ".")
        ),
    })
}

fn photo_tags(tokenizer: &Path) -> Result<PhotoTags, ModelError> {
    let tokens = read_json(tokenizer)?;
    let id = |content: &str| {
        tokens["added_tokens"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|token| token["content"] == content)
            .and_then(|token| token["id"].as_u64())
            .and_then(|id| u32::try_from(id).ok())
            .ok_or_else(|| ModelError::Base {
                path: tokenizer.to_owned(),
                reason: format!("the vocabulary has no {content}, which serves as a photo tag"),
            })
    };
    Ok(PhotoTags { img: id(RESERVED[0])?, img_end: id(RESERVED[1])? })
}

/// Copies a folder, or mirrors it with links to its files.
fn bring(from: &Path, to: &Path, transfer: Transfer) -> Result<(), ModelError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| ModelError::Io { path, source }
    };
    let from = from.canonicalize().map_err(failed(from))?;
    fs::create_dir_all(to).map_err(failed(to))?;
    for entry in fs::read_dir(&from).map_err(failed(&from))? {
        let source = entry.map_err(failed(&from))?.path();
        let target = to.join(source.file_name().expect("an entry of a folder has a name"));
        if source.is_dir() {
            bring(&source, &target, transfer)?;
        } else if transfer == Transfer::Link {
            std::os::unix::fs::symlink(&source, &target).map_err(failed(&target))?;
        } else {
            fs::copy(&source, &target).map_err(failed(&target))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tiny(part: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny").join(part)
    }

    fn converted(transfer: Transfer) -> (tempfile::TempDir, ModelDirectory) {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("model");
        let directory = convert(&tiny("llama"), &tiny("diffusion"), &out, transfer).unwrap();
        (folder, directory)
    }

    #[test]
    fn converting_finds_the_tags_and_sizes_and_opens_again() {
        for transfer in [Transfer::Link, Transfer::Copy] {
            let (_folder, directory) = converted(transfer);
            let tokenizer = read_json(&tiny("llama/tokenizer.json")).unwrap();
            let content = |id: u32| {
                let tokens = tokenizer["added_tokens"].as_array().unwrap();
                tokens.iter().find(|token| token["id"] == id).unwrap()["content"].clone()
            };
            let PhotoTags { img, img_end } = directory.manifest.tokens;
            assert_eq!([content(img), content(img_end)], RESERVED);
            assert_eq!(directory.manifest.sizes.llama_vocabulary, 400);
            assert!(directory.revision().starts_with("model@"));
            let linked = directory.llama().join("model.safetensors").is_symlink();
            assert_eq!(linked, transfer == Transfer::Link);
        }
    }

    #[test]
    fn an_occupied_place_is_left_alone() {
        let (_folder, directory) = converted(Transfer::Link);
        let error = convert(&tiny("llama"), &tiny("diffusion"), &directory.path, Transfer::Link);
        assert!(error.unwrap_err().to_string().contains("is not empty"));
    }

    #[test]
    fn a_mismatch_names_both_sides() {
        let (_folder, directory) = converted(Transfer::Copy);
        let manifest = directory.path.join(MANIFEST);
        let text = fs::read_to_string(&manifest).unwrap();

        fs::write(&manifest, text.replace("llama_hidden = 64", "llama_hidden = 65")).unwrap();
        let error = ModelDirectory::open(&directory.path).unwrap_err().to_string();
        assert!(error.contains("sizes.llama_hidden is 65, but "), "{error}");
        assert!(error.ends_with("/llama has 64"), "{error}");

        let img = format!("img = {}", directory.manifest.tokens.img);
        fs::write(&manifest, text.replace(&img, "img = 4000")).unwrap();
        let error = ModelDirectory::open(&directory.path).unwrap_err().to_string();
        assert!(error.contains("tokens.img is 4000"), "{error}");

        fs::write(&manifest, format!("colour = 1\n{text}")).unwrap();
        let error = ModelDirectory::open(&directory.path).unwrap_err();
        assert!(std::error::Error::source(&error).unwrap().to_string().contains("colour"));
    }

    #[test]
    fn other_weights_under_the_same_names_are_noticed() {
        let (_folder, directory) = converted(Transfer::Copy);
        let weights = directory.llama().join("model.safetensors");
        let mut bytes = fs::read(&weights).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&weights, bytes).unwrap();
        let error = ModelDirectory::open(&directory.path).unwrap_err().to_string();
        assert!(error.contains("llama.fingerprint is "), "{error}");
    }

    #[test]
    fn a_folder_without_a_manifest_says_how_to_get_one() {
        let error = ModelDirectory::open(&tiny("llama")).unwrap_err().to_string();
        assert!(error.contains("shutterbug models convert --llama DIR"), "{error}");
    }
}
