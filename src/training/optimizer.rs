//! AdamW over all trained tensors: matrices decay, vectors and scalars (norms, biases, gates) do
//! not. The trained tensors are the float32 masters themselves; a model that runs in another format
//! casts them where it uses them.

use tch::{Tensor, no_grad};

use super::{Parameters, schedule};
use crate::config::OptimizerSettings;
use crate::torch::{AdamW, Checkpoint, Compute, FusedAdamW, LoadError, Weights};

/// Trained tensors of one weight decay.
struct Group {
    names: Vec<String>,
    tensors: Vec<Tensor>,
    weight_decay: f64,
    state: FusedAdamW,
    /// Running means of the tensors, where they are kept.
    means: Vec<Tensor>,
}

/// The optimizer and all that it remembers.
pub(super) struct Optimizer {
    settings: OptimizerSettings,
    groups: Vec<Group>,
    updates: u64,
}

impl Optimizer {
    pub(super) fn new(settings: &OptimizerSettings, parameters: &Parameters) -> Self {
        let group = |decays: bool, weight_decay| {
            let members = parameters.iter().filter(|(_, tensor)| (tensor.dim() >= 2) == decays);
            let (names, tensors): (Vec<_>, Vec<_>) =
                members.map(|(name, tensor)| (name.clone(), tensor.shallow_clone())).unzip();
            let means = match settings.mean_decay {
                Some(_) => tensors.iter().map(|tensor| tensor.detach().copy()).collect(),
                None => Vec::new(),
            };
            let state = FusedAdamW::new(&tensors);
            Group { names, tensors, weight_decay, state, means }
        };
        let groups = vec![group(true, settings.weight_decay), group(false, 0.0)];
        Self { settings: settings.clone(), groups, updates: 0 }
    }

    /// The trained tensors in the order in which `step` wants their gradients.
    pub(super) fn tensors(&self) -> Vec<&Tensor> {
        self.groups.iter().flat_map(|group| &group.tensors).collect()
    }

    /// Their names in the same order.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.groups.iter().flat_map(|group| group.names.iter().map(String::as_str))
    }

    /// Updates made so far; skipped steps make none.
    pub(super) fn updates(&self) -> u64 {
        self.updates
    }

    /// One update of all that has a gradient.
    pub(super) fn step(&mut self, gradients: &[Option<Tensor>], learning_rate: f64) {
        let OptimizerSettings { beta1, beta2, epsilon, mean_decay, .. } = self.settings;
        let mut rest = gradients;
        for group in &mut self.groups {
            let (own, others) = rest.split_at(group.tensors.len());
            rest = others;
            if own.is_empty() {
                continue;
            }
            let weight_decay = group.weight_decay;
            let how = AdamW { learning_rate, betas: [beta1, beta2], weight_decay, epsilon };
            group.state.step(&group.tensors, own, &how);
            if let Some(decay) = mean_decay {
                let decay = schedule::mean_decay(decay, self.updates);
                no_grad(|| {
                    for (mean, tensor) in group.means.iter_mut().zip(&group.tensors) {
                        let _ = mean.lerp_(tensor, 1.0 - decay);
                    }
                });
            }
        }
        self.updates += 1;
    }

    /// What is to be written of what was learned: the running means where they are kept, otherwise
    /// the trained tensors.
    pub(super) fn results(&self) -> Parameters {
        let mut results = Parameters::new();
        for group in &self.groups {
            let tensors = if group.means.is_empty() { &group.tensors } else { &group.means };
            for (name, tensor) in group.names.iter().zip(tensors) {
                results.insert(name.clone(), tensor.detach());
            }
        }
        results
    }

    /// Everything that a checkpoint keeps, by name.
    pub(super) fn state(&self) -> Vec<(String, Tensor)> {
        let mut state = Vec::new();
        for group in &self.groups {
            for (kind, tensors) in group.kept() {
                for (name, tensor) in group.names.iter().zip(tensors) {
                    state.push((format!("{kind}.{name}"), tensor.shallow_clone()));
                }
            }
        }
        state
    }

    /// Takes up what a checkpoint kept after `updates` updates. Values are copied into the tensors
    /// that are there: their storage is aligned as it would be without an interruption, so that the
    /// same kernels give the same bits.
    pub(super) fn restore(
        &mut self,
        checkpoint: Checkpoint,
        updates: u64,
    ) -> Result<(), LoadError> {
        let weights = Weights::new(checkpoint, Compute::CPU);
        for group in &self.groups {
            for (kind, tensors) in group.kept() {
                for (name, tensor) in group.names.iter().zip(tensors) {
                    let kept = weights.tensor(&format!("{kind}.{name}"), &tensor.size())?;
                    no_grad(|| tensor.shallow_clone().copy_(&kept));
                }
            }
        }
        self.updates = updates;
        weights.finish(&[])
    }
}

impl Group {
    fn kept(&self) -> [(&'static str, &[Tensor]); 5] {
        [
            ("parameter", self.tensors.as_slice()),
            ("first_moment", self.state.first_moments.as_slice()),
            ("second_moment", self.state.second_moments.as_slice()),
            ("updates", self.state.steps.as_slice()),
            ("mean", self.means.as_slice()),
        ]
    }
}
