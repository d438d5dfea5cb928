//! PhotoChat's dialogues (Zang et al., ACL 2021): a JSON list, one photo shared in each.
//!
//! The files hold addresses of photos, not the photos. User 0, who sends the photo, is A.

use serde::Deserialize;

use crate::dialogue::{Dialogue, Element, Photo, Speaker};

/// What a description may begin with: who of the sender's people is in the photo.
const PERSONA: &str = "The photo has your ";

/// One dialogue.
#[derive(Debug, Clone, PartialEq)]
pub struct PhotoChat {
    /// Counts from 0 in every file: a key only together with the file's name.
    pub dialogue_id: u64,
    /// What was said; photos have the description as their caption, and no pixels.
    pub dialogue: Dialogue,
    /// Whom the photo shows, such as "The photo has your brother Darwin."
    pub persona: Option<String>,
    /// The photo's number, which older revisions lack.
    pub photo_id: Option<String>,
    /// Where the photo was.
    pub photo_url: String,
}

#[derive(Deserialize)]
struct Stored {
    dialogue: Vec<StoredTurn>,
    dialogue_id: u64,
    photo_description: String,
    photo_url: String,
    #[serde(default)]
    photo_id: Option<StoredId>,
}

#[derive(Deserialize)]
struct StoredTurn {
    message: String,
    share_photo: bool,
    user_id: u64,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum StoredId {
    Text(String),
    Number(u64),
}

/// Reads a file's text.
pub fn read_photochat(text: &str) -> Result<Vec<PhotoChat>, serde_json::Error> {
    let stored: Vec<Stored> = serde_json::from_str(text)?;
    Ok(stored.into_iter().map(PhotoChat::from).collect())
}

impl From<Stored> for PhotoChat {
    fn from(stored: Stored) -> Self {
        let (persona, caption) = split_persona(&stored.photo_description);
        let mut dialogue = Dialogue::default();
        for turn in stored.dialogue {
            let speaker = if turn.user_id == 0 { Speaker::A } else { Speaker::B };
            let said = Some(turn.message).filter(|message| !message.is_empty());
            let photo = Photo { pixels: None, caption: Some(caption.to_owned()) };
            let shared = turn.share_photo.then_some(Element::Photo(photo));
            dialogue.push(speaker, said.map(Element::Utterance).into_iter().chain(shared));
        }
        Self {
            dialogue_id: stored.dialogue_id,
            dialogue,
            persona: persona.map(str::to_owned),
            photo_id: stored.photo_id.map(|id| match id {
                StoredId::Text(id) => id,
                StoredId::Number(id) => id.to_string(),
            }),
            photo_url: stored.photo_url,
        }
    }
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
        let text = r#"[{"dialogue_id": 3, "photo_id": 9, "photo_url": "u", "photo_description": "a cat",
            "dialogue": [{"message": "hi", "share_photo": false, "user_id": 1},
                         {"message": "look", "share_photo": true, "user_id": 0}]},
            {"dialogue_id": 4, "photo_url": "u", "photo_description": "a dog", "dialogue": []}]"#;
        let read = read_photochat(text).unwrap();
        assert_eq!(read[0].photo_id.as_deref(), Some("9"));
        assert_eq!(read[1].photo_id, None);
        let turns = read[0].dialogue.turns();
        assert_eq!(turns[0].speaker, Speaker::B);
        assert_eq!(turns[1].speaker, Speaker::A);
        let photo = Photo { pixels: None, caption: Some("a cat".to_owned()) };
        let expected = [Element::Utterance("look".to_owned()), Element::Photo(photo)];
        assert_eq!(turns[1].elements, expected);
    }
}
