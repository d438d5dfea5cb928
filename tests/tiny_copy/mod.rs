//! The tiny model's files, for models of other weights.

use std::fs;
use std::path::Path;

/// Copies the folder `from` to `to`, without its weights.
pub(crate) fn copy_without_weights(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let source = entry.unwrap().path();
        let target = to.join(source.file_name().unwrap());
        if source.is_dir() {
            copy_without_weights(&source, &target);
        } else if source.extension().is_none_or(|extension| extension != "safetensors") {
            fs::copy(&source, &target).unwrap();
        }
    }
}
