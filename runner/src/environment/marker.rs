//! The file that tells a complete environment from a leftover.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Name of the marker inside the environment.
const NAME: &str = "bulkhead.json";

/// What is in it. The digest in the directory's name already stands for all of this; it is for people, and for
/// the listing of environments.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Marker {
    pub(super) python_version: String,
    pub(super) base_executable: PathBuf,
    pub(super) requirements: Vec<String>,
    /// What was installed for them, with versions.
    pub(super) packages: Vec<String>,
}

/// Whether `environment` is complete: it has a marker, and its interpreter still leads somewhere (the
/// system's Python may have been removed since).
pub(super) fn is_complete(environment: &Path) -> bool {
    read(environment).is_some() && python(environment).exists()
}

/// The marker, if there is one.
pub(super) fn read(environment: &Path) -> Option<Marker> {
    fs::read(environment.join(NAME)).ok().and_then(|json| serde_json::from_slice(&json).ok())
}

/// Makes a leftover of an environment.
pub(super) fn remove(environment: &Path) -> io::Result<()> {
    fs::remove_file(environment.join(NAME))
}

/// The interpreter of an environment.
pub(super) fn python(environment: &Path) -> PathBuf {
    environment.join("bin/python")
}

/// Declares `environment` complete. Everything in it reaches the disk first: after a power failure a marker
/// beside empty modules would be believed for ever.
pub(super) fn write(environment: &Path, marker: &Marker) -> io::Result<()> {
    nix::unistd::syncfs(File::open(environment)?)?;
    let draft = environment.join(format!("{NAME}.new"));
    let mut file = File::create(&draft)?;
    file.write_all(&serde_json::to_vec_pretty(marker)?)?;
    file.sync_all()?;
    fs::rename(&draft, environment.join(NAME))?;
    File::open(environment)?.sync_all()
}
