//! A dialogue as the budget lets the model see it: which turns, and how much of each photo.

use super::image_processor::{Detail, ImageProcessor};
use crate::dialogue::{Dialogue, Element, Photo, Pixels, Speaker};

/// What is left of an element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Seen<'a> {
    /// Text, perhaps cut from its front.
    Text(&'a str),
    /// A photo that is seen.
    Pixels { pixels: &'a Pixels, caption: Option<&'a str>, detail: Detail },
    /// A photo of which only words are left, if even those.
    Words(Option<&'a str>),
}

/// A turn as it is seen, with its place in the dialogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TurnView<'a> {
    pub(super) turn: usize,
    pub(super) speaker: Speaker,
    /// Elements with their places in the turn.
    pub(super) elements: Vec<(usize, Seen<'a>)>,
}

/// The dialogue from turn `first` on. All photos are seen in full until `tiles_max` is exceeded;
/// then, oldest first, with one tile; then, oldest first, as words.
pub(super) fn view<'a>(
    dialogue: &'a Dialogue,
    first: usize,
    processor: &ImageProcessor,
    tiles_max: usize,
) -> Vec<TurnView<'a>> {
    let mut turns: Vec<TurnView<'a>> = dialogue
        .turns()
        .iter()
        .enumerate()
        .skip(first)
        .map(|(turn, said)| TurnView {
            turn,
            speaker: said.speaker,
            elements: said.elements.iter().map(seen).enumerate().collect(),
        })
        .collect();
    demote(&mut turns, processor, tiles_max);
    turns
}

fn seen(element: &Element) -> Seen<'_> {
    match element {
        Element::Utterance(text) => Seen::Text(text),
        Element::Photo(Photo { pixels: Some(pixels), caption }) => {
            Seen::Pixels { pixels, caption: caption.as_deref(), detail: Detail::Full }
        }
        Element::Photo(Photo { pixels: None, caption }) => Seen::Words(caption.as_deref()),
    }
}

fn demote(turns: &mut [TurnView<'_>], processor: &ImageProcessor, tiles_max: usize) {
    let tiles = |seen: &Seen<'_>| match seen {
        Seen::Pixels { pixels, detail: Detail::Full, .. } => {
            processor.tiles(pixels.width, pixels.height)
        }
        Seen::Pixels { detail: Detail::OneTile, .. } => 1,
        Seen::Text(_) | Seen::Words(_) => 0,
    };
    let mut photos: Vec<&mut Seen<'_>> = turns
        .iter_mut()
        .flat_map(|turn| &mut turn.elements)
        .map(|(_, seen)| seen)
        .filter(|seen| matches!(seen, Seen::Pixels { .. }))
        .collect();
    let mut total: usize = photos.iter().map(|photo| tiles(photo)).sum();
    for photo in &mut photos {
        if total <= tiles_max {
            return;
        }
        total -= tiles(photo) - 1;
        if let Seen::Pixels { detail, .. } = &mut **photo {
            *detail = Detail::OneTile;
        }
    }
    for photo in &mut photos {
        if total <= tiles_max {
            return;
        }
        total -= 1;
        if let Seen::Pixels { caption, .. } = &**photo {
            **photo = Seen::Words(*caption);
        }
    }
}
