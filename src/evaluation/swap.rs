//! Every photo swapped for another dialogue's: the control of whether photos are seen.

use std::error::Error;
use std::path::Path;

use super::draws::Draws;
use crate::data::{Example, ExamplePhoto, PhotoFileError, Picture};
use crate::dialogue::{Dialogue, Element, Photo, Pixels, Speaker, Turn};

/// Photos of a dataset that may stand in for others.
pub struct PhotoSwap<'a> {
    /// Each with its dialogue's id.
    photos: Vec<(&'a str, &'a ExamplePhoto)>,
    seed: u64,
}

impl<'a> PhotoSwap<'a> {
    /// All photos of the examples that can be shown.
    pub fn new(examples: &'a [Example], seed: u64) -> Self {
        let of = |example: &'a Example| {
            let shown = |photo: &&ExamplePhoto| photo.picture != Picture::Missing;
            let photos = example.photos().map(|(_, _, photo)| photo).filter(shown);
            photos.map(|photo| (example.id.as_str(), photo))
        };
        Self { photos: examples.iter().flat_map(of).collect(), seed }
    }

    /// The context with other photos in the place of its own. B's take their words with them; what A
    /// captioned stays, for A said it. Without another dialogue's photo nothing is swapped.
    ///
    /// # Errors
    /// If a photo's file can't be loaded.
    pub fn swap<E: Into<Box<dyn Error + Send + Sync>>>(
        &self,
        id: &str,
        context: &Dialogue,
        load: impl Fn(&Path) -> Result<Pixels, E>,
    ) -> Result<Dialogue, PhotoFileError> {
        let mut number = 0;
        let mut swapped = Vec::new();
        for turn in context.turns() {
            let mut elements = Vec::new();
            for element in &turn.elements {
                elements.push(match element {
                    Element::Utterance(_) => element.clone(),
                    Element::Photo(own) => {
                        number += 1;
                        let other = self.other(id, number);
                        Element::Photo(match other {
                            None => own.clone(),
                            Some(other) => Photo {
                                pixels: other.picture.pixels(&load)?,
                                caption: match turn.speaker {
                                    Speaker::A => own.caption.clone(),
                                    Speaker::B => other.caption.clone(),
                                },
                            },
                        })
                    }
                });
            }
            swapped.push(Turn { speaker: turn.speaker, elements });
        }
        Ok(swapped.into_iter().collect())
    }

    /// Another dialogue's photo for photo `number` of the dialogue `id`: the same in every context.
    fn other(&self, id: &str, number: usize) -> Option<&'a ExamplePhoto> {
        let mut draws = Draws::new(self.seed, "swap", &format!("{id} {number}"));
        let first = draws.below(self.photos.len().max(1));
        let (before, behind) = self.photos.split_at(first.min(self.photos.len()));
        let mut candidates = behind.iter().chain(before);
        candidates.find(|(owner, _)| *owner != id).map(|(_, photo)| *photo)
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::data::load_photo;
    use crate::data::pocket::{PocketWorld, Split};

    fn photos(dialogue: &Dialogue) -> Vec<(Speaker, Photo)> {
        let elements = dialogue
            .turns()
            .iter()
            .flat_map(|turn| turn.elements.iter().map(|element| (turn.speaker, element)));
        let photos = elements.filter_map(|(speaker, element)| match element {
            Element::Photo(photo) => Some((speaker, photo.clone())),
            Element::Utterance(_) => None,
        });
        photos.collect()
    }

    fn texts(dialogue: &Dialogue) -> Vec<Element> {
        let elements = dialogue.turns().iter().flat_map(|turn| turn.elements.clone());
        elements.filter(|element| matches!(element, Element::Utterance(_))).collect()
    }

    #[test]
    fn every_photo_becomes_another_dialogues_and_words_stay() {
        let world = PocketWorld { seed: 5 };
        let examples: Vec<Example> = (0..30).map(|at| world.dialogue(Split::Test, at)).collect();
        let swap = PhotoSwap::new(&examples, 1);
        let mut seen = 0;
        for example in &examples {
            let context = example.dialogue(load_photo).unwrap();
            let swapped = swap.swap(&example.id, &context, load_photo).unwrap();
            assert_eq!(texts(&swapped), texts(&context));
            let own: Vec<Photo> = photos(&context).into_iter().map(|(_, photo)| photo).collect();
            for ((speaker, new), old) in photos(&swapped).into_iter().zip(&own) {
                assert!(own.iter().all(|own| own.pixels != new.pixels), "{}", example.id);
                assert!(speaker == Speaker::B || new.caption == old.caption);
                seen += 1;
            }
            // An earlier context shows the same photos.
            let shorter = example.dialogue_until(example.turns().len() - 1, load_photo).unwrap();
            let shorter = photos(&swap.swap(&example.id, &shorter, load_photo).unwrap());
            assert_eq!(shorter, photos(&swapped)[..shorter.len()]);
        }
        assert!(seen > 30, "{seen}");
    }

    #[test]
    fn a_dialogue_alone_keeps_its_photos() {
        let world = PocketWorld { seed: 5 };
        let examples: Vec<Example> = (0..30).map(|at| world.dialogue(Split::Test, at)).collect();
        let example = examples.iter().find(|example| example.photos().count() > 0).unwrap();
        let alone = [example.clone()];
        let never = |_: &Path| Err::<Pixels, _>(io::Error::other("nothing is loaded"));
        let context = example.dialogue(never).unwrap();
        let kept = PhotoSwap::new(&alone, 1).swap(&example.id, &context, never).unwrap();
        assert_eq!(kept, context);
    }
}
