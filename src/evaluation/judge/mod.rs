//! Who says what a picture of the pocket world shows: a small convolutional network, learned from
//! true scenes apart from every model that it judges. It is so small that it runs on the CPU wherever
//! the model runs.
//!
//! Axes in names: b picture, c channel, h and w height and width, f feature, k kind.

mod learning;

use std::path::Path;

use tch::{Kind, Tensor};

use super::error::EvaluateError;
use super::photos::{Judge, Judgement, PROPERTIES, Properties};
use crate::data::pocket::{
    Aspect, Colour, Object, PICTURE_PX, Place, PocketWorld, Snapshot, Split,
};
use crate::dialogue::Pixels;
use crate::nn::{Bias, Conv2d, ConvShape, GroupNorm, Linear};
use crate::torch::{Checkpoint, Compute, LoadError, SaveKind, Weights, write_safetensors};

pub use learning::Lessons;

/// Channels before and after every convolution, each of which halves the picture.
const CHANNELS: [i64; 5] = [3, 24, 48, 96, 128];
const GROUPS: i64 = 8;
/// Pictures that go through it at once.
const BATCH: usize = 64;
/// A judge that is right less often on true scenes should judge nobody.
pub const RIGHT_LEAST: f64 = 0.98;

struct Block {
    conv: Conv2d,
    norm: GroupNorm,
}

/// A judge that has learned its office.
pub struct PocketJudge {
    blocks: Vec<Block>,
    /// Logits of each property's kinds, in the order of [`PROPERTIES`].
    heads: Vec<Linear>,
    weights: Weights,
}

/// Kinds of a property, in the order of its logits.
fn kinds(property: Aspect) -> usize {
    match property {
        Aspect::Object => Object::ALL.len(),
        Aspect::Colour => Colour::ALL.len(),
        Aspect::Place => Place::ALL.len(),
        Aspect::Side | Aspect::Size | Aspect::Company => 0,
    }
}

impl PocketJudge {
    /// Reads what [`Self::save`] wrote.
    ///
    /// # Errors
    /// If the file is none of a judge's.
    pub fn load(path: &Path) -> Result<Self, EvaluateError> {
        let weights = Weights::new(Checkpoint::file(path)?, Compute::CPU);
        let judge = Self::over(&weights)?;
        weights.finish(&[])?;
        Ok(judge)
    }

    /// Writes it to `path`, in float32.
    ///
    /// # Errors
    /// If the file can't be written.
    pub fn save(&self, path: &Path) -> Result<(), EvaluateError> {
        let tensors = self.weights.tensors();
        let tensors = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor));
        Ok(write_safetensors(path, tensors, SaveKind::Float32, &[])?)
    }

    fn over(weights: &Weights) -> Result<Self, LoadError> {
        let block = |(index, pair): (usize, &[i64])| {
            let weights = weights.at(format!("blocks.{index}"));
            let [inputs, outputs] = [pair[0], pair[1]];
            let shape =
                ConvShape { inputs, outputs, kernel: 3, stride: 2, padding: 1, bias: Bias::No };
            Ok(Block {
                conv: Conv2d::load(&weights.at("conv"), shape)?,
                norm: GroupNorm::load(&weights.at("norm"), GROUPS, outputs, 1e-5)?,
            })
        };
        // What is somewhere in the picture, and what is all over it.
        let features = 2 * CHANNELS[CHANNELS.len() - 1];
        let head = |property: &Aspect| {
            let weights = weights.at(format!("heads.{}", property.name()));
            Linear::load(&weights, features, kinds(*property) as i64, Bias::Yes)
        };
        Ok(Self {
            blocks: CHANNELS.windows(2).enumerate().map(block).collect::<Result<_, LoadError>>()?,
            heads: PROPERTIES.iter().map(head).collect::<Result<_, _>>()?,
            weights: weights.clone(),
        })
    }

    /// Pictures `[b, 3, 64, 64]` in -1…1 to logits `[b, k]` of every property.
    fn logits(&self, pictures_bchw: &Tensor) -> Vec<Tensor> {
        let mut x_bchw = pictures_bchw.shallow_clone();
        for block in &self.blocks {
            x_bchw = block.norm.forward(&block.conv.forward(&x_bchw)).silu();
        }
        let places = [2i64, 3];
        let most_bf = x_bchw.amax(places, false);
        let mean_bf = x_bchw.mean_dim(places.as_slice(), false, Kind::Float);
        let features_bf = Tensor::cat(&[most_bf, mean_bf], 1);
        self.heads.iter().map(|head| head.forward(&features_bf, None)).collect()
    }

    /// How often it is right on `scenes` true scenes of one thing from the world of this seed, half
    /// of them combinations that no model was trained on; by property.
    pub fn rightness(&self, seed: u64, scenes: usize) -> Properties {
        let world = PocketWorld { seed };
        let snapshots = of_one_thing(world, Split::Test).take(scenes);
        let (truths, pictures): (Vec<Judgement>, Vec<Pixels>) =
            snapshots.map(|shot| (truth(&shot), shot.pixels)).unzip();
        let mut rightness = Properties::default();
        for (truth, judgement) in truths.into_iter().zip(self.judge(&pictures)) {
            rightness.count(|property| Some(truth.word(property) == judgement.word(property)));
        }
        rightness
    }
}

impl Judge for PocketJudge {
    fn judge(&self, pictures: &[Pixels]) -> Vec<Judgement> {
        let _no_grad = tch::no_grad_guard();
        let mut judgements = Vec::with_capacity(pictures.len());
        for chunk in pictures.chunks(BATCH) {
            let pictures: Vec<Tensor> = chunk.iter().map(picture).collect();
            let logits = self.logits(&Tensor::stack(&pictures, 0));
            let best = |place: usize| -> Vec<i64> {
                Vec::try_from(logits[place].argmax(1, false)).expect("a row of indices")
            };
            let [objects, colours, places] = [best(0), best(1), best(2)];
            judgements.extend((0..chunk.len()).map(|row| Judgement {
                object: Object::ALL[objects[row] as usize],
                colour: Colour::ALL[colours[row] as usize],
                place: Place::ALL[places[row] as usize],
            }));
        }
        judgements
    }
}

/// The scenes of one thing among a split's snapshots, without end.
fn of_one_thing(world: PocketWorld, split: Split) -> impl Iterator<Item = Snapshot> {
    let snapshots = (0..).map(move |index| world.snapshot(split, index));
    snapshots.filter(|snapshot| snapshot.scene.things.len() == 1)
}

/// What a scene of one thing shows.
fn truth(snapshot: &Snapshot) -> Judgement {
    let thing = snapshot.scene.things[0];
    Judgement { object: thing.object, colour: thing.colour, place: snapshot.scene.place }
}

/// `[3, 64, 64]` in -1…1.
fn picture(pixels: &Pixels) -> Tensor {
    let size = [i64::from(pixels.height), i64::from(pixels.width), 3];
    let side = i64::from(PICTURE_PX);
    let picture_1chw = Tensor::from_slice(&pixels.rgb).view(size).permute([2, 0, 1]).unsqueeze(0);
    let picture_1chw = picture_1chw.to_kind(Kind::Float) / 127.5 - 1.0;
    picture_1chw.internal_upsample_bilinear2d_aa([side, side], false, None, None).squeeze_dim(0)
}

/// Whether every property is right often enough.
pub fn is_fit(rightness: &Properties) -> bool {
    let right = |property: &Aspect| rightness.of(*property).value();
    PROPERTIES.iter().all(|property| right(property).is_some_and(|value| value >= RIGHT_LEAST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_judge_is_fit_only_if_every_property_is_right_often_enough() {
        let of = |wrong: usize| {
            let mut rightness = Properties::default();
            for number in 0..100 {
                rightness.count(|property| Some(property != Aspect::Colour || number >= wrong));
            }
            rightness
        };
        assert!(is_fit(&of(0)) && is_fit(&of(2)));
        assert!(!is_fit(&of(3)));
        assert!(!is_fit(&Properties::default()));
    }

    #[test]
    fn a_picture_of_another_size_is_brought_to_its_own() {
        let white = Pixels { width: 128, height: 32, rgb: vec![255; 128 * 32 * 3] };
        let picture = picture(&white);
        assert_eq!(picture.size(), [3, 64, 64]);
        assert!((picture.min().double_value(&[]) - 1.0).abs() < 1e-6);
    }
}
