//! One reply beside what A really said.

use std::path::PathBuf;

use serde::Deserialize;
use serde_json::Value;

use super::photos::Judgement;
use crate::data::Example;
use crate::dialogue::Speaker;

/// What a system answered at one turn; empty where it failed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// Its texts, joined by line breaks, captions left out.
    pub text: String,
    /// The photos that it shared.
    pub photos: Vec<DrawnPhoto>,
    /// Why there is no answer, if there is none.
    pub error: Option<String>,
}

/// A photo of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrawnPhoto {
    /// Its file.
    pub file: PathBuf,
    /// What it was drawn from.
    pub caption: String,
}

/// A decision with what came of it.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    /// The dialogue.
    pub example: &'a Example,
    /// The turn of A's that is answered anew.
    pub turn: usize,
    /// The system's answer.
    pub answer: &'a Answer,
    /// What the judge sees in the answer's photos, in order; empty where nobody judged.
    pub judgements: &'a [Judgement],
}

impl Case<'_> {
    /// What A said in words: its texts, joined by line breaks.
    pub fn reference(&self) -> String {
        self.example.turns()[self.turn].texts().collect::<Vec<_>>().join("\n")
    }

    /// Whether A shared a photo.
    pub fn wants_photo(&self) -> bool {
        let by_a = |(turn, speaker, _)| turn == self.turn && speaker == Speaker::A;
        self.example.photos().any(by_a)
    }

    /// Whether the system shared one.
    pub fn shares_photo(&self) -> bool {
        !self.answer.photos.is_empty()
    }
}

#[derive(Deserialize)]
struct Line {
    id: String,
    turn: usize,
    reply: Option<LineReply>,
    error: Option<String>,
}

#[derive(Deserialize)]
struct LineReply {
    elements: Vec<LineElement>,
}

#[derive(Deserialize)]
struct LineElement {
    text: Option<String>,
    photo: Option<PathBuf>,
    caption: Option<String>,
}

/// Reads a line of results: dialogue, turn and answer.
pub(super) fn read_answer(line: Value) -> serde_json::Result<(String, usize, Answer)> {
    let line: Line = serde_json::from_value(line)?;
    let mut answer = Answer { error: line.error, ..Answer::default() };
    let mut texts = Vec::new();
    for element in line.reply.into_iter().flat_map(|reply| reply.elements) {
        texts.extend(element.text);
        answer.photos.extend(
            element
                .photo
                .map(|file| DrawnPhoto { file, caption: element.caption.unwrap_or_default() }),
        );
    }
    answer.text = texts.join("\n");
    Ok((line.id, line.turn, answer))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_of_results_reads_back() {
        let line = json!({"id": "d", "turn": 3, "reply": {"elements": [
            {"text": "here"}, {"photo": "p.png", "caption": "a cat"}, {"text": "nice?"}]}});
        let photo = DrawnPhoto { file: PathBuf::from("p.png"), caption: "a cat".to_owned() };
        let answer = Answer { text: "here\nnice?".to_owned(), photos: vec![photo], error: None };
        assert_eq!(read_answer(line).unwrap(), ("d".to_owned(), 3, answer));
        let failed = json!({"id": "d", "turn": 5, "error": "no memory"});
        let (_, _, answer) = read_answer(failed).unwrap();
        assert_eq!(answer.error.as_deref(), Some("no memory"));
        assert_eq!((answer.text.as_str(), answer.photos.len()), ("", 0));
    }
}
