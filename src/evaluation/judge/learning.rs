//! How a judge learns: from true scenes without end, of all combinations, so that it knows nothing
//! better than another; blurred and grained at random, since drawn pictures are never as crisp.

use std::f64::consts::PI;

use tch::Tensor;

use super::{BATCH, PocketJudge, of_one_thing, picture, truth};
use crate::data::pocket::{Colour, Object, Place, PocketWorld, Snapshot, Split};
use crate::evaluation::error::EvaluateError;
use crate::torch::{AdamW, Compute, FusedAdamW, Generator, Weights, gradients};

/// Peak of the learning rate; it falls to nothing in a cosine.
const LEARNING_RATE: f64 = 2e-3;
/// Largest standard deviation of the grain, where pictures reach from -1 to 1.
const GRAIN_MAX: f64 = 0.12;

/// What a judge learns from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lessons {
    /// Of the weights, of the world that is learned from, and of the noise.
    pub seed: u64,
    /// Steps of 64 pictures.
    pub steps: u64,
}

impl PocketJudge {
    /// A judge that has learned its lessons; `progress` is told the steps done and the loss.
    ///
    /// # Errors
    /// As `load`.
    pub fn learn(
        lessons: Lessons,
        progress: &mut dyn FnMut(u64, f64),
    ) -> Result<Self, EvaluateError> {
        let judge = Self::over(&Weights::fresh(lessons.seed, Compute::CPU))?;
        let parameters: Vec<Tensor> = judge.weights.parameters().into_values().collect();
        let mut optimizer = FusedAdamW::new(&parameters);
        let world = PocketWorld { seed: lessons.seed };
        let mut scenes = of_one_thing(world, Split::Train).zip(of_one_thing(world, Split::Test));
        let mut generator = Generator::new(lessons.seed);
        for step in 0..lessons.steps {
            let pairs = scenes.by_ref().take(BATCH / 2);
            let batch: Vec<Snapshot> = pairs.flat_map(|(one, other)| [one, other]).collect();
            let loss = judge.surprise(&batch, &mut generator);
            let gradients = gradients(&loss, &parameters);
            let gone = step as f64 / lessons.steps as f64;
            let learning_rate = LEARNING_RATE * f64::midpoint(1.0, (PI * gone).cos());
            optimizer.step(&parameters, &gradients, &AdamW { learning_rate, ..AdamW::default() });
            progress(step + 1, loss.double_value(&[]));
        }
        Ok(judge)
    }

    /// Cross-entropy of what is true, summed over the properties.
    fn surprise(&self, batch: &[Snapshot], generator: &mut Generator) -> Tensor {
        let pictures: Vec<Tensor> = batch.iter().map(|shot| picture(&shot.pixels)).collect();
        let pictures_bchw = roughened(&Tensor::stack(&pictures, 0), generator);
        let logits = self.logits(&pictures_bchw);
        let truths: Vec<_> = batch.iter().map(truth).collect();
        let places = [
            truths.iter().map(|truth| index(Object::ALL, &truth.object)).collect(),
            truths.iter().map(|truth| index(Colour::ALL, &truth.colour)).collect(),
            truths.iter().map(|truth| index(Place::ALL, &truth.place)).collect(),
        ];
        let surprise = |(logits_bk, places): (&Tensor, Vec<i64>)| {
            logits_bk.cross_entropy_for_logits(&Tensor::from_slice(&places))
        };
        logits.iter().zip(places).map(surprise).sum()
    }
}

fn index<T: PartialEq>(all: &[T], one: &T) -> i64 {
    all.iter().position(|known| known == one).expect("every kind is known") as i64
}

/// Half of the pictures blurred, all of them with grain of their own strength.
fn roughened(pictures_bchw: &Tensor, generator: &mut Generator) -> Tensor {
    let size = pictures_bchw.size();
    let [height, width] = [size[2], size[3]];
    let blurred_bchw = pictures_bchw
        .avg_pool2d([2, 2], [2, 2], [0, 0], false, true, None)
        .upsample_bilinear2d([height, width], false, None, None);
    let each = [size[0], 1, 1, 1];
    let chosen_b = generator.rand(&each).lt(0.5);
    let deviation_b = generator.rand(&each) * GRAIN_MAX;
    let picture_bchw = blurred_bchw.where_self(&chosen_b, pictures_bchw);
    picture_bchw + generator.randn(&size) * deviation_b
}
