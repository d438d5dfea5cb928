//! Models from nothing: complete, small enough to ship, and the same for the same seed.

use std::path::Path;

use shutterbug::data::ExampleElement;
use shutterbug::data::pocket::{PocketWorld, Split};
use shutterbug::systems::{ModelDirectory, Preset, Texts, create, inspect};

/// What the files of the pocket model may take together, in bytes.
const POCKET_BYTES_MAX: u64 = 24_000_000;

fn pocket(seed: u64, out: &Path) -> ModelDirectory {
    let world = PocketWorld { seed: 1 };
    let (mut said, mut captions) = (Vec::new(), Vec::new());
    for index in 0..800 {
        for turn in world.words(Split::Train, index).turns() {
            for element in &turn.elements {
                match element {
                    ExampleElement::Utterance(text) => said.push(text.clone()),
                    ExampleElement::Photo(photo) => captions.extend(photo.caption.clone()),
                }
            }
        }
    }
    create(Preset::Pocket, Texts { said: &said, captions: &captions }, seed, out).unwrap()
}

fn bytes_below(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .map(|path| if path.is_dir() { bytes_below(&path) } else { path.metadata().unwrap().len() })
        .sum()
}

#[test]
fn the_pocket_model_is_complete_small_and_of_its_seed() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("pocket");
    let made = pocket(1, &out);
    let inspection = inspect(&out, None);
    assert!(inspection.is_sound(), "{:?}", inspection.findings);
    let bytes = bytes_below(&out);
    assert!(bytes <= POCKET_BYTES_MAX, "{bytes}");
    assert!(bytes > POCKET_BYTES_MAX / 2, "{bytes}");

    let again = pocket(1, &folder.path().join("again/pocket"));
    assert_eq!(again.manifest, made.manifest);
    let other = pocket(2, &folder.path().join("other"));
    assert_ne!(other.manifest.llama.fingerprint, made.manifest.llama.fingerprint);
    assert_ne!(other.manifest.diffusion.fingerprint, made.manifest.diffusion.fingerprint);
    // What the workshop was is gone.
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
}
