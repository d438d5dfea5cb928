//! Decisions put to a system, one after the other.

use std::error::Error;
use std::ops::ControlFlow;

use super::draws::Draws;
use super::error::EvaluateError;
use super::results::Results;
use super::swap::PhotoSwap;
use crate::data::{Example, PhotoFileError, load_photo};
use crate::dialogue::Reply;
use crate::systems::{Decoding, PhotoSharing, ReplyRequest, System};

/// Added to the logit of `[IMG]`, no photo is ever chosen.
const NEVER: f64 = -1e9;

/// What a system is to decide.
pub struct Suite<'a> {
    examples: &'a [Example],
    template: ReplyRequest,
    swap: Option<PhotoSwap<'a>>,
}

/// A turn of A's to be answered anew.
#[derive(Debug, Clone, Copy)]
pub struct Decision<'a> {
    /// The dialogue.
    pub example: &'a Example,
    /// The turn.
    pub turn: usize,
}

/// The unbiased probabilities of a photo, decision by decision.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ShareProbabilities {
    /// Of decisions that could be made.
    pub known: Vec<f64>,
    /// Decisions that could not.
    pub failed: usize,
}

impl<'a> Suite<'a> {
    /// Every turn of A's that answers something. `template` is the request but for its dialogue;
    /// its seed gives each decision a seed of its own. Replies are greedy. With `swap` every photo of
    /// a context is another dialogue's.
    pub fn new(
        examples: &'a [Example],
        template: ReplyRequest,
        swap: Option<PhotoSwap<'a>>,
    ) -> Self {
        let template = ReplyRequest { decoding: Decoding::Greedy, ..template };
        Self { examples, template, swap }
    }

    /// All decisions, dialogue by dialogue.
    pub fn decisions(&self) -> Vec<Decision<'a>> {
        let of =
            |example: &'a Example| example.replies().map(move |turn| Decision { example, turn });
        self.examples.iter().flat_map(of).collect()
    }

    /// Asks for every reply that `results` lacks. A reply that fails is kept as such, and the run
    /// goes on. `progress` is told decisions done and all.
    ///
    /// # Errors
    /// If results can't be written.
    pub fn run(
        &self,
        system: &mut dyn System,
        results: &mut Results,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<(), EvaluateError> {
        let decisions = self.decisions();
        for (done, decision) in decisions.iter().enumerate() {
            progress(done, decisions.len());
            let (id, turn) = (&decision.example.id, decision.turn);
            if results.is_done(id, turn) {
                continue;
            }
            match self.decide(*decision, &self.template, system) {
                Ok(reply) => results.keep(id, turn, &reply)?,
                Err(error) => results.keep_failure(id, turn, error.as_ref())?,
            }
        }
        progress(decisions.len(), decisions.len());
        Ok(())
    }

    /// How probable a photo is at every decision by the model's own logits. None is ever chosen, so
    /// nothing is drawn.
    pub fn share_probabilities(
        &self,
        system: &mut dyn System,
        progress: &mut dyn FnMut(usize, usize),
    ) -> ShareProbabilities {
        let template =
            ReplyRequest { photos: PhotoSharing::On, share_bias: NEVER, ..self.template.clone() };
        let decisions = self.decisions();
        let mut probabilities = ShareProbabilities::default();
        for (done, decision) in decisions.iter().enumerate() {
            progress(done, decisions.len());
            match self.decide(*decision, &template, system) {
                Ok(Reply { share_probability: Some(probability), .. }) => {
                    probabilities.known.push(probability);
                }
                Ok(_) | Err(_) => probabilities.failed += 1,
            }
        }
        progress(decisions.len(), decisions.len());
        probabilities
    }

    fn decide(
        &self,
        decision: Decision<'_>,
        template: &ReplyRequest,
        system: &mut dyn System,
    ) -> Result<Reply, Box<dyn Error + Send + Sync>> {
        let request = self.request(decision, template)?;
        Ok(system.respond(&request, &mut |_| ControlFlow::Continue(()))?)
    }

    /// What the system is asked at a decision: the true dialogue before it.
    fn request(
        &self,
        decision: Decision<'_>,
        template: &ReplyRequest,
    ) -> Result<ReplyRequest, PhotoFileError> {
        let Decision { example, turn } = decision;
        let context = example.dialogue_until(turn, load_photo)?;
        let dialogue = match &self.swap {
            None => context,
            Some(swap) => swap.swap(&example.id, &context, load_photo)?,
        };
        let item = format!("{} {turn}", example.id);
        let seed = Draws::new(template.seed, "reply", &item).bits();
        Ok(ReplyRequest { dialogue, seed, ..template.clone() })
    }
}
