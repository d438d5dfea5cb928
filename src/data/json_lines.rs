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

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::dialogue::{Dialogue, Element, Photo, Pixels, Reply, Speaker};

/// One line, understood.
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
    /// Not JSON, or not of this form.
    #[error("not a dialogue")]
    Malformed(#[source] serde_json::Error),
    /// The id would leave the output folder or hide in it.
    #[error(
        "the id {0:?} can't name a file: use letters, digits, `.`, `_` and `-`, and no leading dot"
    )]
    Id(String),
    /// An element is neither text nor photo, or both.
    #[error("turn {turn}, element {element}: give either `text` or `photo`")]
    Element {
        /// Counted from 1.
        turn: usize,
        /// Counted from 1.
        element: usize,
    },
    /// There is nothing to answer.
    #[error("the last turn must be B's, and not empty")]
    NothingToAnswer,
    /// A photo can't be read or decoded.
    #[error("{path}")]
    Photo {
        /// As written in the line, below the file's folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    id: String,
    turns: Vec<LineTurn>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LineTurn {
    speaker: LineSpeaker,
    elements: Vec<LineElement>,
}

#[derive(Deserialize)]
enum LineSpeaker {
    A,
    B,
}

#[derive(Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct LineElement {
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    photo: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    caption: Option<String>,
}

/// Reads one line. `load` turns a photo's path (already joined to `folder`) into pixels.
pub fn read_line<E: Into<Box<dyn Error + Send + Sync>>>(
    line: &str,
    folder: &Path,
    load: impl Fn(&Path) -> Result<Pixels, E>,
) -> Result<Record, LineError> {
    let line: Line = serde_json::from_str(line).map_err(LineError::Malformed)?;
    if !names_a_file(&line.id) {
        return Err(LineError::Id(line.id));
    }
    let mut dialogue = Dialogue::default();
    for (turn_index, turn) in line.turns.into_iter().enumerate() {
        let mut elements = Vec::new();
        for (element_index, element) in turn.elements.into_iter().enumerate() {
            elements.push(match element {
                LineElement { text: Some(text), photo: None, caption: None } => {
                    Element::Utterance(text)
                }
                LineElement { text: None, photo: Some(path), caption } => {
                    let path = folder.join(path);
                    let pixels = load(&path)
                        .map_err(|source| LineError::Photo { path, source: source.into() })?;
                    Element::Photo(Photo { pixels: Some(Arc::new(pixels)), caption })
                }
                _ => {
                    return Err(LineError::Element {
                        turn: turn_index + 1,
                        element: element_index + 1,
                    });
                }
            });
        }
        let speaker = match turn.speaker {
            LineSpeaker::A => Speaker::A,
            LineSpeaker::B => Speaker::B,
        };
        dialogue.push(speaker, elements);
    }
    match dialogue.turns().last() {
        Some(turn) if turn.speaker == Speaker::B => Ok(Record { id: line.id, dialogue }),
        _ => Err(LineError::NothingToAnswer),
    }
}

fn names_a_file(id: &str) -> bool {
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
                text: None,
                photo: photos.next().cloned(),
                caption: photo.caption.clone(),
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
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    json!({ "line": number, "error": text })
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::dialogue::{Timings, Turn};

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
