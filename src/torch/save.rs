//! Writes safetensors files.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensorError, View, serialize_to_file};
use tch::{Device, Kind, Tensor};

/// Why a file could not be written. What stood in its place before still does.
#[derive(Debug, thiserror::Error)]
#[error("can't write {path}")]
pub struct SaveError {
    /// File concerned.
    pub path: PathBuf,
    /// The system's reason.
    #[source]
    pub source: io::Error,
}

/// Format in which floating-point tensors are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SaveKind {
    /// Each in its own.
    Own,
    /// IEEE single.
    Float32,
    /// bfloat16, rounded to the nearest.
    Bfloat16,
}

/// Writes `tensors` by name to `path` with `metadata` in the header, where Hugging Face's readers
/// want at least `format`, which is added. They are brought to the CPU one at a time.
///
/// The file appears whole or not at all: it is written beside its place and then renamed.
pub fn write_safetensors<'a>(
    path: &Path,
    tensors: impl IntoIterator<Item = (&'a str, &'a Tensor)>,
    kind: SaveKind,
    metadata: &[(&str, &str)],
) -> Result<(), SaveError> {
    let failed = |source| SaveError { path: path.to_owned(), source };
    let mut header: HashMap<String, String> =
        metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    header.insert("format".to_owned(), "pt".to_owned());
    let views = tensors.into_iter().map(|(name, tensor)| (name, Stored::new(tensor, kind)));
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    let part = folder.join(name);
    let written = serialize_to_file(views, Some(header), &part)
        .map_err(|error| match error {
            SafeTensorError::IoError(source) => source,
            other => io::Error::other(other),
        })
        .and_then(|()| File::open(&part)?.sync_all())
        .and_then(|()| fs::rename(&part, path))
        .and_then(|()| File::open(folder)?.sync_all());
    if written.is_err() {
        // Whether that succeeds or not, the first error is the one to tell.
        let _ = fs::remove_file(&part);
    }
    written.map_err(failed)
}

/// A tensor as the file will hold it; converted when it is its turn.
struct Stored<'a> {
    tensor: &'a Tensor,
    kind: Kind,
    shape: Vec<usize>,
}

impl<'a> Stored<'a> {
    fn new(tensor: &'a Tensor, kind: SaveKind) -> Self {
        let kind = match kind {
            SaveKind::Float32 if tensor.is_floating_point() => Kind::Float,
            SaveKind::Bfloat16 if tensor.is_floating_point() => Kind::BFloat16,
            _ => tensor.kind(),
        };
        let shape = tensor.size().iter().map(|&n| n as usize).collect();
        Self { tensor, kind, shape }
    }
}

impl View for Stored<'_> {
    fn dtype(&self) -> Dtype {
        match self.kind {
            Kind::Float => Dtype::F32,
            Kind::BFloat16 => Dtype::BF16,
            Kind::Half => Dtype::F16,
            Kind::Double => Dtype::F64,
            Kind::Int64 => Dtype::I64,
            Kind::Int => Dtype::I32,
            Kind::Uint8 => Dtype::U8,
            Kind::Bool => Dtype::BOOL,
            other => unreachable!("{other:?} is used nowhere in this program"),
        }
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let tensor = self.tensor.detach().to_device(Device::Cpu).to_kind(self.kind).contiguous();
        let count = tensor.numel();
        let mut bytes = vec![0; count * self.kind.elt_size_in_bytes()];
        tensor.copy_data_u8(&mut bytes, count);
        Cow::Owned(bytes)
    }

    fn data_len(&self) -> usize {
        self.shape.iter().product::<usize>() * self.kind.elt_size_in_bytes()
    }
}
