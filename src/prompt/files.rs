//! Reading the small JSON files of a model directory.

use std::fs;
use std::io;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::error::PromptLoadError;

/// The file's text; `None` where there is no such file.
pub(super) fn read_text(path: &Path) -> Result<Option<String>, PromptLoadError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(PromptLoadError::Io { path: path.to_owned(), source }),
    }
}

/// The file's JSON; `None` where there is no such file.
pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, PromptLoadError> {
    let Some(text) = read_text(path)? else { return Ok(None) };
    serde_json::from_str(&text)
        .map(Some)
        .map_err(|source| PromptLoadError::Json { path: path.to_owned(), source })
}

/// A file that must be there.
pub(super) fn require<T>(found: Option<T>, path: &Path) -> Result<T, PromptLoadError> {
    found.ok_or_else(|| PromptLoadError::Io {
        path: path.to_owned(),
        source: io::Error::from(io::ErrorKind::NotFound),
    })
}

/// The text of a special token as `special_tokens_map.json` or `tokenizer_config.json` names it:
/// a string, or an object with its `content`.
pub(super) fn special_token(
    directory: &Path,
    name: &str,
) -> Result<Option<String>, PromptLoadError> {
    for file in ["special_tokens_map.json", "tokenizer_config.json"] {
        let Some(value) = read_json::<Value>(&directory.join(file))? else { continue };
        let token = &value[name];
        if let Some(text) = token.as_str().or_else(|| token["content"].as_str()) {
            return Ok(Some(text.to_owned()));
        }
    }
    Ok(None)
}
