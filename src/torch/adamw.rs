//! AdamW in one pass over parameters, gradients and moments.

use std::borrow::Borrow;

use tch::{Kind, Tensor, no_grad};

use super::shim::{self, AdamWFactors};

/// How one step is made (Loshchilov and Hutter, 2019).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamW {
    /// Step size.
    pub learning_rate: f64,
    /// Decays of the first and second moments.
    pub betas: [f64; 2],
    /// Share of each parameter that a step takes off, times the learning rate.
    pub weight_decay: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
}

impl Default for AdamW {
    /// `torch.optim.AdamW`'s.
    fn default() -> Self {
        Self { learning_rate: 1e-3, betas: [0.9, 0.999], weight_decay: 0.01, epsilon: 1e-8 }
    }
}

/// AdamW's memory of a list of parameters, updated by libtorch's fused kernel.
///
/// Parameters of another weight decay are another list. The fields are what a checkpoint keeps.
pub struct FusedAdamW {
    /// Decayed means of the gradients, in the parameters' shapes.
    pub first_moments: Vec<Tensor>,
    /// Decayed means of their squares.
    pub second_moments: Vec<Tensor>,
    /// Steps made on each parameter, float32 scalars.
    pub steps: Vec<Tensor>,
}

impl FusedAdamW {
    /// Before the first step on `parameters`, float32.
    pub fn new(parameters: &[impl Borrow<Tensor>]) -> Self {
        no_grad(|| {
            let each = |make: fn(&Tensor) -> Tensor| {
                parameters.iter().map(|parameter| make(parameter.borrow())).collect()
            };
            Self {
                first_moments: each(Tensor::zeros_like),
                second_moments: each(Tensor::zeros_like),
                steps: each(|parameter| Tensor::zeros([], (Kind::Float, parameter.device()))),
            }
        })
    }

    /// Makes one step on `parameters` in place, without recording it. All tensors are float32 on
    /// one device, in the order that `new` was given. A parameter without a gradient stays as it
    /// is, and its moments too, as in `torch.optim`.
    ///
    /// # Panics
    /// If the lists differ in length, or with libtorch's message in shape, dtype or device.
    pub fn step(
        &mut self,
        parameters: &[impl Borrow<Tensor>],
        gradients: &[Option<Tensor>],
        how: &AdamW,
    ) {
        let count = self.steps.len();
        assert_eq!(parameters.len(), count, "as many parameters as there are moments");
        assert_eq!(gradients.len(), count, "as many gradients as there are moments");
        let factors = AdamWFactors {
            learning_rate: how.learning_rate,
            betas: how.betas,
            weight_decay: how.weight_decay,
            epsilon: how.epsilon,
        };
        let mut used: [Vec<&Tensor>; 5] = Default::default();
        for (place, gradient) in gradients.iter().enumerate() {
            let Some(gradient) = gradient else { continue };
            let own = [
                parameters[place].borrow(),
                gradient,
                &self.first_moments[place],
                &self.second_moments[place],
                &self.steps[place],
            ];
            for (list, tensor) in used.iter_mut().zip(own) {
                list.push(tensor);
            }
        }
        if !used[0].is_empty() {
            shim::fused_adamw(&used, &factors);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(ours: &Tensor, theirs: &[f32]) {
        let ours: Vec<f32> = Vec::try_from(ours.detach().flatten(0, -1)).unwrap();
        for (ours, theirs) in ours.iter().zip(theirs) {
            let error = (ours - theirs).abs();
            assert!(error <= 4.0 * f32::EPSILON * theirs.abs(), "{ours} instead of {theirs}");
        }
    }

    /// `torch.optim.AdamW([w, v], lr=0.1, betas=(0.8, 0.95), weight_decay=0.3, eps=1e-6)` after each
    /// of three steps.
    #[test]
    fn steps_are_those_of_python() {
        let w = Tensor::from_slice(&[0.5f32, -1.0, 2.0]).set_requires_grad(true);
        let v = Tensor::from_slice(&[0.25f32, -4.0]).view([2, 1]).set_requires_grad(true);
        let parameters = [w, v];
        let how =
            AdamW { learning_rate: 0.1, betas: [0.8, 0.95], weight_decay: 0.3, epsilon: 1e-6 };
        let mut adamw = FusedAdamW::new(&parameters);
        for (step, (w, v)) in EXPECTED.into_iter().enumerate() {
            let gradients = [
                Tensor::from_slice(&[1.0f32, -0.01, 100.0]) * (step + 1) as f64,
                Tensor::from_slice(&[0.0f32, -3e-7]).view([2, 1]) + step as f64 * 0.5,
            ]
            .map(Some);
            adamw.step(&parameters, &gradients, &how);
            same(&parameters[0], &w);
            same(&parameters[1], &v);
        }
        same(&adamw.first_moments[0], &FIRST);
        same(&adamw.second_moments[0], &SECOND);
        same(&adamw.steps[1], &[3.0]);
        assert!(parameters[0].requires_grad());
    }

    #[test]
    fn a_parameter_without_gradient_stays_as_it_is() {
        let parameters = [(); 2].map(|()| Tensor::ones([2], tch::kind::FLOAT_CPU));
        let mut adamw = FusedAdamW::new(&parameters);
        let gradients = [None, Some(Tensor::ones([2], tch::kind::FLOAT_CPU))];
        adamw.step(&parameters, &gradients, &AdamW::default());
        adamw.step(&parameters, &[None, None], &AdamW::default());
        assert_eq!(parameters[0], Tensor::ones([2], tch::kind::FLOAT_CPU));
        assert!(parameters[1].max().double_value(&[]) < 1.0);
        same(&adamw.steps[0], &[0.0]);
        same(&adamw.steps[1], &[1.0]);
    }

    #[test]
    fn a_gradient_counts_by_its_elements_wherever_they_lie() {
        let gradient = Tensor::arange(24, tch::kind::FLOAT_CPU).view([2, 3, 2, 2]) - 9.5;
        let channels_last = gradient.permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2]);
        assert!(!channels_last.is_contiguous());
        let after = |gradient: &Tensor| {
            let parameters = [Tensor::zeros([2, 3, 2, 2], tch::kind::FLOAT_CPU)];
            let mut adamw = FusedAdamW::new(&parameters);
            for _ in 0..2 {
                adamw.step(&parameters, &[Some(gradient.shallow_clone())], &AdamW::default());
            }
            let [parameter] = parameters;
            (parameter, adamw.first_moments.remove(0))
        };
        assert_eq!(after(&channels_last), after(&gradient));
    }

    #[test]
    #[should_panic(expected = "as many gradients")]
    fn lists_of_different_lengths_panic() {
        let parameters = [Tensor::zeros([2], tch::kind::FLOAT_CPU)];
        FusedAdamW::new(&parameters).step(&parameters, &[], &AdamW::default());
    }

    const EXPECTED: [([f32; 3], [f32; 2]); 3] = [
        ([0.385_000_1, -0.870_01, 1.84], [0.242_5, -3.856_923]),
        ([0.275_816_38, -0.746_282_04, 1.687_166_2], [0.157_646_12, -3.818_794_3]),
        ([0.169_558_11, -0.625_914_2, 1.538_567_4], [0.065_804_79, -3.791_342_5]),
    ];
    const FIRST: [f32; 3] = [1.048, -0.010_48, 104.8];
    const SECOND: [f32; 3] = [0.685_125, 6.851_25e-5, 6851.25];
}
