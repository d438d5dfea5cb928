//! Large immutable bytes, kept in files that are named by their content.
//!
//! A blob lies in `blobs/ab/ab12…`: the BLAKE3 hash of its content, in a sealed store a hash keyed
//! with the store's key, so that names don't tell which known photos are there. The file of an
//! open blob is its content; a sealed one is the byte 1, the nonce and the ciphertext, with the
//! name associated.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Damage, Error, Result};
use crate::files::{self, io_error};
use crate::hex;
use crate::seal::{Purpose, Seal};

const SEALED_FORMAT: u8 = 1;

/// The name of a blob: the BLAKE3 hash of its content. Records hold it as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BlobId([u8; 32]);

impl BlobId {
    /// The id that `content` has.
    pub fn of(content: &[u8]) -> Self {
        Self(blake3::hash(content).into())
    }

    /// The hash itself.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

impl fmt::Debug for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlobId({self})")
    }
}

impl From<[u8; 32]> for BlobId {
    fn from(hash: [u8; 32]) -> Self {
        Self(hash)
    }
}

impl From<BlobId> for String {
    fn from(id: BlobId) -> Self {
        id.to_string()
    }
}

impl FromStr for BlobId {
    type Err = &'static str;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        let bytes = hex::decode(text).ok_or("a blob id is 64 hexadecimal digits")?;
        bytes.try_into().map(Self).map_err(|_| "a blob id is 64 hexadecimal digits")
    }
}

impl TryFrom<String> for BlobId {
    type Error = &'static str;

    fn try_from(text: String) -> std::result::Result<Self, Self::Error> {
        text.parse()
    }
}

/// The blobs of a store.
pub struct Blobs {
    folder: PathBuf,
    seal: Option<Seal>,
}

/// Whether there was something to delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deleted {
    /// It was there and is gone.
    Removed,
    /// It wasn't there.
    Absent,
}

/// A file in the blob folders.
pub(crate) enum Found {
    /// Whole; its name is its content's.
    Blob { id: BlobId, bytes: u64 },
    /// Not a blob, or not the one that its name says.
    Damaged(Error),
}

impl Blobs {
    pub(crate) fn open(folder: PathBuf, seal: Option<Seal>) -> Result<Self> {
        files::create_folder(&folder)?;
        for shelf in files::list(&folder)? {
            if shelf.path().is_dir() {
                files::remove_temporary(&shelf.path())?;
            }
        }
        Ok(Self { folder, seal })
    }

    /// Keeps `content`. When this returns, the blob is on the disk itself; it isn't written again
    /// where it is there already.
    pub fn put(&self, content: &[u8]) -> Result<BlobId> {
        let id = BlobId::of(content);
        let path = self.path(id);
        let shelf = path.parent().expect("a blob lies on its shelf");
        files::create_folder(shelf)?;
        if path.exists() {
            // Whoever wrote it may not have synced its folder yet.
            files::sync_folder(shelf)?;
        } else {
            match &self.seal {
                None => files::write_atomically(&path, &[content])?,
                Some(seal) => {
                    let sealed = seal.seal(Purpose::Blob, content, name_of(&path).as_bytes());
                    files::write_atomically(&path, &[&[SEALED_FORMAT], &sealed])?;
                }
            }
        }
        Ok(id)
    }

    /// The content of a blob, checked against its hash.
    pub fn get(&self, id: BlobId) -> Result<Vec<u8>> {
        let path = self.path(id);
        let stored = match fs::read(&path) {
            Ok(stored) => stored,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Error::BlobMissing { id, path });
            }
            Err(error) => return Err(io_error("read", &path)(error)),
        };
        let content = self.unseal(&path, stored)?;
        if BlobId::of(&content) != id {
            return Err(Error::BlobCorrupt { path, damage: Damage::Hash });
        }
        Ok(content)
    }

    /// Whether the blob is there; its content isn't looked at.
    pub fn contains(&self, id: BlobId) -> bool {
        self.path(id).exists()
    }

    /// Removes a blob durably. That nothing refers to it any more is the caller's care.
    pub fn delete(&self, id: BlobId) -> Result<Deleted> {
        let path = self.path(id);
        match fs::remove_file(&path) {
            Ok(()) => {
                files::sync_folder(path.parent().expect("a blob lies on its shelf"))?;
                Ok(Deleted::Removed)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Deleted::Absent),
            Err(error) => Err(io_error("remove", &path)(error)),
        }
    }

    /// Removes every blob that is not in `keep`, durably, and whatever else lies in the blob
    /// folders; says how many. Only names are read. Nothing may be put meanwhile.
    pub fn retain(&self, keep: impl IntoIterator<Item = BlobId>) -> Result<u64> {
        let keep: BTreeSet<PathBuf> = keep.into_iter().map(|id| self.path(id)).collect();
        let mut removed = 0;
        for shelf in files::list(&self.folder)?.iter().filter(|shelf| shelf.path().is_dir()) {
            for file in files::list(&shelf.path())? {
                let path = file.path();
                if !keep.contains(&path) {
                    fs::remove_file(&path).map_err(io_error("remove", &path))?;
                    files::sync_folder(&shelf.path())?;
                    removed += 1;
                }
            }
        }
        Ok(removed)
    }

    /// The ids of all blobs, smallest file name first. Reads every file, since a sealed name
    /// doesn't tell the id; a damaged one is an error.
    pub fn ids(&self) -> Result<Vec<BlobId>> {
        let mut ids = Vec::new();
        self.walk(|found| match found {
            Found::Blob { id, .. } => {
                ids.push(id);
                Ok(())
            }
            Found::Damaged(error) => Err(error),
        })?;
        Ok(ids)
    }

    /// Reads every file in the blob folders.
    pub(crate) fn walk(&self, mut visit: impl FnMut(Found) -> Result<()>) -> Result<()> {
        for shelf in files::list(&self.folder)? {
            if !shelf.path().is_dir() {
                visit(Found::Damaged(stray(&shelf.path())))?;
                continue;
            }
            for file in files::list(&shelf.path())? {
                let name = file.file_name();
                if name.to_string_lossy().starts_with(files::TEMPORARY) {
                    continue; // being written right now
                }
                match self.inspect(&file.path()) {
                    Ok(found) => visit(found)?,
                    Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    fn inspect(&self, path: &Path) -> Result<Found> {
        let stored = fs::read(path).map_err(io_error("read", path))?;
        let bytes = stored.len() as u64;
        let content = match self.unseal(path, stored) {
            Ok(content) => content,
            Err(error) => return Ok(Found::Damaged(error)),
        };
        let id = BlobId::of(&content);
        if self.path(id) == path {
            Ok(Found::Blob { id, bytes })
        } else {
            Ok(Found::Damaged(stray(path)))
        }
    }

    fn unseal(&self, path: &Path, stored: Vec<u8>) -> Result<Vec<u8>> {
        let Some(seal) = &self.seal else { return Ok(stored) };
        let damaged = |damage| Error::BlobCorrupt { path: path.to_owned(), damage };
        match stored.split_first() {
            None => Err(damaged(Damage::Short)),
            Some((&SEALED_FORMAT, sealed)) => seal
                .open(Purpose::Blob, sealed, name_of(path).as_bytes())
                .ok_or_else(|| damaged(Damage::Seal)),
            Some((&format, _)) => Err(damaged(Damage::Format(format))),
        }
    }

    /// Where a blob lies or would lie.
    pub fn path(&self, id: BlobId) -> PathBuf {
        let name = match &self.seal {
            None => id.to_string(),
            Some(seal) => seal.blob_name(&blake3::Hash::from_bytes(id.0)).to_string(),
        };
        self.folder.join(&name[..2]).join(name)
    }
}

fn name_of(path: &Path) -> std::borrow::Cow<'_, str> {
    path.file_name().expect("a blob's path ends in its name").to_string_lossy()
}

fn stray(path: &Path) -> Error {
    Error::BlobCorrupt { path: path.to_owned(), damage: Damage::Hash }
}
