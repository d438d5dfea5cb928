//! Derivatives.

use std::borrow::Borrow;

use tch::Tensor;

use super::shim;

/// ∂`loss`/∂t for every t of `of`, in their shapes and dtypes; `None` where the loss does not depend
/// on one. `loss` is a scalar; its graph is given up. Nothing is added to anybody's `grad()`.
///
/// # Panics
/// With libtorch's message, if `loss` is no scalar with a history or a tensor of `of` does not
/// require gradients; with that of the panic, if a recomputed block panics.
pub fn gradients(loss: &Tensor, of: &[impl Borrow<Tensor>]) -> Vec<Option<Tensor>> {
    shim::gradients(loss, of)
}

/// `block(inputs)`, of whose activations none are kept: the backward pass computes the block again
/// (gradient checkpointing; Chen et al., 2016, "Training deep nets with sublinear memory cost").
///
/// Gradients, by `inputs` and by every leaf that the block captures, are those of a plain call to
/// the bit, whether they are asked for by `gradients` or by `backward`. The block must be a
/// function of its inputs, so that random draws inside come from seeds, and whatever has a history
/// of its own must be among `inputs`. Without gradients this is a plain call.
///
/// # Panics
/// If the block captures a tensor with a history. If the block panics when it is computed again,
/// the backward pass fails with that message.
pub fn recompute<F>(inputs: &[Tensor], block: F) -> Vec<Tensor>
where
    F: Fn(&[Tensor]) -> Vec<Tensor> + Send + 'static,
{
    if !shim::grad_enabled() {
        return block(inputs);
    }
    let begun = shim::sequence_number();
    let given: Vec<Tensor> = inputs
        .iter()
        .map(|input| input.detach().set_requires_grad(input.requires_grad()))
        .collect();
    let outputs = block(&given);
    shim::recompute(inputs, &given, &outputs, begun, Box::new(block))
}

/// The 2-norm of all `gradients` together, as `torch.nn.utils.get_total_norm` computes it: not
/// finite if any element is not. 0 of none.
pub fn gradient_norm(gradients: &[impl Borrow<Tensor>]) -> f64 {
    shim::norm(gradients)
}

/// Multiplies every tensor by `factor`, in place.
pub fn scale_in_place(tensors: &[impl Borrow<Tensor>], factor: f64) {
    shim::scale(tensors, factor);
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tch::{Kind, no_grad};

    use super::*;
    use crate::torch::{Generator, dropout_mask, libtorch_message};

    const OPTIONS: (Kind, tch::Device) = tch::kind::FLOAT_CPU;

    fn leaf(generator: &mut Generator, sizes: &[i64]) -> Tensor {
        generator.randn(sizes).set_requires_grad(true)
    }

    /// A block with two uses of its input, two weights and a mask drawn from a seed.
    fn block(x: &Tensor, weights: &[Tensor; 2], seed: u64) -> Tensor {
        let hidden = x.matmul(&weights[0]).tanh();
        let masked = &hidden * dropout_mask(seed, 0.7, &hidden.size(), OPTIONS);
        x + masked.matmul(&weights[1])
    }

    struct Chain {
        x: Tensor,
        weights: Vec<[Tensor; 2]>,
    }

    impl Chain {
        fn new() -> Self {
            let mut generator = Generator::new(3);
            let mut pair = || [leaf(&mut generator, &[6, 9]), leaf(&mut generator, &[9, 6])];
            let weights = vec![pair(), pair(), pair()];
            Self { x: leaf(&mut generator, &[4, 6]), weights }
        }

        fn leaves(&self) -> Vec<&Tensor> {
            std::iter::once(&self.x).chain(self.weights.iter().flatten()).collect()
        }

        fn loss(&self, recomputed: bool) -> Tensor {
            let mut x = &self.x * 1.5;
            for (seed, weights) in self.weights.iter().enumerate() {
                let weights = weights.each_ref().map(Tensor::shallow_clone);
                let run = move |inputs: &[Tensor]| vec![block(&inputs[0], &weights, seed as u64)];
                x = if recomputed { recompute(&[x], run) } else { run(&[x]) }.remove(0);
            }
            x.square().sum(Kind::Float)
        }
    }

    #[test]
    fn recomputed_blocks_give_the_same_bits_in_both_ways_of_asking() {
        let chain = Chain::new();
        let plain = gradients(&chain.loss(false), &chain.leaves());
        let largest = |gradient: &Option<Tensor>| {
            gradient.as_ref().map_or(0.0, |gradient| gradient.abs().max().double_value(&[]))
        };
        assert!(plain.iter().all(|gradient| largest(gradient) > 1e-3));
        let loss = chain.loss(true);
        assert_eq!(loss, chain.loss(false));
        assert_eq!(gradients(&loss, &chain.leaves()), plain);
        assert!(chain.leaves().iter().all(|leaf| !leaf.grad().defined()));
        chain.loss(true).backward();
        let accumulated: Vec<_> = chain.leaves().iter().map(|leaf| Some(leaf.grad())).collect();
        assert_eq!(accumulated, plain);
    }

    #[test]
    fn a_loss_says_nothing_about_what_it_does_not_depend_on() {
        let mut generator = Generator::new(4);
        let [x, y] = [leaf(&mut generator, &[3]), leaf(&mut generator, &[2, 2])];
        let loss = (&x * 3.0).sum(Kind::Float);
        let gradients = gradients(&loss, &[&x, &y]);
        assert_eq!(gradients, [Some(Tensor::full([3], 3.0, OPTIONS)), None]);
    }

    #[test]
    fn a_block_may_make_several_tensors_and_need_not_use_all_that_it_is_given() {
        let mut generator = Generator::new(5);
        let [x, y, w] = [(); 3].map(|()| leaf(&mut generator, &[5]));
        let ids = Tensor::from_slice(&[1i64, 3]);
        let run = |w: Tensor| {
            move |inputs: &[Tensor]| {
                let picked = (&inputs[0] * &w).index_select(0, &inputs[2]);
                vec![inputs[0].tanh() * &w, inputs[0].detach(), picked]
            }
        };
        let inputs = [x.shallow_clone(), y.shallow_clone(), ids];
        let outcome = |made: Vec<Tensor>| {
            let loss = made[0].sum(Kind::Float) + made[2].square().sum(Kind::Float);
            (gradients(&loss, &[&x, &y, &w]), made[1].requires_grad())
        };
        let plain = outcome(run(w.shallow_clone())(&inputs));
        assert_eq!(outcome(recompute(&inputs, run(w.shallow_clone()))), plain);
        assert!(!plain.1);
    }

    #[test]
    fn without_gradients_a_block_runs_once_and_is_forgotten() {
        let runs = Arc::new(AtomicUsize::new(0));
        let count = || {
            let runs = Arc::clone(&runs);
            move |inputs: &[Tensor]| {
                runs.fetch_add(1, Ordering::Relaxed);
                vec![inputs[0].exp()]
            }
        };
        let x = Tensor::ones([2], OPTIONS).set_requires_grad(true);
        let y = no_grad(|| recompute(&[x.shallow_clone()], count())).remove(0);
        assert!(!y.requires_grad());
        assert_eq!((runs.load(Ordering::Relaxed), Arc::strong_count(&runs)), (1, 1));

        let y = recompute(&[x.shallow_clone()], count()).remove(0);
        assert_eq!(Arc::strong_count(&runs), 2);
        y.sum(Kind::Float).backward();
        // The block itself is given back with the graph.
        assert_eq!((runs.load(Ordering::Relaxed), Arc::strong_count(&runs)), (3, 1));
        drop(recompute(&[x], count()));
        assert_eq!(Arc::strong_count(&runs), 1);
    }

    fn panics(body: impl FnOnce()) -> String {
        let panic = catch_unwind(AssertUnwindSafe(body)).unwrap_err();
        panic.downcast_ref::<String>().cloned().unwrap_or_default()
    }

    #[test]
    fn a_panic_in_a_block_stays_in_rust() {
        let runs = AtomicUsize::new(0);
        let x = Tensor::ones([2], OPTIONS).set_requires_grad(true);
        let y = recompute(&[x.shallow_clone()], move |inputs| {
            assert!(runs.fetch_add(1, Ordering::Relaxed) == 0, "run {} is one too many", 2);
            vec![inputs[0].exp()]
        });
        let loss = y[0].sum(Kind::Float);
        let panic = catch_unwind(AssertUnwindSafe(|| drop(gradients(&loss, &[&x])))).unwrap_err();
        let message = panic.downcast_ref::<String>().unwrap();
        assert!(message.contains("run 2 is one too many"), "{message}");
        // It may quote what people typed, and is none of libtorch's.
        assert_eq!(libtorch_message(panic.as_ref()), None);
    }

    #[test]
    fn a_captured_history_is_refused() {
        let x = Tensor::ones([2], OPTIONS).set_requires_grad(true);
        let hidden = x.exp();
        let message = panics(|| {
            drop(recompute(&[x.shallow_clone()], move |inputs| vec![&inputs[0] * &hidden]));
        });
        assert!(message.contains("the result of ExpBackward0, which is not among"), "{message}");
    }

    #[test]
    fn the_norm_is_that_of_all_together_and_scaling_is_in_place() {
        let tensors = [Tensor::from_slice(&[3.0f32, 0.0]), Tensor::from_slice(&[-4.0f32])];
        assert!((gradient_norm(&tensors) - 5.0).abs() < 1e-6);
        scale_in_place(&tensors, 0.5);
        assert_eq!(tensors[1], Tensor::from_slice(&[-2.0f32]));
        assert!(gradient_norm(&[] as &[Tensor]).abs() < f64::EPSILON);
        let broken = Tensor::from_slice(&[f32::NAN]);
        assert!(!gradient_norm(&[&tensors[0], &broken]).is_finite());
    }
}
