//! The pocket world: dialogues with photos whose truth is known.
//!
//! Scenes of one or two things in eight colours and five places, drawn at any size; two speakers who
//! ask, promise, offer, show, tell, comment, question and compare. A shares a photo when asked,
//! when it promised one, when an offer is taken up, and unasked when the talk calls for it, and
//! else not. Much of what A says is right only if a photo was seen, for captions leave details out
//! as people do.
//!
//! Every dialogue and every picture is a function of seed, split and index alone. Combinations of
//! object, colour and place, and phrasings of B's, are held out: they appear in [`Split::Test`]
//! only, where [`Truth`] marks them.

mod canvas;
mod draws;
mod episodes;
mod exchanges;
mod paint;
mod phrases;
mod places;
mod questions;
mod scene;
mod script;
mod sights;
mod things;
mod truth;
mod words;

use std::sync::Arc;

use draws::Draws;
use exchanges::{GREET, LEAVE};
use script::{Phrasings, Script};
use words::Slots;

pub use paint::paint;
pub use scene::{Colour, Object, Place, Scene, Side, Size, Thing, is_held_out};
pub use truth::{Act, Aspect, Reason, Share, Sight, Split, Truth, Wanted};

use super::example::{Example, Picture};
use crate::dialogue::Pixels;
use scene::{Combinations, Settled};

/// Side of the pictures in dialogues, in pixels.
pub const PICTURE_PX: u32 = 64;

/// Fewer turns are no dialogue.
const TURNS_LEAST: usize = 4;

/// After so many turns nothing new begins.
const TURNS_ENOUGH: usize = 10;

/// A source of dialogues and pictures, without end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PocketWorld {
    /// Another seed, another world of the same kind.
    pub seed: u64,
}

/// A picture, what it shows, and what is said of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// The truth.
    pub scene: Scene,
    /// 64 × 64.
    pub pixels: Pixels,
    /// As A would caption it.
    pub caption: String,
}

impl PocketWorld {
    /// Dialogue `index` of a split. Its pictures are in memory, its truth beside it, and its id is
    /// `SPLIT-INDEX`.
    pub fn dialogue(&self, split: Split, index: u64) -> Example {
        let mut example = self.words(split, index);
        let scenes = example.truth.iter().flat_map(|truth| &truth.scenes);
        let pictures: Vec<_> = scenes.map(|scene| Arc::new(paint(scene, PICTURE_PX))).collect();
        for (photo, pixels) in example.photos_mut().zip(pictures) {
            photo.picture = Picture::Decoded(pixels);
        }
        example
    }

    /// The same dialogue with no picture painted, all its photos [`Picture::Missing`].
    pub fn words(&self, split: Split, index: u64) -> Example {
        let draws = Draws::of(&[self.seed, split as u64, index]);
        let (combinations, phrasings) = kinds(split, index);
        let mut script = Script::new(draws, split, combinations, phrasings);
        if script.draws.chance(0.35) {
            script.exchange((Act::Greet, Act::Greet), &GREET, &Slots::default());
        }
        let episodes = script.draws.weighted(&[(1, 45.0), (2, 40.0), (3, 15.0)]);
        for number in 0..episodes {
            if number > 0 && script.draws.chance(0.2) {
                episodes::chats(&mut script);
            }
            if script.len() < TURNS_ENOUGH && script.is_open() {
                episodes::episode(&mut script);
            }
        }
        while script.len() < TURNS_LEAST && script.is_open() {
            episodes::episode(&mut script);
        }
        if script.draws.chance(0.15) {
            script.exchange((Act::Greet, Act::Greet), &LEAVE, &Slots::default());
        }
        script.finish(format!("{}-{index}", split.name()))
    }

    /// Picture `index` of a split, for training that needs no dialogue.
    pub fn snapshot(&self, split: Split, index: u64) -> Snapshot {
        // Another stream than the dialogue's of the same index.
        let draws = Draws::of(&[self.seed, split as u64, index, 1]);
        let (combinations, phrasings) = kinds(split, index);
        let mut script = Script::new(draws, split, combinations, phrasings);
        let two = script.draws.chance(0.15);
        let scene = if two { script.scene_of_two() } else { script.scene(Settled::default()) };
        let telling = script.telling();
        let caption = script.caption(&scene, telling);
        Snapshot { pixels: paint(&scene, PICTURE_PX), scene, caption }
    }
}

fn kinds(split: Split, index: u64) -> (Combinations, Phrasings) {
    let test = split == Split::Test;
    let combinations =
        if test && index % 4 % 2 == 1 { Combinations::HeldOut } else { Combinations::Trained };
    let phrasings = if test && index % 4 >= 2 { Phrasings::HeldOut } else { Phrasings::Trained };
    (combinations, phrasings)
}

impl Split {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Train, Self::Validation, Self::Test];

    /// Its name, as files are called by it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }
}
