//! A linear regression as an objective: y = x W + b, whose truth is known.

use std::path::Path;

use shutterbug::torch::{Generator, Parameters, SaveKind, write_safetensors};
use shutterbug::training::{
    Batch, Counts, Measures, MicroLoss, Objective, ObjectiveError, Purpose, StepContext,
};
use tch::{Kind, Tensor};

pub(crate) struct Toy {
    parameters: Parameters,
    x: Tensor,
    y: Tensor,
    pub(crate) base: String,
    /// Steps, counted from 0, whose input is not a number.
    pub(crate) poisoned_steps: Vec<u64>,
    pub(crate) unreadable: Vec<usize>,
    pub(crate) probe: bool,
    pub(crate) micro_batch: usize,
}

impl Toy {
    pub(crate) fn new(examples: usize) -> Self {
        let mut generator = Generator::new(5);
        let x = generator.randn(&[examples as i64, 3]);
        let truth = generator.randn(&[3, 2]);
        let leaf = |tensor: Tensor| tensor.set_requires_grad(true);
        let w = leaf(generator.randn(&[3, 2]));
        let b = leaf(Tensor::full([2], 0.5, tch::kind::FLOAT_CPU));
        Self {
            y: x.matmul(&truth) + 1.0,
            x,
            parameters: [("w".to_owned(), w), ("b".to_owned(), b)].into(),
            base: "cafe".to_owned(),
            poisoned_steps: Vec::new(),
            unreadable: Vec::new(),
            probe: false,
            micro_batch: 4,
        }
    }
}

impl Objective for Toy {
    /// Places of the examples, and of the first of them in the batch.
    type MicroBatch = (Vec<i64>, u64);

    fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    fn bases(&self) -> Vec<(String, String)> {
        vec![("toy".to_owned(), self.base.clone())]
    }

    fn examples(&self) -> usize {
        self.x.size()[0] as usize
    }

    fn prepare(
        &mut self,
        places: &[usize],
        _: &StepContext,
    ) -> Result<Batch<Self::MicroBatch>, ObjectiveError> {
        let mut batch = Batch::default();
        let (broken, good): (Vec<usize>, Vec<usize>) =
            places.iter().partition(|place| self.unreadable.contains(place));
        batch.left_out = broken.iter().map(|place| format!("example {place} is broken")).collect();
        for (index, chunk) in good.chunks(self.micro_batch).enumerate() {
            let chunk: Vec<i64> = chunk.iter().map(|&place| place as i64).collect();
            let counts = Counts { tokens: 0, photos: chunk.len() as u64 };
            batch.push((chunk, (index * self.micro_batch) as u64), counts);
        }
        Ok(batch)
    }

    fn forward(
        &mut self,
        (places, first): &Self::MicroBatch,
        step: &StepContext,
        counts: Counts,
    ) -> Result<MicroLoss, ObjectiveError> {
        let places_b = Tensor::from_slice(places);
        let mut x = self.x.index_select(0, &places_b);
        if self.poisoned_steps.contains(&step.step) {
            x *= f64::NAN;
        }
        step.recorder.keep("x", || x.shallow_clone());
        // Noise that follows the example, not the micro-batch.
        let noise: Vec<Tensor> = (0..places.len() as u64)
            .map(|at| step.draws.generator(Purpose::Noise, first + at).randn(&[2]))
            .collect();
        let prediction = x.matmul(&self.parameters["w"]) + &self.parameters["b"];
        let mut probes = Vec::new();
        let prediction = if self.probe {
            let probe = prediction.zeros_like().detach().set_requires_grad(true);
            probes.push(("prediction_gradient", probe.shallow_clone()));
            prediction + probe
        } else {
            prediction
        };
        let y = self.y.index_select(0, &places_b) + Tensor::stack(&noise, 0) * 0.1;
        let sum = (prediction - y).square().sum(Kind::Float);
        let mut measures = Measures::default();
        measures.add("error", sum.double_value(&[]), places.len() as f64);
        Ok(MicroLoss { loss: sum / counts.photos as f64, measures, probes })
    }

    fn write(&self, parameters: &Parameters, out: &Path) -> Result<(), ObjectiveError> {
        let tensors = parameters.iter().map(|(name, tensor)| (name.as_str(), tensor));
        Ok(write_safetensors(&out.join("toy.safetensors"), tensors, SaveKind::Own, &[])?)
    }
}
