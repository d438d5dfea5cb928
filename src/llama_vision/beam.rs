//! Beam search, as transformers does it with a length penalty of 1 and without early stopping
//! (generation/utils.py, `_beam_search`).
//!
//! Axes in names: b hypothesis, v vocabulary.

use tch::{Kind, Tensor};

use super::batch::Session;
use super::generate::{Finish, Generation, GenerationSettings, Reply, TokenWatcher, Written};
use super::grammar::Grammar;
use super::model::{LlamaVision, Prompt};
use crate::nn::Adapter;

/// A reply in the making and the sum of its tokens' log-probabilities.
#[derive(Clone)]
struct Hypothesis {
    reply: Reply,
    score: f64,
}

impl Hypothesis {
    /// Log-probability a token.
    fn normalised(&self) -> f64 {
        self.score / self.reply.ids.len() as f64
    }
}

/// A hypothesis and its next token.
struct Candidate {
    from: usize,
    token: u32,
    score: f64,
}

impl LlamaVision {
    /// The best of `width` hypotheses by log-probability a token.
    pub(super) fn beam(
        &self,
        prompt: Prompt<'_>,
        settings: &GenerationSettings,
        width: usize,
        adapter: Option<&Adapter>,
        watcher: &mut TokenWatcher<'_>,
    ) -> Generation {
        assert!(width > 0, "a beam keeps at least one hypothesis");
        let (mut session, mut logits_bv) =
            Session::begin(self, &[prompt], settings.new_tokens_max, adapter);
        let grammar = settings
            .photos
            .as_ref()
            .map(|rules| Grammar::new(rules, &settings.end_tokens, &logits_bv));
        let first = Hypothesis { reply: Reply::new(&logits_bv.get(0)), score: 0.0 };
        let mut running = vec![first];
        let mut finished: Vec<Hypothesis> = Vec::new();
        loop {
            let scores_bv = scores(&mut running, &logits_bv, settings, grammar.as_ref());
            let wanted = width * (settings.end_tokens.len() + 1).max(2);
            let candidates = best(&scores_bv, wanted);
            let mut next = Vec::with_capacity(width);
            let mut rows = Vec::with_capacity(width);
            for (rank, candidate) in candidates.into_iter().enumerate() {
                let mut reply = running[candidate.from].reply.clone();
                reply.add(candidate.token, settings, grammar.as_ref());
                let hypothesis = Hypothesis { reply, score: candidate.score };
                if hypothesis.reply.finish.is_none() {
                    if next.len() < width {
                        next.push(hypothesis);
                        rows.push(candidate.from);
                    }
                } else if rank < width {
                    finished.push(hypothesis);
                }
            }
            finished.sort_by(|a, b| b.normalised().total_cmp(&a.normalised()));
            finished.truncate(width);
            running = next;
            if settled(&running, &finished, width) {
                return finished.swap_remove(0).reply.done();
            }
            if watcher(Written { row: 0, token: None }).is_break() {
                let mut reply = running.swap_remove(0).reply;
                reply.finish = Some(Finish::Cancelled);
                return reply.done();
            }
            if rows.iter().enumerate().any(|(row, &from)| row != from)
                || rows.len() != logits_bv.size()[0] as usize
            {
                session.select(&rows);
            }
            let tokens: Vec<u32> = running
                .iter()
                .map(|hypothesis| *hypothesis.reply.ids.last().expect("one added"))
                .collect();
            logits_bv = session.step(&tokens);
        }
    }
}

/// Whether no running hypothesis is better than the worst of `width` finished ones; every
/// hypothesis is taken at its present length.
fn settled(running: &[Hypothesis], finished: &[Hypothesis], width: usize) -> bool {
    let Some(best) = running.first() else { return true };
    finished.len() == width
        && finished.last().is_some_and(|worst| best.normalised() <= worst.normalised())
}

/// Log-probabilities `[b, v]` of every continuation of every hypothesis, −∞ where a rule forbids
/// one.
fn scores(
    running: &mut [Hypothesis],
    logits_bv: &Tensor,
    settings: &GenerationSettings,
    grammar: Option<&Grammar<'_>>,
) -> Tensor {
    let rows: Vec<Tensor> = running
        .iter_mut()
        .enumerate()
        .map(|(row, hypothesis)| {
            let logits_v = logits_bv.get(row as i64);
            let log_probabilities_v = match grammar {
                None => logits_v.log_softmax(-1, Kind::Float),
                Some(grammar) => {
                    let next = hypothesis.reply.next(&logits_v, grammar, settings.new_tokens_max);
                    grammar.log_probabilities(next, &logits_v)
                }
            };
            log_probabilities_v + hypothesis.score
        })
        .collect();
    Tensor::stack(&rows, 0)
}

/// The `count` best possible continuations, the best first.
fn best(scores_bv: &Tensor, count: usize) -> Vec<Candidate> {
    let vocabulary = scores_bv.size()[1];
    let scores = scores_bv.flatten(0, 1);
    let (scores, places) = scores.topk((count as i64).min(scores.size()[0]), 0, true, true);
    let scores: Vec<f64> = Vec::try_from(scores.to_kind(Kind::Double)).expect("a vector");
    let places: Vec<i64> = Vec::try_from(places).expect("a vector");
    scores
        .into_iter()
        .zip(places)
        .filter(|(score, _)| score.is_finite())
        .map(|(score, place)| Candidate {
            from: (place / vocabulary) as usize,
            token: (place % vocabulary) as u32,
            score,
        })
        .collect()
}
