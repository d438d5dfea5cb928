//! How much memory talking takes beside the weights, reckoned from the configuration.

use super::cache::room_for;
use super::config::{Config, TextConfig, VisionConfig};
use super::vision::POSITIONS_MULTIPLE;

impl Config {
    /// Elements in the running dtype that a dialogue of `tokens` tokens, the reply's included, and
    /// `tiles` tiles of photos holds at the same time: keys and values of text and photos, the
    /// photos' states, and the larger of the activations of seeing and of reading.
    pub fn dialogue_elements(&self, tokens: i64, tiles: i64) -> i64 {
        let photo_positions = tiles * self.vision.tile_positions();
        let kept = self.text.cache_elements(tokens, photo_positions);
        // Once for each photo, and side by side for the decoder.
        let states = 2 * photo_positions * self.text.width;
        let photos = (tiles / self.vision.tiles_max).min(self.vision.photos_at_once() as i64);
        kept + states + self.text.reading_elements(tokens).max(self.vision.seeing_elements(photos))
    }
}

impl TextConfig {
    /// Keys and values of every layer.
    fn cache_elements(&self, tokens: i64, photo_positions: i64) -> i64 {
        let pair = 2 * self.key_heads * self.head_width();
        let reading_photos = self.cross_attention_layers.len() as i64;
        let reading_text = self.layers as i64 - reading_photos;
        pair * (reading_text * room_for(tokens) + reading_photos * photo_positions)
    }

    /// Activations of the layer that is being computed: the stream before and after it, its norm
    /// (which works in float32: two elements each), queries, keys, values and what is attended
    /// to, or gate, activated gate, values and their product.
    fn reading_elements(&self, tokens: i64) -> i64 {
        let stream = 4 * self.width;
        let attention = 4 * self.width;
        let feed_forward = 4 * self.feed_forward_width;
        tokens * (stream + attention.max(feed_forward)) + self.vocabulary
    }
}

impl VisionConfig {
    /// Activations of `photos` photos: the layer's own, the intermediate features, which are kept
    /// and then joined, and the mask over each photo's positions.
    fn seeing_elements(&self, photos: i64) -> i64 {
        let padded =
            (self.tile_positions() as u64).next_multiple_of(POSITIONS_MULTIPLE as u64) as i64;
        let positions = self.tiles_max * padded;
        let layer = 4 * self.width + (4 * self.width).max(2 * self.feed_forward_width);
        let features = 2 * self.features();
        photos * positions * (layer + features + 2 * positions)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_published_model_takes_gigabytes_for_a_long_dialogue() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/llama/published");
        let config = Config::read(&folder).unwrap();
        // 32 layers × 2 × 1024 × 12,288 positions, and 8 layers × 2 × 1024 × 32 tiles × 1,601.
        let kept = 32 * 2 * 1024 * 12_288 + 8 * 2 * 1024 * 32 * 1601;
        assert_eq!(config.text.cache_elements(8192, 32 * 1601), kept);
        let elements = config.dialogue_elements(8192, 32);
        assert!((2_900_000_000..3_600_000_000).contains(&elements), "{elements}");
        // Without photos the text alone counts.
        let text = config.dialogue_elements(8192, 0);
        assert_eq!(text, 32 * 2 * 1024 * 12_288 + config.text.reading_elements(8192));
    }
}
