//! Files below a store's root: written whole, locked between processes, removed.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::error::EnvironmentError;
use super::marker;
use super::store::{BEING_BUILT, LOCKS, RESOLVED};
use crate::tree;

/// Writes a file that is there whole or not at all.
pub(super) fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(directory)?;
    let mut draft = tempfile::NamedTempFile::new_in(directory)?;
    draft.write_all(text.as_bytes())?;
    draft.as_file().sync_all()?;
    draft.persist(path)?;
    File::open(directory)?.sync_all()
}

/// Locks the file at `path`, making it if need be; `None` while somebody else has it. Lock files stay: one
/// that is removed while another runner has just opened it would be locked twice.
pub(super) fn try_lock(path: &Path) -> io::Result<Option<File>> {
    let file = open_lock(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Opens the lock file at `path`, making it if need be.
pub(super) fn open_lock(path: &Path) -> io::Result<File> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    // Readable, because a tool gets it as its standard input.
    File::options().read(true).write(true).create(true).truncate(false).open(path)
}

/// Removes what interrupted builds have left, except where somebody is building.
pub(super) async fn remove_leftovers(root: PathBuf) {
    let removed = blocking(move || {
        let mut removed = Vec::new();
        for entry in fs::read_dir(&root)?.flatten() {
            let path = entry.path();
            let Ok(name) = entry.file_name().into_string() else { continue };
            // What was about to be renamed has its marker already.
            let being_built = name.strip_suffix(BEING_BUILT);
            let is_leftover = || being_built.is_some() || !marker::is_complete(&path);
            if !path.is_dir() || name == LOCKS || name == RESOLVED || !is_leftover() {
                continue;
            }
            let Some(_lock) = try_lock(&root.join(LOCKS).join(being_built.unwrap_or(&name)))? else { continue };
            if is_leftover() && path.is_dir() {
                tree::remove(&path)?;
                removed.push(path);
            }
        }
        Ok(removed)
    });
    match removed.await {
        Ok(removed) => {
            removed.iter().for_each(|path| tracing::info!("removed the unfinished environment `{}`", path.display()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => tracing::warn!("cannot remove unfinished environments: {error}"),
    }
}

/// Renames a directory so that it keeps its new name after a power failure.
pub(super) fn rename_durably(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    File::open(to.parent().unwrap_or(Path::new("/")))?.sync_all()
}

pub(super) async fn remove(path: &Path) -> Result<(), EnvironmentError> {
    let directory = path.to_owned();
    blocking(move || tree::remove(&directory)).await.map_err(EnvironmentError::io("remove", path))
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}
