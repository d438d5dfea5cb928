//! Templates and what fills their slots.
//!
//! Of a scene's first thing: `{a}` as told ("a big red ball and a white cat"), `{ac}` "a red",
//! `{o}` "ball", `{os}` "balls", `{c}` "red", `{p}` "on the beach", `{s}` "on the left", `{z}`
//! "big". A slot that begins with a capital gives its filling one.

use super::scene::{Colour, Object, Scene, Side, Thing};

/// How much of a scene is told where `{a}` stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Telling {
    /// Object and colour of every thing.
    Plain,
    /// The first thing's size too.
    Sized,
}

/// Names of slots and what fills them.
#[derive(Debug, Clone, Default)]
pub(super) struct Slots(Vec<(&'static str, String)>);

impl Slots {
    /// The slots of a scene.
    pub(super) fn of(scene: &Scene, telling: Telling) -> Self {
        let thing = scene.things[0];
        let mut slots = Self(vec![
            ("a", told(scene, telling)),
            ("p", scene.place.phrase().to_owned()),
            ("s", side_phrase(thing.side).to_owned()),
            ("z", thing.size.word().to_owned()),
        ]);
        slots.add_thing(thing, ["ac", "o", "os", "c"]);
        if let Some(&second) = scene.things.get(1) {
            slots.0.push(("a2", plain(second)));
            slots.add_thing(second, ["ac2", "o2", "os2", "c2"]);
        }
        slots
    }

    /// The same, with another scene in the slots that end in 2.
    pub(super) fn and(mut self, other: &Scene) -> Self {
        self.0.retain(|(name, _)| !name.ends_with('2'));
        self.0.push(("a2", told(other, Telling::Plain)));
        self.0.push(("p2", other.place.phrase().to_owned()));
        self.add_thing(other.things[0], ["ac2", "o2", "os2", "c2"]);
        self
    }

    /// The same, with one more slot.
    pub(super) fn with(mut self, name: &'static str, filling: &str) -> Self {
        self.0.retain(|(other, _)| *other != name);
        self.0.push((name, filling.to_owned()));
        self
    }

    /// What fills a slot.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, filling)| filling.as_str())
    }

    fn add_thing(&mut self, thing: Thing, [ac, o, os, c]: [&'static str; 4]) {
        let colour = thing.colour.word();
        self.0.push((ac, with_article(colour)));
        self.0.push((o, thing.object.word().to_owned()));
        self.0.push((os, plural(thing.object)));
        self.0.push((c, colour.to_owned()));
    }

    /// Fills a template.
    ///
    /// # Panics
    /// If a slot of the template is not among these.
    pub(super) fn fill(&self, template: &str) -> String {
        let mut filled = String::with_capacity(template.len() + 16);
        let mut rest = template;
        while let Some((before, behind)) = rest.split_once('{') {
            let (slot, tail) = behind.split_once('}').expect("a slot is closed");
            let name = slot.to_lowercase();
            let filling = self.get(&name);
            let filling = filling.unwrap_or_else(|| panic!("{template:?} lacks {slot}"));
            filled.push_str(before);
            filled += &if name == slot { filling.to_owned() } else { capital(filling) };
            rest = tail;
        }
        filled + rest
    }
}

/// "a red ball", "a big red ball", "a red ball and a white cat".
pub(super) fn told(scene: &Scene, telling: Telling) -> String {
    let first = scene.things[0];
    let mut told = match telling {
        Telling::Plain => plain(first),
        Telling::Sized => {
            let (size, colour) = (first.size.word(), first.colour.word());
            with_article(&format!("{size} {colour} {}", first.object.word()))
        }
    };
    for &other in &scene.things[1..] {
        told = format!("{told} and {}", plain(other));
    }
    told
}

fn plain(thing: Thing) -> String {
    with_article(&format!("{} {}", thing.colour.word(), thing.object.word()))
}

fn with_article(words: &str) -> String {
    let article = if words.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {words}")
}

fn plural(object: Object) -> String {
    match object {
        Object::Fish => "fish".to_owned(),
        other => format!("{}s", other.word()),
    }
}

/// "on the left".
pub(super) fn side_phrase(side: Side) -> &'static str {
    match side {
        Side::Left => "on the left",
        Side::Middle => "in the middle",
        Side::Right => "on the right",
    }
}

/// A colour that isn't this one, by number.
pub(super) fn another_colour(colour: Colour, number: usize) -> Colour {
    let others: Vec<Colour> =
        Colour::ALL.iter().copied().filter(|other| *other != colour).collect();
    others[number % others.len()]
}

/// The text with a capital first letter.
pub(super) fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::super::scene::{Place, Size};
    use super::*;

    #[test]
    fn slots_are_filled_with_articles_and_capitals() {
        let thing = |object, colour, side| Thing { object, colour, side, size: Size::Big };
        let scene = Scene {
            place: Place::Night,
            things: vec![
                thing(Object::Fish, Colour::Orange, Side::Left),
                thing(Object::Cat, Colour::White, Side::Right),
            ],
            variation: 0,
        };
        let slots = Slots::of(&scene, Telling::Sized).with("x", "dog");
        let template = "{A} {p}? {Ac} {o}, {os}, {c}, {s}, {z}: {a2} and a {x}.";
        assert_eq!(
            slots.fill(template),
            "A big orange fish and a white cat under the night sky? An orange fish, fish, orange, \
             on the left, big: a white cat and a dog."
        );
        assert_eq!(Slots::of(&scene, Telling::Plain).fill("{a2}"), "a white cat");
    }
}
