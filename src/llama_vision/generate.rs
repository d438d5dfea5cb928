//! Writing replies, token by token.
//!
//! Axes in names: b sequence, v vocabulary.

use std::ops::ControlFlow;
use std::rc::Rc;

use tch::{Kind, Tensor, no_grad_guard};

use super::batch::Session;
use super::grammar::{Grammar, Next, PhotoRules, Place};
use super::model::{LlamaVision, Prompt};
use super::sampling;
use crate::nn::Adapter;
use crate::torch::Generator;

/// How the next token is chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Decoding {
    /// The most probable token.
    Greedy,
    /// A draw from the smallest set of tokens whose probability reaches `top_p`.
    Sample {
        /// Divides the logits; above 0.
        temperature: f64,
        /// In (0, 1].
        top_p: f64,
    },
    /// The best of `width` hypotheses by length-normalised log-probability.
    Beam {
        /// Hypotheses kept; at least 1.
        width: usize,
    },
}

/// How replies are written.
#[derive(Debug, Clone, PartialEq)]
pub struct GenerationSettings {
    /// How tokens are chosen.
    pub decoding: Decoding,
    /// Most tokens to write; at least 1.
    pub new_tokens_max: usize,
    /// Tokens that end a reply.
    pub end_tokens: Vec<u32>,
    /// Where photo tags may stand; `None` leaves all tokens alone.
    pub photos: Option<PhotoRules>,
}

/// Why a reply ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// With an end token.
    EndToken,
    /// It is as long as it may be.
    TokensMax,
    /// The watcher said stop.
    Cancelled,
}

/// What was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Generation {
    /// The new tokens, the end token included.
    pub ids: Vec<u32>,
    /// The largest `P([IMG])` by the model's own logits, bias aside, over the positions where it
    /// might have been chosen; `None` where there were none.
    pub share_probability: Option<f64>,
    /// The model's logits for the first new token, before any rule.
    pub first_logits: Vec<f32>,
    /// Why it ended.
    pub finish: Finish,
}

/// What a watcher is told after every forward pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Which of the prompts.
    pub row: usize,
    /// The token chosen; `None` while hypotheses compete.
    pub token: Option<u32>,
}

/// Told of every token; answers whether to go on.
pub type TokenWatcher<'a> = dyn FnMut(Written) -> ControlFlow<()> + 'a;

impl LlamaVision {
    /// Writes on from `prompt`. Draws come from `generator`; greedy and beam decoding draw nothing.
    ///
    /// # Panics
    /// As `logits`; also without memory for the cache.
    pub fn generate(
        &self,
        prompt: Prompt<'_>,
        settings: &GenerationSettings,
        generator: &mut Generator,
        adapter: Option<&Adapter>,
        watcher: &mut TokenWatcher<'_>,
    ) -> Generation {
        let _no_grad = no_grad_guard();
        match settings.decoding {
            Decoding::Beam { width } => self.beam(prompt, settings, width, adapter, watcher),
            _ => self
                .write(&[prompt], settings, &mut [generator], adapter, watcher)
                .pop()
                .expect("one reply a prompt"),
        }
    }

    /// Writes on from several prompts at once, each with its own generator; every reply equals
    /// that to its prompt alone. Hypotheses of a beam are searched prompt by prompt.
    ///
    /// # Panics
    /// As `generate`, and if there are not as many generators as prompts.
    pub fn generate_batch(
        &self,
        prompts: &[Prompt<'_>],
        settings: &GenerationSettings,
        generators: &mut [&mut Generator],
        adapter: Option<&Adapter>,
        watcher: &mut TokenWatcher<'_>,
    ) -> Vec<Generation> {
        let _no_grad = no_grad_guard();
        if let Decoding::Beam { width } = settings.decoding {
            let search = |(row, prompt): (usize, &Prompt<'_>)| {
                let mut watcher = |written: Written| watcher(Written { row, ..written });
                self.beam(*prompt, settings, width, adapter, &mut watcher)
            };
            return prompts.iter().enumerate().map(search).collect();
        }
        self.write(prompts, settings, generators, adapter, watcher)
    }

    fn write(
        &self,
        prompts: &[Prompt<'_>],
        settings: &GenerationSettings,
        generators: &mut [&mut Generator],
        adapter: Option<&Adapter>,
        watcher: &mut TokenWatcher<'_>,
    ) -> Vec<Generation> {
        assert_eq!(generators.len(), prompts.len(), "a generator for every prompt");
        if prompts.is_empty() {
            return Vec::new();
        }
        let (mut session, mut logits_bv) =
            Session::begin(self, prompts, settings.new_tokens_max, adapter);
        let grammar = settings
            .photos
            .as_ref()
            .map(|rules| Grammar::new(rules, &settings.end_tokens, &logits_bv));
        let mut replies: Vec<Reply> =
            (0..prompts.len()).map(|row| Reply::new(&logits_bv.get(row as i64))).collect();
        let mut tokens = vec![0; prompts.len()];
        loop {
            for (row, reply) in replies.iter_mut().enumerate() {
                if reply.finish.is_some() {
                    continue;
                }
                let logits_v = logits_bv.get(row as i64);
                tokens[row] = reply.choose(&logits_v, settings, grammar.as_ref(), generators[row]);
                if watcher(Written { row, token: Some(tokens[row]) }).is_break() {
                    reply.finish = reply.finish.or(Some(Finish::Cancelled));
                    return replies.into_iter().map(Reply::done).collect();
                }
            }
            if replies.iter().all(|reply| reply.finish.is_some()) {
                return replies.into_iter().map(Reply::done).collect();
            }
            logits_bv = session.step(&tokens);
        }
    }
}

/// A reply in the making.
#[derive(Clone)]
pub(super) struct Reply {
    pub(super) ids: Vec<u32>,
    pub(super) place: Place,
    pub(super) share_probability: Option<f64>,
    /// Shared by the hypotheses of a beam.
    first_logits: Rc<[f32]>,
    pub(super) finish: Option<Finish>,
}

impl Reply {
    /// Nothing written yet; `logits_v` are those for the first token.
    pub(super) fn new(logits_v: &Tensor) -> Self {
        Self {
            ids: Vec::new(),
            place: Place::default(),
            share_probability: None,
            first_logits: Vec::try_from(logits_v).expect("a vector of float32").into(),
            finish: None,
        }
    }

    /// Chooses and adds the next token.
    fn choose(
        &mut self,
        logits_v: &Tensor,
        settings: &GenerationSettings,
        grammar: Option<&Grammar<'_>>,
        generator: &mut Generator,
    ) -> u32 {
        let ruled_v = match grammar {
            None => logits_v.shallow_clone(),
            Some(grammar) => {
                let next = self.next(logits_v, grammar, settings.new_tokens_max);
                logits_v + grammar.bias(next)
            }
        };
        let token = match settings.decoding {
            Decoding::Sample { temperature, top_p } => {
                let probabilities_v = (ruled_v / temperature).softmax(-1, Kind::Float);
                let probabilities: Vec<f32> =
                    Vec::try_from(&probabilities_v).expect("a vector of float32");
                let uniform = generator.rand(&[1]).double_value(&[0]);
                sampling::draw(&probabilities, top_p, uniform) as u32
            }
            Decoding::Greedy | Decoding::Beam { .. } => {
                ruled_v.argmax(-1, false).int64_value(&[]) as u32
            }
        };
        self.add(token, settings, grammar);
        token
    }

    /// What may come next. Notes `P([IMG])` where it may.
    pub(super) fn next(
        &mut self,
        logits_v: &Tensor,
        grammar: &Grammar<'_>,
        new_tokens_max: usize,
    ) -> Next {
        let next = grammar.next(&self.place, new_tokens_max - self.ids.len());
        if next == Next::TextOrPhoto {
            let photo = logits_v.get(i64::from(grammar.photo_token()));
            let probability = (photo - logits_v.logsumexp(-1, false)).exp().double_value(&[]);
            let most = self.share_probability.map_or(probability, |most| most.max(probability));
            self.share_probability = Some(most);
        }
        next
    }

    /// Adds `token`, which may end the reply.
    pub(super) fn add(
        &mut self,
        token: u32,
        settings: &GenerationSettings,
        grammar: Option<&Grammar<'_>>,
    ) {
        self.ids.push(token);
        if let Some(grammar) = grammar {
            grammar.advance(&mut self.place, token);
        }
        if settings.end_tokens.contains(&token) {
            self.finish = Some(Finish::EndToken);
        } else if self.ids.len() >= settings.new_tokens_max {
            self.finish = Some(Finish::TokensMax);
        }
    }

    pub(super) fn done(self) -> Generation {
        Generation {
            ids: self.ids,
            share_probability: self.share_probability,
            first_logits: self.first_logits.to_vec(),
            finish: self.finish.unwrap_or(Finish::Cancelled),
        }
    }
}
