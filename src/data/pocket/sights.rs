//! What A says that can only be known from a photo.

use super::phrases as say;
use super::questions as ask;
use super::scene::Scene;
use super::script::Script;
use super::truth::{Act, Aspect};
use super::words::{Slots, Telling, another_colour};

/// B shows a photo, asks about it or not, and asks on.
pub(super) fn follow_up(script: &mut Script, scene: &Scene) {
    let named = script.draws.chance(0.4);
    // Of a thing that is alone people seldom ask what stands beside it.
    let asks_for_company = scene.things.len() == 2 || script.draws.chance(0.3);
    let mut open: Vec<Aspect> =
        Aspect::ALL.into_iter().filter(|aspect| *aspect != Aspect::Object).collect();
    open.retain(|aspect| *aspect != Aspect::Company || asks_for_company);
    let photo = if script.draws.chance(0.5) {
        let bank = if named { &say::SHOW_NAMED } else { &say::SHOW };
        let silent = !named && script.draws.chance(0.25);
        let photo = script.b_shows((!silent).then_some(bank), scene);
        let told = comment(script, scene, photo);
        open.retain(|aspect| !told.contains(aspect));
        photo
    } else {
        let aspect = first_question(script, scene);
        open.retain(|other| *other != aspect);
        let (bank, slots) = question(script, scene, aspect);
        let photo = script.b_shows_asking(bank, &slots, scene);
        answer(script, scene, photo, aspect, &slots);
        if aspect == Aspect::Object {
            // A may have told the colour with it.
            open.retain(|other| *other != Aspect::Colour);
        }
        photo
    };
    let questions = script.draws.weighted(&[(0, 25.0), (1, 35.0), (2, 30.0), (3, 10.0)]);
    for _ in 0..questions.min(open.len()) {
        let aspect = open.remove(script.draws.below(open.len()));
        let (bank, slots) = question(script, scene, aspect);
        script.b(Act::Question, bank, &slots);
        answer(script, scene, photo, aspect, &slots);
    }
    if script.draws.chance(0.25) {
        script.b(Act::Comment, &ask::WELL_SEEN, &Slots::default());
        script.a(Act::Comment, ask::THANK_YOU, &Slots::default());
    }
}

fn first_question(script: &mut Script, scene: &Scene) -> Aspect {
    let weights = [
        (Aspect::Object, if scene.things.len() == 1 { 3.0 } else { 0.0 }),
        (Aspect::Colour, 3.0),
        (Aspect::Place, 2.0),
        (Aspect::Side, 1.5),
        (Aspect::Size, 1.0),
        (Aspect::Company, if scene.things.len() == 2 { 3.0 } else { 0.4 }),
    ];
    script.draws.weighted(&weights)
}

/// A says something nice about B's photo; gives the aspects that it tells.
pub(super) fn comment(script: &mut Script, scene: &Scene, photo: usize) -> Vec<Aspect> {
    let mut things = scene.things.clone();
    things.sort_by_key(|thing| thing.side);
    let from_the_left = Scene { things, ..scene.clone() };
    let slots = Slots::of(&from_the_left, Telling::Plain);
    let words = |word: fn(&super::scene::Thing) -> &'static str| -> Vec<&'static str> {
        from_the_left.things.iter().map(word).collect()
    };
    let mut told = vec![Aspect::Object, Aspect::Colour];
    if scene.things.len() == 2 {
        script.a(Act::Comment, ask::COMMENT_BOTH, &slots);
        told.push(Aspect::Company);
    } else if script.draws.chance(0.4) {
        script.a(Act::Comment, ask::COMMENT_PLACE, &slots);
        script.saw(photo, Aspect::Place, &[scene.place.word()]);
        told.push(Aspect::Place);
    } else {
        script.a(Act::Comment, ask::COMMENT, &slots);
    }
    script.saw(photo, Aspect::Object, &words(|thing| thing.object.word()));
    script.saw(photo, Aspect::Colour, &words(|thing| thing.colour.word()));
    told
}

/// B asks about the photo that A shared; A looks at it, for its caption doesn't say.
pub(super) fn question_about_own(script: &mut Script, scene: &Scene, photo: usize) {
    let aspect = script.draws.pick(&[Aspect::Side, Aspect::Size]);
    let (bank, slots) = question(script, scene, aspect);
    script.b(Act::Question, bank, &slots);
    answer(script, scene, photo, aspect, &slots);
}

fn question(script: &mut Script, scene: &Scene, aspect: Aspect) -> (&'static say::Bank, Slots) {
    let thing = &scene.things[0];
    let slots = Slots::of(scene, Telling::Plain);
    let alone = scene.things.len() == 1;
    match aspect {
        Aspect::Colour if alone && script.draws.chance(0.3) => {
            let guess = if script.draws.chance(0.3) {
                thing.colour
            } else {
                another_colour(thing.colour, script.draws.below(100))
            };
            (&ask::IS_IT, slots.with("x", guess.word()))
        }
        Aspect::Colour if alone => (&ask::COLOUR, slots),
        Aspect::Colour => (&ask::COLOUR_NAMED, slots),
        Aspect::Object => (&ask::OBJECT, slots),
        Aspect::Place => (&ask::PLACE, slots),
        Aspect::Side => (&ask::SIDE, slots),
        Aspect::Size => (&ask::SIZE, slots),
        Aspect::Company => (&ask::COMPANY, slots),
    }
}

fn answer(script: &mut Script, scene: &Scene, photo: usize, aspect: Aspect, slots: &Slots) {
    let thing = &scene.things[0];
    let (lines, word) = match aspect {
        Aspect::Object => (ask::ANSWER_OBJECT, thing.object.word()),
        Aspect::Colour => (
            match slots.get("x") {
                Some(guess) if guess == thing.colour.word() => ask::ANSWER_YES,
                Some(_) => ask::ANSWER_NO,
                None => ask::ANSWER_COLOUR,
            },
            thing.colour.word(),
        ),
        Aspect::Place => (ask::ANSWER_PLACE, scene.place.word()),
        Aspect::Side => (ask::ANSWER_SIDE, thing.side.word()),
        Aspect::Size => (ask::ANSWER_SIZE, thing.size.word()),
        Aspect::Company => match scene.things.get(1) {
            Some(second) => (ask::ANSWER_COMPANY, second.object.word()),
            None => (ask::ANSWER_ALONE, "nothing"),
        },
    };
    script.a(Act::Answer, lines, slots);
    script.saw(photo, aspect, &[word]);
}
