//! Training of every parameter.

use std::cell::RefCell;

use shutterbug::nn::Activations;
use shutterbug::stable_diffusion::{
    Part, StableDiffusion3, StableDiffusion3Config, TextConditioning,
};
use shutterbug::torch::{Checkpoint, Compute, Parameters, Weights};
use tch::{Kind, Tensor};

use super::case::{BFLOAT16, Case};
use super::sketches::{assert_same, differentiate, flat_gradient, save, step, wave};

/// A pipeline of which every parameter is trained.
struct Trained {
    compute: Compute,
    model: StableDiffusion3,
    weights: Vec<(Part, Weights)>,
}

impl Trained {
    fn new(case: &Case, compute: Compute) -> Self {
        let config = StableDiffusion3Config::read(&case.model).unwrap();
        let parts = RefCell::new(Vec::new());
        let model = StableDiffusion3::from_weights(config, compute, |part, compute| {
            let weights = Weights::trainable(part.open(&case.model)?, compute, &[""]);
            parts.borrow_mut().push((part, weights.clone()));
            Ok(weights)
        });
        Self { compute, model: model.unwrap(), weights: parts.take() }
    }

    /// Below the names of their parts' folders.
    fn parameters(&self) -> Parameters {
        let named = |(part, weights): &(Part, Weights)| {
            let folder = part.folder();
            let named = weights.parameters().into_iter();
            named.map(move |(name, tensor)| (format!("{folder}/{name}"), tensor))
        };
        self.weights.iter().flat_map(named).collect()
    }

    /// The reference's linear functions of what all parts make.
    fn loss(&self, case: &Case) -> Tensor {
        let kind = self.compute.kind;
        let captions = self.model.encode(&case.captions());
        let given = TextConditioning::new(
            case.tensor("encode.embeds").to_kind(kind),
            case.tensor("encode.pooled").to_kind(kind),
        );
        let sigmas = case.tensor("transformer.sigmas");
        let velocity = self.model.velocity(case.tensor("latents"), sigmas, &given, None);
        let distribution = self.model.vae().encode(case.tensor("vae.picture"));
        linear(&captions.prompt_embeds())
            + linear(captions.pooled())
            + linear(&velocity)
            + linear(&self.model.vae().decode(case.tensor("latents")))
            + linear(&distribution.sample(case.tensor("vae.noise")))
    }
}

fn linear(x: &Tensor) -> Tensor {
    (x.to_kind(Kind::Float) * wave(x)).sum(Kind::Float)
}

#[test]
fn every_parameter_receives_the_references_gradient() {
    for case in Case::all() {
        let trained = Trained::new(&case, Compute::CPU);
        let gradients = differentiate(&trained.loss(&case), &trained.parameters());
        assert_same(case.name, &gradients, &case.model.with_file_name("gradients.safetensors"));
    }
}

#[test]
fn in_bfloat16_parameters_are_float32_leaves_with_nearly_the_same_gradients() {
    for case in Case::all() {
        let [exact, rounded] = [Compute::CPU, BFLOAT16].map(|compute| {
            let trained = Trained::new(&case, compute);
            flat_gradient(&trained.loss(&case), &trained.parameters())
        });
        let error = ((&rounded - &exact).norm() / exact.norm()).double_value(&[]);
        assert!(error < 0.1, "{}: {error}", case.name);
    }
}

#[test]
fn recomputed_blocks_give_the_same_bits() {
    for case in Case::all() {
        let mut trained = Trained::new(&case, Compute::CPU);
        let parameters = trained.parameters();
        let [kept, recomputed] = [Activations::Keep, Activations::Recompute].map(|activations| {
            trained.model.set_activations(activations);
            let captions = trained.model.encode(&case.captions());
            let sigmas = case.tensor("transformer.sigmas");
            let velocity = trained.model.velocity(case.tensor("latents"), sigmas, &captions, None);
            differentiate(&linear(&velocity), &parameters)
        });
        for (name, gradient) in &kept {
            assert_eq!(&recomputed[name], gradient, "{}: {name}", case.name);
        }
    }
}

/// Nothing that a model keeps may be of its weights as they once were.
#[test]
fn after_a_step_a_pipeline_computes_with_its_new_weights() {
    for case in Case::all() {
        let trained = Trained::new(&case, Compute::CPU);
        let before = trained.loss(&case);
        step(&before, &trained.parameters());
        let after = trained.loss(&case).double_value(&[]);
        assert!((after - before.double_value(&[])).abs() > 1e-3, "{}", case.name);

        let folder = tempfile::tempdir().unwrap();
        let file = |part: Part| folder.path().join(format!("{}.safetensors", part.folder()));
        for (part, weights) in &trained.weights {
            save(weights, &file(*part));
        }
        let config = StableDiffusion3Config::read(&case.model).unwrap();
        let model = StableDiffusion3::from_weights(config, Compute::CPU, |part, compute| {
            Ok(Weights::new(Checkpoint::file(&file(part))?, compute))
        });
        let again = Trained { compute: Compute::CPU, model: model.unwrap(), weights: Vec::new() };
        let loaded = again.loss(&case).double_value(&[]);
        assert!((loaded - after).abs() <= 1e-6 * after.abs(), "{}: {loaded}", case.name);
    }
}
