//! The language model with its eyes, on dialogues: full training of decoder, projector and vision
//! encoder on the text loss alone (eq. 1).
//!
//! Axes in names: v vocabulary, n scored token.

use std::path::Path;

use crate::config::{TextLoss, Training, WrittenPrecision};
use crate::data::Example;
use crate::llama_vision::{BUFFERS, Config, LlamaVision, Prompt, SeenPhoto};
use crate::prompt::PromptBuilder;
use crate::torch::Compute;
use crate::training::parts::{LLAMA, Parts};
use crate::training::reading::{ReadDialogue, ScoredTokens};
use crate::training::{
    Batch, Counts, Measures, MicroLoss, Objective, ObjectiveError, Parameters, StepContext,
    TrainError,
};

/// Learns the language model from the dialogues of a dataset.
pub struct TextObjective {
    parts: Parts,
    parameters: Parameters,
    llama: LlamaVision,
    prompts: PromptBuilder,
    examples: Vec<Example>,
    text: TextLoss,
    micro_batch: usize,
    precision: WrittenPrecision,
}

impl TextObjective {
    /// Opens the language model of the model directory `model`.
    ///
    /// # Errors
    /// If a part can't be read.
    pub fn load(
        model: &Path,
        examples: Vec<Example>,
        settings: &Training,
        compute: Compute,
    ) -> Result<Self, TrainError> {
        let directory = model.join("llama");
        let config = Config::read(&directory)?;
        let parts = Parts::new(model, settings.begin, settings.seed);
        let weights = parts.trained(LLAMA, compute, &[""])?;
        let mut llama = LlamaVision::from_weights(&weights, config)?;
        weights.finish(BUFFERS)?;
        let prompts = PromptBuilder::load(&directory, None).map_err(super::unusable)?;
        if !parts.tags_trained_before() {
            llama.neutralise(prompts.tokenizer().tags());
        }
        llama.set_activations(super::activations(settings));
        Ok(Self {
            prompts,
            parameters: parts.parameters(),
            parts,
            llama,
            examples,
            text: settings.text.clone(),
            micro_batch: settings.micro_batch_examples,
            precision: settings.written,
        })
    }
}

impl Objective for TextObjective {
    type MicroBatch = Vec<ReadDialogue>;

    fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    fn bases(&self) -> Vec<(String, String)> {
        self.parts.bases()
    }

    fn examples(&self) -> usize {
        self.examples.len()
    }

    fn prepare(
        &mut self,
        places: &[usize],
        _: &StepContext,
    ) -> Result<Batch<Vec<ReadDialogue>>, ObjectiveError> {
        let mut batch = Batch::default();
        let context_tokens = self.llama.config().text.positions_max as usize;
        let mut dialogues = Vec::new();
        for &place in places {
            let example = &self.examples[place];
            match ReadDialogue::read(example, &self.prompts, &self.text, context_tokens) {
                Ok((dialogue, note)) => {
                    batch.left_out.extend(note);
                    dialogues.push(dialogue);
                }
                Err(sentence) => batch.left_out.push(sentence),
            }
        }
        // Dialogues of like length go together: less padding.
        dialogues.sort_by_key(|dialogue| dialogue.prompt.ids.len());
        let mut dialogues = dialogues.into_iter().peekable();
        while dialogues.peek().is_some() {
            let micro_batch: Vec<_> = dialogues.by_ref().take(self.micro_batch).collect();
            let tokens = micro_batch.iter().map(|dialogue| dialogue.scored.len() as u64).sum();
            batch.push(micro_batch, Counts { tokens, photos: 0 });
        }
        Ok(batch)
    }

    fn forward(
        &mut self,
        micro_batch: &Vec<ReadDialogue>,
        step: &StepContext,
        counts: Counts,
    ) -> Result<MicroLoss, ObjectiveError> {
        let tiles: Vec<_> = micro_batch.iter().flat_map(ReadDialogue::photos).collect();
        let mut seen = self.llama.perceive(&tiles, None).into_iter();
        let photos: Vec<Vec<SeenPhoto>> = micro_batch
            .iter()
            .map(|dialogue| seen.by_ref().take(dialogue.prompt.images.len()).collect())
            .collect();
        let prompts: Vec<Prompt<'_>> = micro_batch
            .iter()
            .zip(&photos)
            .map(|(dialogue, photos)| Prompt { ids: &dialogue.prompt.ids, photos })
            .collect();
        let places: Vec<Vec<usize>> = micro_batch.iter().map(ReadDialogue::predicting).collect();
        let logits_nv = self.llama.logits_at(&prompts, &places, None);
        for dialogue in micro_batch {
            dialogue.record(&step.recorder, &self.llama.config().vision);
        }
        let mut measures = Measures::default();
        let sum = ScoredTokens::new(micro_batch).surprise(&logits_nv, &mut measures);
        Ok(MicroLoss { loss: sum / counts.tokens as f64, measures, probes: Vec::new() })
    }

    fn write(&self, parameters: &Parameters, out: &Path) -> Result<(), ObjectiveError> {
        self.parts.write(parameters, out, self.precision, |_| Ok(()))
    }
}
