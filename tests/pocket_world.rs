//! The pocket world's promises: what is held out stays out, a rule can't foretell the photos, words
//! can't foretell what is seen, and a seed is a world.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use shutterbug::data::pocket::{
    Aspect, Colour, Object, Place, PocketWorld, Reason, Scene, Split, Truth, is_held_out,
};
use shutterbug::data::{Example, ExampleTurn, Picture, Statistics, example_line};
use shutterbug::dialogue::Speaker;

const WORLD: PocketWorld = PocketWorld { seed: 11 };

fn dialogues(split: Split, count: u64) -> Vec<Example> {
    (0..count).map(|index| WORLD.words(split, index)).collect()
}

fn truth(example: &Example) -> &Truth {
    example.truth.as_ref().unwrap()
}

fn text(turn: &ExampleTurn) -> String {
    turn.texts().collect::<Vec<_>>().join(" ")
}

/// Letters only, in small ones: how B writes doesn't matter.
fn plain(text: &str) -> String {
    let kept = |c: char| if c.is_alphanumeric() || c == '\'' { c } else { ' ' };
    let text: String = text.to_lowercase().chars().map(kept).collect();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn words(text: &str) -> BTreeSet<String> {
    plain(text).split(' ').map(str::to_owned).collect()
}

#[test]
fn the_truth_fits_the_dialogue() {
    for example in dialogues(Split::Test, 800) {
        let truth = truth(&example);
        let turns = example.turns();
        assert_eq!(truth.acts.len(), turns.len(), "{}", example.id);
        assert_eq!(turns[0].speaker, Speaker::B, "{}", example.id);
        assert_eq!(turns.last().unwrap().speaker, Speaker::A, "{}", example.id);
        let photos: Vec<_> = example.photos().collect();
        assert_eq!(photos.len(), truth.scenes.len(), "{}", example.id);
        let by_a: Vec<usize> = (0..photos.len()).filter(|&k| photos[k].1 == Speaker::A).collect();
        assert_eq!(truth.shares.iter().map(|share| share.photo).collect::<Vec<_>>(), by_a);
        for share in &truth.shares {
            let (turn, _, photo) = photos[share.photo];
            assert_eq!(turn, share.turn);
            let scene = &truth.scenes[share.photo];
            let thing = &scene.things[0];
            assert!(share.wanted.object.is_none_or(|object| object == thing.object));
            assert!(share.wanted.colour.is_none_or(|colour| colour == thing.colour));
            assert!(share.wanted.place.is_none_or(|place| place == scene.place));
            // What A draws is in its caption: object, colour and place of every thing.
            let caption = words(photo.caption.as_deref().unwrap());
            assert!(caption.contains(scene.place.word()), "{caption:?}");
            for thing in &scene.things {
                assert!(caption.contains(thing.object.word()), "{caption:?}");
                assert!(caption.contains(thing.colour.word()), "{caption:?}");
            }
        }
        for sight in &truth.sights {
            let turn = &turns[sight.turn];
            assert_eq!(turn.speaker, Speaker::A);
            assert!(photos[sight.photo].0 <= sight.turn);
            let said = words(&text(turn));
            let of_aspect: BTreeSet<&str> =
                sight.aspect.words().into_iter().filter(|word| said.contains(*word)).collect();
            let answer: BTreeSet<&str> = sight.answer.iter().map(String::as_str).collect();
            assert_eq!(of_aspect, answer, "{} turn {}: {said:?}", example.id, sight.turn);
        }
    }
}

#[test]
fn every_reason_and_every_aspect_appears() {
    let statistics = Statistics::of(&dialogues(Split::Train, 1_500));
    let total: usize = statistics.shares.values().sum();
    for reason in [Reason::Asked, Reason::Promised, Reason::Offered, Reason::Called] {
        let count = statistics.shares.get(&reason).copied().unwrap_or(0);
        assert!(count * 12 > total, "{reason:?}: {count} of {total}");
    }
    for aspect in Aspect::ALL {
        let count = statistics.sights.get(&aspect).copied().unwrap_or(0);
        assert!(count > 80, "{aspect:?}: {count}");
    }
    let rate = statistics.photos_by_a as f64 / statistics.replies as f64;
    assert!((0.18..0.35).contains(&rate), "A shares in {rate} of its turns");
    assert!((250..700).contains(&statistics.distinct_words), "{}", statistics.distinct_words);
}

#[test]
fn keywords_do_not_foretell_the_photos() {
    for split in Split::ALL {
        let rule = Statistics::of(&dialogues(split, 1_500)).keyword_rule;
        assert!(rule.f1() < 0.8, "{split:?}: {}", rule.f1());
        // Nor do they foretell the contrary.
        assert!(rule.f1() > 0.15, "{split:?}: {}", rule.f1());
    }
}

#[test]
fn what_is_held_out_never_trains() {
    let mut held_out_phrasings = BTreeSet::new();
    let (mut combinations, mut ordinary) = (0, 0);
    for example in dialogues(Split::Test, 3_000) {
        let truth = truth(&example);
        for &turn in &truth.held_out_phrasings {
            assert_eq!(example.turns()[turn].speaker, Speaker::B);
            held_out_phrasings.insert(skeleton(&text(&example.turns()[turn])));
        }
        let held_out = truth.scenes.iter().any(Scene::is_held_out);
        if held_out { combinations += 1 } else { ordinary += 1 }
    }
    assert!(combinations > 1_000 && ordinary > 1_000, "{combinations} {ordinary}");
    assert!(held_out_phrasings.len() > 70, "{}", held_out_phrasings.len());

    for split in [Split::Train, Split::Validation] {
        for example in dialogues(split, 3_000) {
            let truth = truth(&example);
            assert!(truth.held_out_phrasings.is_empty());
            assert!(truth.scenes.iter().all(|scene| !scene.is_held_out()), "{}", example.id);
            for turn in example.turns() {
                let said = text(turn);
                let skeleton = skeleton(&said);
                let is_held_out =
                    turn.speaker == Speaker::B && held_out_phrasings.contains(&skeleton);
                assert!(!is_held_out, "{}: {said}", example.id);
                assert!(!names_held_out(&said), "{}: {said}", example.id);
            }
            for (_, _, photo) in example.photos() {
                let caption = photo.caption.as_deref().unwrap_or_default();
                assert!(!names_held_out(caption), "{}: {caption}", example.id);
            }
        }
        for index in 0..2_000 {
            assert!(!WORLD.snapshot(split, index).scene.is_held_out());
        }
    }
}

/// A phrasing without what fills its slots and without names of people.
fn skeleton(said: &str) -> String {
    let said = plain(said.split_once(": ").map_or(said, |(_, rest)| rest));
    let filler = |word: &str| {
        let object = Object::ALL.iter().any(|o| word.trim_end_matches('s') == o.word());
        object || Colour::ALL.iter().any(|colour| colour.word() == word)
    };
    let mut skeleton = said;
    for place in Place::ALL {
        skeleton = skeleton.replace(place.phrase(), "PLACE");
    }
    let kept = skeleton.split(' ').map(|word| match word {
        "a" | "an" => "A",
        word if filler(word) => "WORD",
        word => word,
    });
    kept.collect::<Vec<_>>().join(" ")
}

/// Whether a text names a combination that is held out: "a red ball on the beach".
fn names_held_out(said: &str) -> bool {
    let said = plain(said);
    Object::ALL.iter().any(|&object| {
        Colour::ALL.iter().any(|&colour| {
            Place::ALL.iter().any(|&place| {
                let named = format!("{} {} {}", colour.word(), object.word(), place.phrase());
                is_held_out(object, colour, place) && said.contains(&named)
            })
        })
    })
}

#[test]
fn words_do_not_foretell_what_is_seen() {
    // The best guess from all that was said of a photo before: the most frequent answer among
    // dialogues with the same question, measured on others.
    let mut answers: HashMap<(Aspect, String), BTreeMap<Vec<String>, usize>> = HashMap::new();
    let mut fallback: HashMap<Aspect, BTreeMap<Vec<String>, usize>> = HashMap::new();
    let key = |example: &Example, turn: usize| skeleton_with_objects(example, turn);
    for example in dialogues(Split::Train, 6_000) {
        for sight in &truth(&example).sights {
            let question = (sight.aspect, key(&example, sight.turn));
            for table in
                [answers.entry(question).or_default(), fallback.entry(sight.aspect).or_default()]
            {
                *table.entry(sight.answer.clone()).or_default() += 1;
            }
        }
    }
    let best = |table: &BTreeMap<Vec<String>, usize>| {
        table.iter().max_by_key(|(_, count)| **count).map(|(answer, _)| answer.clone())
    };
    let mut guessed: BTreeMap<Aspect, (usize, usize)> = BTreeMap::new();
    for example in dialogues(Split::Validation, 3_000) {
        for sight in &truth(&example).sights {
            let question = (sight.aspect, key(&example, sight.turn));
            let guess = answers.get(&question).or_else(|| fallback.get(&sight.aspect));
            let (right, all) = guessed.entry(sight.aspect).or_default();
            *right += usize::from(guess.and_then(best).as_ref() == Some(&sight.answer));
            *all += 1;
        }
    }
    for (aspect, (right, all)) in guessed {
        let rate = right as f64 / all as f64;
        let most = match aspect {
            Aspect::Object => 0.4,
            Aspect::Colour => 0.3,
            Aspect::Place => 0.35,
            Aspect::Side => 0.5,
            Aspect::Size => 0.6,
            Aspect::Company => 0.65,
        };
        println!("{aspect:?}: {right} of {all} guessed, {rate:.3}");
        assert!(rate < most, "{aspect:?}: {rate}");
    }
}

/// B's last words before A's turn.
fn skeleton_with_objects(example: &Example, turn: usize) -> String {
    let said = text(&example.turns()[turn - 1]);
    plain(said.split_once(": ").map_or(said.as_str(), |(_, rest)| rest))
}

#[test]
fn a_seed_is_a_world() {
    let bytes = |world: PocketWorld| {
        let mut hasher = blake3::Hasher::new();
        for split in Split::ALL {
            for index in 0..100 {
                let example = world.words(split, index);
                let line = example_line(&example, Path::new("")).unwrap();
                hasher.update(line.to_string().as_bytes());
            }
        }
        hasher.finalize().to_hex().to_string()
    };
    assert_ne!(bytes(WORLD), bytes(PocketWorld { seed: 12 }));
    let painted = WORLD.dialogue(Split::Test, 7);
    assert_eq!(painted, WORLD.dialogue(Split::Test, 7));
    assert!(painted.photos().all(|(_, _, photo)| matches!(photo.picture, Picture::Decoded(_))));
    let snapshot = WORLD.snapshot(Split::Train, 5);
    assert_eq!(snapshot, WORLD.snapshot(Split::Train, 5));
    // The words and the truth of 300 dialogues. They change only with the world itself, and then
    // trained models don't fit it any more.
    insta::assert_snapshot!(bytes(WORLD));
}
