//! What a model can be asked for, known before it is loaded.

use super::error::ModelError;
use super::model_directory::ModelDirectory;
use crate::llama_vision::Config;
use crate::stable_diffusion::{SizeError, StableDiffusion3Config};

/// What the model of a directory can do.
#[derive(Debug, Clone)]
pub struct Abilities {
    /// Tokens that prompt and reply may have together.
    pub context_tokens: usize,
    /// Steps of its noise schedule: more of them than these draw nothing finer.
    pub steps_max: usize,
    diffusion: StableDiffusion3Config,
}

impl Abilities {
    /// Reads them from the configurations of both bases.
    pub fn of(directory: &ModelDirectory) -> Result<Self, ModelError> {
        let diffusion = StableDiffusion3Config::read(&directory.diffusion())?;
        Ok(Self {
            context_tokens: Config::read(&directory.llama())?.text.positions_max as usize,
            steps_max: diffusion.scheduler.num_train_timesteps as usize,
            diffusion,
        })
    }

    /// Whether pictures of this width and height in pixels (or of the model's own) can be drawn.
    pub fn check_size(&self, size: Option<(u32, u32)>) -> Result<(), SizeError> {
        self.diffusion.latents_shape(size).map(drop)
    }
}
