//! DialogCC's dialogues (Lee et al., NAACL 2024): a JSON list, any number of photos an utterance.
//!
//! The files hold addresses of photos, not the photos. Nobody in them is a bot: who shares most
//! photos is A (at equal numbers who shares first), and where nobody does, who speaks second.

use std::io::Read;

use serde::Deserialize;
use serde_json::Value;

use super::example::{Example, ExampleElement, ExamplePhoto, Picture};
use super::import::{ImportError, PhotoFolder, StoredName, file_name_of, for_each_element};
use super::json_lines::names_a_file;
use crate::dialogue::Speaker;

#[derive(Deserialize)]
struct Stored {
    dialogue_id: StoredName,
    dialogue: Vec<StoredTurn>,
}

#[derive(Deserialize)]
struct StoredTurn {
    utterance: String,
    speaker: StoredName,
    #[serde(default)]
    shared_image: Option<Vec<StoredImage>>,
    /// What a photo in this place should show.
    #[serde(default)]
    description: Value,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum StoredImage {
    Address(String),
    Image {
        image_url: String,
        #[serde(default)]
        caption: Option<String>,
    },
}

/// Hands over the dialogues of a file, in order. Photos stand behind their utterance, each with its
/// own caption or else the utterance's description. `photos` is searched for the file name in a
/// photo's address and for `DIALOGUE-TURN-PHOTO`, counted from 0; a photo that it lacks is
/// [`Picture::Missing`].
///
/// # Errors
/// Where the file stops to be a JSON list; a dialogue that can't be used is handed over as such.
pub fn read_dialogcc(
    reader: impl Read,
    stem: &str,
    photos: &PhotoFolder,
    mut take: impl FnMut(Result<Example, ImportError>),
) -> Result<(), serde_json::Error> {
    for_each_element(reader, |element| take(example(element, stem, photos)))
}

fn example(element: Value, stem: &str, photos: &PhotoFolder) -> Result<Example, ImportError> {
    let stored: Stored = serde_json::from_value(element).map_err(ImportError::Malformed)?;
    let name = plain(&stored.dialogue_id.text());
    let a = bot(&stored.dialogue);
    let mut example = Example::new(format!("{stem}-{name}"));
    for (index, turn) in stored.dialogue.into_iter().enumerate() {
        let speaker = if a.as_ref() == Some(&turn.speaker) { Speaker::A } else { Speaker::B };
        let description = turn.description.as_str().map(str::to_owned);
        let said = Some(turn.utterance).filter(|text| !text.is_empty());
        let shared = turn.shared_image.into_iter().flatten().enumerate().map(|(place, image)| {
            let (url, caption) = match image {
                StoredImage::Address(url) => (url, None),
                StoredImage::Image { image_url, caption } => (image_url, caption),
            };
            let named = format!("{name}-{index}-{place}");
            let names = file_name_of(&url).into_iter().chain([named.as_str()]);
            let caption = caption.or_else(|| description.clone());
            ExampleElement::Photo(ExamplePhoto {
                picture: photos.find(names).map_or(Picture::Missing, Picture::File),
                caption: caption.filter(|caption| !caption.is_empty()),
                photo_id: None,
                photo_url: Some(url).filter(|url| !url.is_empty()),
            })
        });
        example.push(speaker, said.map(ExampleElement::Utterance).into_iter().chain(shared));
    }
    if example.turns().is_empty() { Err(ImportError::Empty) } else { Ok(example) }
}

/// Which speaker is A.
fn bot(turns: &[StoredTurn]) -> Option<StoredName> {
    let mut shares: Vec<(&StoredName, usize)> = Vec::new();
    for turn in turns {
        let shared = turn.shared_image.as_ref().map_or(0, Vec::len);
        match shares.iter_mut().find(|(name, _)| **name == turn.speaker) {
            Some((_, count)) => *count += shared,
            None if shared > 0 => shares.push((&turn.speaker, shared)),
            None => {}
        }
    }
    let most = shares.iter().map(|(_, count)| *count).max();
    let sharer = shares.iter().find(|(_, count)| Some(*count) == most).map(|(name, _)| *name);
    let second = || turns.iter().map(|turn| &turn.speaker).find(|name| **name != turns[0].speaker);
    sharer.or_else(second).cloned()
}

/// A dataset's id as a part of file names.
fn plain(id: &str) -> String {
    id.chars().map(|c| if names_a_file(&format!("a{c}")) { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, photos: &PhotoFolder) -> Vec<Result<Example, ImportError>> {
        let mut read = Vec::new();
        read_dialogcc(text.as_bytes(), "test", photos, |example| read.push(example)).unwrap();
        read
    }

    const DIALOGUE: &str = r#"[{"dialogue_id": "bst:7", "split": "test", "dialogue": [
        {"utterance_idx": 0, "utterance": "hi", "speaker": "X", "rationale": "", "shared_image": [],
         "description": ""},
        {"utterance_idx": 1, "utterance": "my dogs", "speaker": "Y", "rationale": "to show them",
         "shared_image": [{"image_url": "https://x.org/d1.jpg", "caption": "a dog"},
                          {"image_url": "https://x.org/d2.jpg"}], "description": "two dogs"},
        {"utterance_idx": 2, "utterance": "nice", "speaker": "X",
         "shared_image": ["https://x.org/y.jpg"]}]}]"#;

    #[test]
    fn several_photos_an_utterance_and_the_sharer_is_a() {
        let folder = tempfile::tempdir().unwrap();
        let second = folder.path().join("bst_7-1-1.png");
        std::fs::write(&second, b"").unwrap();
        let read = read(DIALOGUE, &PhotoFolder::new(Some(folder.path().to_owned())));
        let example = read[0].as_ref().unwrap();
        assert_eq!(example.id, "test-bst_7");
        let speakers: Vec<Speaker> = example.turns().iter().map(|turn| turn.speaker).collect();
        assert_eq!(speakers, [Speaker::B, Speaker::A, Speaker::B]);
        let photos: Vec<_> = example
            .photos()
            .map(|(turn, _, photo)| (turn, &photo.picture, photo.caption.as_deref()))
            .collect();
        let expected = [
            (1, &Picture::Missing, Some("a dog")),
            (1, &Picture::File(second), Some("two dogs")),
            (2, &Picture::Missing, None),
        ];
        assert_eq!(photos, expected);
    }

    #[test]
    fn without_photos_who_answers_is_a() {
        let text = r#"[{"dialogue_id": 1, "dialogue": [
            {"utterance": "hi", "speaker": 5}, {"utterance": "hello", "speaker": 3}]},
            {"dialogue_id": 2}]"#;
        let read = read(text, &PhotoFolder::new(None));
        let turns = read[0].as_ref().unwrap().turns();
        assert_eq!((turns[0].speaker, turns[1].speaker), (Speaker::B, Speaker::A));
        assert!(matches!(read[1], Err(ImportError::Malformed(_))));
    }
}
