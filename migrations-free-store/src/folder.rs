//! What lies in a store's folder:
//!
//! ```text
//! store.json     the manifest: format, which generation is the live one, and the key's check
//! lock           held while the store is open
//! watermark      how many writes were acknowledged
//! records-N/     the engine's files, generation N
//! blobs/ab/ab…   one file a blob
//! ```

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::files::{self, io_error};
use crate::seal::Seal;

const FORMAT: u32 = 1;
const MANIFEST: &str = "store.json";

/// `store.json`. Written by rename, so a compaction takes effect at once or not at all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// Of the whole folder.
    format: u32,
    /// Which `records-N` is the live one.
    pub(crate) generation: u64,
    /// What the sealing key derives for its check; absent where nothing is sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key_check: Option<String>,
}

impl Manifest {
    /// That of a new store.
    pub(crate) fn first(seal: Option<&Seal>) -> Self {
        let key_check = seal.map(|seal| seal.check().to_owned());
        Self { format: FORMAT, generation: 1, key_check }
    }

    /// The manifest that a compaction leads to.
    pub(crate) fn next_generation(&self) -> Self {
        Self { generation: self.generation + 1, ..self.clone() }
    }
}

/// An open folder; nobody else has it open.
pub(crate) struct Folder {
    path: PathBuf,
    /// Released by the system when this closes, be it by a kill.
    _lock: File,
    watermark: File,
}

impl Folder {
    /// Locks the folder, creating it where it is missing, and reads its manifest; `None` where the
    /// store is new.
    pub(crate) fn open(path: &Path, seal: Option<&Seal>) -> Result<(Self, Option<Manifest>)> {
        files::create_folder(path)?;
        let lock = open_file(&path.join("lock"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::Locked { folder: path.to_owned() }),
            Err(TryLockError::Error(error)) => return Err(io_error("lock", path)(error)),
        }
        files::remove_temporary(path)?;
        let watermark = open_file(&path.join("watermark"))?;
        let folder = Self { path: path.to_owned(), _lock: lock, watermark };
        let manifest = read_manifest(path, seal)?;
        if manifest.is_none() && folder.read_watermark()? > 0 {
            let problem = "it is missing though there are records beside it";
            return Err(Error::Manifest { path: path.join(MANIFEST), problem });
        }
        folder.remove_other_generations(manifest.as_ref())?;
        Ok((folder, manifest))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn blobs(&self) -> PathBuf {
        self.path.join("blobs")
    }

    pub(crate) fn records(&self, generation: u64) -> PathBuf {
        self.path.join(format!("records-{generation}"))
    }

    /// Makes `manifest` the folder's, durably.
    pub(crate) fn write_manifest(&self, manifest: &Manifest) -> Result<()> {
        let text = serde_json::to_vec(manifest).expect("numbers and a string encode");
        files::write_atomically(&self.path.join(MANIFEST), &[&text, b"\n"])
    }

    /// Removes what a compaction left: the generation before it, or its own unfinished one; of a
    /// store that never came to be, everything.
    pub(crate) fn remove_other_generations(&self, live: Option<&Manifest>) -> Result<()> {
        let live = live.map(|manifest| self.records(manifest.generation));
        for entry in files::list(&self.path)? {
            let path = entry.path();
            if entry.file_name().to_string_lossy().starts_with("records-")
                && live.as_ref() != Some(&path)
            {
                fs::remove_dir_all(&path).map_err(io_error("remove", &path))?;
            }
        }
        files::sync_folder(&self.path)
    }

    /// How many writes were acknowledged; 0 in a new store.
    pub(crate) fn read_watermark(&self) -> Result<u64> {
        let path = self.path.join("watermark");
        let text = fs::read_to_string(&path).map_err(io_error("read", &path))?;
        if text.is_empty() {
            return Ok(0);
        }
        let problem = "it is not a decimal number";
        text.trim().parse().map_err(|_| Error::Manifest { path, problem })
    }

    /// Notes that `sequence` writes were acknowledged. Not synced: the number is there to find
    /// lost records, and it is lost only together with what the system itself lost.
    pub(crate) fn write_watermark(&self, sequence: u64) -> Result<()> {
        let text = format!("{sequence:020}\n");
        self.watermark
            .write_all_at(text.as_bytes(), 0)
            .map_err(io_error("write", &self.path.join("watermark")))
    }
}

fn open_file(path: &Path) -> Result<File> {
    File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(path)
        .map_err(io_error("open", path))
}

fn read_manifest(folder: &Path, seal: Option<&Seal>) -> Result<Option<Manifest>> {
    let path = folder.join(MANIFEST);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error("read", &path)(error)),
    };
    let manifest = parse_manifest(&path, &text)?;
    let folder = folder.to_owned();
    match (&manifest.key_check, seal.map(Seal::check)) {
        (None, None) => Ok(Some(manifest)),
        (Some(of_store), Some(given)) if of_store == given => Ok(Some(manifest)),
        (Some(_), Some(_)) => Err(Error::WrongKey { folder }),
        (Some(_), None) => Err(Error::KeyMissing { folder }),
        (None, Some(_)) => Err(Error::NotSealed { folder }),
    }
}

fn parse_manifest(path: &Path, text: &[u8]) -> Result<Manifest> {
    let wrong = |problem| Error::Manifest { path: path.to_owned(), problem };
    let manifest: Manifest =
        serde_json::from_slice(text).map_err(|_| wrong("its fields don't fit"))?;
    if manifest.format > FORMAT {
        return Err(wrong("a newer program wrote it; upgrade this one"));
    }
    Ok(manifest)
}

#[cfg(test)]
mod tests {
    use super::{Manifest, parse_manifest};
    use std::path::Path;

    /// For ever: these are the bytes of folders that exist.
    #[test]
    fn golden_manifests() {
        let open = br#"{"format":1,"generation":7}"#;
        let sealed = br#"{"format":1,"generation":2,"key_check":"00ff","later":true}"#;
        let path = Path::new("store.json");
        let expected = Manifest { format: 1, generation: 7, key_check: None };
        assert_eq!(parse_manifest(path, open).expect("golden"), expected);
        assert_eq!(serde_json::to_vec(&expected).expect("encodes"), open);
        let expected = Manifest { format: 1, generation: 2, key_check: Some("00ff".to_owned()) };
        assert_eq!(parse_manifest(path, sealed).expect("golden"), expected);
        assert!(parse_manifest(path, br#"{"format":2,"generation":2}"#).is_err());
    }
}
