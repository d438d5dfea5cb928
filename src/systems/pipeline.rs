//! The paper's baseline: two models that know each other by captions alone.
//!
//! The same language model and the same image generator, trained apart. No photo of the context is
//! seen: its caption stands in its place, as far as it has one. What the language model writes as a
//! caption is what the image generator is given; inference differs in nothing else.

use super::{DrawRequest, EndToEnd, ReplyRequest, RespondError, System, Watcher};
use crate::dialogue::{Dialogue, Element, Photo, Pixels, Reply, Turn};

/// Both models of a directory with text alone between them.
pub struct Pipeline {
    models: EndToEnd,
    revision: String,
}

impl Pipeline {
    /// Takes the models without their sight.
    pub fn new(models: EndToEnd) -> Self {
        let revision = format!("{}-pipeline", models.revision());
        Self { models, revision }
    }
}

impl System for Pipeline {
    fn revision(&self) -> &str {
        &self.revision
    }

    fn respond(
        &mut self,
        request: &ReplyRequest,
        watcher: &mut Watcher<'_>,
    ) -> Result<Reply, RespondError> {
        let request = ReplyRequest { dialogue: in_words(&request.dialogue), ..request.clone() };
        let reply = self.models.respond(&request, watcher)?;
        Ok(Reply { model: self.revision.clone(), ..reply })
    }

    fn draw(
        &mut self,
        request: &DrawRequest,
        watcher: &mut Watcher<'_>,
    ) -> Result<Pixels, RespondError> {
        self.models.draw(request, watcher)
    }
}

/// The dialogue with nothing left of its photos but their captions.
fn in_words(dialogue: &Dialogue) -> Dialogue {
    let element = |element: &Element| match element {
        Element::Utterance(_) => element.clone(),
        Element::Photo(photo) => {
            Element::Photo(Photo { pixels: None, caption: photo.caption.clone() })
        }
    };
    let turn = |turn: &Turn| Turn {
        speaker: turn.speaker,
        elements: turn.elements.iter().map(element).collect(),
    };
    dialogue.turns().iter().map(turn).collect()
}
