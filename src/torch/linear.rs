//! Products with weights.

use tch::Tensor;

use super::shim;

/// `x [.., inputs]` times `weight [outputs, inputs]` transposed, plus `bias [outputs]`: `[..,
/// outputs]`, as libtorch's `linear`, on any device and in x's dtype, to which weight and bias are
/// cast.
///
/// A single float32 row on the CPU that needs no derivative, which is what decoding consists of,
/// takes a kernel of our own that reads the weight at the speed of memory; libtorch's reaches
/// about half of it. Both add up in float32, in another order.
///
/// # Panics
/// With libtorch's message, if the shapes do not fit.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Tensor {
    shim::linear(x, weight, bias)
}

#[cfg(test)]
mod tests {
    use tch::{Kind, no_grad};

    use super::*;
    use crate::torch::Generator;

    /// Largest difference from libtorch's own product, in units of the rounding of its terms.
    fn error(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> f64 {
        let ours = linear(x, weight, bias);
        let exact = x.to_kind(Kind::Double).linear(
            &weight.to_kind(Kind::Double),
            bias.map(|bias| bias.to_kind(Kind::Double)).as_ref(),
        );
        assert_eq!(ours.size(), exact.size());
        assert_eq!(ours.kind(), x.kind());
        let scale = x.to_kind(Kind::Double).abs().linear(
            &weight.to_kind(Kind::Double).abs(),
            bias.map(|bias| bias.to_kind(Kind::Double).abs()).as_ref(),
        );
        ((ours - exact).abs() / scale).max().double_value(&[]) / f64::from(f32::EPSILON)
    }

    #[test]
    fn one_row_of_any_width_equals_the_exact_product() {
        let mut generator = Generator::new(7);
        for inputs in [1, 7, 8, 9, 64, 100, 768] {
            for outputs in [1, 5, 8, 17, 1000] {
                let x = generator.randn(&[1, 1, inputs]);
                let weight = generator.randn(&[outputs, inputs]);
                let bias = generator.randn(&[outputs]);
                for bias in [None, Some(&bias)] {
                    let error = error(&x, &weight, bias);
                    assert!(error < 16.0, "{inputs} to {outputs}: {error}");
                }
            }
        }
    }

    #[test]
    fn a_row_has_the_same_bits_on_one_thread_and_on_several() {
        let mut generator = Generator::new(8);
        let (x, weight) = (generator.randn(&[900]), generator.randn(&[1003, 900]));
        let several = linear(&x, &weight, None);
        let parts: Vec<Tensor> =
            weight.split(3, 0).iter().map(|part| linear(&x, part, None)).collect();
        assert_eq!(several, Tensor::cat(&parts, 0));
    }

    #[test]
    fn rows_that_lie_scattered_or_in_numbers_take_the_general_way() {
        let mut generator = Generator::new(9);
        let weight = generator.randn(&[20, 12]);
        let several = generator.randn(&[2, 3, 12]);
        assert!(error(&several, &weight, None) < 16.0);
        let strided = generator.randn(&[12, 2]).select(1, 0);
        assert!(error(&strided, &weight, None) < 16.0);
        let transposed = generator.randn(&[12, 20]).tr();
        assert!(error(&generator.randn(&[1, 12]), &transposed, None) < 16.0);
        let half = linear(&several.to_kind(Kind::BFloat16), &weight.to_kind(Kind::BFloat16), None);
        assert_eq!(half.kind(), Kind::BFloat16);
    }

    #[test]
    fn derivatives_flow_where_they_are_asked_for() {
        let mut generator = Generator::new(10);
        let x = generator.randn(&[1, 12]);
        let weight = generator.randn(&[20, 12]).set_requires_grad(true);
        let y = linear(&x, &weight, None);
        y.sum(Kind::Float).backward();
        assert_eq!(weight.grad(), x.expand([20, 12], false));
        assert!(!no_grad(|| linear(&x, &weight, None)).requires_grad());
    }

    #[test]
    #[should_panic(expected = "libtorch: ")]
    fn shapes_that_do_not_fit_panic() {
        let (x, weight) = (
            Tensor::ones([1, 3], tch::kind::FLOAT_CPU),
            Tensor::ones([2, 4], tch::kind::FLOAT_CPU),
        );
        let _ = linear(&x, &weight, None);
    }
}
