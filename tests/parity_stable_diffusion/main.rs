//! Stable Diffusion 3 against diffusers and transformers on tiny random weights.
//!
//! `tests/parity/stable_diffusion.py` wrote the models and what the reference computes with them:
//! freshly into `$SHUTTERBUG_PARITY/stable_diffusion` (`make parity`), once and for all into
//! `tests/fixtures/stable_diffusion`.

mod case;
mod loading;
mod matters;
mod sampling;
#[path = "../set_aside/mod.rs"]
mod set_aside;
mod shapes;
#[path = "../sketches/mod.rs"]
mod sketches;
mod training;
mod values;
