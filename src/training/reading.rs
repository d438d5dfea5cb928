//! Dialogues as the language model learns them: a whole dialogue is one sequence, and each of its
//! scored tokens is predicted from all before it.
//!
//! Axes in names: n scored token, v vocabulary.

use std::collections::HashMap;
use std::error::Error;
use std::ops::Range;
use std::sync::Arc;

use tch::{Kind, Tensor};

use super::{Measures, Recorder};
use crate::config::{Scored, ScoredSpeakers, TextLoss};
use crate::data::{Example, load_photo, with_causes};
use crate::dialogue::{Dialogue, Element, Photo, Pixels, Speaker};
use crate::llama_vision::{PhotoTiles, VisionConfig, cross_attention_mask};
use crate::prompt::{Budget, Closing, Prompt, PromptBuilder, Span, SpanKind};

/// A dialogue in tokens, with what is scored of it.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadDialogue {
    /// Tokens, photos and spans.
    pub prompt: Prompt,
    /// Places in `prompt.ids` of the tokens that are scored, rising; never the first token.
    pub scored: Vec<usize>,
    /// The photos that A shares by a caption and that are there to be seen, in order.
    pub shared: Vec<SharedPhoto>,
}

/// A photo that A shares.
#[derive(Debug, Clone, PartialEq)]
pub struct SharedPhoto {
    /// Places in `prompt.ids` of the caption's tokens; all of them are scored.
    pub tokens: Range<usize>,
    /// The caption.
    pub caption: String,
    /// The photo.
    pub pixels: Arc<Pixels>,
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
        let sentence = |error: &dyn Error| format!("{}: {}", example.id, with_causes(error));
        let dialogue = example.dialogue(load_photo).map_err(|error| sentence(&error))?;
        let tokens_max = settings.tokens_max.min(context_tokens);
        let budget = Budget { tokens_max, tiles_max: settings.tiles_max };
        let prompt = prompts
            .build(&dialogue, settings.system_text.as_deref(), budget, Closing::Complete)
            .map_err(|error| sentence(&error))?;
        let scored = scored(&prompt, &dialogue, prompts.tokenizer().image(), settings);
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
        let shared = prompt.spans.iter().filter_map(|span| shared(span, &dialogue)).collect();
        Ok((Self { prompt, scored, shared }, note))
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

    /// Places of the tokens whose logits predict the scored ones: the token before each. Behind a
    /// photo of A's own that is the end of its caption, for while A writes, its photo is not drawn
    /// yet.
    pub fn predicting(&self) -> Vec<usize> {
        let own = |span: &&Span| span.kind == SpanKind::Image && span.speaker == Speaker::A;
        let own: HashMap<usize, usize> = self
            .prompt
            .spans
            .iter()
            .filter(own)
            .map(|span| (span.tokens.end - 1, span.tokens.start - 1))
            .collect();
        let before = |place: &usize| own.get(&(place - 1)).copied().unwrap_or(place - 1);
        self.scored.iter().map(before).collect()
    }

    /// Keeps the dialogue for a trace, named as the trace of a reply names it.
    pub(super) fn record(&self, recorder: &Recorder, vision: &VisionConfig) {
        let integers = |ids: &[usize]| {
            Tensor::from_slice(&ids.iter().map(|&id| id as i64).collect::<Vec<_>>())
        };
        let Prompt { ids, images, image_positions, .. } = &self.prompt;
        recorder.keep("prompt_ids", || {
            Tensor::from_slice(&ids.iter().map(|&id| i64::from(id)).collect::<Vec<_>>())
        });
        recorder.keep("scored_places", || integers(&self.scored));
        if images.is_empty() {
            return;
        }
        let (n, k, side) = (images.len() as i64, vision.tiles_max, vision.tile_size);
        recorder.keep("pixel_values", || {
            let pixels: Vec<&[f32]> =
                images.iter().map(|image| image.pixel_values.as_slice()).collect();
            Tensor::from_slice(&pixels.concat()).view([n, k, 3, side, side])
        });
        recorder.keep("aspect_ratio_ids", || {
            Tensor::from_slice(
                &images.iter().map(|image| image.aspect_ratio_id).collect::<Vec<_>>(),
            )
        });
        recorder.keep("aspect_ratio_mask", || {
            let shown: Vec<&[i64]> =
                images.iter().map(|image| image.aspect_ratio_mask.as_slice()).collect();
            Tensor::from_slice(&shown.concat()).view([n, k])
        });
        recorder.keep("cross_attention_mask", || {
            let shown: Vec<usize> = images.iter().map(|image| image.tiles).collect();
            let mask = cross_attention_mask(image_positions, &shown, ids.len(), k as usize);
            Tensor::from_slice(&mask).to_kind(Kind::Int64).view([ids.len() as i64, n, k])
        });
    }
}

/// The scored tokens of several dialogues, one dialogue after the other.
pub(super) struct ScoredTokens {
    targets: Vec<i64>,
    /// 1 for tokens of captions, 0 for the others.
    captions: Vec<f32>,
    /// The place of each token in its dialogue, and the first token of each dialogue.
    places: Vec<usize>,
    begins: Vec<usize>,
}

impl ScoredTokens {
    pub(super) fn new(dialogues: &[ReadDialogue]) -> Self {
        let mut all = Self {
            targets: Vec::new(),
            captions: Vec::new(),
            places: Vec::new(),
            begins: Vec::new(),
        };
        for dialogue in dialogues {
            let ids = &dialogue.prompt.ids;
            let mut in_caption = vec![0.0; ids.len()];
            for span in &dialogue.prompt.spans {
                if span.kind == SpanKind::Caption {
                    in_caption[span.tokens.clone()].fill(1.0);
                }
            }
            all.begins.push(all.targets.len());
            all.targets.extend(dialogue.scored.iter().map(|&place| i64::from(ids[place])));
            all.captions.extend(dialogue.scored.iter().map(|&place| in_caption[place]));
            all.places.extend(&dialogue.scored);
        }
        all
    }

    /// Which of all is the scored token at `place` of the dialogue `dialogue`.
    pub(super) fn row(&self, dialogue: usize, place: usize) -> i64 {
        let begin = self.begins[dialogue];
        let end = self.begins.get(dialogue + 1).copied().unwrap_or(self.places.len());
        let within = self.places[begin..end].binary_search(&place);
        (begin + within.expect("the token is scored")) as i64
    }

    /// −Σ log p (eq. 1) of the tokens under `logits_nv` (any format), float32; and the measures
    /// `text_loss` and `caption_loss`.
    pub(super) fn surprise(&self, logits_nv: &Tensor, measures: &mut Measures) -> Tensor {
        let device = logits_nv.device();
        let targets_n1 = Tensor::from_slice(&self.targets).to_device(device).unsqueeze(1);
        let log_p_nv = logits_nv.log_softmax(-1, Kind::Float);
        let surprise_n = -log_p_nv.gather(1, &targets_n1, false).squeeze_dim(1);
        let sum = surprise_n.sum(Kind::Float);
        measures.add("text_loss", sum.double_value(&[]), self.targets.len() as f64);
        let captions_n = Tensor::from_slice(&self.captions).to_device(device);
        let captions = (surprise_n.detach() * captions_n).sum(Kind::Float).double_value(&[]);
        measures.add("caption_loss", captions, self.captions.iter().sum::<f32>().into());
        sum
    }
}

/// The photo that `span` is the caption of, if A shares it and there is a picture.
fn shared(span: &Span, dialogue: &Dialogue) -> Option<SharedPhoto> {
    if (span.kind, span.speaker) != (SpanKind::Caption, Speaker::A) {
        return None;
    }
    match &dialogue.turns()[span.turn].elements[span.element] {
        Element::Photo(Photo { pixels: Some(pixels), caption: Some(caption) }) => {
            Some(SharedPhoto {
                tokens: span.tokens.clone(),
                caption: caption.clone(),
                pixels: Arc::clone(pixels),
            })
        }
        _ => None,
    }
}

/// Whether a span is text that nobody said: what stands for a photo that isn't seen.
fn stands_for_photo(span: &Span, dialogue: &Dialogue) -> bool {
    let element = &dialogue.turns()[span.turn].elements[span.element];
    span.kind == SpanKind::Text && matches!(element, Element::Photo(_))
}

/// Places of scored tokens. Photos never are, and nothing predicts the first token.
fn scored(prompt: &Prompt, dialogue: &Dialogue, image: u32, settings: &TextLoss) -> Vec<usize> {
    let speaks = |speaker| settings.speakers == ScoredSpeakers::Both || speaker == Speaker::A;
    let ranges: Vec<Range<usize>> = match settings.scored {
        Scored::Everything => vec![0..prompt.ids.len()],
        Scored::Turns => prompt
            .spans
            .iter()
            .filter(|span| speaks(span.speaker) && span.kind != SpanKind::Image)
            .filter(|span| !stands_for_photo(span, dialogue))
            .map(|span| span.tokens.clone())
            .collect(),
    };
    let places = ranges.into_iter().flatten();
    places.filter(|&place| place > 0 && prompt.ids[place] != image).collect()
}
