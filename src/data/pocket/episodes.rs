//! What happens in a dialogue: episodes, each of which begins with B and ends with A.

use super::exchanges as talk;
use super::phrases as say;
use super::questions as ask;
use super::scene::{Scene, Settled};
use super::script::{Script, is_outside};
use super::sights::{comment, follow_up, question_about_own};
use super::truth::{Act, Aspect, Reason, Wanted};
use super::words::{Slots, Telling};

/// What people ask for and the world has not.
const STRANGERS: &[&str] = &[
    "dog", "bird", "horse", "plane", "train", "book", "shoe", "bear", "king", "robot", "dragon",
    "bridge", "cake",
];

/// Writes one episode.
pub(super) fn episode(script: &mut Script) {
    type Episode = fn(&mut Script);
    let episodes: &[(Episode, f64)] = &[
        (asks, 17.0),
        (asks_openly, 8.0),
        (tells, 26.0),
        (promises, 11.0),
        (shows, 30.0),
        (wants_one_like_it, 10.0),
        (chooses, 6.0),
        (asks_for_a_stranger, 5.0),
        (talks_about_photos, 6.0),
        (announces, 6.0),
        (chats, 6.0),
    ];
    script.draws.weighted(episodes)(script);
}

/// B asks for a photo and says all about it.
fn asks(script: &mut Script) {
    let (scene, telling) = requested(script);
    let slots = Slots::of(&scene, telling);
    script.b(Act::Ask, &say::ASK, &slots);
    let wanted = Wanted::all(&scene);
    let photo = script.a_shares(Reason::Asked, ask::GIVE, &slots, (&scene, telling), wanted);
    afterwards(script, &scene, photo);
}

/// A scene to ask for: sometimes of two things, sometimes with a size.
fn requested(script: &mut Script) -> (Scene, Telling) {
    if script.draws.chance(0.12) {
        return (script.scene_of_two(), Telling::Plain);
    }
    (script.any_scene(), script.telling())
}

/// B asks for a photo and leaves something to A.
fn asks_openly(script: &mut Script) {
    let scene = script.any_scene();
    let slots = Slots::of(&scene, Telling::Plain);
    let all = Settled::like(&scene);
    let nothing = Settled::default();
    let (bank, settled) = match script.draws.below(4) {
        0 => (&say::ASK_OBJECT, Settled { object: all.object, ..nothing }),
        1 => (&say::ASK_COLOURED, Settled { place: None, ..all }),
        2 => (&say::ASK_PLACE, Settled { place: all.place, ..nothing }),
        _ => (&say::ASK_ANYTHING, nothing),
    };
    script.b(Act::Ask, bank, &slots);
    let told = (&scene, Telling::Plain);
    let photo = script.a_shares(Reason::Asked, ask::GIVE_OWN, &slots, told, settled.into());
    afterwards(script, &scene, photo);
}

/// A tells of something, and B wants to see it, calls for it, or has other things in mind.
fn tells(script: &mut Script) {
    let scene = script.any_scene();
    let slots = Slots::of(&scene, Telling::Plain);
    script.b(Act::Chat, &say::ASK_DAY, &slots);
    if script.draws.chance(0.2) {
        offers(script, &scene, &slots);
        return;
    }
    let lines = if is_outside(scene.place) && script.draws.chance(0.3) {
        ask::TELL_OUTSIDE
    } else {
        ask::TELL
    };
    script.a(Act::Tell, lines, &slots);
    let told = (&scene, Telling::Plain);
    let wanted = Wanted::all(&scene);
    if script.draws.chance(0.12) {
        script.exchange((Act::Question, Act::Answer), &talk::ABOUT_WHAT_WAS_TOLD, &slots);
    }
    match script.draws.weighted(&[(0, 28.0), (1, 36.0), (2, 24.0), (3, 12.0)]) {
        0 => {
            script.b(Act::Ask, &say::REQUEST, &slots);
            let photo = script.a_shares(Reason::Asked, ask::GIVE, &slots, told, wanted);
            afterwards(script, &scene, photo);
        }
        1 => {
            script.b(Act::Call, &say::CALL, &slots);
            let photo = script.a_shares(Reason::Called, ask::GIVE_PROOF, &slots, told, wanted);
            afterwards(script, &scene, photo);
        }
        2 => script.exchange((Act::Chat, Act::Chat), &talk::OTHER_THINGS, &slots),
        _ => {
            script.exchange((Act::Decline, Act::Decline), &talk::DECLINE, &slots);
            if script.draws.chance(0.45) {
                script.b(Act::Call, &say::READY, &slots);
                script.a_shares(Reason::Called, ask::GIVE_LATE_UNPROMISED, &slots, told, wanted);
            }
        }
    }
}

/// A tells of something and offers to show it.
fn offers(script: &mut Script, scene: &Scene, slots: &Slots) {
    let told = slots.fill(script.draws.pick(ask::TELL));
    let offer = script.draws.pick(ask::OFFER);
    script.a_says(Act::Offer, format!("{told} {offer}"));
    if script.draws.chance(0.6) {
        script.b(Act::Ask, &say::YES, slots);
        let told = (scene, Telling::Plain);
        let wanted = Wanted::all(scene);
        let photo = script.a_shares(Reason::Offered, ask::GIVE, slots, told, wanted);
        afterwards(script, scene, photo);
    } else {
        script.b(Act::Decline, &say::NO, slots);
        script.a(Act::Decline, ask::ALL_RIGHT, slots);
    }
}

/// B asks for a photo that A can't share at once: because B wants it later, or because of what A is
/// busy with. A promises it, something happens, and A keeps the promise.
fn promises(script: &mut Script) {
    let (scene, telling) = requested(script);
    let slots = Slots::of(&scene, telling);
    let told = (&scene, telling);
    match script.draws.below(5) {
        0 => {
            script.b(Act::Ask, &say::ASK_FOR_LATER, &slots);
            script.a(Act::Promise, ask::PROMISE_BACK, &slots);
            script.b(Act::Greet, &say::BACK, &slots);
            keeps(script, &slots, told, "Welcome back!");
        }
        1 => {
            script.b(Act::Ask, &say::ASK_FOR_TOMORROW, &slots);
            script.a(Act::Promise, ask::PROMISE_TOMORROW, &slots);
            if gives_up(script, &slots) {
                return;
            }
            script.b(Act::Greet, &say::GOOD_NIGHT, &slots);
            script.a(Act::Greet, &["Good night!", "Good night! See you tomorrow."], &slots);
            script.b(Act::Greet, &say::GOOD_MORNING, &slots);
            keeps(script, &slots, told, "Good morning!");
        }
        2 => {
            script.exchange((Act::Chat, Act::Chat), &talk::TRADE, &slots);
            script.b(Act::Ask, &say::ASK, &slots);
            let (question, answers) = script.draws.pick(ask::FIRST_TELL);
            script.a_says(Act::Promise, question.to_owned());
            if gives_up(script, &slots) {
                return;
            }
            script.b(Act::Chat, &say::Bank { trained: answers, held_out: &[] }, &slots);
            let thanks = script.draws.pick(ask::THANKS_FOR_TELLING);
            keeps(script, &slots, told, thanks);
        }
        kind => {
            if kind == 3 {
                script.b(Act::Ask, &say::ASK_IN_NO_HURRY, &slots);
            } else {
                script.exchange((Act::Chat, Act::Chat), &talk::BUSY, &slots);
                script.b(Act::Ask, &say::ASK, &slots);
            }
            script.a(Act::Promise, ask::PROMISE_SOON, &slots);
            if gives_up(script, &slots) {
                return;
            }
            script.b(Act::Chat, &say::WAIT, &slots);
            keeps(script, &slots, told, "Thanks for waiting!");
        }
    }
}

/// Sometimes B no longer wants what A promised. What A is busy with then still holds, so nothing
/// else is asked for.
fn gives_up(script: &mut Script, slots: &Slots) -> bool {
    let gives_up = script.draws.chance(0.15);
    if gives_up {
        script.b(Act::Decline, &say::NEVER_MIND, slots);
        script.a(Act::Decline, ask::ALL_RIGHT, slots);
        script.close();
    }
    gives_up
}

fn keeps(script: &mut Script, slots: &Slots, told: (&Scene, Telling), greeting: &str) {
    let lines: Vec<String> =
        ask::GIVE_LATE.iter().map(|line| format!("{greeting} {line}")).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let wanted = Wanted::all(told.0);
    let photo = script.a_shares(Reason::Promised, &lines, slots, told, wanted);
    afterwards(script, told.0, photo);
}

/// B shows a photo and talks about it.
fn shows(script: &mut Script) {
    let scene = if script.draws.chance(0.42) { script.scene_of_two() } else { script.any_scene() };
    follow_up(script, &scene);
}

/// B shows a photo and wants one from A that has to do with it.
fn wants_one_like_it(script: &mut Script) {
    let shown = script.any_scene();
    let all = Settled::like(&shown);
    let slots = Slots::of(&shown, Telling::Plain);
    let kind = script.draws.below(3);
    if kind == 0 {
        let text_first = script.draws.chance(0.5);
        if text_first {
            script.b_shows_asking(&say::ONE_TOO, &slots, &shown);
        } else {
            let photo = script.b_shows(Some(&say::SHOW), &shown);
            comment(script, &shown, photo);
            script.b(Act::Ask, &say::ONE_TOO, &slots);
        }
        let settled = Settled { object: all.object, ..Settled::default() };
        let own = script.scene(settled);
        let slots = Slots::of(&own, Telling::Plain);
        let told = (&own, Telling::Plain);
        let lines = ask::MINE_IS;
        let photo = script.a_shares(Reason::Asked, lines, &slots, told, settled.into());
        afterwards(script, &own, photo);
        return;
    }
    let (with_photo, later, settled) = if kind == 1 {
        (&say::THIS_IN_COLOUR, &say::IN_COLOUR, Settled { colour: None, ..all })
    } else {
        (&say::THIS_AT_PLACE, &say::AT_PLACE, Settled { place: None, ..all })
    };
    let Some(own) = different(script, &shown, settled) else { return chats(script) };
    let own_slots = Slots::of(&own, Telling::Plain);
    if script.draws.chance(0.5) {
        script.b_shows_asking(with_photo, &own_slots, &shown);
    } else {
        let photo = script.b_shows(Some(&say::SHOW), &shown);
        comment(script, &shown, photo);
        script.b(Act::Ask, later, &own_slots);
    }
    let told = (&own, Telling::Plain);
    let photo = script.a_shares(Reason::Asked, ask::GIVE, &own_slots, told, Wanted::all(&own));
    afterwards(script, &own, photo);
}

/// A scene that differs from another in what is not settled.
fn different(script: &mut Script, from: &Scene, settled: Settled) -> Option<Scene> {
    let old = Settled::like(from);
    (0..20).map(|_| script.scene(settled)).find(|scene| {
        let new = Settled::like(scene);
        (settled.object.is_some() || new.object != old.object)
            && (settled.colour.is_some() || new.colour != old.colour)
            && (settled.place.is_some() || new.place != old.place)
    })
}

/// A has two photos, and B chooses.
fn chooses(script: &mut Script) {
    let first = script.any_scene();
    let Some(second) = different(script, &first, Settled::default()) else { return chats(script) };
    let slots = Slots::of(&first, Telling::Plain).and(&second);
    script.b(Act::Chat, &say::ASK_DAY, &slots);
    script.a(Act::Offer, ask::OFFER_TWO, &slots);
    if script.draws.chance(0.15) {
        script.b(Act::Decline, &say::NEITHER, &slots);
        script.a(Act::Decline, ask::ALL_RIGHT, &slots);
        return;
    }
    let takes_first = script.draws.chance(0.5);
    let chosen = if takes_first { &first } else { &second };
    let number = if takes_first { "first" } else { "second" };
    let slots = Slots::of(chosen, Telling::Plain).with("n", number);
    script.b(Act::Ask, &say::CHOICE, &slots);
    let told = (chosen, Telling::Plain);
    let wanted = Wanted::all(chosen);
    let photo = script.a_shares(Reason::Offered, ask::GOOD_CHOICE, &slots, told, wanted);
    afterwards(script, chosen, photo);
}

/// B asks for something that A has never seen.
fn asks_for_a_stranger(script: &mut Script) {
    let stranger = script.draws.pick(STRANGERS);
    let scene = script.any_scene();
    let slots = Slots::of(&scene, Telling::Plain).with("x", stranger);
    script.b(Act::Ask, &say::OUTSIDER, &slots);
    let refusal = slots.fill(script.draws.pick(ask::NOT_KNOWN));
    if script.draws.chance(0.5) {
        script.a_says(Act::Decline, refusal);
        return;
    }
    let instead = slots.fill(script.draws.pick(ask::BUT_KNOWN));
    script.a_says(Act::Offer, format!("{refusal} {instead}"));
    if script.draws.chance(0.35) {
        script.b(Act::Decline, &say::NO, &slots);
        script.a(Act::Decline, ask::ALL_RIGHT, &slots);
        return;
    }
    script.b(Act::Ask, &say::THEN_OBJECT, &slots);
    let wanted = Wanted { object: Some(scene.things[0].object), ..Wanted::default() };
    let told = (&scene, Telling::Plain);
    let photo = script.a_shares(Reason::Offered, ask::GIVE_OWN, &slots, told, wanted);
    afterwards(script, &scene, photo);
}

/// The words that a careless listener would take for a request.
fn talks_about_photos(script: &mut Script) {
    script.exchange((Act::Comment, Act::Chat), &talk::ABOUT_PHOTOS, &Slots::default());
}

/// B announces a photo, A wants to see it, and B shows it.
fn announces(script: &mut Script) {
    let scene = script.any_scene();
    let slots = Slots::of(&scene, Telling::Plain);
    script.b(Act::Offer, &say::ANNOUNCE, &slots);
    script.a(Act::Ask, ask::YES_PLEASE, &slots);
    let photo = script.b_shows(Some(&say::HERE), &scene);
    comment(script, &scene, photo);
}

/// This and that.
pub(super) fn chats(script: &mut Script) {
    script.exchange((Act::Chat, Act::Chat), &talk::CHAT, &Slots::default());
}

/// What may come after A shared a photo.
fn afterwards(script: &mut Script, scene: &Scene, photo: usize) {
    let (mut scene, mut photo) = (scene.clone(), photo);
    for round in 0..2 {
        match script.draws.weighted(&[(0, 28.0), (1, 24.0), (2, 20.0), (3, 8.0), (4, 20.0)]) {
            0 => {
                let slots = Slots::of(&scene, Telling::Plain);
                script.exchange((Act::Comment, Act::Comment), &talk::THANKS, &slots);
                return;
            }
            1 => {
                question_about_own(script, &scene, photo);
                return;
            }
            2 if scene.things.len() == 1 => {
                let Some((next, number)) = changes(script, &scene) else { return };
                (scene, photo) = (next, number);
            }
            3 if round == 0 && scene.things.len() == 1 => {
                compares(script, &scene);
                return;
            }
            _ => return,
        }
    }
}

/// B wants the same photo with something changed.
fn changes(script: &mut Script, scene: &Scene) -> Option<(Scene, usize)> {
    let all = Settled::like(scene);
    let (bank, settled) = match script.draws.below(3) {
        0 => (&say::IN_COLOUR, Settled { colour: None, ..all }),
        1 => (&say::AT_PLACE, Settled { place: None, ..all }),
        _ => (&say::AS_OBJECT, Settled { object: None, ..all }),
    };
    let next = different(script, scene, settled)?;
    let slots = Slots::of(&next, Telling::Plain);
    script.b(Act::Ask, bank, &slots);
    let told = (&next, Telling::Plain);
    let photo = script.a_shares(Reason::Asked, ask::GIVE, &slots, told, Wanted::all(&next));
    Some((next, photo))
}

/// B shows a photo of the same object as A's, and A sets them side by side.
fn compares(script: &mut Script, own: &Scene) {
    let thing = own.things[0];
    let settled = Settled {
        object: Some(thing.object),
        colour: script.draws.chance(0.4).then_some(thing.colour),
        place: None,
    };
    let theirs = script.scene(settled);
    let photo = script.b_shows(Some(&say::MINE_TOO), &theirs);
    let colour = theirs.things[0].colour;
    let slots = Slots::of(&theirs, Telling::Plain).and(own);
    let lines = if colour == thing.colour { ask::BOTH_SAME } else { ask::BOTH_DIFFERENT };
    script.a(Act::Compare, lines, &slots);
    let words = [colour.word(), thing.colour.word()];
    script.saw(photo, Aspect::Colour, &words);
}
