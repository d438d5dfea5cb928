//! Photos as the dialogue knows them.

use std::fmt;
use std::sync::Arc;

use super::redacted::Redacted;

/// A decoded picture: 8-bit RGB, rows from the top, three bytes a pixel.
#[derive(Clone, PartialEq, Eq)]
pub struct Pixels {
    /// In pixels; at least 1.
    pub width: u32,
    /// In pixels; at least 1.
    pub height: u32,
    /// `width * height * 3` bytes.
    pub rgb: Vec<u8>,
}

impl fmt::Debug for Pixels {
    /// Only the size: a photo's content never reaches a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pixels({}x{})", self.width, self.height)
    }
}

/// A photo somebody shared.
#[derive(Clone, PartialEq, Eq)]
pub struct Photo {
    /// What it shows; `None` where only words are left of it (demoted, deleted or undecodable).
    pub pixels: Option<Arc<Pixels>>,
    /// What is known about it in words: the caption that it was drawn from, or an alt text.
    pub caption: Option<String>,
}

impl fmt::Debug for Photo {
    /// Only the size, and whether there are words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Photo")
            .field("pixels", &self.pixels)
            .field("caption", &self.caption.as_ref().map(|_| Redacted))
            .finish()
    }
}
