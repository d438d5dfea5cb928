//! Pixels into PNG.

use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};

use crate::dialogue::Pixels;

/// A PNG file of the picture.
///
/// # Panics
/// If `rgb` doesn't hold `width * height * 3` bytes.
pub fn encode_png(pixels: &Pixels) -> Vec<u8> {
    let mut png = Vec::new();
    PngEncoder::new(&mut png)
        .write_image(&pixels.rgb, pixels.width, pixels.height, ExtendedColorType::Rgb8)
        .expect("memory takes every byte, and pixels hold three bytes each");
    png
}
