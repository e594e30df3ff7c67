//! Which environments there are, who uses them, and taking away what nobody uses.
//!
//! Whoever uses an environment holds a shared lock on its lock file, and a builder or remover an exclusive one. The kernel gives
//! it back when a process ends, however it ends, so nothing that is used is ever removed, by whichever process. The lock
//! file's time of change tells when an environment was used last.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::sys::stat::lstat;

use super::files::{open_lock, try_lock};
use super::limits::DIRECTORY_DEPTH_MAX;
use super::marker::{self, Marker};
use super::store::{BEING_BUILT, LOCKS};

/// An environment on the disk.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Listed {
    /// Digest of interpreter and lock; the directory's name.
    pub id: String,
    /// Version of its interpreter.
    pub python: String,
    /// What was asked for.
    pub requirements: Vec<String>,
    /// What was installed for it, with versions.
    pub packages: Vec<String>,
    /// What it takes on the disk, bytes. A file that several environments share counts in each.
    pub bytes: u64,
    /// Whether a worker runs in it, or somebody is building it.
    pub in_use: bool,
    /// Seconds since it was last used.
    pub unused_for_s: u64,
    /// The directory.
    pub path: PathBuf,
}

/// Why an environment was not removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RemoveError {
    /// There is none of this name.
    #[error("there is no environment `{0}`; `bulkhead env list` shows those that there are")]
    Unknown(String),
    /// A worker runs in it.
    #[error(
        "environment `{0}` is in use; delete or disable the triggers that run in it, or wait until their workers are idle"
    )]
    InUse(String),
    /// The file system failed.
    #[error("environment `{id}`: {reason}")]
    Io {
        /// The environment.
        id: String,
        /// The system's words.
        reason: String,
    },
}

/// Keeps an environment from being removed for as long as it lives.
#[derive(Debug)]
pub struct Hold {
    /// None where this process may only read: such environments are somebody else's to keep.
    file: Option<File>,
}

impl Hold {
    /// Takes a hold; none when it is being built or removed at this moment.
    pub(super) fn take(root: &Path, id: &str, now: SystemTime) -> io::Result<Option<Self>> {
        let path = root.join(LOCKS).join(id);
        let file = match open_lock(&path) {
            Err(error)
                if matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem) =>
            {
                return Ok(Some(Self { file: None }));
            }
            file => file?,
        };
        match file.try_lock_shared() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        file.set_modified(now)?;
        Ok(Some(Self { file: Some(file) }))
    }

    /// Says that it was in use until now.
    pub fn touch(&self, now: SystemTime) {
        if let Some(Err(error)) = self.file.as_ref().map(|file| file.set_modified(now)) {
            tracing::debug!("the time of an environment's last use: {error}");
        }
    }
}

/// The complete environments below `root`, by name.
///
/// # Errors
/// The directory cannot be read. One that is not there holds none.
pub fn list(root: &Path, now: SystemTime) -> io::Result<Vec<Listed>> {
    let complete = complete(root, now)?;
    complete.into_iter().map(|found| Ok(Listed { in_use: is_used(root, &found.id)?, ..found.measured() })).collect()
}

#[cfg(test)]
thread_local! {
    /// What was measured, for a test.
    static MEASURED: std::cell::RefCell<Vec<PathBuf>> = const { std::cell::RefCell::new(Vec::new()) };
}

/// An environment, as far as a look at two files tells of it.
struct Complete {
    id: String,
    path: PathBuf,
    marker: Marker,
    unused_for_s: u64,
}

impl Complete {
    /// With its size, for which every file in it is looked at.
    fn measured(self) -> Listed {
        let Self { id, path, marker, unused_for_s } = self;
        let Marker { python_version: python, requirements, packages, .. } = marker;
        #[cfg(test)]
        MEASURED.with_borrow_mut(|measured| measured.push(path.clone()));
        let bytes = bytes_below(&path, DIRECTORY_DEPTH_MAX);
        Listed { id, python, requirements, packages, bytes, in_use: false, unused_for_s, path }
    }
}

fn complete(root: &Path, now: SystemTime) -> io::Result<Vec<Complete>> {
    let entries = match fs::read_dir(root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let (path, Ok(id)) = (entry.path(), entry.file_name().into_string()) else { continue };
        // One that is about to be renamed is none yet.
        let Some(marker) = marker::read(&path).filter(|_| !id.ends_with(BEING_BUILT)) else { continue };
        let lock = root.join(LOCKS).join(&id);
        let used = fs::metadata(&lock).or_else(|_| fs::metadata(&path)).and_then(|metadata| metadata.modified());
        let unused_for = used.ok().and_then(|used| now.duration_since(used).ok()).unwrap_or_default();
        found.push(Complete { id, path, marker, unused_for_s: unused_for.as_secs() });
    }
    found.sort_by(|one, other| one.id.cmp(&other.id));
    Ok(found)
}

fn is_used(root: &Path, id: &str) -> io::Result<bool> {
    let lock = root.join(LOCKS).join(id);
    Ok(lock.exists() && try_lock(&lock)?.is_none())
}

/// Removes the environment `id`. What was resolved for it stays, so that the same packages come back when it is built again.
///
/// # Errors
/// There is none, it is used, or the file system fails.
pub fn remove(root: &Path, id: &str) -> Result<(), RemoveError> {
    let path = root.join(id);
    let is_name = !id.is_empty() && id.chars().all(|character| character.is_ascii_alphanumeric());
    if !is_name || marker::read(&path).is_none() {
        return Err(RemoveError::Unknown(id.to_owned()));
    }
    let failed = |error: io::Error| RemoveError::Io { id: id.to_owned(), reason: error.to_string() };
    let lock = try_lock(&root.join(LOCKS).join(id)).map_err(failed)?;
    let _lock = lock.ok_or_else(|| RemoveError::InUse(id.to_owned()))?;
    // Without its marker it is a leftover, which a start removes if this is interrupted.
    marker::remove(&path).and_then(|()| fs::remove_dir_all(&path)).map_err(failed)
}

/// Removes what was not used for `grace`, and returns it.
///
/// # Errors
/// The directory cannot be read. An environment that cannot be removed is left, with a warning.
pub fn collect(root: &Path, grace: Duration, now: SystemTime) -> io::Result<Vec<Listed>> {
    let mut removed = Vec::new();
    for found in complete(root, now)? {
        // What stays is not measured: that is a look at every file of every environment.
        if Duration::from_secs(found.unused_for_s) < grace || is_used(root, &found.id)? {
            continue;
        }
        let listed = found.measured();
        match remove(root, &listed.id) {
            Ok(()) => removed.push(listed),
            // Somebody came in between.
            Err(RemoveError::InUse(_) | RemoveError::Unknown(_)) => {}
            Err(error) => tracing::warn!("{error}"),
        }
    }
    Ok(removed)
}

fn bytes_below(directory: &Path, depth: usize) -> u64 {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .map(|entry| {
            let path = entry.path();
            let own =
                lstat(&path).ok().and_then(|status| u64::try_from(status.st_blocks).ok()).unwrap_or_default() * 512;
            let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
            own + if is_directory && depth > 0 { bytes_below(&path, depth - 1) } else { 0 }
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(root: &Path, id: &str) -> PathBuf {
        let path = root.join(id);
        fs::create_dir_all(path.join("bin")).unwrap();
        let marker = Marker {
            python_version: "3.12.1".to_owned(),
            base_executable: "/usr/bin/python3".into(),
            requirements: vec!["tiny".to_owned()],
            packages: vec!["tiny==1.0".to_owned()],
        };
        marker::write(&path, &marker).unwrap();
        path
    }

    #[test]
    fn what_is_used_stays_and_what_is_not_goes_after_its_time() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let start = fs::metadata(root).unwrap().modified().unwrap();
        let (used, unused) = (environment(root, "aa11"), environment(root, "bb22"));
        fs::create_dir(root.join("cc33")).unwrap();
        let hold = Hold::take(root, "aa11", start).unwrap().unwrap();
        drop(Hold::take(root, "bb22", start).unwrap().unwrap());

        let hour = Duration::from_secs(3600);
        let listed = list(root, start + 2 * hour).unwrap();
        let seen: Vec<_> = listed.iter().map(|one| (one.id.as_str(), one.in_use, one.unused_for_s)).collect();
        assert_eq!(seen, [("aa11", true, 7200), ("bb22", false, 7200)], "a leftover is none");
        assert!(listed.iter().all(|one| one.bytes > 0 && one.packages == ["tiny==1.0"]));

        assert_eq!(collect(root, 3 * hour, start + 2 * hour).unwrap(), []);
        let removed = collect(root, hour, start + 2 * hour).unwrap();
        assert_eq!(removed.iter().map(|one| one.id.as_str()).collect::<Vec<_>>(), ["bb22"]);
        assert!(used.exists() && !unused.exists());

        assert!(matches!(remove(root, "aa11"), Err(RemoveError::InUse(_))));
        hold.touch(start + 2 * hour);
        drop(hold);
        assert_eq!(collect(root, hour, start + 2 * hour).unwrap(), [], "it was used until then");
        remove(root, "aa11").unwrap();
        assert!(matches!(remove(root, "aa11"), Err(RemoveError::Unknown(_))));
        assert!(matches!(remove(root, "../cc33"), Err(RemoveError::Unknown(_))));
    }

    #[test]
    fn only_what_goes_is_measured() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let start = fs::metadata(root).unwrap().modified().unwrap();
        for id in ["aa11", "bb22", "cc33"] {
            environment(root, id);
        }
        let later = start + Duration::from_secs(7200);
        let _used = Hold::take(root, "aa11", later).unwrap().unwrap();
        drop(Hold::take(root, "bb22", start).unwrap().unwrap());
        drop(Hold::take(root, "cc33", later).unwrap().unwrap());
        MEASURED.with_borrow_mut(Vec::clear);
        let removed = collect(root, Duration::from_secs(3600), later).unwrap();
        assert_eq!(removed.iter().map(|one| one.id.as_str()).collect::<Vec<_>>(), ["bb22"]);
        assert_eq!(MEASURED.take(), [root.join("bb22")], "a look at every file of the others is spared");
    }

    #[test]
    fn nothing_is_held_that_somebody_removes() {
        let root = tempfile::tempdir().unwrap();
        let _remover = try_lock(&root.path().join(LOCKS).join("aa11")).unwrap().unwrap();
        assert!(Hold::take(root.path(), "aa11", SystemTime::UNIX_EPOCH).unwrap().is_none());
    }
}
