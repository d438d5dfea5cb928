//! Dialogues as the language model learns them: a whole dialogue is one sequence, and each of its
//! scored tokens is predicted from all before it.

use std::ops::Range;

use crate::config::{Scored, ScoredSpeakers, TextLoss};
use crate::data::{Example, load_photo};
use crate::dialogue::Speaker;
use crate::llama_vision::PhotoTiles;
use crate::prompt::{Budget, Closing, Prompt, PromptBuilder, SpanKind};

/// A dialogue in tokens, with what is scored of it.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadDialogue {
    /// Tokens, photos and spans.
    pub prompt: Prompt,
    /// Places in `prompt.ids` of the tokens that are scored, rising; never the first token.
    pub scored: Vec<usize>,
}

impl ReadDialogue {
    /// Reads an example within the settings' limits. Beside it, a sentence where its oldest turns
    /// had to be left out.
    ///
    /// # Errors
    /// A sentence, where a photo can't be loaded, the dialogue makes no prompt, or nothing in it is
    /// scored.
    pub fn read(
        example: &Example,
        prompts: &PromptBuilder,
        settings: &TextLoss,
        context_tokens: usize,
    ) -> Result<(Self, Option<String>), String> {
        let sentence = |error: &dyn std::error::Error| {
            let mut sentence = format!("{}: {error}", example.id);
            let mut source = error.source();
            while let Some(cause) = source {
                sentence = format!("{sentence}: {cause}");
                source = cause.source();
            }
            sentence
        };
        let dialogue = example.dialogue(load_photo).map_err(|error| sentence(&error))?;
        let tokens_max = settings.tokens_max.min(context_tokens);
        let budget = Budget { tokens_max, tiles_max: settings.tiles_max };
        let prompt = prompts
            .build(&dialogue, settings.system_text.as_deref(), budget, Closing::Complete)
            .map_err(|error| sentence(&error))?;
        let scored = scored(&prompt, prompts.tokenizer().image(), settings);
        if scored.is_empty() {
            return Err(format!("{}: nothing in it is scored", example.id));
        }
        let first = prompt.spans.first().map_or(0, |span| (span.turn, span.element).max((0, 0)).0);
        let cut = prompt.spans.first().is_some_and(|span| (span.turn, span.element) != (0, 0));
        let note = cut.then(|| {
            format!(
                "{}: longer than {tokens_max} tokens; what was said before turn {} is left out",
                example.id,
                first + 1
            )
        });
        Ok((Self { prompt, scored }, note))
    }

    /// The photos as the vision encoder takes them.
    pub fn photos(&self) -> Vec<PhotoTiles> {
        let tiles = self.prompt.images.iter().map(|image| PhotoTiles {
            pixels: image.pixel_values.clone(),
            tiles: image.tiles,
            aspect_ratio_id: image.aspect_ratio_id,
        });
        tiles.collect()
    }
}

/// Places of scored tokens. Photos never are, and nothing predicts the first token.
fn scored(prompt: &Prompt, image: u32, settings: &TextLoss) -> Vec<usize> {
    let speaks = |speaker| settings.speakers == ScoredSpeakers::Both || speaker == Speaker::A;
    let ranges: Vec<Range<usize>> = match settings.scored {
        Scored::Everything => vec![0..prompt.ids.len()],
        Scored::Turns => prompt
            .spans
            .iter()
            .filter(|span| speaks(span.speaker) && span.kind != SpanKind::Image)
            .map(|span| span.tokens.clone())
            .collect(),
    };
    let places = ranges.into_iter().flatten();
    places.filter(|&place| place > 0 && prompt.ids[place] != image).collect()
}
