//! From a draw to one encoder's input embeddings.
//!
//! Eq. 5, R̃ − sg[avg(R M)] + avg(R M), times the encoder's token table E is, in every mode,
//!
//! ```text
//! emb_p = E[id_p] + δ_p − sg(δ_p)
//! ```
//!
//! at the content positions p, and E[id_p] at the others. In value it is always E[id_p]; δ carries
//! the gradient. Nothing of size |V_LLM| × |V_SD| is ever built, and all of it is in float32.
//!
//! Axes: m position of the language model, v its token, p content position of the encoder, w word,
//! n token among some, d width.

use tch::{Device, Kind, Tensor};

use super::vocabulary::{CaptionMap, static_matches};
use super::{Mode, Pooling};
use crate::prompt::{CaptionTokenizer, LlamaTokenizer, PromptError};

const FOLDED: &str = "`new` folds the table in this mode";

/// A fixed linear map from the language model's tokens to the encoder's width, the rows that are
/// zero left out.
struct Folded {
    /// int64: the tokens whose rows are there.
    tokens_n: Tensor,
    rows_nd: Tensor,
}

/// The bridge into one encoder.
pub struct Projection {
    mode: Mode,
    pooling: Pooling,
    /// E, as the encoder holds it; a constant.
    table: Tensor,
    /// M E, in the modes where it is the same for all captions.
    folded: Option<Folded>,
}

impl Projection {
    /// A projection over the encoder's token table `[rows, d]`, which is taken as a constant.
    ///
    /// # Errors
    /// If the encoder's tokenizer fails on a token's own text.
    pub fn new(
        mode: Mode,
        pooling: Pooling,
        llama: &LlamaTokenizer,
        encoder: &CaptionTokenizer,
        table: &Tensor,
    ) -> Result<Self, PromptError> {
        let table = table.detach();
        let folded = match mode {
            Mode::Static(sameness) => {
                Some(Folded::sums(&static_matches(llama, encoder, sameness), &table))
            }
            Mode::Position => Some(Folded::means(&own_tokens(llama, encoder)?, &table)),
            Mode::Sentence | Mode::Word => None,
        };
        Ok(Self { mode, pooling, table, folded })
    }

    /// The input embeddings `[positions, d]` of a caption, in the table's dtype. The gradient goes
    /// to `choices_mv`, float32, whose positions are those of the caption that `map` was made of.
    pub fn embed(&self, choices_mv: &Tensor, map: &CaptionMap) -> Tensor {
        let device = self.table.device();
        let hard = self.table.index_select(0, &index(&map.ids, device));
        if map.content.is_empty() || choices_mv.size()[0] == 0 {
            return hard;
        }
        let delta_pd = match (self.mode, &self.folded) {
            (Mode::Sentence, _) => self.sentence(choices_mv, map),
            (Mode::Word, _) => self.word(choices_mv, map),
            (Mode::Static(_), folded) => {
                let sum_1v = choices_mv.sum_dim_intlist([0i64].as_slice(), true, Kind::Float);
                let pooled_1v = sum_1v * self.weight(choices_mv.size()[0] as usize);
                folded.as_ref().expect(FOLDED).apply(&pooled_1v)
            }
            (Mode::Position, folded) => {
                let pooled_pv = self.overlaps(choices_mv, map).matmul(choices_mv);
                folded.as_ref().expect(FOLDED).apply(&pooled_pv)
            }
        };
        let carrier_pd = (&delta_pd - delta_pd.detach()).to_kind(self.table.kind());
        let [before, after] = [map.content.start, map.ids.len() - map.content.end];
        let count = map.content.len() as i64;
        let carrier_pd = carrier_pd.expand([count, hard.size()[1]], false);
        hard + carrier_pd.constant_pad_nd([0, 0, before as i64, after as i64])
    }

    /// E's rows of `ids`, in float32.
    fn rows(&self, ids: &[i64]) -> Tensor {
        self.table.index_select(0, &index(ids, self.table.device())).to_kind(Kind::Float)
    }

    /// What each of `count` positions counts for.
    fn weight(&self, count: usize) -> f64 {
        match self.pooling {
            Pooling::Mean => 1.0 / count.max(1) as f64,
            Pooling::Sum => 1.0,
        }
    }

    /// `[p, m]`: what pools the positions that overlap each content position.
    fn overlaps(&self, choices_mv: &Tensor, map: &CaptionMap) -> Tensor {
        let m = choices_mv.size()[0] as usize;
        let mut weights = vec![0.0f32; map.places.len() * m];
        for (place, row) in map.places.iter().zip(weights.chunks_exact_mut(m)) {
            for &at in &place.overlaps {
                row[at] = self.weight(place.overlaps.len()) as f32;
            }
        }
        Tensor::from_slice(&weights).view([-1, m as i64]).to_device(choices_mv.device())
    }

    /// δ = s·c for all positions, `[1, d]`: s is how much of the draw lies in T_LLM, pooled over
    /// the positions, and c the sum of E over T_SD.
    fn sentence(&self, choices_mv: &Tensor, map: &CaptionMap) -> Tensor {
        let tokens_n = index(&signed(&map.llama), choices_mv.device());
        let share = choices_mv.index_select(1, &tokens_n).sum(Kind::Float);
        let share = share * self.weight(choices_mv.size()[0] as usize);
        share * self.rows(&map.encoder).sum_dim_intlist(0i64, true, Kind::Float)
    }

    /// δ_p = s_w·c_w for the word w that p belongs to: as `sentence`, over the word's own positions
    /// and tokens.
    fn word(&self, choices_mv: &Tensor, map: &CaptionMap) -> Tensor {
        let device = choices_mv.device();
        let deltas_wd: Vec<Tensor> = map
            .words
            .iter()
            .map(|word| {
                let positions: Vec<i64> = word.positions.iter().map(|&at| at as i64).collect();
                let own_mn = choices_mv
                    .index_select(0, &index(&positions, device))
                    .index_select(1, &index(&signed(&word.llama), device));
                let share = own_mn.sum(Kind::Float) * self.weight(positions.len());
                share * self.rows(&word.encoder).sum_dim_intlist(0i64, false, Kind::Float)
            })
            .collect();
        let nothing_d = Tensor::zeros([self.table.size()[1]], (Kind::Float, device));
        let places_pd: Vec<&Tensor> = map
            .places
            .iter()
            .map(|place| place.word.map_or(&nothing_d, |w| &deltas_wd[w]))
            .collect();
        Tensor::stack(&places_pd, 0)
    }
}

impl Folded {
    /// The sum of `table` over each token's counterparts.
    fn sums(counterparts: &[(u32, Vec<u32>)], table: &Tensor) -> Self {
        Self::new(counterparts, table, 0)
    }

    /// The mean of `table` over each token's counterparts.
    fn means(counterparts: &[(u32, Vec<u32>)], table: &Tensor) -> Self {
        Self::new(counterparts, table, 1)
    }

    /// `bag` is `embedding_bag`'s: 0 sums, 1 takes means.
    fn new(counterparts: &[(u32, Vec<u32>)], table: &Tensor, bag: i64) -> Self {
        let tokens: Vec<i64> = counterparts.iter().map(|(token, _)| i64::from(*token)).collect();
        let all: Vec<i64> =
            counterparts.iter().flat_map(|(_, ids)| ids).map(|&id| i64::from(id)).collect();
        let begins: Vec<i64> = counterparts
            .iter()
            .scan(0, |end, (_, ids)| Some(std::mem::replace(end, *end + ids.len() as i64)))
            .collect();
        let device = table.device();
        let (rows_nd, ..) = Tensor::embedding_bag(
            &table.to_kind(Kind::Float),
            &index(&all, device),
            &index(&begins, device),
            false,
            bag,
            false,
            None::<Tensor>,
            false,
        );
        Self { tokens_n: index(&tokens, device), rows_nd }
    }

    /// `[.., v]` to `[.., d]`.
    fn apply(&self, choices: &Tensor) -> Tensor {
        choices.index_select(-1, &self.tokens_n).matmul(&self.rows_nd)
    }
}

/// For each token of the language model the encoder's tokens of its text, where it has any: not
/// where it is no text by itself, as control tokens and parts of characters.
fn own_tokens(
    llama: &LlamaTokenizer,
    encoder: &CaptionTokenizer,
) -> Result<Vec<(u32, Vec<u32>)>, PromptError> {
    let mut all = Vec::new();
    for id in 0..llama.rows() as u32 {
        let Some(text) = llama.token_bytes(id).and_then(|bytes| std::str::from_utf8(bytes).ok())
        else {
            continue;
        };
        let encoded = encoder.encode(text)?;
        let own: Vec<u32> = encoded.ids[encoded.content].iter().map(|&id| id as u32).collect();
        if !own.is_empty() {
            all.push((id, own));
        }
    }
    Ok(all)
}

fn signed(ids: &[u32]) -> Vec<i64> {
    ids.iter().map(|&id| i64::from(id)).collect()
}

fn index(ids: &[i64], device: Device) -> Tensor {
    Tensor::from_slice(ids).to_device(device)
}
