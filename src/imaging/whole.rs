//! Whether a file is whole, where its decoder doesn't say.

use image::ImageFormat;

const START_OF_SCAN: u8 = 0xDA;
const END_OF_IMAGE: u8 = 0xD9;

/// Is nothing missing at the end of the file, as far as its container tells?
pub(super) fn is_whole(bytes: &[u8], format: ImageFormat) -> bool {
    match format {
        // The decoder fills what is missing with grey.
        ImageFormat::Jpeg => jpeg_is_whole(bytes),
        // The decoder can't tell a cut file from a damaged one.
        ImageFormat::WebP => webp_is_whole(bytes),
        _ => true,
    }
}

/// Does the file hold as many bytes as its RIFF header announces?
fn webp_is_whole(bytes: &[u8]) -> bool {
    let Some(&[a, b, c, d]) = bytes.get(4..8) else { return false };
    bytes.len() as u64 >= u64::from(u32::from_le_bytes([a, b, c, d])) + 8
}

/// Does the file reach its end-of-image marker (ITU-T T.81, annex B)? Thumbnails inside metadata
/// have end markers of their own, so segments are skipped by their lengths.
fn jpeg_is_whole(bytes: &[u8]) -> bool {
    // Behind the start-of-image marker.
    let mut at = 2;
    loop {
        let Some(marker) = next_marker(bytes, &mut at) else { return false };
        match marker {
            END_OF_IMAGE => return true,
            // Restart markers and their like have no length.
            0x01 | 0xD0..=0xD8 => {}
            _ => {
                let Some(length) = bytes.get(at..at + 2) else { return false };
                at += usize::from(u16::from_be_bytes([length[0], length[1]]));
                if marker == START_OF_SCAN && at >= bytes.len() {
                    return false;
                }
            }
        }
    }
}

/// Moves behind the next marker, over entropy-coded data (where `FF 00` is a stuffed byte).
fn next_marker(bytes: &[u8], at: &mut usize) -> Option<u8> {
    loop {
        let found = bytes.get(*at..)?.iter().position(|&byte| byte == 0xFF)?;
        *at += found + 1;
        let marker = *bytes.get(*at)?;
        match marker {
            0x00 => *at += 1,
            // A fill byte: the marker's own FF follows.
            0xFF => {}
            _ => {
                *at += 1;
                return Some(marker);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::jpeg_is_whole;

    const HEAD: [u8; 8] = [0xFF, 0xD8, 0xFF, 0xE1, 0x00, 0x04, 0xFF, 0xD9];
    const SCAN: [u8; 10] = [0xFF, 0xDA, 0x00, 0x02, 0x17, 0xFF, 0x00, 0x2A, 0xFF, 0xD0];

    #[test]
    fn an_end_marker_counts_outside_metadata_only() {
        let whole = [&HEAD[..], &SCAN, &[0x11, 0xFF, 0xFF, 0xD9, 0x00, 0x00]].concat();
        assert!(jpeg_is_whole(&whole));
        for length in 2..whole.len() - 2 {
            assert!(!jpeg_is_whole(&whole[..length]), "cut at {length}");
        }
    }
}
