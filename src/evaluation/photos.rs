//! Do the photos that it draws show what was wanted?
//!
//! Scores that compare distributions of pictures don't notice a red cat where a blue one was asked
//! for. In the pocket world the truth knows what a dialogue settles about a photo, and a judge,
//! trained apart on true scenes, says what a drawn one shows. Three steps can go wrong, and are
//! told apart: the caption may not say what is wanted, the picture may not show what its caption
//! says, and, of both together, the picture may not show what is wanted. Photos of two things are
//! left out of everything that is judged, for a judge names one.

use std::collections::BTreeSet;

use super::answers::{named, words};
use super::bootstrap::{Ratio, Tally};
use super::case::Case;
use crate::data::pocket::{Aspect, Colour, Object, Place, Scene, Wanted, is_held_out};
use crate::dialogue::Pixels;

/// What a picture shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judgement {
    /// The thing.
    pub object: Object,
    /// Its colour.
    pub colour: Colour,
    /// The background.
    pub place: Place,
}

/// Someone who says what pictures show.
pub trait Judge {
    /// Of each picture, in order.
    fn judge(&self, pictures: &[Pixels]) -> Vec<Judgement>;
}

impl Judgement {
    pub(super) fn word(self, property: Aspect) -> Option<&'static str> {
        match property {
            Aspect::Object => Some(self.object.word()),
            Aspect::Colour => Some(self.colour.word()),
            Aspect::Place => Some(self.place.word()),
            Aspect::Side | Aspect::Size | Aspect::Company => None,
        }
    }
}

/// What is judged about a photo.
pub const PROPERTIES: [Aspect; 3] = [Aspect::Object, Aspect::Colour, Aspect::Place];

/// How often each property is right.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Properties([Ratio; PROPERTIES.len()]);

impl Properties {
    /// Of one property, which must be among [`PROPERTIES`].
    pub fn of(&self, property: Aspect) -> Ratio {
        let place = PROPERTIES.iter().position(|known| *known == property);
        place.map_or_else(Ratio::default, |place| self.0[place])
    }

    pub(super) fn count(&mut self, right: impl Fn(Aspect) -> Option<bool>) {
        for (ratio, property) in self.0.iter_mut().zip(PROPERTIES) {
            if let Some(right) = right(property) {
                ratio.count(right);
            }
        }
    }
}

impl Tally for Properties {
    fn add(&mut self, other: Self) {
        for (own, other) in self.0.iter_mut().zip(other.0) {
            own.add(other);
        }
    }
}

/// Properties of all photos, and of those whose combination was kept from training.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rightness {
    /// All of them.
    pub all: Properties,
    /// Where the combination of object, colour and place is held out.
    pub held_out: Properties,
}

impl Rightness {
    fn count(&mut self, held_out: bool, right: impl Fn(Aspect) -> Option<bool>) {
        self.all.count(&right);
        if held_out {
            self.held_out.count(right);
        }
    }
}

impl Tally for Rightness {
    fn add(&mut self, other: Self) {
        self.all.add(other.all);
        self.held_out.add(other.held_out);
    }
}

/// Photos of answers, held against what was wanted and against their captions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Photos {
    /// The picture shows what was wanted.
    pub pictures: Rightness,
    /// The caption names what was wanted, and nothing else of the kind.
    pub captions: Rightness,
    /// The picture shows what its caption names.
    pub agreement: Rightness,
}

impl Tally for Photos {
    fn add(&mut self, other: Self) {
        self.pictures.add(other.pictures);
        self.captions.add(other.captions);
        self.agreement.add(other.agreement);
    }
}

/// Of one answer. A photo that was not wanted is held against its caption only; one that was wanted
/// and did not come is missing in the timing, not here. What the dialogue leaves open is free.
pub fn photos(case: &Case<'_>) -> Photos {
    let mut photos = Photos::default();
    let truth = case.example.truth.as_ref();
    let mut shares = truth
        .into_iter()
        .flat_map(|truth| truth.shares.iter().map(|share| (share, &truth.scenes[share.photo])))
        .filter(|(share, _)| share.turn == case.turn);
    let mut judgements = case.judgements.iter();
    for photo in &case.answer.photos {
        let said = words(&photo.caption);
        let judgement = judgements.next();
        if let Some((share, scene)) = shares.next() {
            let held_out = wants_held_out(share.wanted);
            photos.captions.count(held_out, |property| {
                wanted_words(property, share.wanted, scene)
                    .map(|wanted| named(property, &said) == wanted)
            });
            if let (Some(judgement), [_]) = (judgement, &scene.things[..]) {
                photos.pictures.count(held_out, |property| {
                    let wanted = wanted_words(property, share.wanted, scene)?;
                    Some(judgement.word(property).is_some_and(|shown| wanted.contains(shown)))
                });
            }
        }
        if let (Some(judgement), [object]) =
            (judgement, &Vec::from_iter(named(Aspect::Object, &said))[..])
        {
            let held_out = names_held_out(object, &said);
            photos.agreement.count(held_out, |property| {
                let shown = judgement.word(property)?;
                let told = named(property, &said);
                (told.len() == 1).then(|| told.contains(shown))
            });
        }
    }
    photos
}

/// The words that say what is wanted; `None` where that is open.
fn wanted_words(property: Aspect, wanted: Wanted, scene: &Scene) -> Option<BTreeSet<&'static str>> {
    let things = scene.things.iter();
    match property {
        Aspect::Object => wanted.object.map(|_| things.map(|thing| thing.object.word()).collect()),
        Aspect::Colour => wanted.colour.map(|_| things.map(|thing| thing.colour.word()).collect()),
        Aspect::Place => wanted.place.map(|place| BTreeSet::from([place.word()])),
        Aspect::Side | Aspect::Size | Aspect::Company => None,
    }
}

fn wants_held_out(wanted: Wanted) -> bool {
    match (wanted.object, wanted.colour, wanted.place) {
        (Some(object), Some(colour), Some(place)) => is_held_out(object, colour, place),
        _ => false,
    }
}

/// Whether a caption that names one object, colour and place names a combination that is held out.
fn names_held_out(object: &str, said: &BTreeSet<String>) -> bool {
    let one = |property| {
        let mut names = named(property, said).into_iter();
        names.next().filter(|_| names.next().is_none())
    };
    let object = Object::ALL.iter().find(|known| known.word() == object);
    let colour =
        one(Aspect::Colour).and_then(|name| Colour::ALL.iter().find(|known| known.word() == name));
    let place =
        one(Aspect::Place).and_then(|name| Place::ALL.iter().find(|known| known.word() == name));
    match (object, colour, place) {
        (Some(&object), Some(&colour), Some(&place)) => is_held_out(object, colour, place),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::data::Example;
    use crate::data::pocket::{Reason, Share, Side, Size, Split, Thing, Truth};
    use crate::evaluation::case::{Answer, DrawnPhoto};

    const RED_CAT: Judgement =
        Judgement { object: Object::Cat, colour: Colour::Red, place: Place::Beach };

    fn thing(object: Object, colour: Colour) -> Thing {
        Thing { object, colour, side: Side::Left, size: Size::Big }
    }

    /// A dialogue whose turn 1 wants this photo.
    fn example(things: &[Thing], wanted: Wanted) -> Example {
        let mut example = Example::new("e");
        let scene = Scene { place: Place::Beach, things: things.to_vec(), variation: 0 };
        example.truth = Some(Truth {
            split: Split::Test,
            scenes: vec![scene],
            shares: vec![Share { turn: 1, photo: 0, reason: Reason::Asked, wanted }],
            sights: Vec::new(),
            acts: Vec::new(),
            held_out_phrasings: Vec::new(),
        });
        example
    }

    fn red_cat(wanted: Wanted) -> Example {
        example(&[thing(Object::Cat, Colour::Red)], wanted)
    }

    fn all(object: Object, colour: Colour, place: Place) -> Wanted {
        Wanted { object: Some(object), colour: Some(colour), place: Some(place) }
    }

    fn tally(
        example: &Example,
        turn: usize,
        caption: &str,
        judgement: Option<Judgement>,
    ) -> Photos {
        let photo = DrawnPhoto { file: PathBuf::new(), caption: caption.to_owned() };
        let answer = Answer { photos: vec![photo], ..Answer::default() };
        let judgements: Vec<Judgement> = judgement.into_iter().collect();
        photos(&Case { example, turn, answer: &answer, judgements: &judgements })
    }

    /// Right and all, by property.
    fn rights(properties: Properties) -> [(usize, usize); 3] {
        PROPERTIES.map(|property| {
            let ratio = properties.of(property);
            (ratio.right, ratio.of)
        })
    }

    #[test]
    fn every_step_that_goes_wrong_is_told_apart() {
        let wanted = all(Object::Cat, Colour::Red, Place::Beach);
        let example = red_cat(wanted);
        let right = tally(&example, 1, "a red cat on the beach", Some(RED_CAT));
        for step in [right.pictures, right.captions, right.agreement] {
            assert_eq!(rights(step.all), [(1, 1); 3]);
        }
        let drawn_wrong = Judgement { colour: Colour::Blue, ..RED_CAT };
        let drawn_wrong = tally(&example, 1, "a red cat on the beach", Some(drawn_wrong));
        assert_eq!(rights(drawn_wrong.pictures.all), [(1, 1), (0, 1), (1, 1)]);
        assert_eq!(rights(drawn_wrong.captions.all), [(1, 1); 3]);
        assert_eq!(rights(drawn_wrong.agreement.all), [(1, 1), (0, 1), (1, 1)]);
        let said_wrong = Judgement { place: Place::Snow, ..RED_CAT };
        let said_wrong = tally(&example, 1, "In the snow, a red cat", Some(said_wrong));
        assert_eq!(rights(said_wrong.pictures.all), [(1, 1), (1, 1), (0, 1)]);
        assert_eq!(rights(said_wrong.captions.all), [(1, 1), (1, 1), (0, 1)]);
        assert_eq!(rights(said_wrong.agreement.all), [(1, 1); 3]);
    }

    #[test]
    fn what_is_open_is_free() {
        let example = red_cat(Wanted { object: Some(Object::Cat), ..Wanted::default() });
        let own = Judgement { colour: Colour::Blue, place: Place::Room, ..RED_CAT };
        let own = tally(&example, 1, "a blue cat in the room", Some(own));
        assert_eq!(rights(own.pictures.all), [(1, 1), (0, 0), (0, 0)]);
        assert_eq!(rights(own.captions.all), [(1, 1), (0, 0), (0, 0)]);
        assert_eq!(rights(own.agreement.all), [(1, 1); 3]);
    }

    #[test]
    fn an_unwanted_photo_counts_in_agreement_alone_and_nothing_without_a_judge() {
        let example = red_cat(all(Object::Cat, Colour::Red, Place::Beach));
        let unwanted = tally(&example, 3, "a red cat on the beach", Some(RED_CAT));
        assert_eq!(rights(unwanted.pictures.all), [(0, 0); 3]);
        assert_eq!(rights(unwanted.captions.all), [(0, 0); 3]);
        assert_eq!(rights(unwanted.agreement.all), [(1, 1); 3]);
        let unjudged = tally(&example, 1, "a red cat on the beach", None);
        assert_eq!(rights(unjudged.captions.all), [(1, 1); 3]);
        assert_eq!(rights(unjudged.pictures.all), [(0, 0); 3]);
        assert_eq!(rights(unjudged.agreement.all), [(0, 0); 3]);
    }

    #[test]
    fn two_things_are_named_but_not_judged() {
        let things = [thing(Object::Cat, Colour::Red), thing(Object::Ball, Colour::White)];
        let example = example(&things, all(Object::Cat, Colour::Red, Place::Beach));
        let both = tally(&example, 1, "a red cat and a white ball on the beach", Some(RED_CAT));
        assert_eq!(rights(both.captions.all), [(1, 1); 3]);
        assert_eq!(rights(both.pictures.all), [(0, 0); 3]);
        assert_eq!(rights(both.agreement.all), [(0, 0); 3]);
        let one = tally(&example, 1, "a red cat on the beach", Some(RED_CAT));
        assert_eq!(rights(one.captions.all), [(0, 1), (0, 1), (1, 1)]);
    }

    #[test]
    fn held_out_combinations_stand_apart() {
        let mut held_out = None;
        for &colour in Colour::ALL {
            if is_held_out(Object::Cat, colour, Place::Beach) {
                held_out = Some(colour);
            }
        }
        let colour = held_out.unwrap();
        let example =
            example(&[thing(Object::Cat, colour)], all(Object::Cat, colour, Place::Beach));
        let caption = format!("a {} cat on the beach", colour.word());
        let found = tally(&example, 1, &caption, Some(Judgement { colour, ..RED_CAT }));
        for step in [found.pictures, found.captions, found.agreement] {
            assert_eq!(rights(step.held_out), [(1, 1); 3]);
        }
        let trained =
            *Colour::ALL.iter().find(|c| !is_held_out(Object::Cat, **c, Place::Beach)).unwrap();
        let trained = red_cat(all(Object::Cat, trained, Place::Beach));
        let caption = "a cat on the beach";
        assert_eq!(
            tally(&trained, 1, caption, Some(RED_CAT)).pictures.held_out,
            Properties::default()
        );
    }
}
