//! Why a photo can't be looked at, in sentences for the person who sent it.

/// A file that can't be taken as a photo. Its display form is a sentence for whoever sent it.
#[derive(Debug, thiserror::Error)]
pub enum PhotoError {
    /// No bytes at all.
    #[error("The file is empty. Please send the photo again.")]
    Empty,
    /// The file is larger than allowed.
    #[error(
        "The file has {bytes} bytes, and I take at most {bytes_max}. Please send a smaller photo."
    )]
    TooManyBytes {
        /// The file's size.
        bytes: u64,
        /// The limit.
        bytes_max: u64,
    },
    /// The picture that the file announces is larger than allowed; nothing of it was decoded.
    #[error(
        "The picture is {width} × {height} pixels, and I take at most {side_px_max} a side and \
         {pixels_max} in all. Please send a smaller photo."
    )]
    TooManyPixels {
        /// Announced width.
        width: u32,
        /// Announced height.
        height: u32,
        /// Most pixels a side.
        side_px_max: u32,
        /// Most pixels in all.
        pixels_max: u64,
    },
    /// Decoding would take more memory than allowed.
    #[error("Opening this picture would take too much memory. Please send it as a plain JPEG.")]
    TooMuchMemory(#[source] image::ImageError),
    /// Not one of the formats that are read.
    #[error("I can't read this kind of file. Please send a JPEG, PNG, GIF, WebP or BMP picture.")]
    UnknownFormat,
    /// One of the formats, but a variant that isn't read.
    #[error(
        "This is an unusual kind of picture that I can't read. Please send it as a plain JPEG."
    )]
    UnsupportedVariant(#[source] image::ImageError),
    /// The file ends before its picture does.
    #[error("The file ends in the middle of the picture. Please upload the photo again.")]
    Truncated,
    /// The picture has no pixels.
    #[error("The picture has no pixels. Please send another one.")]
    NoPixels,
    /// The file contradicts itself.
    #[error("The file is damaged and can't be opened. Please upload the photo again.")]
    Broken(#[source] image::ImageError),
}

impl PhotoError {
    /// Sorts a decoder's error by what the sender can do about it.
    pub(super) fn of_decoder(error: image::ImageError) -> Self {
        use image::ImageError;
        match error {
            ImageError::Limits(_) => Self::TooMuchMemory(error),
            ImageError::Unsupported(_) => Self::UnsupportedVariant(error),
            ImageError::IoError(io) if io.kind() == std::io::ErrorKind::UnexpectedEof => {
                Self::Truncated
            }
            error => Self::Broken(error),
        }
    }
}
