//! One group, from its making to its removal.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::plan;

/// The group of one worker tree. It is there until [`Self::remove`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leaf {
    directory: PathBuf,
}

/// What a launcher is told of the group that it starts a worker in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Group {
    /// It, where there is one.
    pub(crate) leaf: Option<Leaf>,
    /// What holds for those in it.
    pub(crate) enforced: Vec<String>,
    /// What was asked for and is not to be had, each with the reason.
    pub(crate) missing: Vec<String>,
}

impl Leaf {
    pub(super) fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// Its directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Moves this process into it.
    pub(crate) fn enter(&self) -> io::Result<()> {
        fs::write(self.directory.join("cgroup.procs"), "0")
    }

    /// How often the kernel ended a process in it for its memory.
    #[must_use]
    pub fn memory_kills(&self) -> u64 {
        fs::read_to_string(self.directory.join("memory.events")).map_or(0, |events| plan::memory_kills(&events))
    }

    /// Removes it, once nobody is in it. One that is gone already is as good.
    ///
    /// # Errors
    /// Somebody is in it still.
    pub fn remove(&self) -> io::Result<()> {
        match fs::remove_dir(&self.directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Ends whoever is in it, where the kernel knows how (5.14).
    pub fn kill(&self) {
        // Who is alive afterwards keeps the group from being removed, which its remover says.
        drop(fs::write(self.directory.join("cgroup.kill"), "1"));
    }
}
