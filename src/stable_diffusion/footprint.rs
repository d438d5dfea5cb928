//! How much memory drawing takes beside the weights, reckoned from the configuration.

use super::config::{MmditConfig, StableDiffusion3Config, VaeConfig};
use super::sampler::MODULATION_ROWS_MAX;
use super::size::SizeError;
use crate::tokens::{CLIP_POSITIONS, T5_POSITIONS};

/// Rows of the transformer's batch: the caption and what guidance leads away from.
const ROWS: i64 = 2;

impl StableDiffusion3Config {
    /// Bytes that a guided picture of this size (or of the model's own) takes, with elements of
    /// `element_bytes` in the transformer and float32 in the VAE: the larger of the two, since one
    /// follows the other.
    pub fn drawing_bytes(
        &self,
        size: Option<(u32, u32)>,
        element_bytes: u64,
    ) -> Result<u64, SizeError> {
        let [_, h, w] = self.latents_shape(size)?;
        let text = CLIP_POSITIONS + if self.t5.is_some() { T5_POSITIONS } else { 1 };
        let denoising = self.transformer.step_elements(h * w, text as i64) as u64 * element_bytes;
        Ok(denoising.max(self.vae.decoding_elements(h * w) as u64 * 4))
    }
}

impl MmditConfig {
    /// Activations of a block: both streams, normed and modulated, queries, keys and values apart
    /// and joined, and the feed-forward part's expansion before and after its activation; and the
    /// modulations of all blocks for many steps.
    fn step_elements(&self, latents: i64, text: i64) -> i64 {
        let width = self.width();
        let positions = ROWS * (latents / (self.patch_size * self.patch_size) + text);
        let attention = 8 * width;
        let feed_forward = 2 * 4 * width;
        let chunks = 12 * self.num_layers as i64 + 3 * self.dual_attention_layers.len() as i64;
        positions * (4 * width + attention.max(feed_forward))
            + MODULATION_ROWS_MAX as i64 * chunks * width
    }
}

impl VaeConfig {
    /// Activations of the decoder's largest residual block: its input, the norm of it, the
    /// activated norm, and the convolution's output, the coarser level's channels coming in.
    fn decoding_elements(&self, latents: i64) -> i64 {
        let levels = self.block_out_channels.len();
        let elements = |level: usize| {
            let channels = &self.block_out_channels;
            let coarser = channels[(level + 1).min(levels - 1)];
            let scale = 1 << (levels - 1 - level);
            latents * scale * scale * channels[level].max(coarser)
        };
        4 * (0..levels).map(elements).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_autoencoder_decides_how_much_a_large_picture_takes() {
        let vae =
            VaeConfig { block_out_channels: vec![128, 256, 512, 512], ..VaeConfig::default() };
        // 1024 × 1024 pixels with 256 channels, four times.
        assert_eq!(vae.decoding_elements(128 * 128), 4 * 1024 * 1024 * 256);
        let transformer = MmditConfig { num_layers: 24, ..MmditConfig::default() };
        let elements = transformer.step_elements(128 * 128, 333);
        assert!(elements < vae.decoding_elements(128 * 128) / 4, "{elements}");
    }
}
