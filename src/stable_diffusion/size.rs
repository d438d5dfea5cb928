//! The picture sizes that a pipeline can draw.

use super::config::StableDiffusion3Config;

/// A picture size that the model can't draw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a picture of {width}×{height} can't be drawn: both sides must be multiples of {multiple} and at most {side_max} pixels"
)]
pub struct SizeError {
    /// Pixels asked for.
    pub width: u32,
    /// Pixels asked for.
    pub height: u32,
    /// What both must be multiples of.
    pub multiple: u32,
    /// The most that either may be.
    pub side_max: u32,
}

impl StableDiffusion3Config {
    /// Width and height in pixels of the pictures that the model was made for.
    pub fn own_size(&self) -> (u32, u32) {
        let side = (self.transformer.sample_size * self.vae.downscale()) as u32;
        (side, side)
    }

    /// Shape `[c, h, w]` of one picture's latents, for a size in pixels (width, height) or the
    /// model's own.
    pub fn latents_shape(&self, size: Option<(u32, u32)>) -> Result<[i64; 3], SizeError> {
        let transformer = &self.transformer;
        let downscale = self.vae.downscale() as u32;
        let (width, height) = size.unwrap_or_else(|| self.own_size());
        let multiple = downscale * transformer.patch_size as u32;
        let patches_max = match transformer.pos_embed_max_size {
            Some(side) if side > 0 => side as u32,
            _ => u32::MAX / multiple,
        };
        let side_max = patches_max * multiple;
        let fits = |side: u32| side > 0 && side.is_multiple_of(multiple) && side <= side_max;
        if !fits(width) || !fits(height) {
            return Err(SizeError { width, height, multiple, side_max });
        }
        let latents = |side: u32| i64::from(side / downscale);
        Ok([transformer.in_channels, latents(height), latents(width)])
    }
}
