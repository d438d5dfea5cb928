//! Photos of a dataset as the image generator learns them.
//!
//! Axes in names: b photo, c channel, h and w height and width.

use std::sync::Arc;

use tch::{Device, Kind, Tensor};

use crate::data::{Example, Picture, load_photo, with_causes};
use crate::dialogue::Pixels;

/// A photo to learn from.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct PhotoItem {
    /// What messages call it: the example's id and the photo's number in it, from 1.
    pub(super) name: String,
    pub(super) picture: Picture,
    pub(super) caption: Option<String>,
}

/// The photos of all examples that have a picture, in order.
pub(super) fn photos(examples: &[Example]) -> Vec<PhotoItem> {
    let mut items = Vec::new();
    for example in examples {
        for (number, (_, _, photo)) in example.photos().enumerate() {
            if photo.picture != Picture::Missing {
                items.push(PhotoItem {
                    name: format!("{}, photo {}", example.id, number + 1),
                    picture: photo.picture.clone(),
                    caption: photo.caption.clone(),
                });
            }
        }
    }
    items
}

impl PhotoItem {
    /// Its pixels, or a sentence on why there are none.
    pub(super) fn load(&self) -> Result<Arc<Pixels>, String> {
        let pixels = self.picture.pixels(load_photo);
        let pixels = pixels.map_err(|error| format!("{}: {}", self.name, with_causes(&error)))?;
        pixels.ok_or_else(|| format!("{}: there is no picture", self.name))
    }
}

/// A photo as a tensor `[3, height, width]` in 0…1, float32 on the CPU: the largest part around its
/// middle that has the wanted shape, resized bilinearly with antialiasing.
pub(super) fn picture(pixels: &Pixels, [height, width]: [i64; 2]) -> Tensor {
    let (h, w) = (i64::from(pixels.height), i64::from(pixels.width));
    let chw = Tensor::from_slice(&pixels.rgb).view([h, w, 3]).permute([2, 0, 1]);
    let (crop_h, crop_w) = if w * height > h * width {
        (h, (h * width / height).max(1))
    } else {
        ((w * height / width).max(1), w)
    };
    let chw = chw.narrow(1, (h - crop_h) / 2, crop_h).narrow(2, (w - crop_w) / 2, crop_w);
    let chw = chw.to_kind(Kind::Float) / 255.0;
    if (crop_h, crop_w) == (height, width) {
        return chw.contiguous();
    }
    let resized =
        chw.unsqueeze(0).internal_upsample_bilinear2d_aa([height, width], false, None, None);
    resized.squeeze_dim(0).clamp(0.0, 1.0)
}

/// Those of the photos in `chosen` that can be loaded, `[b, 3, height, width]` in 0…1 on `device`,
/// with their places in `chosen`; and why the others can't. `None` where there is none.
pub(super) fn load_all(
    chosen: &[&PhotoItem],
    size: [i64; 2],
    device: Device,
    left_out: &mut Vec<String>,
) -> Option<(Tensor, Vec<usize>)> {
    let mut pictures = Vec::new();
    let mut places = Vec::new();
    for (place, item) in chosen.iter().enumerate() {
        match item.load() {
            Ok(pixels) => {
                pictures.push(picture(&pixels, size));
                places.push(place);
            }
            Err(sentence) => left_out.push(sentence),
        }
    }
    (!pictures.is_empty()).then(|| (Tensor::stack(&pictures, 0).to_device(device), places))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_photo_is_cropped_around_its_middle_and_resized() {
        // Columns of 0, 50, 100, 150, 200, 250, three of which are in the middle of two rows.
        let rgb: Vec<u8> = (0..12u32).flat_map(|i| [(i % 6 * 50) as u8; 3]).collect();
        let pixels = Pixels { width: 6, height: 2, rgb };
        let square = picture(&pixels, [2, 2]);
        assert_eq!(square.size(), [3, 2, 2]);
        let row: Vec<f32> = Vec::try_from(square.get(0).get(0)).unwrap();
        assert!((row[0] - 100.0 / 255.0).abs() < 1e-6 && (row[1] - 150.0 / 255.0).abs() < 1e-6);
        let one = picture(&pixels, [1, 1]);
        let mean = 125.0 / 255.0;
        assert!((one.mean(Kind::Float).double_value(&[]) - mean).abs() < 1e-6);
        let wide = picture(&pixels, [1, 3]);
        assert_eq!(wide.size(), [3, 1, 3]);
    }
}
