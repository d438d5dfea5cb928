//! What a picture of the pocket world shows.

use serde::{Deserialize, Serialize};

use super::draws::Draws;

macro_rules! kinds {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "lowercase")]
        pub enum $name { $($(#[$variant_doc])* $variant),+ }

        impl $name {
            /// All of them, in a fixed order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word for it: what an answer about it must say.
            pub fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }
    };
}

kinds! {
    /// What a thing is.
    Object {
        /// A ball with a stripe.
        Ball = "ball",
        /// A sailing boat.
        Boat = "boat",
        /// A car, seen from the side.
        Car = "car",
        /// A sitting cat.
        Cat = "cat",
        /// A cup with a handle.
        Cup = "cup",
        /// A fish, seen from the side.
        Fish = "fish",
        /// A flower on its stem.
        Flower = "flower",
        /// A house with a roof.
        House = "house",
        /// A star with five points.
        Star = "star",
        /// A tree with a round crown.
        Tree = "tree",
    }
}

kinds! {
    /// The colour of a thing.
    Colour {
        /// Red.
        Red = "red",
        /// Orange.
        Orange = "orange",
        /// Yellow.
        Yellow = "yellow",
        /// Green.
        Green = "green",
        /// Blue.
        Blue = "blue",
        /// Purple.
        Purple = "purple",
        /// Pink.
        Pink = "pink",
        /// White.
        White = "white",
    }
}

kinds! {
    /// Where a picture was taken.
    Place {
        /// Sand, sea and sky.
        Beach = "beach",
        /// Grass and hills.
        Meadow = "meadow",
        /// A dark sky with stars and a moon.
        Night = "sky",
        /// A wall with a window, a wooden floor.
        Room = "room",
        /// White ground, firs, snowflakes.
        Snow = "snow",
    }
}

kinds! {
    /// Where in the picture a thing is.
    Side {
        /// In the left third.
        Left = "left",
        /// In the middle.
        Middle = "middle",
        /// In the right third.
        Right = "right",
    }
}

kinds! {
    /// How much of the picture a thing takes.
    Size {
        /// About half of the height.
        Big = "big",
        /// About a quarter of the height.
        Small = "small",
    }
}

impl Place {
    /// Where something is that is there.
    pub fn phrase(self) -> &'static str {
        match self {
            Self::Beach => "on the beach",
            Self::Meadow => "in the meadow",
            Self::Night => "under the night sky",
            Self::Room => "in the room",
            Self::Snow => "in the snow",
        }
    }
}

/// A thing in a scene.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Thing {
    /// What it is.
    pub object: Object,
    /// Its colour.
    pub colour: Colour,
    /// Where it is.
    pub side: Side,
    /// How big it is.
    pub size: Size,
}

/// All that is true of a picture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scene {
    /// Where it is.
    pub place: Place,
    /// One thing or two, what the picture is about first. Of two, one is on the left and the other
    /// on the right, and they are different objects of different colours.
    pub things: Vec<Thing>,
    /// Of everything that nobody speaks of: shades, exact places, waves, clouds.
    pub variation: u64,
}

/// Whether a combination of object, colour and place is kept from training. The rule is part of the
/// world and knows no seed: 57 of the 400 combinations are held out, at most one for every two of
/// object, colour and place.
pub fn is_held_out(object: Object, colour: Colour, place: Place) -> bool {
    (object as usize + 3 * colour as usize + 2 * place as usize) % 7 == 3
}

impl Scene {
    /// Whether it shows a combination that is kept from training.
    pub fn is_held_out(&self) -> bool {
        self.things.iter().any(|thing| is_held_out(thing.object, thing.colour, self.place))
    }
}

/// Which combinations a draw may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Combinations {
    /// Those of training.
    Trained,
    /// Those kept from it; of two things, at least the first.
    HeldOut,
}

/// What of a scene is settled already.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Settled {
    pub(super) object: Option<Object>,
    pub(super) colour: Option<Colour>,
    pub(super) place: Option<Place>,
}

impl Combinations {
    fn has(self, object: Object, colour: Colour, place: Place) -> bool {
        is_held_out(object, colour, place) == (self == Self::HeldOut)
    }

    /// A combination with what is settled; `None` where there is no such one.
    pub(super) fn draw(
        self,
        settled: Settled,
        draws: &mut Draws,
    ) -> Option<(Object, Colour, Place)> {
        let fits = |&(object, colour, place): &(Object, Colour, Place)| {
            settled.object.is_none_or(|wanted| wanted == object)
                && settled.colour.is_none_or(|wanted| wanted == colour)
                && settled.place.is_none_or(|wanted| wanted == place)
                && self.has(object, colour, place)
        };
        let all = Object::ALL.iter().flat_map(|&object| {
            Colour::ALL.iter().flat_map(move |&colour| {
                Place::ALL.iter().map(move |&place| (object, colour, place))
            })
        });
        let fitting: Vec<_> = all.filter(fits).collect();
        (!fitting.is_empty()).then(|| draws.pick(&fitting))
    }

    /// A scene with one thing; `None` where nothing fits what is settled.
    pub(super) fn scene(self, settled: Settled, draws: &mut Draws) -> Option<Scene> {
        let (object, colour, place) = self.draw(settled, draws)?;
        let (side, size) = (draws.pick(Side::ALL), draws.pick(Size::ALL));
        let things = vec![Thing { object, colour, side, size }];
        Some(Scene { place, things, variation: draws.bits() })
    }

    /// Adds a second thing, which is always one of training, and moves both to the sides.
    pub(super) fn accompany(scene: &mut Scene, draws: &mut Draws) {
        let [first] = scene.things[..] else { return };
        let place = Some(scene.place);
        let (object, colour) = loop {
            let settled = Settled { place, ..Settled::default() };
            let drawn = Self::Trained.draw(settled, draws);
            let (object, colour, _) = drawn.expect("every place has combinations of training");
            if object != first.object && colour != first.colour {
                break (object, colour);
            }
        };
        let (here, there) = draws.pick(&[(Side::Left, Side::Right), (Side::Right, Side::Left)]);
        scene.things[0].side = here;
        scene.things.push(Thing { object, colour, side: there, size: draws.pick(Size::ALL) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_of_properties_is_trained() {
        let mut held_out = 0;
        for &object in Object::ALL {
            for &colour in Colour::ALL {
                let places =
                    Place::ALL.iter().filter(|&&place| is_held_out(object, colour, place)).count();
                assert!(places <= 1, "{object:?} {colour:?}");
                held_out += places;
            }
        }
        assert_eq!(held_out, 57);
        for &place in Place::ALL {
            for &object in Object::ALL {
                let colours = Colour::ALL.iter().filter(|&&c| is_held_out(object, c, place));
                assert!((1..=2).contains(&colours.count()), "{object:?} {place:?}");
            }
        }
    }

    #[test]
    fn draws_keep_what_is_settled_and_their_kind() {
        let mut draws = Draws::of(&[7]);
        for _ in 0..2_000 {
            let settled = Settled {
                object: draws.chance(0.5).then_some(Object::Cat),
                colour: draws.chance(0.5).then_some(Colour::Red),
                place: None,
            };
            for kind in [Combinations::Trained, Combinations::HeldOut] {
                let Some(mut scene) = kind.scene(settled, &mut draws) else { continue };
                let thing = scene.things[0];
                assert!(settled.object.is_none_or(|object| object == thing.object));
                assert!(settled.colour.is_none_or(|colour| colour == thing.colour));
                Combinations::accompany(&mut scene, &mut draws);
                assert_eq!(scene.is_held_out(), kind == Combinations::HeldOut);
                assert_ne!(scene.things[0].side, scene.things[1].side);
            }
        }
    }
}
