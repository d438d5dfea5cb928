//! The language model with its eyes, on dialogues: full training of decoder, projector and vision
//! encoder on the text loss alone (eq. 1).
//!
//! Axes in names: b dialogue, t position, v vocabulary, n scored token.

use std::path::Path;

use tch::{Kind, Tensor};

use crate::config::{TextLoss, Training, WrittenPrecision};
use crate::data::Example;
use crate::llama_vision::{Config, LlamaVision, Prompt, SeenPhoto};
use crate::prompt::{PromptBuilder, SpanKind};
use crate::torch::Compute;
use crate::training::parts::{LLAMA, Parts};
use crate::training::reading::ReadDialogue;
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
    compute: Compute,
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
        weights.finish(&["rotary_emb.inv_freq"])?;
        llama.set_activations(super::activations(settings));
        Ok(Self {
            prompts: PromptBuilder::load(&directory, None).map_err(super::unusable)?,
            parameters: parts.parameters(),
            parts,
            llama,
            compute,
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
        let logits_btv = self.llama.logits(&prompts, None);
        let (rows, targets, captions) = scored_rows(micro_batch, logits_btv.size()[1]);
        let device = self.compute.device;
        let [rows_n, targets_n] =
            [&rows, &targets].map(|ids| Tensor::from_slice(ids).to_device(device));
        step.recorder.keep("target_ids", || targets_n.shallow_clone());

        let logits_nv = logits_btv.flatten(0, 1).index_select(0, &rows_n);
        let log_p_nv = logits_nv.log_softmax(-1, Kind::Float);
        let surprise_n = -log_p_nv.gather(1, &targets_n.unsqueeze(1), false).squeeze_dim(1);
        let sum = surprise_n.sum(Kind::Float);

        let mut measures = Measures::default();
        measures.add("text_loss", sum.double_value(&[]), rows.len() as f64);
        let caption_n = Tensor::from_slice(&captions).to_device(device);
        let caption_sum = (surprise_n * caption_n).sum(Kind::Float).double_value(&[]);
        measures.add("caption_loss", caption_sum, captions.iter().sum::<f32>().into());
        Ok(MicroLoss { loss: sum / counts.tokens as f64, measures, probes: Vec::new() })
    }

    fn write(&self, parameters: &Parameters, out: &Path) -> Result<(), ObjectiveError> {
        self.parts.write(parameters, out, self.precision, |_| Ok(()))
    }
}

/// Of every scored token: the row of the logits `[b·t, v]` that predicts it in a batch padded on
/// the left to `length`, the token, and 1 where it belongs to a caption.
fn scored_rows(dialogues: &[ReadDialogue], length: i64) -> (Vec<i64>, Vec<i64>, Vec<f32>) {
    let (mut rows, mut targets, mut captions) = (Vec::new(), Vec::new(), Vec::new());
    for (b, dialogue) in dialogues.iter().enumerate() {
        let ids = &dialogue.prompt.ids;
        let padding = length - ids.len() as i64;
        let mut in_caption = vec![0.0; ids.len()];
        for span in &dialogue.prompt.spans {
            if span.kind == SpanKind::Caption {
                in_caption[span.tokens.clone()].fill(1.0);
            }
        }
        for &place in &dialogue.scored {
            rows.push(b as i64 * length + padding + place as i64 - 1);
            targets.push(i64::from(ids[place]));
            captions.push(in_caption[place]);
        }
    }
    (rows, targets, captions)
}
