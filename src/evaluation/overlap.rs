//! How much a reply shares with what A said, word for word.
//!
//! The paper compares systems by these (its Table I), so they are needed to compare with it. They
//! are computed as its published code does, which is not the usual way, and reported under the
//! name `paper`: whitespace parts tokens, case and punctuation stay, captions are left out; BLEU-n
//! is the brevity penalty times the precision of n-grams of that order alone, over the corpus;
//! ROUGE-L is the mean F1 (β = 1) of the longest common subsequence over replies, and a reply
//! whose reference has no words scores 0 and counts.

use std::collections::HashMap;

use super::bootstrap::{Ratio, Tally};
use super::case::Case;

/// Overlap of replies with their references.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Overlap {
    replies: usize,
    reply_tokens: usize,
    reference_tokens: usize,
    /// Tokens that the reference has too, each as often as there.
    unigrams: Ratio,
    /// The same of pairs of neighbours.
    bigrams: Ratio,
    /// F1 of the longest common subsequences.
    subsequence_f1: f64,
}

impl Tally for Overlap {
    fn add(&mut self, other: Self) {
        self.replies += other.replies;
        self.reply_tokens += other.reply_tokens;
        self.reference_tokens += other.reference_tokens;
        self.unigrams.add(other.unigrams);
        self.bigrams.add(other.bigrams);
        self.subsequence_f1 += other.subsequence_f1;
    }
}

impl Overlap {
    /// Of one reply with A's.
    pub fn of(case: &Case<'_>) -> Self {
        Self::between(&case.answer.text, &case.reference())
    }

    /// Of one reply with its reference.
    pub fn between(reply: &str, reference: &str) -> Self {
        let reply: Vec<&str> = reply.split_whitespace().collect();
        let reference: Vec<&str> = reference.split_whitespace().collect();
        Self {
            replies: 1,
            reply_tokens: reply.len(),
            reference_tokens: reference.len(),
            unigrams: matches(&reply, &reference, 1),
            bigrams: matches(&reply, &reference, 2),
            subsequence_f1: subsequence_f1(&reply, &reference),
        }
    }

    /// BLEU-1, 0…1; `None` where nothing was said.
    pub fn bleu_1(&self) -> Option<f64> {
        Some(self.brevity_penalty() * self.unigrams.value()?)
    }

    /// BLEU-2 of pairs alone, 0…1; `None` where no reply has two words.
    pub fn bleu_2(&self) -> Option<f64> {
        Some(self.brevity_penalty() * self.bigrams.value()?)
    }

    /// ROUGE-L, 0…1; `None` where there is no reply.
    pub fn rouge_l(&self) -> Option<f64> {
        (self.replies > 0).then(|| self.subsequence_f1 / self.replies as f64)
    }

    /// exp(1 − reference / reply) where replies are the shorter ones, over the corpus.
    fn brevity_penalty(&self) -> f64 {
        if self.reply_tokens >= self.reference_tokens {
            return 1.0;
        }
        (1.0 - self.reference_tokens as f64 / self.reply_tokens as f64).exp()
    }
}

/// N-grams of the reply that the reference has too, each counted at most as often as there.
fn matches(reply: &[&str], reference: &[&str], order: usize) -> Ratio {
    let mut left: HashMap<&[&str], usize> = HashMap::new();
    for ngram in reference.windows(order) {
        *left.entry(ngram).or_default() += 1;
    }
    let mut matches = Ratio::default();
    for ngram in reply.windows(order) {
        let found = left.get_mut(ngram).filter(|times| **times > 0);
        matches.count(found.is_some());
        if let Some(times) = found {
            *times -= 1;
        }
    }
    matches
}

fn subsequence_f1(reply: &[&str], reference: &[&str]) -> f64 {
    let tokens = reply.len() + reference.len();
    // 2pr / (p + r) with p = l / reply and r = l / reference.
    if tokens == 0 { 0.0 } else { 2.0 * subsequence(reply, reference) as f64 / tokens as f64 }
}

/// Length of the longest common subsequence.
fn subsequence(reply: &[&str], reference: &[&str]) -> usize {
    let mut row = vec![0; reference.len() + 1];
    for token in reply {
        let mut diagonal = 0;
        for (place, other) in reference.iter().enumerate() {
            let above = row[place + 1];
            row[place + 1] = if token == other { diagonal + 1 } else { above.max(row[place]) };
            diagonal = above;
        }
    }
    row[reference.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(found: Option<f64>, expected: f64) {
        let found = found.unwrap();
        assert!((found - expected).abs() < 1e-12, "{found} instead of {expected}");
    }

    #[test]
    fn one_reply_by_hand() {
        // Reply of 4 tokens, reference of 6: penalty exp(1 - 6/4). "the" stands in the reference
        // twice, so all four tokens count. Bigrams of the reply: "the cat" is there, "cat the" and
        // "the sat" are not.
        let overlap = Overlap::between("the cat the sat", "the cat sat on the mat");
        let penalty = (1.0_f64 - 6.0 / 4.0).exp();
        near(overlap.bleu_1(), penalty * 1.0);
        near(overlap.bleu_2(), penalty / 3.0);
        // The longest common subsequence is "the cat sat": p = 3/4, r = 3/6, F1 = 0.6.
        near(overlap.rouge_l(), 0.6);
    }

    #[test]
    fn a_word_counts_as_often_as_the_reference_has_it() {
        let overlap = Overlap::between("the the the the", "the cat");
        near(overlap.bleu_1(), 0.25);
        near(overlap.bleu_2(), 0.0);
        // p = 1/4, r = 1/2.
        near(overlap.rouge_l(), 1.0 / 3.0);
    }

    #[test]
    fn precision_and_penalty_are_the_corpus_and_rouge_is_a_mean() {
        let first = Overlap::between("a b c", "a b c");
        let second = Overlap::between("x", "a b c d e");
        let corpus = Overlap::sum([first, second]);
        // 4 tokens against 8, 3 of 4 unigrams, 2 of 2 bigrams.
        near(corpus.bleu_1(), (-1.0_f64).exp() * 0.75);
        near(corpus.bleu_2(), (-1.0_f64).exp());
        near(corpus.rouge_l(), 0.5);
    }

    #[test]
    fn case_and_punctuation_stay() {
        let overlap = Overlap::between("Nice cat", "nice cat!");
        near(overlap.bleu_1(), 0.0);
        near(overlap.rouge_l(), 0.0);
    }

    #[test]
    fn a_reference_without_words_scores_0_and_counts() {
        let corpus =
            Overlap::sum([Overlap::between("a b", "a b"), Overlap::between("here you go", "")]);
        near(corpus.rouge_l(), 0.5);
        near(corpus.bleu_1(), 2.0 / 5.0);
        near(corpus.bleu_2(), 1.0 / 3.0);
        assert_eq!(Overlap::between("", "").bleu_1(), None);
        near(Overlap::between("", "").rouge_l(), 0.0);
        assert_eq!(Overlap::default().rouge_l(), None);
    }

    #[test]
    fn a_shorter_reply_pays_and_a_longer_one_does_not() {
        near(Overlap::between("a b", "a b c d").bleu_1(), (-1.0_f64).exp());
        near(Overlap::between("a b c d", "a b").bleu_1(), 0.5);
    }
}
