//! Dialogues and replies as JSON Lines: one object a line, photos by path.
//!
//! ```json
//! {"id":"d1","turns":[
//!   {"speaker":"B","elements":[{"text":"look at my cat"},{"photo":"cat.jpg"}]},
//!   {"speaker":"A","elements":[{"text":"so fluffy"}]},
//!   {"speaker":"B","elements":[{"text":"do you have one?"}]}]}
//! ```
//!
//! Speaker A is the bot, B the person. A photo may carry a `caption`; one that A shared should.
//! Paths are relative to the file's folder.
//!
//! Datasets add what they know: a dialogue's `persona` and `truth`; a photo's `photo_id` and
//! `photo_url`, `"drawn": true` where it was drawn in place of a missing one, and `"missing": true`
//! instead of a path where there is none.

use std::error::Error;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::example::{Example, ExampleElement, ExamplePhoto, PhotoFileError, Picture};
use super::pocket::Truth;
use crate::dialogue::{Dialogue, Element, Pixels, Reply, Speaker};

/// One line that wants a reply.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// The dialogue's name; replies and files are named by it.
    pub id: String,
    /// What was said.
    pub dialogue: Dialogue,
}

/// Why a line can't be used.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// Not UTF-8.
    #[error("not UTF-8")]
    Utf8(#[source] std::str::Utf8Error),
    /// Not JSON, or not of this form.
    #[error("not a dialogue")]
    Malformed(#[source] serde_json::Error),
    /// The id would leave the output folder or hide in it.
    #[error(
        "the id {0:?} can't name a file: use letters, digits, `.`, `_` and `-`, and no leading dot"
    )]
    Id(String),
    /// Another line of the file has the id.
    #[error("the id {0:?} was there before")]
    Repeated(String),
    /// An element is neither text nor photo, or both.
    #[error("turn {turn}, element {element}: give either `text` or `photo`")]
    Element {
        /// Counted from 1.
        turn: usize,
        /// Counted from 1.
        element: usize,
    },
    /// A photo is said to be missing and given, or drawn and not given.
    #[error("turn {turn}, element {element}: `missing` goes without `photo`, and `drawn` with it")]
    Marks {
        /// Counted from 1.
        turn: usize,
        /// Counted from 1.
        element: usize,
    },
    /// There is nothing in it.
    #[error("there is no turn")]
    Empty,
    /// There is nothing to answer.
    #[error("the last turn must be B's, and not empty")]
    NothingToAnswer,
    /// A photo can't be read or decoded.
    #[error(transparent)]
    Photo(#[from] PhotoFileError),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    persona: Option<String>,
    turns: Vec<LineTurn>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    truth: Option<Truth>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LineTurn {
    speaker: LineSpeaker,
    elements: Vec<LineElement>,
}

#[derive(Serialize, Deserialize)]
enum LineSpeaker {
    A,
    B,
}

#[derive(Serialize, Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct LineElement {
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    photo: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    caption: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    photo_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    photo_url: Option<String>,
    #[serde(skip_serializing_if = "is_false")]
    drawn: bool,
    #[serde(skip_serializing_if = "is_false")]
    missing: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_false(value: &bool) -> bool {
    !value
}

/// Reads one line that wants a reply. `load` turns a photo's path (already joined to `folder`) into
/// pixels.
pub fn read_line<E: Into<Box<dyn Error + Send + Sync>>>(
    line: &str,
    folder: &Path,
    load: impl Fn(&Path) -> Result<Pixels, E>,
) -> Result<Record, LineError> {
    let example = parse(line, folder)?;
    match example.turns().last() {
        Some(turn) if turn.speaker == Speaker::B => {
            let dialogue = example.dialogue(load)?;
            Ok(Record { id: example.id, dialogue })
        }
        _ => Err(LineError::NothingToAnswer),
    }
}

/// Reads one line as an example. Photos are not looked for; their paths are joined to `folder`.
pub fn read_example(line: &str, folder: &Path) -> Result<Example, LineError> {
    let example = parse(line, folder)?;
    if example.turns().is_empty() { Err(LineError::Empty) } else { Ok(example) }
}

fn parse(line: &str, folder: &Path) -> Result<Example, LineError> {
    let line: Line = serde_json::from_str(line).map_err(LineError::Malformed)?;
    if !names_a_file(&line.id) {
        return Err(LineError::Id(line.id));
    }
    let mut example = Example::new(line.id);
    example.persona = line.persona;
    example.truth = line.truth;
    for (turn_index, turn) in line.turns.into_iter().enumerate() {
        let mut elements = Vec::new();
        for (element_index, element) in turn.elements.into_iter().enumerate() {
            let (turn, place) = (turn_index + 1, element_index + 1);
            elements.push(match element {
                LineElement {
                    text: Some(text),
                    photo: None,
                    caption: None,
                    photo_id: None,
                    photo_url: None,
                    drawn: false,
                    missing: false,
                } => ExampleElement::Utterance(text),
                LineElement { text: None, photo, caption, photo_id, photo_url, drawn, missing }
                    if photo.is_some() || missing || drawn =>
                {
                    let picture = match (photo, drawn, missing) {
                        (Some(path), false, false) => Picture::File(folder.join(path)),
                        (Some(path), true, false) => Picture::Drawn(folder.join(path)),
                        (None, false, true) => Picture::Missing,
                        _ => return Err(LineError::Marks { turn, element: place }),
                    };
                    ExampleElement::Photo(ExamplePhoto { picture, caption, photo_id, photo_url })
                }
                _ => return Err(LineError::Element { turn, element: place }),
            });
        }
        let speaker = match turn.speaker {
            LineSpeaker::A => Speaker::A,
            LineSpeaker::B => Speaker::B,
        };
        example.push(speaker, elements);
    }
    Ok(example)
}

/// One line of an example, for a file in `folder`: paths below it are written relative to it.
///
/// # Errors
/// If a path is not UTF-8.
///
/// # Panics
/// If a picture is in memory only: write it to a file first, as [`super::ExampleWriter`] does.
pub fn example_line(example: &Example, folder: &Path) -> serde_json::Result<Value> {
    let element = |element: &ExampleElement| match element {
        ExampleElement::Utterance(text) => {
            LineElement { text: Some(text.clone()), ..LineElement::default() }
        }
        ExampleElement::Photo(photo) => {
            let relative = |path: &PathBuf| path.strip_prefix(folder).unwrap_or(path).to_owned();
            let path = match &photo.picture {
                Picture::File(path) | Picture::Drawn(path) => Some(relative(path)),
                Picture::Missing => None,
                Picture::Decoded(_) => panic!("a picture in memory has no path"),
            };
            LineElement {
                text: None,
                drawn: matches!(photo.picture, Picture::Drawn(_)),
                missing: path.is_none(),
                photo: path,
                caption: photo.caption.clone(),
                photo_id: photo.photo_id.clone(),
                photo_url: photo.photo_url.clone(),
            }
        }
    };
    let turns = example.turns().iter().map(|turn| LineTurn {
        speaker: match turn.speaker {
            Speaker::A => LineSpeaker::A,
            Speaker::B => LineSpeaker::B,
        },
        elements: turn.elements.iter().map(element).collect(),
    });
    let line = Line {
        id: example.id.clone(),
        persona: example.persona.clone(),
        turns: turns.collect(),
        truth: example.truth.clone(),
    };
    serde_json::to_value(line)
}

pub(super) fn names_a_file(id: &str) -> bool {
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-');
    !id.is_empty() && id.len() <= 128 && !id.starts_with('.') && id.chars().all(plain)
}

/// A reply in the same form. `photos` are the paths under which its photos were written, in order.
pub fn reply_line(id: &str, reply: &Reply, photos: &[PathBuf]) -> Value {
    let mut photos = photos.iter();
    let elements: Vec<LineElement> = reply
        .elements
        .iter()
        .map(|element| match element {
            Element::Utterance(text) => {
                LineElement { text: Some(text.clone()), ..LineElement::default() }
            }
            Element::Photo(photo) => LineElement {
                photo: photos.next().cloned(),
                caption: photo.caption.clone(),
                ..LineElement::default()
            },
        })
        .collect();
    json!({
        "id": id,
        "reply": { "elements": elements },
        "tokens": reply.tokens,
        "seed": reply.seed,
        "share_probability": reply.share_probability,
        "timings_ms": {
            "perceive": reply.timings.perceive_ms,
            "prefill": reply.timings.prefill_ms,
            "decode": reply.timings.decode_ms,
            "draw": reply.timings.draw_ms,
        },
        "model": reply.model,
        "adapter": reply.adapter,
    })
}

/// What stands in the place of a reply when line `number` (counted from 1) has none.
pub fn error_line(number: usize, error: &dyn Error) -> Value {
    json!({ "line": number, "error": with_causes(error) })
}

/// An error and all its causes as one sentence.
pub fn with_causes(error: &dyn Error) -> String {
    let mut sentence = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        sentence = format!("{sentence}: {cause}");
        source = cause.source();
    }
    sentence
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use super::*;
    use crate::dialogue::{Photo, Timings, Turn};

    fn grey() -> Pixels {
        Pixels { width: 1, height: 1, rgb: vec![128; 3] }
    }

    fn read(line: &str) -> Result<Record, LineError> {
        read_line(line, Path::new("photos"), |_| Ok::<_, io::Error>(grey()))
    }

    #[test]
    fn a_dialogue_keeps_its_order_and_merges_runs() {
        let record = read(
            r#"{"id":"d1","turns":[
                {"speaker":"B","elements":[{"text":"look"},{"photo":"cat.jpg"}]},
                {"speaker":"A","elements":[{"text":"wow"},{"photo":"mine.png","caption":"a dog"}]},
                {"speaker":"B","elements":[{"text":"do"}]},
                {"speaker":"B","elements":[{"text":"more"}]}]}"#,
        )
        .unwrap();
        let photo = |caption: Option<&str>| {
            Element::Photo(Photo {
                pixels: Some(Arc::new(grey())),
                caption: caption.map(str::to_owned),
            })
        };
        let said = |text: &str| Element::Utterance(text.to_owned());
        let expected = [
            Turn { speaker: Speaker::B, elements: vec![said("look"), photo(None)] },
            Turn { speaker: Speaker::A, elements: vec![said("wow"), photo(Some("a dog"))] },
            Turn { speaker: Speaker::B, elements: vec![said("do"), said("more")] },
        ];
        assert_eq!(record.id, "d1");
        assert_eq!(record.dialogue.turns(), expected);
    }

    #[test]
    fn photos_are_looked_for_beside_the_file() {
        let line = r#"{"id":"d","turns":[{"speaker":"B","elements":[{"photo":"a/cat.jpg"}]}]}"#;
        let error = read_line(line, Path::new("photos"), |_| {
            Err::<Pixels, _>(io::Error::other("no such file"))
        })
        .unwrap_err();
        assert_eq!(
            error_line(3, &error),
            json!({"line": 3, "error": "photos/a/cat.jpg: no such file"})
        );
    }

    #[test]
    fn what_can_t_be_used_says_why() {
        for (line, reason) in [
            ("{", "not a dialogue: EOF while parsing an object at line 1 column 1"),
            (r#"{"id":"d"}"#, "not a dialogue: missing field `turns` at line 1 column 10"),
            (
                r#"{"id":"../d","turns":[]}"#,
                r#"the id "../d" can't name a file: use letters, digits, `.`, `_` and `-`, and no leading dot"#,
            ),
            (r#"{"id":"d","turns":[]}"#, "the last turn must be B's, and not empty"),
            (
                r#"{"id":"d","turns":[{"speaker":"B","elements":[{"text":"a"}]},{"speaker":"A","elements":[{"text":"b"}]}]}"#,
                "the last turn must be B's, and not empty",
            ),
            (
                r#"{"id":"d","turns":[{"speaker":"B","elements":[{"text":"a"},{}]}]}"#,
                "turn 1, element 2: give either `text` or `photo`",
            ),
            (
                r#"{"id":"d","turns":[{"speaker":"B","elements":[{"text":"a","photo":"b"}]}]}"#,
                "turn 1, element 1: give either `text` or `photo`",
            ),
        ] {
            let error = read(line).unwrap_err();
            let value = error_line(1, &error);
            let text = value["error"].as_str().unwrap();
            assert_eq!(text, reason, "{line}");
        }
        let error = read(r#"{"id":"d","turns":[{"speaker":"C","elements":[]}]}"#).unwrap_err();
        assert!(error_line(1, &error)["error"].as_str().unwrap().contains("unknown variant `C`"));
    }

    #[test]
    fn a_reply_reads_back_as_a_turn() {
        let reply = Reply {
            elements: vec![
                Element::Utterance("here".to_owned()),
                Element::Photo(Photo {
                    pixels: Some(Arc::new(grey())),
                    caption: Some("a red cup".to_owned()),
                }),
            ],
            tokens: vec![5, 6],
            seed: 7,
            share_probability: Some(0.5),
            timings: Timings { decode_ms: 1.5, ..Timings::default() },
            model: "m".to_owned(),
            adapter: None,
        };
        let value = reply_line("d1", &reply, &[PathBuf::from("out/d1-0.png")]);
        let expected = json!({
            "id": "d1",
            "reply": {"elements": [{"text": "here"}, {"photo": "out/d1-0.png", "caption": "a red cup"}]},
            "tokens": [5, 6], "seed": 7, "share_probability": 0.5,
            "timings_ms": {"perceive": 0.0, "prefill": 0.0, "decode": 1.5, "draw": 0.0},
            "model": "m", "adapter": null,
        });
        assert_eq!(value, expected);
    }
}
