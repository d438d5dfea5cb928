//! Files that are whole or not there.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use crate::error::{Error, Result};

/// Temporary files bear this prefix; whatever a kill left of them is removed at opening.
pub(crate) const TEMPORARY: &str = ".writing-";

/// Attaches action and path to a system error; a full disk is an error of its own.
pub(crate) fn io_error(
    action: &'static str,
    path: &Path,
) -> impl FnOnce(io::Error) -> Error + use<> {
    let path = path.to_owned();
    move |source| {
        if is_disk_full(&source) {
            Error::DiskFull { path, source: Box::new(source) }
        } else {
            Error::Io { action, path, source }
        }
    }
}

/// Whether the system refused to store more: device full, quota, or file-size limit.
pub(crate) fn is_disk_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

/// Writes `parts` one after another to a temporary file beside `path`, syncs it, renames it to
/// `path` and syncs the folder. After a crash `path` holds the old bytes or all of the new ones.
pub(crate) fn write_atomically(path: &Path, parts: &[&[u8]]) -> Result<()> {
    let folder = path.parent().expect("a store's file lies in its folder");
    let mut file = tempfile::Builder::new()
        .prefix(TEMPORARY)
        .tempfile_in(folder)
        .map_err(io_error("create a file in", folder))?;
    for part in parts {
        file.write_all(part).map_err(io_error("write", path))?;
    }
    file.as_file().sync_all().map_err(io_error("sync", path))?;
    file.persist(path).map_err(|error| io_error("rename a file to", path)(error.error))?;
    sync_folder(folder)
}

/// Makes renames, creations and removals in `folder` durable.
pub(crate) fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(io_error("sync", folder))
}

/// Creates `folder` durably, where it is missing.
pub(crate) fn create_folder(folder: &Path) -> Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(folder).map_err(io_error("create", folder))?;
    match folder.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_folder(parent),
        _ => Ok(()),
    }
}

/// The entries of `folder`, sorted by name.
pub(crate) fn list(folder: &Path) -> Result<Vec<fs::DirEntry>> {
    let mut entries = fs::read_dir(folder)
        .and_then(Iterator::collect::<io::Result<Vec<_>>>)
        .map_err(io_error("list", folder))?;
    entries.sort_by_key(fs::DirEntry::file_name);
    Ok(entries)
}

/// Removes the temporary files that a kill left in `folder`.
pub(crate) fn remove_temporary(folder: &Path) -> Result<()> {
    for entry in list(folder)? {
        if entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
            let path = entry.path();
            fs::remove_file(&path).map_err(io_error("remove", &path))?;
        }
    }
    Ok(())
}
