//! Gates of residual branches.

use tch::Tensor;

use super::in_kind;
use crate::torch::{Initial, LoadError, Weights};

/// What a gate is in a model made from nothing: the published ones begin at zero, where what they
/// gate receives no gradient; a little above, the branch is learned from the first step on.
const INITIAL: f64 = 0.1;

/// One learned number; its hyperbolic tangent weighs a branch.
pub struct Gate(Tensor);

impl Gate {
    /// Reads `name [1]` below `weights`.
    pub fn load(weights: &Weights, name: &str) -> Result<Self, LoadError> {
        weights.parameter(name, &[1], Initial::Constant(INITIAL)).map(Self)
    }

    /// How far it is open, `[1]` like `like`'s dtype.
    pub fn openness(&self, like: &Tensor) -> Tensor {
        in_kind(&self.0, like.kind()).tanh()
    }

    /// The branch, weighed; same shape and dtype.
    pub fn weigh(&self, branch: &Tensor) -> Tensor {
        self.openness(branch) * branch
    }
}

impl Clone for Gate {
    /// Shares the weight.
    fn clone(&self) -> Self {
        Self(self.0.shallow_clone())
    }
}
