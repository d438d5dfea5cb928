//! Figures of a run, for people and for programs.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::answers::{Answers, Guesses, answers};
use super::bootstrap::{Estimate, Ratio, Tally, difference, estimate};
use super::case::{Answer, Case};
use super::error::EvaluateError;
use super::overlap::Overlap;
use super::photos::{Judge, Judgement, PROPERTIES, Photos, Properties, photos};
use super::results::Results;
use super::timing::{self, keyword_timing, sharing, timing, true_sharing};
use crate::data::pocket::Aspect;
use crate::data::{Example, ExampleElement, PhotoFileError, load_photo};
use crate::dialogue::Pixels;

/// Seed of the intervals: the same results give the same report.
const SEED: u64 = 0;

/// A figure, its interval, and of how many things it tells.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// Such as `timing.f1`.
    pub name: String,
    /// Value and interval.
    pub estimate: Estimate,
    /// Decisions, answers or photos that it is over.
    pub of: usize,
}

/// A photo that was drawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exhibit {
    /// The picture.
    pub pixels: Pixels,
    /// What it was drawn from.
    pub caption: String,
    /// The caption of the photo that A shared at this turn, if one was shared.
    pub wanted: Option<String>,
}

/// All figures of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// What was measured.
    pub run: Map<String, Value>,
    /// Dialogues.
    pub dialogues: usize,
    /// Replies asked for.
    pub decisions: usize,
    /// Replies that there are none of: they count as empty.
    pub failed: usize,
    /// The figures that are defined, in groups.
    pub figures: Vec<Figure>,
    /// The photos that were drawn, in the order of dialogues and turns.
    pub exhibits: Vec<Exhibit>,
}

/// Answers with what the judge says of their photos.
struct Judged {
    turn: usize,
    answer: Answer,
    judgements: Vec<Judgement>,
}

impl Report {
    /// Of the results on these dialogues. Decisions without a result count as failed. Without a judge
    /// nothing is said about what pictures show.
    ///
    /// # Errors
    /// If a drawn photo can't be read again.
    pub fn of(
        run: &Map<String, Value>,
        examples: &[Example],
        results: &Results,
        judge: Option<&dyn Judge>,
    ) -> Result<Self, EvaluateError> {
        let mut exhibits = Vec::new();
        let mut judged: Vec<Vec<Judged>> = Vec::with_capacity(examples.len());
        for example in examples {
            let mut answers = Vec::new();
            for turn in example.replies() {
                let answer = results.answer(&example.id, turn).cloned().unwrap_or_else(|| Answer {
                    error: Some("there is no result".to_owned()),
                    ..Answer::default()
                });
                let pixels = read_photos(&answer, results)?;
                let judgements = judge.map_or_else(Vec::new, |judge| judge.judge(&pixels));
                for (photo, pixels) in answer.photos.iter().zip(pixels) {
                    let (caption, wanted) = (photo.caption.clone(), wanted_caption(example, turn));
                    exhibits.push(Exhibit { pixels, caption, wanted });
                }
                answers.push(Judged { turn, answer, judgements });
            }
            judged.push(answers);
        }
        let cases: Vec<Vec<Case<'_>>> = examples
            .iter()
            .zip(&judged)
            .map(|(example, answers)| {
                let cases = answers.iter().map(|judged| Case {
                    example,
                    turn: judged.turn,
                    answer: &judged.answer,
                    judgements: &judged.judgements,
                });
                cases.collect()
            })
            .collect();
        let all = judged.iter().flatten();
        Ok(Self {
            run: run.clone(),
            dialogues: examples.len(),
            decisions: all.clone().count(),
            failed: all.filter(|judged| judged.answer.error.is_some()).count(),
            figures: figures(&cases),
            exhibits,
        })
    }

    /// A figure by its name.
    pub fn figure(&self, name: &str) -> Option<&Figure> {
        self.figures.iter().find(|figure| figure.name == name)
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let figures: Map<String, Value> = self
            .figures
            .iter()
            .map(|Figure { name, estimate, of }| (name.clone(), estimate.json("of", *of)))
            .collect();
        json!({
            "run": self.run,
            "dialogues": self.dialogues,
            "decisions": self.decisions,
            "failed": self.failed,
            "photos": self.exhibits.len(),
            "figures": figures,
        })
    }

    /// For people. `shown` photos stand on the contact sheet `sheet.png` beside it.
    pub fn markdown(&self, shown: usize) -> String {
        let mut text = "# Evaluation\n\n".to_owned();
        for (key, value) in &self.run {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            // Writing to a String can't fail.
            let _ = writeln!(text, "- {key}: {value}");
        }
        let _ = writeln!(
            text,
            "- {} dialogues, {} replies, {} of them failed, {} photos drawn",
            self.dialogues,
            self.decisions,
            self.failed,
            self.exhibits.len()
        );
        text += "\nIntervals are 95 % percentile bootstrap over dialogues.\n\n";
        text += "| figure | value | 95 % interval | of |\n| --- | ---: | :---: | ---: |\n";
        for Figure { name, estimate: Estimate { value, low, high }, of } in &self.figures {
            let _ = writeln!(text, "| {name} | {value:.3} | {low:.3} … {high:.3} | {of} |");
        }
        if shown > 0 {
            text += "\n![Photos](sheet.png)\n\nRow by row:\n\n";
        }
        for (number, exhibit) in self.exhibits.iter().take(shown).enumerate() {
            let wanted = exhibit.wanted.as_deref().unwrap_or("no photo");
            let _ = writeln!(text, "{}. {} (wanted: {wanted})", number + 1, exhibit.caption.trim());
        }
        text
    }
}

fn read_photos(answer: &Answer, results: &Results) -> Result<Vec<Pixels>, PhotoFileError> {
    let read = |file: &std::path::Path| {
        let path = results.folder().join(file);
        load_photo(&path).map_err(|source| PhotoFileError { path, source })
    };
    answer.photos.iter().map(|photo| read(&photo.file)).collect()
}

fn wanted_caption(example: &Example, turn: usize) -> Option<String> {
    example.turns()[turn].elements.iter().find_map(|element| match element {
        ExampleElement::Photo(photo) => photo.caption.clone(),
        ExampleElement::Utterance(_) => None,
    })
}

/// Figures over dialogues.
#[derive(Default)]
struct Figures(Vec<Figure>);

impl Figures {
    fn push(&mut self, name: impl Into<String>, estimate: Option<Estimate>, of: usize) {
        let name = name.into();
        self.0.extend(estimate.map(|estimate| Figure { name, estimate, of }));
    }

    /// A ratio that is picked from tallies.
    fn ratio<T>(&mut self, name: impl Into<String>, dialogues: &[T], pick: impl Fn(&T) -> Ratio) {
        let ratios: Vec<Ratio> = dialogues.iter().map(pick).collect();
        let of = Ratio::sum(ratios.iter().copied()).of;
        self.push(name, estimate(&ratios, Ratio::value, SEED), of);
    }
}

/// One tally a dialogue.
fn tallies<T: Tally>(dialogues: &[Vec<Case<'_>>], of: impl Fn(&Case<'_>) -> T) -> Vec<T> {
    dialogues.iter().map(|cases| T::sum(cases.iter().map(&of))).collect()
}

fn figures(dialogues: &[Vec<Case<'_>>]) -> Vec<Figure> {
    let mut figures = Figures::default();
    timing_figures(&mut figures, dialogues);
    answer_figures(&mut figures, dialogues);
    photo_figures(&mut figures, dialogues);
    overlap_figures(&mut figures, dialogues);
    figures.0
}

fn timing_figures(figures: &mut Figures, dialogues: &[Vec<Case<'_>>]) {
    let decisions = dialogues.iter().map(Vec::len).sum();
    let (system, rule) = (tallies(dialogues, timing), tallies(dialogues, keyword_timing));
    for (who, tallies) in [("timing", &system), ("timing.keyword_rule", &rule)] {
        let mut push = |name, statistic: fn(&timing::Timing) -> Option<f64>| {
            figures.push(format!("{who}.{name}"), estimate(tallies, statistic, SEED), decisions);
        };
        push("precision", timing::precision);
        push("recall", timing::recall);
        push("f1", timing::f1);
    }
    let ahead = difference((&system, timing::f1), (&rule, timing::f1), SEED);
    figures.push("timing.f1_above_keyword_rule", ahead, decisions);
    figures.ratio("timing.sharing_rate", &tallies(dialogues, sharing), |ratio| *ratio);
    figures.ratio("timing.true_sharing_rate", &tallies(dialogues, true_sharing), |ratio| *ratio);
}

fn answer_figures(figures: &mut Figures, dialogues: &[Vec<Case<'_>>]) {
    let guesses = Guesses::of(dialogues.iter().flatten());
    let right = tallies(dialogues, answers);
    figures.ratio("answers.right", &right, Answers::all);
    let guessed = tallies(dialogues, |case| guesses.answers(case));
    figures.ratio("answers.guessing", &guessed, Answers::all);
    for aspect in Aspect::ALL {
        figures
            .ratio(format!("answers.right.{}", aspect.name()), &right, |tally| tally.about(aspect));
    }
}

fn photo_figures(figures: &mut Figures, dialogues: &[Vec<Case<'_>>]) {
    type Pick = fn(&Photos) -> Properties;
    let tallies = tallies(dialogues, photos);
    let groups: [(&str, Pick); 6] = [
        ("photos.picture", |photos| photos.pictures.all),
        ("photos.picture.held_out", |photos| photos.pictures.held_out),
        ("photos.caption", |photos| photos.captions.all),
        ("photos.caption.held_out", |photos| photos.captions.held_out),
        ("photos.agreement", |photos| photos.agreement.all),
        ("photos.agreement.held_out", |photos| photos.agreement.held_out),
    ];
    for (group, pick) in groups {
        for property in PROPERTIES {
            figures.ratio(format!("{group}.{}", property.name()), &tallies, |tally| {
                pick(tally).of(property)
            });
        }
    }
}

fn overlap_figures(figures: &mut Figures, dialogues: &[Vec<Case<'_>>]) {
    let replies = dialogues.iter().map(Vec::len).sum();
    let overlaps = tallies(dialogues, Overlap::of);
    let mut push = |name, statistic: fn(&Overlap) -> Option<f64>| {
        // Per cent, as the paper's tables.
        let percent = |overlap: &Overlap| statistic(overlap).map(|value| 100.0 * value);
        figures.push(format!("paper.{name}"), estimate(&overlaps, percent, SEED), replies);
    };
    push("bleu_1", Overlap::bleu_1);
    push("bleu_2", Overlap::bleu_2);
    push("rouge_l", Overlap::rouge_l);
}
