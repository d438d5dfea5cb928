//! PhotoChat's dialogues (Zang et al., ACL 2021): a JSON list, one photo shared in each.
//!
//! The files hold addresses of photos, not the photos. User 0, who sends the photo, is A.

use std::io::Read;

use serde::Deserialize;
use serde_json::Value;

use super::example::{Example, ExampleElement, ExamplePhoto, Picture};
use super::import::{ImportError, PhotoFolder, StoredName, file_name_of, for_each_element};
use crate::dialogue::Speaker;

/// What a description may begin with: who of the sender's people is in the photo.
const PERSONA: &str = "The photo has your ";

#[derive(Deserialize)]
struct Stored {
    dialogue: Vec<StoredTurn>,
    dialogue_id: u64,
    photo_description: String,
    photo_url: String,
    /// Older revisions lack it.
    #[serde(default)]
    photo_id: Option<StoredName>,
}

#[derive(Deserialize)]
struct StoredTurn {
    message: String,
    share_photo: bool,
    user_id: u64,
}

/// Hands over the dialogues of a file, in order. `dialogue_id` counts from 0 in every file, so ids
/// are `STEM-dialogue_id`. The caption of a photo is its description without the persona, which the
/// example keeps apart; all photos of a dialogue are the one that its description is about. A photo
/// that `photos` lacks is [`Picture::Missing`].
///
/// # Errors
/// Where the file stops to be a JSON list; a dialogue that can't be used is handed over as such.
pub fn read_photochat(
    reader: impl Read,
    stem: &str,
    photos: &PhotoFolder,
    mut take: impl FnMut(Result<Example, ImportError>),
) -> Result<(), serde_json::Error> {
    for_each_element(reader, |element| take(example(element, stem, photos)))
}

fn example(element: Value, stem: &str, photos: &PhotoFolder) -> Result<Example, ImportError> {
    let stored: Stored = serde_json::from_value(element).map_err(ImportError::Malformed)?;
    let (persona, caption) = split_persona(&stored.photo_description);
    let photo_id = stored.photo_id.map(|id| id.text());
    let names = photo_id.as_deref().into_iter().chain(file_name_of(&stored.photo_url));
    let photo = ExamplePhoto {
        picture: photos.find(names).map_or(Picture::Missing, Picture::File),
        caption: Some(caption.to_owned()).filter(|caption| !caption.is_empty()),
        photo_id,
        photo_url: Some(stored.photo_url).filter(|url| !url.is_empty()),
    };
    let mut example = Example::new(format!("{stem}-{}", stored.dialogue_id));
    example.persona = persona.map(str::to_owned);
    for turn in stored.dialogue {
        let speaker = if turn.user_id == 0 { Speaker::A } else { Speaker::B };
        let said = Some(turn.message).filter(|message| !message.is_empty());
        let shared = turn.share_photo.then(|| ExampleElement::Photo(photo.clone()));
        example.push(speaker, said.map(ExampleElement::Utterance).into_iter().chain(shared));
    }
    if example.turns().is_empty() { Err(ImportError::Empty) } else { Ok(example) }
}

/// Parts "The photo has your brother Darwin. Objects in the photo: …" after the first sentence.
fn split_persona(description: &str) -> (Option<&str>, &str) {
    if description.starts_with(PERSONA)
        && let Some((persona, rest)) = description.split_once(". ")
    {
        return (Some(&description[..=persona.len()]), rest.trim_start());
    }
    (None, description)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, photos: &PhotoFolder) -> Vec<Result<Example, ImportError>> {
        let mut read = Vec::new();
        read_photochat(text.as_bytes(), "dev", photos, |example| read.push(example)).unwrap();
        read
    }

    #[test]
    fn a_persona_is_kept_apart() {
        assert_eq!(
            split_persona("The photo has your brother Darwin. Objects in the photo: Dress, Man"),
            (Some("The photo has your brother Darwin."), "Objects in the photo: Dress, Man")
        );
        let plain = "Objects in the photo: Dress. Man";
        assert_eq!(split_persona(plain), (None, plain));
    }

    #[test]
    fn both_revisions_read_and_the_sender_is_a() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("9.jpg");
        std::fs::write(&file, b"").unwrap();
        let text = r#"[{"dialogue_id": 3, "photo_id": 9, "photo_url": "u", "photo_description": "a cat",
            "dialogue": [{"message": "hi", "share_photo": false, "user_id": 1},
                         {"message": "look", "share_photo": true, "user_id": 0},
                         {"message": "", "share_photo": true, "user_id": 0}]},
            {"dialogue_id": 4, "photo_url": "https://x.org/o.jpg", "photo_description": "a dog",
            "dialogue": [{"message": "", "share_photo": true, "user_id": 0}]},
            {"dialogue_id": 5, "photo_url": "u", "photo_description": "a dog",
            "dialogue": [{"message": "no photo", "share_photo": false, "user_id": 0}]}]"#;
        let read = read(text, &PhotoFolder::new(Some(folder.path().to_owned())));
        let first = read[0].as_ref().unwrap();
        assert_eq!(first.id, "dev-3");
        let speakers: Vec<Speaker> = first.turns().iter().map(|turn| turn.speaker).collect();
        assert_eq!(speakers, [Speaker::B, Speaker::A]);
        let photo = ExamplePhoto {
            picture: Picture::File(file),
            caption: Some("a cat".to_owned()),
            photo_id: Some("9".to_owned()),
            photo_url: Some("u".to_owned()),
        };
        let photo = ExampleElement::Photo(photo);
        let said = ExampleElement::Utterance("look".to_owned());
        assert_eq!(first.turns()[1].elements, [said, photo.clone(), photo]);
        let (_, _, second) = read[1].as_ref().unwrap().photos().next().unwrap();
        assert_eq!((&second.picture, &second.photo_id), (&Picture::Missing, &None));
        assert_eq!(read[2].as_ref().unwrap().photos().count(), 0);
    }

    #[test]
    fn a_broken_dialogue_leaves_the_rest() {
        let text = r#"[{"dialogue_id": 0},
            {"dialogue_id": 1, "photo_url": "", "photo_description": "", "dialogue": []},
            {"dialogue_id": 2, "photo_url": "", "photo_description": "",
            "dialogue": [{"message": "hi", "share_photo": false, "user_id": 1}]}]"#;
        let read = read(text, &PhotoFolder::new(None));
        assert!(matches!(read[0], Err(ImportError::Malformed(_))));
        assert!(matches!(read[1], Err(ImportError::Empty)));
        assert_eq!(read[2].as_ref().unwrap().id, "dev-2");
    }
}
