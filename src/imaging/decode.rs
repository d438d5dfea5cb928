//! Photo files into 8-bit RGB.

use std::io::Cursor;

use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader};

use super::error::PhotoError;
use super::whole::is_whole;
use crate::dialogue::Pixels;

/// The formats that are read.
const FORMATS: [ImageFormat; 5] =
    [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::Gif, ImageFormat::WebP, ImageFormat::Bmp];

/// What a photo file may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of the file.
    pub bytes_max: u64,
    /// Most pixels of its picture.
    pub pixels_max: u64,
    /// Most pixels of its longer side.
    pub side_px_max: u32,
    /// Most memory that decoding may take, the decoded picture included.
    pub memory_bytes_max: u64,
}

impl Default for Limits {
    /// 25 MiB, 50 megapixels, 16,384 a side, 512 MiB of memory.
    fn default() -> Self {
        Self {
            bytes_max: 25 << 20,
            pixels_max: 50_000_000,
            side_px_max: 16_384,
            memory_bytes_max: 512 << 20,
        }
    }
}

/// Decodes a photo: upright by its EXIF orientation, alpha over white, deeper channels, greys,
/// palettes and CMYK into 8-bit RGB, the first frame of an animation.
///
/// # Errors
/// Each way in which the file can't be taken, as a sentence for whoever sent it. The limits are
/// checked on the file's header, before its picture is decoded.
pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Pixels, PhotoError> {
    let size = bytes.len() as u64;
    if size == 0 {
        return Err(PhotoError::Empty);
    }
    if size > limits.bytes_max {
        return Err(PhotoError::TooManyBytes { bytes: size, bytes_max: limits.bytes_max });
    }
    let format = image::guess_format(bytes).map_err(|_| PhotoError::UnknownFormat)?;
    if !FORMATS.contains(&format) {
        return Err(PhotoError::UnknownFormat);
    }
    if !is_whole(bytes, format) {
        return Err(PhotoError::Truncated);
    }
    let mut memory = image::Limits::default();
    memory.max_alloc = Some(limits.memory_bytes_max);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(memory.clone());
    let mut decoder = reader.into_decoder().map_err(PhotoError::of_decoder)?;
    let (width, height) = decoder.dimensions();
    check_size(width, height, limits)?;
    memory.reserve(decoder.total_bytes()).map_err(PhotoError::of_decoder)?;
    decoder.set_limits(memory).map_err(PhotoError::of_decoder)?;
    let orientation = decoder.orientation().map_err(PhotoError::of_decoder)?;
    let mut picture = DynamicImage::from_decoder(decoder).map_err(PhotoError::of_decoder)?;
    picture.apply_orientation(orientation);
    Ok(opaque_rgb(&picture))
}

fn check_size(width: u32, height: u32, limits: &Limits) -> Result<(), PhotoError> {
    let pixels = u64::from(width) * u64::from(height);
    if pixels == 0 {
        return Err(PhotoError::NoPixels);
    }
    if width.max(height) > limits.side_px_max || pixels > limits.pixels_max {
        return Err(PhotoError::TooManyPixels {
            width,
            height,
            side_px_max: limits.side_px_max,
            pixels_max: limits.pixels_max,
        });
    }
    Ok(())
}

/// 8-bit RGB, transparent parts over white.
fn opaque_rgb(picture: &DynamicImage) -> Pixels {
    let (width, height) = (picture.width(), picture.height());
    if !picture.color().has_alpha() {
        return Pixels { width, height, rgb: picture.to_rgb8().into_raw() };
    }
    let over_white = |channel: u8, alpha: u8| {
        let (channel, alpha) = (u32::from(channel), u32::from(alpha));
        ((channel * alpha + 255 * (255 - alpha) + 127) / 255) as u8
    };
    let rgb = picture
        .to_rgba8()
        .pixels()
        .flat_map(|pixel| {
            let [r, g, b, alpha] = pixel.0;
            [r, g, b].map(|channel| over_white(channel, alpha))
        })
        .collect();
    Pixels { width, height, rgb }
}
