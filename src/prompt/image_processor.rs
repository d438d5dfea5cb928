//! Photos into tiles of normalised pixels, equal to `MllamaImageProcessor` (transformers).

use std::path::Path;

use serde::Deserialize;

use super::canvas::{Layout, grids, layout};
use super::error::PromptLoadError;
use super::files::{read_json, require};
use super::resize::resize_rgb;
use crate::dialogue::Pixels;

const FILE: &str = "preprocessor_config.json";
/// `PILImageResampling.BILINEAR`.
const BILINEAR: u8 = 2;

/// One photo as the image perceptron takes it.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageTiles {
    /// `[tiles_max, 3, tile_px, tile_px]`, row-major; zeros in unused tiles.
    pub pixel_values: Vec<f32>,
    /// Tiles that the perceptron has room for.
    pub tiles_max: usize,
    /// Side of a tile in pixels.
    pub tile_px: usize,
    /// Tiles that hold the photo; at least 1.
    pub tiles: usize,
    /// Index of the grid among the supported ones, from 1.
    pub aspect_ratio_id: i64,
    /// `[tiles_max]`: 1 for tiles that hold the photo, 0 for the others.
    pub aspect_ratio_mask: Vec<i64>,
}

/// Most tiles that a photo may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// As many as the model was made for.
    Full,
    /// A single one.
    OneTile,
}

/// `preprocessor_config.json`, with the reference's defaults.
#[derive(Deserialize)]
#[serde(default)]
#[expect(clippy::struct_excessive_bools, reason = "the file has them")]
struct Config {
    do_normalize: bool,
    do_pad: bool,
    do_rescale: bool,
    do_resize: bool,
    image_mean: [f32; 3],
    image_std: [f32; 3],
    max_image_tiles: usize,
    resample: u8,
    rescale_factor: f64,
    size: Size,
}

#[derive(Deserialize)]
struct Size {
    height: usize,
    width: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            do_normalize: true,
            do_pad: true,
            do_rescale: true,
            do_resize: true,
            image_mean: [0.5; 3],
            image_std: [0.5; 3],
            max_image_tiles: 4,
            resample: BILINEAR,
            rescale_factor: 1.0 / 255.0,
            size: Size { height: 224, width: 224 },
        }
    }
}

/// The image processor of a model directory.
#[derive(Debug)]
pub struct ImageProcessor {
    tiles_max: usize,
    tile_px: usize,
    /// Normalised value of every byte, channel by channel.
    normalised: [[f32; 256]; 3],
}

impl ImageProcessor {
    /// Reads `preprocessor_config.json` in `directory`.
    ///
    /// # Errors
    /// If it isn't there, or asks for something else than tiles, padding and bilinear resizing.
    pub fn load(directory: &Path) -> Result<Self, PromptLoadError> {
        let path = directory.join(FILE);
        let config: Config = require(read_json(&path)?, &path)?;
        let unusable = |reason: &str| {
            Err(PromptLoadError::Unusable { path: path.clone(), reason: reason.to_owned() })
        };
        if !config.do_resize || !config.do_pad {
            return unusable("do_resize and do_pad must be true, or photos make no tiles");
        }
        if config.resample != BILINEAR {
            return unusable("resample must be 2 (bilinear), the only filter that is served");
        }
        if config.size.height != config.size.width || config.size.height == 0 {
            return unusable("size must have an equal height and width above 0");
        }
        if config.max_image_tiles == 0 {
            return unusable("max_image_tiles must be at least 1");
        }
        let scale = if config.do_rescale { config.rescale_factor as f32 } else { 1.0 };
        let (mean, std) = if config.do_normalize {
            (config.image_mean, config.image_std)
        } else {
            ([0.0; 3], [1.0; 3])
        };
        let normalised = std::array::from_fn(|channel| {
            std::array::from_fn(|byte| (byte as f32 * scale - mean[channel]) / std[channel])
        });
        Ok(Self { tiles_max: config.max_image_tiles, tile_px: config.size.height, normalised })
    }

    /// Side of a tile in pixels.
    pub fn tile_px(&self) -> usize {
        self.tile_px
    }

    /// Most tiles of a photo.
    pub fn tiles_max(&self) -> usize {
        self.tiles_max
    }

    /// Tiles that a photo of this size takes in full detail.
    pub fn tiles(&self, width: u32, height: u32) -> usize {
        self.layout(width, height, Detail::Full).grid.tiles()
    }

    /// Cuts a photo into tiles.
    ///
    /// # Panics
    /// If the photo has no pixels.
    pub fn process(&self, photo: &Pixels, detail: Detail) -> ImageTiles {
        let place = self.layout(photo.width, photo.height, detail);
        let size = (photo.width as usize, photo.height as usize);
        let resized = resize_rgb(&photo.rgb, size, (place.width, place.height));
        let tiles = place.grid.tiles();
        let mut aspect_ratio_mask = vec![0; self.tiles_max];
        aspect_ratio_mask[..tiles].fill(1);
        let aspect_ratio_id = 1 + grids(self.tiles_max)
            .position(|grid| grid == place.grid)
            .expect("the layout takes one of the supported grids")
            as i64;
        ImageTiles {
            pixel_values: self.split(&resized, place),
            tiles_max: self.tiles_max,
            tile_px: self.tile_px,
            tiles,
            aspect_ratio_id,
            aspect_ratio_mask,
        }
    }

    fn layout(&self, width: u32, height: u32, detail: Detail) -> Layout {
        let tiles_max = match detail {
            Detail::Full => self.tiles_max,
            Detail::OneTile => 1,
        };
        layout(width as usize, height as usize, tiles_max, self.tile_px)
    }

    /// Pads the resized photo with black to its grid, normalises, and lays the tiles one behind
    /// the other.
    fn split(&self, resized: &[u8], place: Layout) -> Vec<f32> {
        let side = self.tile_px;
        let tile_len = 3 * side * side;
        let mut values = vec![0.0; self.tiles_max * tile_len];
        let used = &mut values[..place.grid.tiles() * tile_len];
        for (plane, table) in used.chunks_exact_mut(side * side).zip(self.normalised.iter().cycle())
        {
            plane.fill(table[0]);
        }
        for (y, row) in resized.chunks_exact(place.width * 3).enumerate() {
            for (column, part) in row.chunks(side * 3).enumerate() {
                let tile = y / side * place.grid.columns + column;
                let line = tile * tile_len + y % side * side;
                for (channel, table) in self.normalised.iter().enumerate() {
                    let begin = line + channel * side * side;
                    let pixels = part[channel..].iter().step_by(3);
                    for (value, &byte) in used[begin..begin + part.len() / 3].iter_mut().zip(pixels)
                    {
                        *value = table[usize::from(byte)];
                    }
                }
            }
        }
        values
    }
}
