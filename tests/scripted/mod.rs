//! A system that answers from a script, sees what it was asked, and draws plain coloured pictures.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "every test file that includes this module uses its own part of it"
)]

use std::convert::Infallible;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use shutterbug::dialogue::{Element, Photo, Pixels, Reply, Speaker, Timings};
use shutterbug::engine::{Engine, QueueLimits};
use shutterbug::systems::{
    DrawRequest, PhotoSharing, Progress, ReplyRequest, RespondError, System, Watcher,
};

/// What the model answers.
#[derive(Debug, Clone)]
pub enum Line {
    /// Text.
    Text(String),
    /// Text and a photo of this caption; the text alone where photos are off.
    Photo(String, String),
    /// The request can't be answered as it stands.
    Refuse(String),
    /// The model fails.
    Fail,
    /// The model panics.
    Panic,
}

impl Line {
    pub fn text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }

    pub fn photo(text: &str, caption: &str) -> Self {
        Self::Photo(text.to_owned(), caption.to_owned())
    }
}

/// Whether the model writes on or waits for the test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Curtain {
    Open,
    Closed,
}

/// The test's side of the system.
#[derive(Clone)]
pub struct Stage {
    asked: Arc<Mutex<Vec<ReplyRequest>>>,
    curtain: Arc<Mutex<Curtain>>,
}

impl Stage {
    /// An engine whose system answers as `script` says.
    pub fn engine(
        limits: QueueLimits,
        script: impl Fn(&ReplyRequest) -> Line + Send + 'static,
    ) -> (Engine, Self) {
        let stage = Self { asked: Arc::default(), curtain: Arc::new(Mutex::new(Curtain::Open)) };
        let system = Scripted { stage: stage.clone(), script: Box::new(script) };
        let make = || Ok::<Box<dyn System>, Infallible>(Box::new(system));
        let engine = Engine::start(limits, make).unwrap_or_else(|never| match never {});
        (engine, stage)
    }

    /// What the system was asked so far.
    pub fn asked(&self) -> Vec<ReplyRequest> {
        self.asked.lock().unwrap().clone()
    }

    /// From now on replies begin and don't end.
    pub fn hold(&self) {
        *self.curtain.lock().unwrap() = Curtain::Closed;
    }

    /// Replies end again.
    pub fn release(&self) {
        *self.curtain.lock().unwrap() = Curtain::Open;
    }

    /// Waits until the system was asked `count` times.
    pub async fn wait_until_asked(&self, count: usize) -> Vec<ReplyRequest> {
        for _ in 0..2000 {
            let asked = self.asked();
            if asked.len() >= count {
                return asked;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the model was asked {} times instead of {count}", self.asked().len());
    }
}

struct Scripted {
    stage: Stage,
    script: Box<dyn Fn(&ReplyRequest) -> Line + Send>,
}

impl System for Scripted {
    fn revision(&self) -> &'static str {
        "scripted"
    }

    fn respond(
        &mut self,
        request: &ReplyRequest,
        watcher: &mut Watcher<'_>,
    ) -> Result<Reply, RespondError> {
        self.stage.asked.lock().unwrap().push(request.clone());
        let mut go_on = |progress| match watcher(progress) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(RespondError::Cancelled),
        };
        go_on(Progress::Perceiving { photos: pictures(request).len() })?;
        while *self.stage.curtain.lock().unwrap() == Curtain::Closed {
            go_on(Progress::TextDelta(String::new()))?;
            std::thread::sleep(Duration::from_millis(5));
        }
        let elements = match (self.script)(request) {
            Line::Text(text) => vec![Element::Utterance(text)],
            Line::Photo(text, _) if request.photos == PhotoSharing::Off => {
                vec![Element::Utterance(text)]
            }
            Line::Photo(text, caption) => {
                let pixels = Some(Arc::new(picture(request.seed)));
                let photo = Photo { pixels, caption: Some(caption) };
                vec![Element::Utterance(text), Element::Photo(photo)]
            }
            Line::Refuse(sentence) => return Err(RespondError::Unanswerable(sentence)),
            Line::Fail => return Err(RespondError::Failed("no memory".into())),
            Line::Panic => panic!("the script says so"),
        };
        Ok(Reply {
            elements,
            tokens: vec![1, 2, 3],
            seed: request.seed,
            share_probability: Some(0.5),
            timings: Timings { perceive_ms: 1.0, prefill_ms: 2.0, decode_ms: 3.0, draw_ms: 4.0 },
            model: "scripted".to_owned(),
            adapter: None,
        })
    }

    fn draw(
        &mut self,
        request: &DrawRequest,
        _watcher: &mut Watcher<'_>,
    ) -> Result<Pixels, RespondError> {
        Ok(picture(request.seed))
    }
}

/// A plain picture whose colour comes from the seed.
pub fn picture(seed: u64) -> Pixels {
    let colour = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes();
    Pixels { width: 24, height: 16, rgb: colour[..3].repeat(24 * 16) }
}

/// The pictures that a request shows.
pub fn pictures(request: &ReplyRequest) -> Vec<Arc<Pixels>> {
    let elements = request.dialogue.turns().iter().flat_map(|turn| &turn.elements);
    elements
        .filter_map(|element| match element {
            Element::Photo(photo) => photo.pixels.clone(),
            Element::Utterance(_) => None,
        })
        .collect()
}

/// A dialogue as text: `A` and `B` with what they said, photos as their size and caption.
pub fn told(request: &ReplyRequest) -> String {
    let mut lines = Vec::new();
    for turn in request.dialogue.turns() {
        let speaker = if turn.speaker == Speaker::A { "A" } else { "B" };
        for element in &turn.elements {
            lines.push(match element {
                Element::Utterance(text) => format!("{speaker}: {text}"),
                Element::Photo(Photo { pixels, caption }) => {
                    format!("{speaker}: Photo {{ pixels: {pixels:?}, caption: {caption:?} }}")
                }
            });
        }
    }
    lines.join("\n")
}
