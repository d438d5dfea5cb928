//! Makes a model directory from two downloaded ones.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Component, Path, PathBuf};

use super::error::ModelError;
use super::manifest::{Base, Bridge, Manifest};
use super::model_directory::{Bases, ModelDirectory};
use crate::llama_vision::LlamaVision;
use crate::prompt::LlamaTokenizer;
use crate::stable_diffusion::Part;
use crate::torch::Checkpoint;

/// Files of a mllama folder beside its weights; those that are there are taken along.
const LLAMA_FILES: [&str; 8] = [
    "config.json",
    "generation_config.json",
    "preprocessor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "chat_template.json",
];

/// Files of a diffusers folder that stand outside of its parts and tokenizers.
const PIPELINE_FILES: [&str; 2] = ["model_index.json", "scheduler/scheduler_config.json"];

/// Folders of tokenizers, and their files.
const TOKENIZERS: [&str; 3] = ["tokenizer", "tokenizer_2", "tokenizer_3"];
const TOKENIZER_FILES: [&str; 6] = [
    "vocab.json",
    "merges.txt",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "spiece.model",
];

/// How `convert` brings the files over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transfer {
    /// Symbolic links: no space, but the sources must stay.
    Link,
    /// Copies.
    Copy,
}

/// Makes a model directory at `out`, where nothing may be yet, from a Hugging Face mllama folder
/// and a diffusers folder. Only the files that these layouts name are taken.
///
/// It is made beside `out` under another name, checked, and renamed at the end: a failure leaves
/// nothing behind.
pub fn convert(
    llama: &Path,
    diffusion: &Path,
    out: &Path,
    transfer: Transfer,
) -> Result<ModelDirectory, ModelError> {
    if out.symlink_metadata().is_ok() {
        return Err(ModelError::Occupied(out.to_owned()));
    }
    for source in [llama, diffusion] {
        if resolved(out).starts_with(resolved(source)) {
            let source_folder = source.to_owned();
            return Err(ModelError::InsideSource { out: out.to_owned(), source_folder });
        }
    }
    let names = [out, llama, diffusion].map(name_of);
    let manifest = describe(names, llama, diffusion)?;
    let parents = Parents::make(out)?;
    let workshop = tempfile::Builder::new()
        .prefix(".shutterbug-convert-")
        .tempdir_in(&parents.folder)
        .map_err(ModelError::io(&parents.folder))?;
    let made = workshop.path().join("model");
    bring(llama, &made.join("llama"), &llama_files(llama)?, transfer)?;
    bring(diffusion, &made.join("diffusion"), &diffusion_files(diffusion)?, transfer)?;
    manifest.write(&made)?;
    ModelDirectory::open(&made)?;
    fs::rename(&made, out).map_err(ModelError::io(out))?;
    parents.keep();
    Ok(ModelDirectory { path: out.to_owned(), manifest })
}

/// Writes the manifest of the model directory `path`, whose bases were trained as parts of it, and
/// calls all three `name`. `from` is the directory that training began with; `bridge` stood between
/// the two models, if they were trained together.
pub fn write_manifest(
    path: &Path,
    name: &str,
    from: &Path,
    bridge: Option<Bridge>,
) -> Result<ModelDirectory, ModelError> {
    let names = [name, name, name].map(str::to_owned);
    let mut manifest = describe(names, &path.join("llama"), &path.join("diffusion"))?;
    // A directory that is still to be trained has none.
    if let Ok(before) = Manifest::read(from) {
        (manifest.tokens, manifest.bridge) = (before.tokens, before.bridge);
    }
    manifest.bridge = bridge.or(manifest.bridge);
    manifest.write(path)?;
    ModelDirectory::open(path)
}

/// The manifest of two bases, with the names of the model and of both of them.
fn describe(
    [name, llama_name, diffusion_name]: [String; 3],
    llama: &Path,
    diffusion: &Path,
) -> Result<Manifest, ModelError> {
    let found = Bases::read(llama, diffusion)?;
    Ok(Manifest {
        name,
        llama: Base { name: llama_name, fingerprint: found.llama },
        diffusion: Base { name: diffusion_name, fingerprint: found.diffusion },
        tokens: LlamaTokenizer::load(llama, None)?.tags(),
        sizes: found.sizes,
        perceptron: found.perceptron,
        bridge: None,
    })
}

/// The folders above the output, of which those that had to be made are removed again unless they
/// are kept.
pub(super) struct Parents {
    pub(super) folder: PathBuf,
    /// Innermost first.
    made: Vec<PathBuf>,
}

impl Parents {
    pub(super) fn make(out: &Path) -> Result<Self, ModelError> {
        let folder = match out.parent() {
            Some(parent) if parent != Path::new("") => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        let missing = |folder: &&Path| !folder.as_os_str().is_empty() && !folder.exists();
        let made = folder.ancestors().take_while(missing).map(Path::to_owned).collect();
        // Made before they are filled in, so that a failure halfway is cleared away too.
        let parents = Self { folder, made };
        fs::create_dir_all(&parents.folder).map_err(ModelError::io(&parents.folder))?;
        Ok(parents)
    }

    pub(super) fn keep(mut self) {
        self.made.clear();
    }
}

impl Drop for Parents {
    fn drop(&mut self) {
        for folder in &self.made {
            // One that somebody else has put something into stays.
            let _ = fs::remove_dir(folder);
        }
    }
}

/// An absolute path without links and dots, as far as it exists.
fn resolved(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let existing = path.ancestors().find_map(|ancestor| {
        let rest = path.strip_prefix(ancestor).ok()?;
        Some(ancestor.canonicalize().ok()?.join(rest))
    });
    let mut plain = PathBuf::new();
    for component in existing.unwrap_or(path).components() {
        match component {
            Component::ParentDir => drop(plain.pop()),
            Component::CurDir => {}
            component => plain.push(component),
        }
    }
    plain
}

fn name_of(folder: &Path) -> String {
    let folder = resolved(folder);
    folder.file_name().map_or_else(|| "base".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// The files of a mllama folder, relative to it.
fn llama_files(folder: &Path) -> Result<Vec<PathBuf>, ModelError> {
    let weights = Checkpoint::open(folder, LlamaVision::STEM)?;
    let mut files = there(folder, LLAMA_FILES.iter().map(PathBuf::from));
    files.extend(names(&weights));
    Ok(files)
}

/// The files of a diffusers folder, relative to it.
fn diffusion_files(folder: &Path) -> Result<Vec<PathBuf>, ModelError> {
    let mut files = there(folder, PIPELINE_FILES.iter().map(PathBuf::from));
    for tokenizer in TOKENIZERS {
        let named = TOKENIZER_FILES.iter().map(|file| Path::new(tokenizer).join(file));
        files.extend(there(folder, named));
    }
    for part in Part::of(folder)? {
        let below = Path::new(part.folder());
        files.push(below.join("config.json"));
        let weights = part.open(folder)?;
        files.extend(names(&weights).map(|name| below.join(name)));
    }
    Ok(files)
}

fn there(folder: &Path, files: impl Iterator<Item = PathBuf>) -> Vec<PathBuf> {
    files.filter(|file| folder.join(file).is_file()).collect()
}

fn names(weights: &Checkpoint) -> impl Iterator<Item = PathBuf> {
    weights.files().filter_map(Path::file_name).map(PathBuf::from)
}

/// Links to or copies `files`, all relative, from one folder to another.
fn bring(from: &Path, to: &Path, files: &[PathBuf], transfer: Transfer) -> Result<(), ModelError> {
    let from = from.canonicalize().map_err(ModelError::io(from))?;
    for file in files {
        let (source, target) = (from.join(file), to.join(file));
        let folder = target.parent().unwrap_or(to);
        fs::create_dir_all(folder).map_err(ModelError::io(folder))?;
        match transfer {
            Transfer::Link => symlink(&source, &target),
            Transfer::Copy => fs::copy(&source, &target).map(drop),
        }
        .map_err(ModelError::io(&target))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::manifest::MANIFEST;
    use super::*;
    use crate::tokens::PhotoTags;

    fn tiny(part: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny").join(part)
    }

    fn converted(transfer: Transfer) -> (tempfile::TempDir, ModelDirectory) {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("model");
        let directory = convert(&tiny("llama"), &tiny("diffusion"), &out, transfer).unwrap();
        (folder, directory)
    }

    fn everything_below(folder: &Path) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                found.extend(everything_below(&path));
            }
            found.push(path);
        }
        found
    }

    #[test]
    fn converting_finds_the_tags_and_sizes_and_opens_again() {
        for transfer in [Transfer::Link, Transfer::Copy] {
            let (_folder, directory) = converted(transfer);
            let tokenizer = fs::read(tiny("llama/tokenizer.json")).unwrap();
            let tokenizer: serde_json::Value = serde_json::from_slice(&tokenizer).unwrap();
            let content = |id: u32| {
                let tokens = tokenizer["added_tokens"].as_array().unwrap();
                tokens.iter().find(|token| token["id"] == id).unwrap()["content"].clone()
            };
            let PhotoTags { img, img_end } = directory.manifest.tokens;
            let reserved = ["<|reserved_special_token_0|>", "<|reserved_special_token_1|>"];
            assert_eq!([content(img), content(img_end)], reserved);
            assert_eq!(directory.manifest.sizes.llama_vocabulary, 400);
            assert_eq!(directory.manifest.perceptron.image_size_px, 28);
            assert_eq!(directory.manifest.bridge, None);
            assert!(directory.revision().starts_with("model@"));
            let linked = directory.llama().join("model.safetensors").is_symlink();
            assert_eq!(linked, transfer == Transfer::Link);
            let again = ModelDirectory::open(&directory.path).unwrap();
            assert_eq!(again.manifest, directory.manifest);
        }
    }

    /// A copy of a part of the tiny model, to be spoiled.
    fn copy_of(part: &str, to: &Path) -> PathBuf {
        let to = to.join(part);
        for path in everything_below(&tiny(part)).iter().filter(|path| path.is_file()) {
            let target = to.join(path.strip_prefix(tiny(part)).unwrap());
            fs::create_dir_all(target.parent().unwrap()).unwrap();
            fs::copy(path, target).unwrap();
        }
        to
    }

    #[test]
    fn only_what_the_layouts_name_is_taken() {
        let sources = tempfile::tempdir().unwrap();
        let llama = copy_of("llama", sources.path());
        let diffusion = copy_of("diffusion", sources.path());
        fs::create_dir_all(llama.join("original")).unwrap();
        fs::write(llama.join("original/consolidated.00.pth"), "large").unwrap();
        fs::write(diffusion.join("sd3_medium.safetensors"), "large").unwrap();
        fs::write(diffusion.join("vae/diffusion_pytorch_model.fp16.safetensors"), "twice").unwrap();
        let out = sources.path().join("out/model");
        let directory = convert(&llama, &diffusion, &out, Transfer::Copy).unwrap();
        let count = |folder: &Path| {
            everything_below(folder).into_iter().filter(|path| path.is_file()).count()
        };
        assert_eq!(count(&directory.llama()), count(&tiny("llama")));
        assert_eq!(count(&directory.diffusion()), count(&tiny("diffusion")));
    }

    #[test]
    fn an_occupied_place_and_one_inside_a_source_are_refused() {
        let (folder, directory) = converted(Transfer::Link);
        let told = |out: &Path| {
            convert(&directory.llama(), &directory.diffusion(), out, Transfer::Link)
                .unwrap_err()
                .to_string()
        };
        assert!(told(&directory.path).contains("is there already"));
        let empty = folder.path().join("empty");
        fs::create_dir(&empty).unwrap();
        assert!(told(&empty).contains("is there already"));
        let inside = directory.llama().join("new/../deeper/model");
        assert!(told(&inside).contains("choose a folder outside"), "{}", told(&inside));
        assert!(!directory.llama().join("new").exists());
    }

    #[test]
    fn a_failure_halfway_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let diffusion = copy_of("diffusion", folder.path());
        // A file that nobody can read.
        symlink("/proc/self/mem", diffusion.join("tokenizer/spiece.model")).unwrap();
        let before = everything_below(folder.path()).len();
        let out = folder.path().join("some/where/model");
        let error = convert(&tiny("llama"), &diffusion, &out, Transfer::Copy).unwrap_err();
        assert!(error.to_string().contains("diffusion/tokenizer/spiece.model"), "{error}");
        assert_eq!(everything_below(folder.path()).len(), before);
    }

    #[test]
    fn a_mismatch_names_both_sides() {
        let (_folder, directory) = converted(Transfer::Copy);
        let manifest = directory.path.join(MANIFEST);
        let bridge = "\n[bridge]\nmode = \"sentence\"\ntemperature_floor = 0.5\n";
        let text = fs::read_to_string(&manifest).unwrap() + bridge;
        let img = format!("img = {}", directory.manifest.tokens.img);
        for (from, to, expected) in [
            (
                "llama_hidden = 64",
                "llama_hidden = 65",
                ["sizes.llama_hidden is 65, but ", "/llama has 64; "],
            ),
            (
                "tiles_max = 4",
                "tiles_max = 2",
                ["perceptron.tiles_max is 2, but ", "/llama has 4; "],
            ),
            (&img, "img = 4000", ["tokens.img is 4000, but ", "has a vocabulary of 400; "]),
            ("_floor = 0.5", "_floor = -1.0", ["bridge.temperature_floor is -1; ", "at least 0"]),
        ] {
            assert!(text.contains(from), "{text}");
            fs::write(&manifest, text.replace(from, to)).unwrap();
            let error = ModelDirectory::open(&directory.path).unwrap_err().to_string();
            assert!(expected.iter().all(|part| error.contains(part)), "{error}");
        }
        for text in [format!("colour = 1\n{text}"), text.replace("\"sentence\"", "\"colour\"")] {
            fs::write(&manifest, text).unwrap();
            let error = ModelDirectory::open(&directory.path).unwrap_err();
            assert!(std::error::Error::source(&error).unwrap().to_string().contains("colour"));
        }
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
