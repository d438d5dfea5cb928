//! Which photos a text position sees.
//!
//! A text position sees the last photo before it, or the last run of photos whose tokens stand
//! next to each other; only the tiles that show something. Positions before the first photo see
//! every tile of all photos, empty ones included, and their feed-forward branch is switched off:
//! that is how transformers' masks come out (`_prepare_cross_attention_mask`; processing_mllama.py,
//! `get_cross_attention_token_mask`), and the model is trained and served with them.

use std::ops::Range;

/// A run of text positions that see the same photos.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sight {
    /// Text positions.
    pub positions: Range<usize>,
    /// Photos seen, by index; empty before the first photo.
    pub photos: Range<usize>,
}

/// Cuts a sequence of `length` tokens whose photo tokens stand at the rising `photo_positions`
/// into runs that see the same photos, in order and without gaps.
pub fn sights(photo_positions: &[usize], length: usize) -> Vec<Sight> {
    let mut runs = Vec::new();
    let first = photo_positions.first().copied().unwrap_or(length);
    if first > 0 {
        runs.push(Sight { positions: 0..first, photos: 0..0 });
    }
    let mut group_begin = 0;
    for (photo, &position) in photo_positions.iter().enumerate() {
        if photo > 0 && photo_positions[photo - 1] + 1 != position {
            group_begin = photo;
        }
        let end = photo_positions.get(photo + 1).copied().unwrap_or(length);
        runs.push(Sight { positions: position..end, photos: group_begin..photo + 1 });
    }
    runs
}

/// The mask that transformers' processor makes, `[length, photos, tiles_max]` in row-major order:
/// true where a text position sees a tile. `tiles` is the number of shown tiles of each photo.
pub fn cross_attention_mask(
    photo_positions: &[usize],
    tiles: &[usize],
    length: usize,
    tiles_max: usize,
) -> Vec<bool> {
    let mut mask = vec![false; length * tiles.len() * tiles_max];
    for sight in sights(photo_positions, length) {
        for position in sight.positions {
            for photo in sight.photos.clone() {
                let begin = (position * tiles.len() + photo) * tiles_max;
                mask[begin..begin + tiles[photo]].fill(true);
            }
        }
    }
    mask
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(photo_positions: &[usize], length: usize) -> Vec<(Range<usize>, Range<usize>)> {
        let sights = sights(photo_positions, length);
        sights.into_iter().map(|sight| (sight.positions, sight.photos)).collect()
    }

    #[test]
    fn each_position_sees_the_last_photo_before_it() {
        assert_eq!(runs(&[], 5), [(0..5, 0..0)]);
        assert_eq!(runs(&[0], 3), [(0..3, 0..1)]);
        assert_eq!(runs(&[2, 5], 8), [(0..2, 0..0), (2..5, 0..1), (5..8, 1..2)]);
    }

    #[test]
    fn neighbouring_photos_are_seen_together() {
        assert_eq!(
            runs(&[1, 2, 3, 6, 7], 8),
            [(0..1, 0..0), (1..2, 0..1), (2..3, 0..2), (3..6, 0..3), (6..7, 3..4), (7..8, 3..5)]
        );
    }

    /// processing_mllama.py: convert_sparse_cross_attention_mask_to_dense over
    /// get_cross_attention_token_mask([0, 9, 0, 9, 9], 9), tiles [[1, 2, 1]], at most 2 tiles.
    #[test]
    fn the_dense_mask_is_that_of_transformers() {
        let mask = cross_attention_mask(&[1, 3, 4], &[1, 2, 1], 5, 2);
        let rows: Vec<String> = mask
            .chunks(6)
            .map(|row| row.iter().map(|&seen| if seen { '1' } else { '0' }).collect())
            .collect();
        assert_eq!(rows, ["000000", "100000", "100000", "001100", "001110"]);
    }
}
