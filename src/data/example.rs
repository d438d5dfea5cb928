//! One dialogue to learn from or to be measured on, whatever file it came from.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::pocket::Truth;
use crate::dialogue::{Dialogue, Element, Photo, Pixels, Speaker};

/// A whole dialogue. Every turn of A's is a reply to the turns before it.
#[derive(Debug, Clone, PartialEq)]
pub struct Example {
    /// Unique within its file; photos that are written for it are named by it.
    pub id: String,
    /// Whom a photo shows, such as "The photo has your brother Darwin.", where the dataset says so.
    pub persona: Option<String>,
    /// What is true of the photos and replies, where the dialogue was made by the pocket world.
    pub truth: Option<Truth>,
    turns: Vec<ExampleTurn>,
}

/// An ordered run of elements by one speaker.
#[derive(Debug, Clone, PartialEq)]
pub struct ExampleTurn {
    /// Who.
    pub speaker: Speaker,
    /// What, in the order it was sent; never empty.
    pub elements: Vec<ExampleElement>,
}

impl ExampleTurn {
    /// What is said in it, without photos.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.elements.iter().filter_map(|element| match element {
            ExampleElement::Utterance(text) => Some(text.as_str()),
            ExampleElement::Photo(_) => None,
        })
    }
}

/// One piece of a turn.
#[derive(Debug, Clone, PartialEq)]
pub enum ExampleElement {
    /// Text.
    Utterance(String),
    /// A photo, at the place where it was shared.
    Photo(ExamplePhoto),
}

/// A photo and what is known about it.
#[derive(Debug, Clone, PartialEq)]
pub struct ExamplePhoto {
    /// The picture, or where it is.
    pub picture: Picture,
    /// Its gold caption.
    pub caption: Option<String>,
    /// What the dataset calls the photo.
    pub photo_id: Option<String>,
    /// Where the dataset says that the photo was.
    pub photo_url: Option<String>,
}

/// Where the picture of a photo is.
#[derive(Debug, Clone, PartialEq)]
pub enum Picture {
    /// A file.
    File(PathBuf),
    /// A file that was drawn from the caption because the photo was missing: metrics of pictures
    /// leave it out.
    Drawn(PathBuf),
    /// In memory.
    Decoded(Arc<Pixels>),
    /// Nowhere: of this photo there are only words, and nothing can be learned about drawing it.
    Missing,
}

/// The file of a photo can't be read or decoded.
#[derive(Debug, thiserror::Error)]
#[error("{path}")]
pub struct PhotoFileError {
    /// The file.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub source: Box<dyn Error + Send + Sync>,
}

impl ExamplePhoto {
    /// A photo of which nothing else is known.
    pub fn new(picture: Picture, caption: Option<String>) -> Self {
        Self { picture, caption, photo_id: None, photo_url: None }
    }
}

impl Example {
    /// An example without turns.
    pub fn new(id: impl Into<String>) -> Self {
        Self { id: id.into(), persona: None, truth: None, turns: Vec::new() }
    }

    /// Adds a turn; a run by the same speaker grows, keeping its order. Empty turns vanish.
    pub fn push(&mut self, speaker: Speaker, elements: impl IntoIterator<Item = ExampleElement>) {
        let mut elements = elements.into_iter().peekable();
        if elements.peek().is_none() {
            return;
        }
        match self.turns.last_mut() {
            Some(last) if last.speaker == speaker => last.elements.extend(elements),
            _ => self.turns.push(ExampleTurn { speaker, elements: elements.collect() }),
        }
    }

    /// The turns, oldest first, no two neighbours by one speaker.
    pub fn turns(&self) -> &[ExampleTurn] {
        &self.turns
    }

    /// The photos in order, each with its turn's index and speaker.
    pub fn photos(&self) -> impl Iterator<Item = (usize, Speaker, &ExamplePhoto)> {
        self.turns.iter().enumerate().flat_map(|(index, turn)| {
            turn.elements.iter().filter_map(move |element| match element {
                ExampleElement::Photo(photo) => Some((index, turn.speaker, photo)),
                ExampleElement::Utterance(_) => None,
            })
        })
    }

    /// The photos in order, to change.
    pub fn photos_mut(&mut self) -> impl Iterator<Item = &mut ExamplePhoto> {
        self.turns.iter_mut().flat_map(|turn| &mut turn.elements).filter_map(
            |element| match element {
                ExampleElement::Photo(photo) => Some(photo),
                ExampleElement::Utterance(_) => None,
            },
        )
    }

    /// Indices of A's turns that answer something: those with a turn before them.
    pub fn replies(&self) -> impl Iterator<Item = usize> {
        let by_a = |index: &usize| self.turns[*index].speaker == Speaker::A;
        (1..self.turns.len()).filter(by_a)
    }

    /// The whole dialogue with its photos in memory; [`load_photo`] is the usual `load`.
    ///
    /// # Errors
    /// If a photo's file can't be loaded.
    pub fn dialogue<E: Into<Box<dyn Error + Send + Sync>>>(
        &self,
        load: impl Fn(&Path) -> Result<Pixels, E>,
    ) -> Result<Dialogue, PhotoFileError> {
        self.dialogue_until(self.turns.len(), load)
    }

    /// The first `turns` turns with their photos in memory: the context of turn `turns`.
    ///
    /// # Errors
    /// As [`Example::dialogue`].
    ///
    /// # Panics
    /// If there are fewer turns.
    pub fn dialogue_until<E: Into<Box<dyn Error + Send + Sync>>>(
        &self,
        turns: usize,
        load: impl Fn(&Path) -> Result<Pixels, E>,
    ) -> Result<Dialogue, PhotoFileError> {
        let mut dialogue = Dialogue::default();
        for turn in &self.turns[..turns] {
            let mut elements = Vec::with_capacity(turn.elements.len());
            for element in &turn.elements {
                elements.push(match element {
                    ExampleElement::Utterance(text) => Element::Utterance(text.clone()),
                    ExampleElement::Photo(photo) => Element::Photo(Photo {
                        pixels: photo.picture.pixels(&load)?,
                        caption: photo.caption.clone(),
                    }),
                });
            }
            dialogue.push(turn.speaker, elements);
        }
        Ok(dialogue)
    }
}

impl Picture {
    /// The picture in memory; `None` where it is missing.
    ///
    /// # Errors
    /// If its file can't be loaded.
    pub fn pixels<E: Into<Box<dyn Error + Send + Sync>>>(
        &self,
        load: impl Fn(&Path) -> Result<Pixels, E>,
    ) -> Result<Option<Arc<Pixels>>, PhotoFileError> {
        match self {
            Self::Decoded(pixels) => Ok(Some(Arc::clone(pixels))),
            Self::Missing => Ok(None),
            Self::File(path) | Self::Drawn(path) => {
                let pixels = load(path).map_err(|source| PhotoFileError {
                    path: path.clone(),
                    source: source.into(),
                })?;
                Ok(Some(Arc::new(pixels)))
            }
        }
    }
}

/// Reads and decodes a photo's file under the usual limits.
///
/// # Errors
/// If it can't be read, or is no picture within the limits.
pub fn load_photo(path: &Path) -> Result<Pixels, Box<dyn Error + Send + Sync>> {
    Ok(crate::imaging::decode(&std::fs::read(path)?, &crate::imaging::Limits::default())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> ExampleElement {
        ExampleElement::Utterance(text.to_owned())
    }

    fn example() -> Example {
        let photo = |picture| ExamplePhoto::new(picture, None);
        let mut example = Example::new("e");
        example.push(Speaker::A, [said("hi")]);
        example.push(Speaker::B, [said("look")]);
        example.push(Speaker::B, [ExampleElement::Photo(photo(Picture::Missing))]);
        example.push(Speaker::A, []);
        let drawn = Picture::Drawn(PathBuf::from("d.png"));
        example.push(Speaker::A, [said("mine"), ExampleElement::Photo(photo(drawn))]);
        example
    }

    #[test]
    fn runs_merge_and_only_answers_are_replies() {
        let example = example();
        assert_eq!(example.turns().len(), 3);
        assert_eq!(example.replies().collect::<Vec<_>>(), [2]);
        let photos: Vec<_> = example.photos().map(|(turn, speaker, _)| (turn, speaker)).collect();
        assert_eq!(photos, [(1, Speaker::B), (2, Speaker::A)]);
    }

    #[test]
    fn a_context_loads_only_its_own_photos() {
        let example = example();
        let fail = |_: &Path| Err::<Pixels, _>("gone");
        assert_eq!(example.dialogue_until(2, fail).unwrap().turns().len(), 2);
        let error = example.dialogue(fail).unwrap_err();
        assert_eq!(error.to_string(), "d.png");
        assert_eq!(error.source().unwrap().to_string(), "gone");
    }
}
