//! Many photos at a glance.

use crate::dialogue::Pixels;

/// Between photos and around them, in pixels.
const GAP_PX: u32 = 4;
/// Smaller photos are enlarged by a whole factor until their longer side would be larger.
const SIDE_PX: u32 = 128;

/// Photos in rows of `columns`, in order, on white; small ones enlarged. `None` of none.
///
/// # Panics
/// If `columns` is 0.
pub fn contact_sheet(photos: &[Pixels], columns: usize) -> Option<Pixels> {
    let longest = photos.iter().map(|photo| photo.width.max(photo.height)).max()?;
    let factor = (SIDE_PX / longest).max(1);
    let columns = columns.min(photos.len());
    let rows = photos.len().div_ceil(columns);
    let cell = |side: fn(&Pixels) -> u32| {
        photos.iter().map(side).max().unwrap_or_default() * factor + GAP_PX
    };
    let (cell_width, cell_height) = (cell(|photo| photo.width), cell(|photo| photo.height));
    let width = cell_width * columns as u32 + GAP_PX;
    let height = cell_height * rows as u32 + GAP_PX;
    let mut sheet = Pixels { width, height, rgb: vec![255; (width * height * 3) as usize] };
    for (place, photo) in photos.iter().enumerate() {
        let left = GAP_PX + (place % columns) as u32 * cell_width;
        let top = GAP_PX + (place / columns) as u32 * cell_height;
        paste(&mut sheet, photo, (left, top), factor);
    }
    Some(sheet)
}

fn paste(sheet: &mut Pixels, photo: &Pixels, (left, top): (u32, u32), factor: u32) {
    for y in 0..photo.height * factor {
        for x in 0..photo.width * factor {
            let from = ((y / factor * photo.width + x / factor) * 3) as usize;
            let to = (((top + y) * sheet.width + left + x) * 3) as usize;
            sheet.rgb[to..to + 3].copy_from_slice(&photo.rgb[from..from + 3]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(width: u32, height: u32, value: u8) -> Pixels {
        Pixels { width, height, rgb: vec![value; (width * height * 3) as usize] }
    }

    fn at(sheet: &Pixels, x: u32, y: u32) -> u8 {
        sheet.rgb[((y * sheet.width + x) * 3) as usize]
    }

    #[test]
    fn photos_stand_in_rows_in_order() {
        let photos = [plain(64, 64, 10), plain(64, 32, 20), plain(64, 64, 30)];
        let sheet = contact_sheet(&photos, 2).unwrap();
        assert_eq!((sheet.width, sheet.height), (2 * 132 + 4, 2 * 132 + 4));
        assert_eq!((at(&sheet, 4, 4), at(&sheet, 131, 131), at(&sheet, 136, 4)), (10, 10, 20));
        assert_eq!((at(&sheet, 4, 136), at(&sheet, 131, 263)), (30, 30));
        // Gaps, what the low one leaves, and the empty place.
        for (x, y) in [(0, 0), (132, 4), (136, 68), (136, 136)] {
            assert_eq!(at(&sheet, x, y), 255, "{x} {y}");
        }
    }

    #[test]
    fn few_photos_make_a_narrow_sheet_and_none_makes_none() {
        let sheet = contact_sheet(&[plain(200, 100, 1)], 8).unwrap();
        assert_eq!((sheet.width, sheet.height), (208, 108));
        assert_eq!(contact_sheet(&[], 8), None);
    }
}
