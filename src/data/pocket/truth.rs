//! What is true of a dialogue of the pocket world: for metrics, never for the model.

use serde::{Deserialize, Serialize};

use super::scene::{Colour, Object, Place, Scene};

/// A dialogue's truth. Turns and photos are counted from 0, photos over the whole dialogue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Truth {
    /// Which split it belongs to.
    pub split: Split,
    /// What each photo shows, in order.
    pub scenes: Vec<Scene>,
    /// The photos that A shares.
    pub shares: Vec<Share>,
    /// A's turns that are right only if a photo was seen.
    pub sights: Vec<Sight>,
    /// What each turn does.
    pub acts: Vec<Act>,
    /// B's turns whose phrasing is kept from training.
    pub held_out_phrasings: Vec<usize>,
}

/// What a dialogue is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// Training: no combination and no phrasing that is held out.
    Train,
    /// Like training, but other dialogues.
    Validation,
    /// A quarter like training, a quarter with combinations that are held out, a quarter with
    /// phrasings that are, and a quarter with both.
    Test,
}

/// A photo that A shares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Share {
    /// The turn.
    pub turn: usize,
    /// The photo.
    pub photo: usize,
    /// Why here.
    pub reason: Reason,
    /// What the dialogue before the turn settles about the photo. What it leaves open is A's choice.
    pub wanted: Wanted,
}

/// What a photo must show to be right.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// The object, if it is settled.
    pub object: Option<Object>,
    /// Its colour, if it is settled.
    pub colour: Option<Colour>,
    /// The place, if it is settled.
    pub place: Option<Place>,
}

/// Why A shares a photo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reason {
    /// B asked for it.
    Asked,
    /// A promised it before, and the time has come.
    Promised,
    /// B took up A's offer, or chose among several.
    Offered,
    /// Nobody asked, but the talk calls for it.
    Called,
}

/// Something that A can only know from a photo.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sight {
    /// A's turn.
    pub turn: usize,
    /// The photo.
    pub photo: usize,
    /// What it is about.
    pub aspect: Aspect,
    /// The words of [`Aspect::words`] that a right answer says, in alphabetical order: these and no
    /// others.
    pub answer: Vec<String>,
}

/// What a question about a photo is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Aspect {
    /// What the first thing is.
    Object,
    /// Its colour.
    Colour,
    /// Where the photo was taken.
    Place,
    /// On which side the first thing is.
    Side,
    /// Whether it is big or small.
    Size,
    /// What stands beside the first thing, or `nothing`.
    Company,
}

impl Aspect {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Object, Self::Colour, Self::Place, Self::Side, Self::Size, Self::Company];

    /// What it is called in figures.
    pub fn name(self) -> &'static str {
        match self {
            Self::Object => "object",
            Self::Colour => "colour",
            Self::Place => "place",
            Self::Side => "side",
            Self::Size => "size",
            Self::Company => "company",
        }
    }

    /// The words that can be answers.
    pub fn words(self) -> Vec<&'static str> {
        use super::scene::{Side, Size};
        let objects = || Object::ALL.iter().map(|object| object.word());
        match self {
            Self::Object => objects().collect(),
            Self::Colour => Colour::ALL.iter().map(|colour| colour.word()).collect(),
            Self::Place => Place::ALL.iter().map(|place| place.word()).collect(),
            Self::Side => Side::ALL.iter().map(|side| side.word()).collect(),
            Self::Size => Size::ALL.iter().map(|size| size.word()).collect(),
            Self::Company => objects().chain(["nothing"]).collect(),
        }
    }
}

/// What a turn does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Act {
    /// Greets or takes leave.
    Greet,
    /// Talks about this and that.
    Chat,
    /// Asks for a photo.
    Ask,
    /// Promises one for later.
    Promise,
    /// Offers one.
    Offer,
    /// Shares a photo.
    Show,
    /// Tells of something that could be shown.
    Tell,
    /// Calls for a photo without asking.
    Call,
    /// Declines a photo, or asks for none.
    Decline,
    /// Says something about a photo, or about photos.
    Comment,
    /// Asks about a photo.
    Question,
    /// Answers about a photo.
    Answer,
    /// Sets two photos side by side.
    Compare,
}
