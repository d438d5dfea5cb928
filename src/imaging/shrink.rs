//! Large photos made smaller.

use image::imageops::{FilterType, resize};
use image::{ImageBuffer, Rgb};

use crate::dialogue::Pixels;

/// A photo whose longer side has at most `side_px_max` pixels, at least 1; smaller ones stay as
/// they are. Each new pixel is the weighted mean of those that it covers.
pub fn shrink(photo: Pixels, side_px_max: u32) -> Pixels {
    let longer = photo.width.max(photo.height);
    if longer <= side_px_max {
        return photo;
    }
    let scaled = |side: u32| {
        let side = u64::from(side) * u64::from(side_px_max) / u64::from(longer);
        (side as u32).max(1)
    };
    let (width, height) = (scaled(photo.width), scaled(photo.height));
    let buffer: ImageBuffer<Rgb<u8>, _> =
        ImageBuffer::from_raw(photo.width, photo.height, photo.rgb)
            .expect("pixels hold three bytes each");
    Pixels { width, height, rgb: resize(&buffer, width, height, FilterType::Triangle).into_raw() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longer_side_shrinks_to_the_limit_and_means_are_kept() {
        let rgb = (0..400u32).flat_map(|x| if x % 2 == 0 { [0; 3] } else { [200; 3] }).collect();
        let photo = Pixels { width: 400, height: 1, rgb };
        assert_eq!(shrink(photo.clone(), 400), photo);
        let small = shrink(photo, 100);
        assert_eq!((small.width, small.height), (100, 1));
        assert!(
            small.rgb[30..270].iter().all(|&value| value.abs_diff(100) <= 2),
            "{:?}",
            small.rgb
        );
    }
}
