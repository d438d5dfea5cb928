//! What people post.

use super::model::FileHost;

/// A photo to be posted.
#[derive(Clone, Debug)]
pub struct Photo {
    pub(super) filename: String,
    pub(super) content_type: String,
    pub(super) description: Option<String>,
    pub(super) bytes: Vec<u8>,
    pub(super) host: FileHost,
}

impl Photo {
    /// A file of any type.
    pub fn new(filename: &str, content_type: &str, bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            filename: filename.to_owned(),
            content_type: content_type.to_owned(),
            description: None,
            bytes: bytes.into(),
            host: FileHost::Discord,
        }
    }

    pub fn png(filename: &str, bytes: impl Into<Vec<u8>>) -> Self {
        Self::new(filename, "image/png", bytes)
    }

    pub fn jpeg(filename: &str, bytes: impl Into<Vec<u8>>) -> Self {
        Self::new(filename, "image/jpeg", bytes)
    }

    /// With alt text.
    #[must_use]
    pub fn described(mut self, alt_text: &str) -> Self {
        self.description = Some(alt_text.to_owned());
        self
    }

    /// With an address on a host that is not Discord's. It answers, and [`World::downloads`](super::World::downloads) tells
    /// who asked.
    #[must_use]
    pub fn hosted_elsewhere(mut self) -> Self {
        self.host = FileHost::Elsewhere;
        self
    }
}

/// What somebody posts: text, text and a photo, or more.
#[derive(Clone, Debug, Default)]
pub struct Post {
    pub(super) text: String,
    pub(super) photos: Vec<Photo>,
}

impl Post {
    pub fn text(text: &str) -> Self {
        Self { text: text.to_owned(), photos: Vec::new() }
    }

    #[must_use]
    pub fn with(mut self, photo: Photo) -> Self {
        self.photos.push(photo);
        self
    }
}

impl From<&str> for Post {
    fn from(text: &str) -> Self {
        Self::text(text)
    }
}

impl From<String> for Post {
    fn from(text: String) -> Self {
        Self { text, photos: Vec::new() }
    }
}

impl From<Photo> for Post {
    fn from(photo: Photo) -> Self {
        Self::default().with(photo)
    }
}

impl From<(&str, Photo)> for Post {
    fn from((text, photo): (&str, Photo)) -> Self {
        Self::text(text).with(photo)
    }
}
