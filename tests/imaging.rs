//! Photo files of every kind: what can be read shows the same pixels that Pillow sees, and what
//! can't is refused with a sentence. `tests/parity/images.py` makes the files.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use shutterbug::dialogue::Pixels;
use shutterbug::imaging::{Limits, PhotoError, decode, encode_png};

#[derive(serde::Deserialize)]
struct Expected {
    width: u32,
    height: u32,
    tolerance: u8,
    /// Hexadecimal.
    rgb: String,
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/images")
}

fn file(name: &str) -> Vec<u8> {
    fs::read(fixtures().join(name)).expect("the fixture is there")
}

fn open(name: &str) -> Result<Pixels, PhotoError> {
    decode(&file(name), &Limits::default())
}

fn refusal(name: &str) -> PhotoError {
    open(name).expect_err(name)
}

#[test]
fn every_readable_file_shows_what_pillow_sees() {
    let text = String::from_utf8(file("expected.json")).unwrap();
    let all: BTreeMap<String, Expected> = serde_json::from_str(&text).unwrap();
    assert!(all.len() >= 30);
    for (name, expected) in all {
        let pixels = open(&name).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!((pixels.width, pixels.height), (expected.width, expected.height), "{name}");
        let wanted: Vec<u8> = (0..expected.rgb.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&expected.rgb[at..at + 2], 16).unwrap())
            .collect();
        assert_eq!(pixels.rgb.len(), wanted.len(), "{name}");
        let worst = pixels.rgb.iter().zip(&wanted).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        assert!(worst <= expected.tolerance, "{name}: off by {worst}");
    }
}

#[test]
fn a_real_photograph_opens() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/photos/grace_hopper.jpg");
    let pixels = decode(&fs::read(path).unwrap(), &Limits::default()).unwrap();
    assert_eq!((pixels.width, pixels.height), (512, 600));
}

#[test]
fn png_holds_the_pixels_exactly() {
    let pixels = open("subsampled.jpg").unwrap();
    assert_eq!(decode(&encode_png(&pixels), &Limits::default()).unwrap(), pixels);
}

#[test]
fn the_content_decides_not_the_name() {
    let png = file("plain.png");
    assert_eq!(image::guess_format(&png).unwrap(), image::ImageFormat::Png);
    // The same function takes bytes alone: there is no name or declared type to believe.
    assert_eq!(open("plain.bmp").unwrap(), decode(&png, &Limits::default()).unwrap());
}

#[test]
fn files_cut_short_are_refused_as_such() {
    for name in ["plain.png", "plain.jpg", "progressive.jpg", "lossless.webp", "plain.bmp"] {
        let error = refusal(&format!("cut_{name}"));
        assert!(matches!(error, PhotoError::Truncated), "{name}: {error:?}");
    }
    // What is left of an animation may be a whole first frame; of this one it isn't.
    assert!(matches!(refusal("cut_animated.gif"), PhotoError::Truncated | PhotoError::Broken(_)));
}

#[test]
fn a_file_cut_anywhere_is_refused_or_read_and_never_panics() {
    for name in ["plain.png", "plain.jpg", "lossy.webp", "transparent.gif", "plain.bmp"] {
        let whole = file(name);
        let head = (0..whole.len() / 2).step_by(7);
        for length in head {
            let cut = decode(&whole[..length], &Limits::default());
            assert!(cut.is_err(), "{name} cut at {length}");
        }
    }
}

#[test]
fn damaged_files_are_refused() {
    assert!(matches!(refusal("damaged.png"), PhotoError::Broken(_)));
}

#[test]
fn what_is_no_photo_is_refused() {
    let limits = Limits::default();
    assert!(matches!(decode(b"", &limits), Err(PhotoError::Empty)));
    for other in [&b"%PDF-1.7 and so on"[..], b"<svg xmlns='x'/>", b"\x7fELF", b"II*\0\x08\0\0\0"] {
        assert!(matches!(decode(other, &limits), Err(PhotoError::UnknownFormat)));
    }
}

#[test]
fn a_bomb_is_refused_before_it_is_decoded() {
    // Decoding 60,000 × 60,000 pixels would take 3.6 GB, and minutes.
    assert!(matches!(
        refusal("bomb.png"),
        PhotoError::TooManyPixels { width: 60_000, height: 60_000, .. }
    ));
    assert!(matches!(refusal("bomb.gif"), PhotoError::TooMuchMemory(_)));
    // The picture is fine, its colour profile is not needed, and it is never inflated whole.
    let limits = Limits { memory_bytes_max: 1 << 20, ..Limits::default() };
    if let Ok(pixels) = decode(&file("bomb_profile.png"), &limits) {
        assert_eq!((pixels.width, pixels.height), (1, 1));
    }
}

#[test]
fn each_limit_holds() {
    let png = file("plain.png");
    let fits = Limits {
        bytes_max: png.len() as u64,
        pixels_max: 24 * 16,
        side_px_max: 24,
        ..Limits::default()
    };
    assert!(decode(&png, &fits).is_ok());
    let bytes = Limits { bytes_max: fits.bytes_max - 1, ..fits };
    assert!(matches!(decode(&png, &bytes), Err(PhotoError::TooManyBytes { .. })));
    let pixels = Limits { pixels_max: fits.pixels_max - 1, ..fits };
    assert!(matches!(decode(&png, &pixels), Err(PhotoError::TooManyPixels { .. })));
    let side = Limits { side_px_max: fits.side_px_max - 1, ..fits };
    assert!(matches!(decode(&png, &side), Err(PhotoError::TooManyPixels { .. })));
    let memory = Limits { memory_bytes_max: 100, ..fits };
    assert!(matches!(decode(&png, &memory), Err(PhotoError::TooMuchMemory(_))));
}

#[test]
fn refusals_speak_to_the_sender() {
    let sentences = ["cut_plain.jpg", "damaged.png", "bomb.png", "bomb.gif"]
        .map(|name| refusal(name).to_string());
    insta::assert_snapshot!(sentences.join("\n"), @r"
    The file ends in the middle of the picture. Please upload the photo again.
    The file is damaged and can't be opened. Please upload the photo again.
    The picture is 60000 × 60000 pixels, and I take at most 16384 a side and 50000000 in all. Please send a smaller photo.
    Opening this picture would take too much memory. Please send it as a plain JPEG.
    ");
}
