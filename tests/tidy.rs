//! Keeps the house in order: which module may know which, how large a room may grow, and what must
//! not be left lying about.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The allowed arrows: a module and what it may use of the crate. A new arrow is a decision: it
/// is made here, in the open.
const ARROWS: &[(&str, &[&str])] = &[
    ("torch", &[]),
    ("nn", &["torch"]),
    ("dialogue", &[]),
    ("imaging", &["dialogue"]),
    ("prompt", &["dialogue", "tokens"]),
    ("llama_vision", &["nn", "tokens", "torch"]),
    ("stable_diffusion", &["nn", "tokens", "torch"]),
    ("adapters", &["nn", "torch"]),
    ("bridge", &["prompt", "torch"]),
    (
        "systems",
        &[
            "adapters",
            "dialogue",
            "llama_vision",
            "nn",
            "prompt",
            "stable_diffusion",
            "tokens",
            "torch",
        ],
    ),
    ("data", &["dialogue", "imaging"]),
    ("engine", &["dialogue", "systems", "torch"]),
    ("evaluation", &["data", "dialogue", "imaging", "nn", "systems", "torch"]),
    ("journal", &["dialogue"]),
    ("config", &[]),
    ("telemetry", &["config"]),
    (
        "training",
        &[
            "adapters",
            "bridge",
            "config",
            "data",
            "dialogue",
            "llama_vision",
            "nn",
            "prompt",
            "stable_diffusion",
            "systems",
            "tokens",
            "torch",
        ],
    ),
    ("discord", &["config", "daemon", "dialogue", "engine", "imaging", "systems"]),
    ("daemon", &["config", "dialogue", "discord", "engine", "imaging", "journal", "systems"]),
];

/// Lines after which a file has outgrown its room.
const LINES_MAX: usize = 600;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// Code without comment lines: prose may speak of any module.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.trim_start().starts_with("//"))
}

/// Top-level modules that a line names as `crate::module`, in groups too: `crate::{a, b::C}`.
fn modules_named(text: &str) -> BTreeSet<String> {
    let mut named = BTreeSet::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        let first_word = |text: &str| {
            text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
        };
        match rest.strip_prefix('{') {
            None => {
                named.insert(first_word(rest));
            }
            Some(group) => {
                let mut depth = 1;
                let mut begin = 0;
                for (place, c) in group.char_indices() {
                    match c {
                        '{' => depth += 1,
                        '}' => depth -= 1,
                        _ => {}
                    }
                    if depth == 0 || (depth == 1 && c == ',') {
                        named.insert(first_word(&group[begin..place]));
                        begin = place + 1;
                    }
                    if depth == 0 {
                        break;
                    }
                }
            }
        }
    }
    named.remove("");
    named
}

#[test]
fn every_module_knows_only_what_it_may() {
    let source = root().join("src");
    let mut wrong = Vec::new();
    for entry in fs::read_dir(&source).unwrap() {
        let folder = entry.unwrap().path();
        let module = folder.file_name().unwrap().to_str().unwrap().to_owned();
        // The binary and its commands join everything.
        if !folder.is_dir() || module == "cli" {
            continue;
        }
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == module) else {
            wrong.push(format!("src/{module} is not on the map in tests/tidy.rs"));
            continue;
        };
        for file in sources(&folder) {
            let text = fs::read_to_string(&file).unwrap();
            let text: String = code(&text).collect::<Vec<_>>().join("\n");
            for named in modules_named(&text) {
                if named != module && !allowed.contains(&named.as_str()) {
                    wrong.push(format!("{} uses crate::{named}", file.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_module_is_on_the_front_page() {
    let front = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    for line in front.lines() {
        if let Some(module) = line.strip_prefix("pub mod ").and_then(|rest| rest.strip_suffix(';'))
        {
            assert!(
                front.contains(&format!("[`{module}`]")),
                "src/lib.rs does not speak of {module}"
            );
        }
    }
}

#[test]
fn no_file_outgrows_its_room() {
    let mut long = Vec::new();
    for folder in ["src", "tests", "migrations-free-store", "benches"] {
        let folder = root().join(folder);
        for file in if folder.is_dir() { sources(&folder) } else { Vec::new() } {
            let lines = fs::read_to_string(&file).unwrap().lines().count();
            if lines > LINES_MAX {
                long.push(format!("{} has {lines} lines", file.display()));
            }
        }
    }
    assert!(long.is_empty(), "{}", long.join("\n"));
}

#[test]
fn the_environment_is_read_in_one_place() {
    for file in sources(&root().join("src")) {
        if file.starts_with(root().join("src/config")) {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        let reads = code(&text).any(|line| line.contains("env::var"));
        assert!(!reads, "{} reads the environment; config/ does that", file.display());
    }
}

#[test]
fn arrows_are_found_in_every_form() {
    let text = "use crate::nn::{Linear, attend};\nuse crate::{torch::Weights, dialogue::{Photo, Turn}, prompt};\nlet x = crate::engine::Engine;";
    let expected = ["dialogue", "engine", "nn", "prompt", "torch"].map(str::to_owned);
    assert_eq!(modules_named(text), BTreeSet::from(expected));
}
