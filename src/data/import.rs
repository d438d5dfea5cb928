//! What the importers of the field's datasets share: lists in big JSON files, and photos in a
//! folder.

use std::fmt;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, SeqAccess, Visitor};
use serde_json::Value;

/// Why a dialogue of a dataset can't be imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// Not of the dataset's form.
    #[error("not a dialogue of this dataset")]
    Malformed(#[source] serde_json::Error),
    /// There is nothing in it.
    #[error("nothing is said in it")]
    Empty,
    /// A photo is nowhere, where that is an error.
    #[error("the photo {0} is missing")]
    MissingPhoto(String),
}

/// A name that some revisions of a dataset write as a number.
#[derive(Deserialize, Clone, PartialEq, Eq)]
#[serde(untagged)]
pub(super) enum StoredName {
    Text(String),
    Number(u64),
}

impl StoredName {
    pub(super) fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Number(number) => number.to_string(),
        }
    }
}

/// A folder of photo files.
#[derive(Debug, Clone)]
pub struct PhotoFolder {
    folder: Option<PathBuf>,
}

impl PhotoFolder {
    const EXTENSIONS: [&str; 6] = ["jpg", "jpeg", "png", "webp", "gif", "bmp"];

    /// Photos lie in `folder`; with `None` every photo is missing.
    pub fn new(folder: Option<PathBuf>) -> Self {
        Self { folder }
    }

    /// The file of a photo that is known by these names: `NAME`, or `NAME` with a photo's
    /// extension. A name may have folders (`train/17`), which the file need not. Names that would
    /// leave the folder find nothing.
    pub(super) fn find<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Option<PathBuf> {
        let folder = self.folder.as_ref()?;
        let stays_inside =
            |name: &Path| name.components().all(|part| matches!(part, Component::Normal(_)));
        names.into_iter().find_map(|name| {
            let name = Path::new(name);
            let mut candidates = vec![name.to_owned()];
            candidates.extend(name.file_name().map(PathBuf::from));
            candidates.into_iter().filter(|name| stays_inside(name)).find_map(|name| {
                let with = |extension: &&str| {
                    let mut file = folder.join(&name).into_os_string();
                    file.push(format!(".{extension}"));
                    PathBuf::from(file)
                };
                let as_it_is = (name.as_os_str() != "").then(|| folder.join(&name));
                as_it_is
                    .into_iter()
                    .chain(Self::EXTENSIONS.iter().map(with))
                    .find(|file| file.is_file())
            })
        })
    }
}

/// The last part of an address's path: `o.jpg` of `https://example.org/a/o.jpg?x=1`.
pub(super) fn file_name_of(address: &str) -> Option<&str> {
    let path = address.split(['?', '#']).next()?;
    path.rsplit('/').next().filter(|name| !name.is_empty())
}

/// Hands over the elements of a JSON list one after another, so that a list of gigabytes takes
/// little memory.
///
/// # Errors
/// Where the file stops to be a JSON list; the elements before were handed over.
pub(super) fn for_each_element(
    reader: impl Read,
    take: impl FnMut(Value),
) -> Result<(), serde_json::Error> {
    struct Elements<F>(F);
    impl<'de, F: FnMut(Value)> Visitor<'de> for Elements<F> {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of dialogues")
        }

        fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
            while let Some(element) = list.next_element()? {
                (self.0)(element);
            }
            Ok(())
        }
    }
    impl<'de, F: FnMut(Value)> DeserializeSeed<'de> for Elements<F> {
        type Value = ();

        fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
            deserializer.deserialize_seq(self)
        }
    }
    let mut deserializer = serde_json::Deserializer::from_reader(reader);
    Elements(take).deserialize(&mut deserializer)?;
    deserializer.end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn photos_are_found_by_name_and_never_outside() {
        let outer = tempfile::tempdir().unwrap();
        let folder = outer.path().join("photos");
        std::fs::create_dir_all(folder.join("train")).unwrap();
        for name in ["photos/17.jpg", "photos/train/18.png", "photos/o.webp", "secret.jpg"] {
            std::fs::write(outer.path().join(name), b"").unwrap();
        }
        let photos = PhotoFolder::new(Some(folder.clone()));
        assert_eq!(photos.find(["17"]), Some(folder.join("17.jpg")));
        assert_eq!(photos.find(["train/17"]), Some(folder.join("17.jpg")));
        assert_eq!(photos.find(["train/18"]), Some(folder.join("train/18.png")));
        assert_eq!(photos.find(["19", "o.webp"]), Some(folder.join("o.webp")));
        assert_eq!(photos.find(["../secret", "..", "", "/etc/passwd", "train"]), None);
        assert_eq!(PhotoFolder::new(None).find(["17"]), None);
    }

    #[test]
    fn addresses_end_in_file_names() {
        assert_eq!(file_name_of("https://example.org/a/o.jpg?x=1/2"), Some("o.jpg"));
        assert_eq!(file_name_of("https://example.org/"), None);
    }

    #[test]
    fn elements_before_a_break_are_handed_over() {
        let mut taken = Vec::new();
        let text = br#"[1, {"a": 2}, oh"#;
        let error = for_each_element(&text[..], |value| taken.push(value)).unwrap_err();
        assert_eq!(taken.len(), 2);
        assert!(error.to_string().contains("line 1"), "{error}");
        assert!(for_each_element(&b"[] x"[..], |_| ()).is_err());
    }
}
