//! A dialogue of the pocket world while it is written: turns, and the truth about them.

use super::draws::Draws;
use super::exchanges::Exchanges;
use super::phrases::Bank;
use super::scene::{Combinations, Place, Scene, Settled};
use super::truth::{Act, Aspect, Reason, Share, Sight, Split, Truth, Wanted};
use super::words::{Slots, Telling, side_phrase, told};
use crate::data::example::{Example, ExampleElement, ExamplePhoto, Picture};
use crate::dialogue::Speaker;

/// Names that several people of a channel have; their texts begin with them.
const NAMES: &[&str] = &["Mia", "Tom", "Ada", "Ben", "Zoe", "Max"];

/// Which phrasings B takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phrasings {
    Trained,
    /// Those kept from training, wherever there are some.
    HeldOut,
}

/// How B writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    Proper,
    Small,
    /// Small letters, and nothing at the end of a sentence that is no question.
    Hasty,
}

/// Where B's words stand beside the photo.
#[derive(Debug, Clone, Copy)]
enum Order {
    TextFirst,
    PhotoFirst,
}

/// A dialogue in the making.
pub(super) struct Script {
    pub(super) draws: Draws,
    combinations: Combinations,
    phrasings: Phrasings,
    manner: Manner,
    /// Two people, or nobody by name.
    people: Option<[&'static str; 2]>,
    turns: Vec<(Speaker, Vec<ExampleElement>)>,
    truth: Truth,
    closed: bool,
}

impl Script {
    pub(super) fn new(
        mut draws: Draws,
        split: Split,
        combinations: Combinations,
        phrasings: Phrasings,
    ) -> Self {
        let manners = [(Manner::Proper, 6.0), (Manner::Small, 2.0), (Manner::Hasty, 2.0)];
        let manner = draws.weighted(&manners);
        let people = draws.chance(0.06).then(|| {
            let first = draws.below(NAMES.len());
            [NAMES[first], NAMES[(first + 1 + draws.below(NAMES.len() - 1)) % NAMES.len()]]
        });
        let truth = Truth {
            split,
            scenes: Vec::new(),
            shares: Vec::new(),
            sights: Vec::new(),
            acts: Vec::new(),
            held_out_phrasings: Vec::new(),
        };
        Self {
            draws,
            combinations,
            phrasings,
            manner,
            people,
            turns: Vec::new(),
            truth,
            closed: false,
        }
    }

    /// The example, its pictures not painted yet.
    pub(super) fn finish(self, id: String) -> Example {
        let mut example = Example::new(id);
        for (speaker, elements) in self.turns {
            example.push(speaker, elements);
        }
        example.truth = Some(self.truth);
        example
    }

    /// How many turns there are.
    pub(super) fn len(&self) -> usize {
        self.turns.len()
    }

    /// Nothing new may begin.
    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    /// Whether something new may begin.
    pub(super) fn is_open(&self) -> bool {
        !self.closed
    }

    /// A scene with what is settled, of the dialogue's kind of combinations where there is one.
    pub(super) fn scene(&mut self, settled: Settled) -> Scene {
        self.combinations
            .scene(settled, &mut self.draws)
            .or_else(|| Combinations::Trained.scene(settled, &mut self.draws))
            .expect("for every two properties some combination is trained")
    }

    /// A scene about which nothing is settled.
    pub(super) fn any_scene(&mut self) -> Scene {
        self.scene(Settled::default())
    }

    /// A scene with two things.
    pub(super) fn scene_of_two(&mut self) -> Scene {
        let mut scene = self.any_scene();
        Combinations::accompany(&mut scene, &mut self.draws);
        scene
    }

    /// Whether a line about a scene tells a size.
    pub(super) fn telling(&mut self) -> Telling {
        if self.draws.chance(0.12) { Telling::Sized } else { Telling::Plain }
    }

    /// B says something.
    pub(super) fn b(&mut self, act: Act, bank: &Bank, slots: &Slots) {
        let text = self.line(bank, slots);
        self.push_b(act, vec![ExampleElement::Utterance(text)]);
    }

    /// B says something and A has an answer to it.
    pub(super) fn exchange(&mut self, acts: (Act, Act), exchanges: &Exchanges, slots: &Slots) {
        let held_out = self.phrasings == Phrasings::HeldOut;
        let from = if held_out { exchanges.held_out } else { exchanges.trained };
        let (said, answer) = self.draws.pick(from);
        if held_out {
            self.truth.held_out_phrasings.push(self.turns.len());
        }
        let text = self.in_manner(&slots.fill(said));
        self.push_b(acts.0, vec![ExampleElement::Utterance(text)]);
        self.a(acts.1, &[answer], slots);
    }

    /// B shows a photo, with words or without; gives the photo's number.
    pub(super) fn b_shows(&mut self, bank: Option<&Bank>, scene: &Scene) -> usize {
        let slots = Slots::of(scene, Telling::Plain);
        let text = bank.map(|bank| ExampleElement::Utterance(self.line(bank, &slots)));
        let order = self.draws.weighted(&[(Order::TextFirst, 7.0), (Order::PhotoFirst, 3.0)]);
        let caption = self.sparse_caption(scene);
        let (number, photo) = self.photo(scene, caption);
        let elements = match order {
            Order::TextFirst => text.into_iter().chain([photo]).collect(),
            Order::PhotoFirst => [photo].into_iter().chain(text).collect(),
        };
        self.push_b(Act::Show, elements);
        number
    }

    /// B shows a photo and asks about it in the same turn.
    pub(super) fn b_shows_asking(&mut self, bank: &Bank, slots: &Slots, scene: &Scene) -> usize {
        let text = self.line(bank, slots);
        let caption = self.sparse_caption(scene);
        let (number, photo) = self.photo(scene, caption);
        let text = ExampleElement::Utterance(text);
        let elements = if self.draws.chance(0.4) { vec![photo, text] } else { vec![text, photo] };
        self.push_b(Act::Question, elements);
        number
    }

    /// A says one of the lines.
    pub(super) fn a(&mut self, act: Act, lines: &[&str], slots: &Slots) {
        let line = self.draws.pick(lines);
        self.a_says(act, slots.fill(line));
    }

    /// A says exactly this.
    pub(super) fn a_says(&mut self, act: Act, text: String) {
        self.push(Speaker::A, act, vec![ExampleElement::Utterance(text)]);
    }

    /// A shares a photo of the scene, with words around it or without. `sized` tells whether the
    /// dialogue settles the size. Gives the photo's number.
    pub(super) fn a_shares(
        &mut self,
        reason: Reason,
        lines: &[&str],
        slots: &Slots,
        (scene, telling): (&Scene, Telling),
        wanted: Wanted,
    ) -> usize {
        let line = self.draws.pick(lines);
        let before = self.draws.chance(0.9).then(|| ExampleElement::Utterance(slots.fill(line)));
        let after = self.draws.chance(0.2).then(|| {
            let line = self.draws.pick(super::questions::AFTER);
            ExampleElement::Utterance(line.to_owned())
        });
        let caption = self.caption(scene, telling);
        let (number, photo) = self.photo(scene, Some(caption));
        let turn = self.turns.len();
        self.truth.shares.push(Share { turn, photo: number, reason, wanted });
        let elements = before.into_iter().chain([photo]).chain(after).collect();
        self.push(Speaker::A, Act::Show, elements);
        number
    }

    /// Notes that A's last turn was right only because a photo was seen.
    pub(super) fn saw(&mut self, photo: usize, aspect: Aspect, words: &[&str]) {
        let mut answer: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        answer.sort();
        answer.dedup();
        let turn = self.turns.len() - 1;
        self.truth.sights.push(Sight { turn, photo, aspect, answer });
    }

    fn photo(&mut self, scene: &Scene, caption: Option<String>) -> (usize, ExampleElement) {
        let number = self.truth.scenes.len();
        self.truth.scenes.push(scene.clone());
        (number, ExampleElement::Photo(ExamplePhoto::new(Picture::Missing, caption)))
    }

    /// What A's photo is drawn from. It leaves out sizes and sides, as people do, unless the
    /// dialogue settled them or A feels like it.
    pub(super) fn caption(&mut self, scene: &Scene, telling: Telling) -> String {
        let telling = if self.draws.chance(0.1) { Telling::Sized } else { telling };
        let (told, place) = (told(scene, telling), scene.place.phrase());
        if scene.things.len() == 1 && self.draws.chance(0.1) {
            return format!("{told} {}, {place}", side_phrase(scene.things[0].side));
        }
        if self.draws.chance(0.1) { format!("{place}, {told}") } else { format!("{told} {place}") }
    }

    /// What little is known of B's photo in words, if anything.
    fn sparse_caption(&mut self, scene: &Scene) -> Option<String> {
        let thing = &scene.things[0];
        let (object, place) = (thing.object.word(), scene.place.phrase());
        match self.draws.below(7) {
            0 => Some(format!("my {object}")),
            1 => Some(format!("a {object} {place}")),
            2 => Some(Slots::of(scene, Telling::Plain).fill("{ac} {o}")),
            _ => None,
        }
    }

    fn line(&mut self, bank: &Bank, slots: &Slots) -> String {
        let held_out = self.phrasings == Phrasings::HeldOut && !bank.held_out.is_empty();
        let template = self.draws.pick(if held_out { bank.held_out } else { bank.trained });
        if held_out {
            self.truth.held_out_phrasings.push(self.turns.len());
        }
        self.in_manner(&slots.fill(template))
    }

    fn in_manner(&self, text: &str) -> String {
        match self.manner {
            Manner::Proper => text.to_owned(),
            Manner::Small => text.to_lowercase(),
            Manner::Hasty => text.to_lowercase().trim_end_matches(['.', '!']).to_owned(),
        }
    }

    fn push_b(&mut self, act: Act, mut elements: Vec<ExampleElement>) {
        if let Some(people) = self.people {
            let name = self.draws.pick(&people);
            let text = elements.iter_mut().find_map(|element| match element {
                ExampleElement::Utterance(text) => Some(text),
                ExampleElement::Photo(_) => None,
            });
            match text {
                Some(text) => *text = format!("{name}: {text}"),
                None => elements.insert(0, ExampleElement::Utterance(format!("{name}:"))),
            }
        }
        self.push(Speaker::B, act, elements);
    }

    fn push(&mut self, speaker: Speaker, act: Act, elements: Vec<ExampleElement>) {
        debug_assert!(self.turns.last().is_none_or(|(last, _)| *last != speaker));
        self.truth.acts.push(act);
        self.turns.push((speaker, elements));
    }
}

impl Wanted {
    /// Everything about a scene is settled.
    pub(super) fn all(scene: &Scene) -> Self {
        Settled::like(scene).into()
    }
}

impl From<Settled> for Wanted {
    fn from(Settled { object, colour, place }: Settled) -> Self {
        Self { object, colour, place }
    }
}

impl Settled {
    /// What is the same in the scene.
    pub(super) fn like(scene: &Scene) -> Self {
        let thing = &scene.things[0];
        Self { object: Some(thing.object), colour: Some(thing.colour), place: Some(scene.place) }
    }
}

/// Whether one walks to a place.
pub(super) fn is_outside(place: Place) -> bool {
    place != Place::Room
}
