//! Whole evaluations by systems whose faults are known: figures say them, runs go on where they
//! stopped, and what is not the same run is refused.

use std::collections::{HashMap, HashSet};
use std::error::Error;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use shutterbug::data::pocket::{Colour, PocketWorld, Scene, Split, paint};
use shutterbug::data::{Example, load_photo};
use shutterbug::dialogue::{Dialogue, Element, Photo, Pixels, Reply, Speaker, Timings};
use shutterbug::evaluation::{
    EvaluateError, Judge, Judgement, PhotoSwap, Report, Results, Suite, share_bias,
};
use shutterbug::systems::{
    Decoding, DrawRequest, Drawing, EndToEnd, PhotoSharing, Pipeline, ReplyRequest, RespondError,
    System, Transfer, Watcher, convert,
};
use shutterbug::torch::Compute;

const SIDE_PX: u32 = 24;

/// Dialogues that begin differently, so that no context has two replies.
fn examples(count: usize) -> Vec<Example> {
    let mut beginnings = HashSet::new();
    let dialogues = (0..).map(|index| PocketWorld { seed: 2 }.dialogue(Split::Test, index));
    let begins_anew = |example: &Example| beginnings.insert(format!("{:?}", example.turns()[0]));
    dialogues.filter(begins_anew).take(count).collect()
}

fn template() -> ReplyRequest {
    ReplyRequest {
        dialogue: Dialogue::default(),
        system_text: None,
        photos: PhotoSharing::On,
        decoding: Decoding::Sample { temperature: 1.0, top_p: 1.0 },
        share_bias: 0.5,
        new_tokens_max: 16,
        drawing: Drawing { steps: 2, guidance: 3.0, size: None, latents: None },
        seed: 9,
        adapter: None,
        trace: None,
    }
}

fn run_of(name: &str) -> Map<String, Value> {
    Map::from_iter([("model".to_owned(), json!(name))])
}

fn texts(dialogue: &Dialogue) -> Vec<String> {
    let elements = dialogue.turns().iter().flat_map(|turn| &turn.elements);
    let texts = elements.filter_map(|element| match element {
        Element::Utterance(text) => Some(text.clone()),
        Element::Photo(_) => None,
    });
    texts.collect()
}

/// Answers by a script, and remembers what it was asked.
struct Scripted<F> {
    asked: Vec<ReplyRequest>,
    script: F,
}

impl<F: Fn(&ReplyRequest) -> Result<Vec<Element>, &'static str>> Scripted<F> {
    fn new(script: F) -> Self {
        Self { asked: Vec::new(), script }
    }
}

impl<F: Fn(&ReplyRequest) -> Result<Vec<Element>, &'static str>> System for Scripted<F> {
    fn revision(&self) -> &'static str {
        "scripted"
    }

    fn respond(
        &mut self,
        request: &ReplyRequest,
        _watcher: &mut Watcher<'_>,
    ) -> Result<Reply, RespondError> {
        self.asked.push(request.clone());
        let elements =
            (self.script)(request).map_err(|reason| RespondError::Failed(reason.into()))?;
        Ok(Reply {
            elements,
            tokens: vec![1],
            seed: request.seed,
            share_probability: Some(0.2),
            timings: Timings::default(),
            model: "scripted".to_owned(),
            adapter: None,
        })
    }

    fn draw(
        &mut self,
        _request: &DrawRequest,
        _watcher: &mut Watcher<'_>,
    ) -> Result<Pixels, RespondError> {
        Err(RespondError::Cancelled)
    }
}

/// What A really said after each context, its photos painted by `artist`.
fn truth(examples: &[Example], artist: impl Fn(&Scene) -> Pixels) -> Vec<(Dialogue, Vec<Element>)> {
    let mut said = Vec::new();
    for example in examples {
        for turn in example.replies() {
            let context = example.dialogue_until(turn, load_photo).unwrap();
            let whole = example.dialogue_until(turn + 1, load_photo).unwrap();
            let truth = example.truth.as_ref().unwrap();
            let mut scenes = truth.shares.iter().filter(|share| share.turn == turn);
            let mut elements = whole.turns()[turn].elements.clone();
            for element in &mut elements {
                if let Element::Photo(photo) = element {
                    let scene = &truth.scenes[scenes.next().unwrap().photo];
                    photo.pixels = Some(Arc::new(artist(scene)));
                }
            }
            said.push((context, elements));
        }
    }
    said
}

/// Says what A said where the context is the true one, photos included; else it knows nothing.
fn parrot(
    said: Vec<(Dialogue, Vec<Element>)>,
) -> Scripted<impl Fn(&ReplyRequest) -> Result<Vec<Element>, &'static str>> {
    Scripted::new(move |request: &ReplyRequest| {
        let known = said.iter().find(|(context, _)| *context == request.dialogue);
        Ok(known.map_or_else(
            || vec![Element::Utterance("Who knows?".to_owned())],
            |(_, elements)| elements.clone(),
        ))
    })
}

/// Knows every picture that it has been told of.
struct Connoisseur(HashMap<Vec<u8>, Judgement>);

impl Connoisseur {
    /// Of all scenes that A shares, as they are and in `painted` colours.
    fn new(examples: &[Example], painted: &[fn(&Scene) -> Scene]) -> Self {
        let mut known = HashMap::new();
        for truth in examples.iter().filter_map(|example| example.truth.as_ref()) {
            for scene in truth.shares.iter().map(|share| &truth.scenes[share.photo]) {
                for change in painted {
                    let scene = change(scene);
                    let thing = scene.things[0];
                    let judgement = Judgement {
                        object: thing.object,
                        colour: thing.colour,
                        place: scene.place,
                    };
                    known.insert(paint(&scene, SIDE_PX).rgb, judgement);
                }
            }
        }
        Self(known)
    }
}

impl Judge for Connoisseur {
    fn judge(&self, pictures: &[Pixels]) -> Vec<Judgement> {
        pictures.iter().map(|picture| self.0[&picture.rgb]).collect()
    }
}

fn value(report: &Report, name: &str) -> f64 {
    report.figure(name).unwrap_or_else(|| panic!("no figure {name}")).estimate.value
}

fn sum(report: &Report, name: &str) -> usize {
    report.figure(name).map_or(0, |figure| figure.of)
}

#[test]
fn who_says_what_a_said_is_right_in_everything() {
    let examples = examples(60);
    let as_it_is: fn(&Scene) -> Scene = Scene::clone;
    let mut system = parrot(truth(&examples, |scene| paint(scene, SIDE_PX)));
    let folder = tempfile::tempdir().unwrap();
    let run = run_of("parrot");
    let mut results = Results::open(folder.path(), &run).unwrap();
    let suite = Suite::new(&examples, template(), None);
    let mut told = Vec::new();
    suite.run(&mut system, &mut results, &mut |done, of| told.push((done, of))).unwrap();

    let decisions = suite.decisions().len();
    assert_eq!(told, (0..=decisions).map(|done| (done, decisions)).collect::<Vec<_>>());
    assert!(system.asked.iter().all(|request| request.decoding == Decoding::Greedy));
    let mut seeds: Vec<u64> = system.asked.iter().map(|request| request.seed).collect();
    seeds.sort_unstable();
    seeds.dedup();
    assert_eq!(seeds.len(), decisions);

    let judge = Connoisseur::new(&examples, &[as_it_is]);
    let report = Report::of(&run, &examples, &results, Some(&judge)).unwrap();
    assert_eq!((report.dialogues, report.decisions, report.failed), (60, decisions, 0));
    for figure in &report.figures {
        let name = figure.name.as_str();
        let expected = match name {
            _ if name.starts_with("paper.") => 100.0,
            "answers.guessing" | "timing.sharing_rate" | "timing.true_sharing_rate" => continue,
            _ if name.contains("keyword_rule") => continue,
            _ => 1.0,
        };
        // ROUGE-L counts replies without words as 0.
        if name == "paper.rouge_l" {
            assert!((85.0..=100.0).contains(&figure.estimate.value), "{figure:?}");
            continue;
        }
        assert!((figure.estimate.value - expected).abs() < 1e-9, "{figure:?}");
        assert!((figure.estimate.low - expected).abs() < 1e-9, "{figure:?}");
    }
    for name in ["photos.picture.colour", "photos.picture.held_out.object", "answers.right.colour"]
    {
        assert!(sum(&report, name) > 5, "{name}: {}", sum(&report, name));
    }
    assert!(value(&report, "timing.f1_above_keyword_rule") > 0.1);
    assert!(value(&report, "answers.guessing") < 0.7);
    let rates = [value(&report, "timing.sharing_rate"), value(&report, "timing.true_sharing_rate")];
    assert_eq!(rates[0].to_bits(), rates[1].to_bits());
    assert!(
        report.exhibits.iter().all(|exhibit| exhibit.wanted.as_ref() == Some(&exhibit.caption))
    );
}

#[test]
fn a_wrong_colour_and_swapped_photos_show_in_their_figures() {
    fn repainted(scene: &Scene) -> Scene {
        let mut scene = scene.clone();
        let colour = scene.things[0].colour;
        scene.things[0].colour = if colour == Colour::Red { Colour::Blue } else { Colour::Red };
        scene
    }
    let examples = examples(40);
    let mut system = parrot(truth(&examples, |scene| paint(&repainted(scene), SIDE_PX)));
    let folder = tempfile::tempdir().unwrap();
    let run = run_of("parrot");
    let mut results = Results::open(&folder.path().join("own"), &run).unwrap();
    Suite::new(&examples, template(), None).run(&mut system, &mut results, &mut |_, _| ()).unwrap();
    let judge = Connoisseur::new(&examples, &[repainted]);
    let report = Report::of(&run, &examples, &results, Some(&judge)).unwrap();
    for (name, expected) in [
        ("photos.picture.object", 1.0),
        ("photos.picture.colour", 0.0),
        ("photos.picture.place", 1.0),
        ("photos.caption.colour", 1.0),
        ("photos.agreement.colour", 0.0),
        ("answers.right", 1.0),
    ] {
        assert!((value(&report, name) - expected).abs() < 1e-9, "{name}");
    }
    let unjudged = Report::of(&run, &examples, &results, None).unwrap();
    assert_eq!(unjudged.figure("photos.picture.object"), None);
    assert!(unjudged.figure("photos.caption.object").is_some());

    // With other photos the parrot knows nothing any more, and is asked with the same words.
    let swap = PhotoSwap::new(&examples, 1);
    let asked = std::mem::take(&mut system.asked);
    let mut results = Results::open(&folder.path().join("swapped"), &run).unwrap();
    let suite = Suite::new(&examples, template(), Some(swap));
    suite.run(&mut system, &mut results, &mut |_, _| ()).unwrap();
    let swapped = Report::of(&run, &examples, &results, Some(&judge)).unwrap();
    assert!(value(&swapped, "answers.right") < 1e-9);
    assert_eq!(sum(&swapped, "answers.right"), sum(&report, "answers.right"));
    for (own, swapped) in asked.iter().zip(&system.asked) {
        assert_eq!(texts(&own.dialogue), texts(&swapped.dialogue));
    }
}

#[test]
fn a_killed_run_goes_on_and_gives_the_same_report() {
    let examples = examples(6);
    let said = truth(&examples, |scene| paint(scene, SIDE_PX));
    let run = run_of("parrot");
    let suite = Suite::new(&examples, template(), None);
    let decisions = suite.decisions().len();
    let folder = tempfile::tempdir().unwrap();
    let finish = |folder: &Path| {
        let mut system = parrot(said.clone());
        let mut results = Results::open(folder, &run).unwrap();
        suite.run(&mut system, &mut results, &mut |_, _| ()).unwrap();
        (system.asked.len(), Report::of(&run, &examples, &results, None).unwrap())
    };
    let (asked, whole) = finish(folder.path());
    assert_eq!(asked, decisions);

    // Killed in the middle of the fifth line.
    let file = folder.path().join("results.jsonl");
    let lines = fs::read_to_string(&file).unwrap();
    let kept: Vec<&str> = lines.lines().collect();
    fs::write(&file, format!("{}\n{}", kept[..4].join("\n"), &kept[4][..20])).unwrap();
    let (asked, again) = finish(folder.path());
    assert_eq!(asked, decisions - 4);
    assert_eq!(again, whole);
    assert_eq!(fs::read_to_string(&file).unwrap(), lines);
    let (asked, _) = finish(folder.path());
    assert_eq!(asked, 0);

    // A line in the middle that is none of ours is not guessed at.
    fs::write(&file, format!("{}\n{{}}\n{}\n", kept[0], kept[1])).unwrap();
    let error = Results::open(folder.path(), &run).unwrap_err();
    assert!(matches!(error, EvaluateError::Result { line: 2, .. }), "{error}");
}

#[test]
fn another_run_s_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    Results::open(folder.path(), &run_of("parrot")).unwrap();
    let error = Results::open(folder.path(), &run_of("crow")).unwrap_err().to_string();
    for part in ["run.json", "model", "\"parrot\"", "\"crow\"", "another folder"] {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn what_fails_is_counted_wrong_and_tried_again() {
    let examples = examples(8);
    let said = truth(&examples, |scene| paint(scene, SIDE_PX));
    let run = run_of("parrot");
    let suite = Suite::new(&examples, template(), None);
    let folder = tempfile::tempdir().unwrap();
    let mut results = Results::open(folder.path(), &run).unwrap();
    let first = said[0].0.clone();
    let knows = said.clone();
    let mut ill = Scripted::new(move |request: &ReplyRequest| {
        if request.dialogue == first {
            return Err("no memory");
        }
        let known = knows.iter().find(|(context, _)| *context == request.dialogue);
        Ok(known.unwrap().1.clone())
    });
    suite.run(&mut ill, &mut results, &mut |_, _| ()).unwrap();
    let report = Report::of(&run, &examples, &results, None).unwrap();
    assert_eq!(report.failed, 1);
    assert!(value(&report, "paper.bleu_1") < 100.0 - 1e-9);
    drop(results);

    let mut results = Results::open(folder.path(), &run).unwrap();
    let reason = results.answer(&examples[0].id, 1).unwrap().error.clone().unwrap();
    assert!(reason.contains("no memory"), "{reason}");
    let mut well = parrot(said);
    suite.run(&mut well, &mut results, &mut |_, _| ()).unwrap();
    assert_eq!(well.asked.len(), 1);
    let mended = Report::of(&run, &examples, &results, None).unwrap();
    assert_eq!(mended.failed, 0);
    let reopened = Results::open(folder.path(), &run).unwrap();
    assert_eq!(Report::of(&run, &examples, &reopened, None).unwrap(), mended);
}

#[test]
fn calibration_asks_without_drawing() {
    let examples = examples(5);
    let mut system = Scripted::new(|request: &ReplyRequest| {
        assert!(request.share_bias < -1e6, "a photo might be drawn");
        assert_eq!(request.photos, PhotoSharing::On);
        Ok(vec![Element::Utterance("well".to_owned())])
    });
    let suite = Suite::new(&examples, template(), None);
    let found = suite.share_probabilities(&mut system, &mut |_, _| ());
    assert_eq!((found.known.len(), found.failed), (suite.decisions().len(), 0));
    // Odds of 1/4 everywhere; even odds are four times as many.
    let bias = share_bias(&found.known, 0.5).unwrap();
    assert!((bias - 4.0_f64.ln()).abs() < 1e-9, "{bias}");
}

#[test]
fn a_report_is_a_table_and_a_list() {
    let examples = examples(3);
    let folder = tempfile::tempdir().unwrap();
    let run = run_of("mute");
    let mut results = Results::open(folder.path(), &run).unwrap();
    let picture = Arc::new(Pixels { width: 1, height: 1, rgb: vec![0; 3] });
    let mut system = Scripted::new(move |_: &ReplyRequest| {
        let caption = Some("a red cat on the beach".to_owned());
        Ok(vec![Element::Photo(Photo { pixels: Some(Arc::clone(&picture)), caption })])
    });
    let suite = Suite::new(&examples, template(), None);
    suite.run(&mut system, &mut results, &mut |_, _| ()).unwrap();
    let report = Report::of(&run, &examples, &results, None).unwrap();
    let decisions = report.decisions;
    assert_eq!(report.exhibits.len(), decisions);
    let text = report.markdown(2);
    let recall = format!("| timing.recall | 1.000 | 1.000 … 1.000 | {decisions} |\n");
    for part in [
        "# Evaluation\n\n- model: mute\n- 3 dialogues, ",
        "| figure | value | 95 % interval | of |\n| --- | ---: | :---: | ---: |\n",
        &recall,
        "![Photos](sheet.png)\n\nRow by row:\n\n1. a red cat on the beach (wanted: ",
        "\n2. a red cat on the beach (wanted: ",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
    assert!(!text.contains("\n3. "), "{text}");
    let figure = &report.json()["figures"]["timing.recall"];
    assert_eq!(*figure, json!({ "value": 1.0, "low": 1.0, "high": 1.0, "of": decisions }));
}

/// A dialogue in which B shows a picture.
fn shown(value: u8, caption: &str) -> Dialogue {
    let rgb = (0..32 * 32 * 3).map(|at| value.wrapping_mul((at % 251) as u8)).collect();
    let pixels = Some(Arc::new(Pixels { width: 32, height: 32, rgb }));
    let photo = Photo { pixels, caption: Some(caption.to_owned()) };
    let mut dialogue = Dialogue::default();
    dialogue.push(Speaker::B, [Element::Photo(photo), Element::Utterance("nice?".to_owned())]);
    dialogue
}

#[test]
fn the_pipeline_reads_captions_and_sees_nothing() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let tiny = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny");
    let model = folder.path().join("model");
    let directory = convert(&tiny.join("llama"), &tiny.join("diffusion"), &model, Transfer::Link)?;
    let probability = |system: &mut dyn System, dialogue: Dialogue| {
        let request = ReplyRequest {
            dialogue,
            decoding: Decoding::Greedy,
            share_bias: -1e9,
            new_tokens_max: 4,
            ..template()
        };
        let go_on = &mut |_| std::ops::ControlFlow::Continue(());
        system.respond(&request, go_on).unwrap().share_probability.unwrap().to_bits()
    };
    let mut sees = EndToEnd::load(&directory, Compute::CPU)?;
    let first = probability(&mut sees, shown(3, "a cat"));
    assert_ne!(probability(&mut sees, shown(101, "a cat")), first);
    assert_eq!(probability(&mut sees, shown(3, "a dog")), first);

    let mut reads = Pipeline::new(sees);
    let first = probability(&mut reads, shown(3, "a cat"));
    assert_eq!(probability(&mut reads, shown(101, "a cat")), first);
    assert_ne!(probability(&mut reads, shown(3, "a dog")), first);
    assert!(reads.revision().ends_with("-pipeline"));
    Ok(())
}
