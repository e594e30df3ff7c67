//! The Python package that every worker runs: its files come with this binary, its extension lies beside it.

use std::path::{Path, PathBuf};

use bulkhead_python_worker::package::{BOOTSTRAP_FILE, EXTENSION_FILE as EXTENSION_MODULE, FILES, NAME};
use sha2::{Digest, Sha256};

/// File name of the extension as cargo builds it.
const EXTENSION_FILE: &str = "libbulkhead_python_worker.so";
/// Environment variable that names the extension when it lies elsewhere.
const EXTENSION_VARIABLE: &str = "BULKHEAD_WORKER_EXTENSION";

/// A package that cannot be laid out.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// The extension is nowhere.
    #[error("the worker extension `{EXTENSION_FILE}` was not found in {}; build the workspace, or name the file in {EXTENSION_VARIABLE}", tried.join(", "))]
    NoExtension {
        /// Where it was looked for.
        tried: Vec<String>,
    },
    /// What lies there cannot be executed.
    #[error(
        "{path} lies on a file system that is mounted with `noexec`; workers load the libraries of their package from it"
    )]
    NoExec {
        /// The directory.
        path: PathBuf,
    },
    /// The file system failed.
    #[error("worker package {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
}

/// A package that is ready to be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerPackage {
    directory: PathBuf,
}

impl WorkerPackage {
    /// Lays the package out below `root`, unless the same one is there already. `root` belongs to this runner alone;
    /// packages of other versions are removed from it.
    ///
    /// # Errors
    /// When the extension is missing or a file cannot be written.
    pub fn materialise(root: &Path, extension: Option<&Path>) -> Result<Self, PackageError> {
        let extension = match extension {
            Some(path) => path.to_owned(),
            None => find_extension()?,
        };
        let name = digest(&extension).map_err(|source| PackageError::Io { path: extension.clone(), source })?;
        let directory = root.join(&name);
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| PackageError::Io { path, source }
        };
        let package = directory.join(NAME);
        if !package.join(EXTENSION_MODULE).exists() {
            if root.exists() {
                std::fs::remove_dir_all(root).map_err(io(root))?;
            }
            for (path, content) in FILES {
                let path = package.join(path);
                create_parent(&path).map_err(io(&path))?;
                std::fs::write(&path, content).map_err(io(&path))?;
            }
            // The extension comes last: its presence says that the package is whole.
            let module = package.join(EXTENSION_MODULE);
            create_parent(&module).map_err(io(&module))?;
            let partial = directory.join("extension.partial");
            std::fs::copy(&extension, &partial).map_err(io(&extension))?;
            std::fs::rename(&partial, &module).map_err(io(&module))?;
        }
        // Otherwise each worker would end before it is ready, with a message about a segment that cannot be mapped.
        let mounted = nix::sys::statvfs::statvfs(&directory).map_err(|errno| io(&directory)(errno.into()))?;
        if mounted.flags().contains(nix::sys::statvfs::FsFlags::ST_NOEXEC) {
            return Err(PackageError::NoExec { path: root.to_owned() });
        }
        Ok(Self { directory })
    }

    /// Where it lies.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The script that an interpreter runs to become a worker.
    #[must_use]
    pub fn bootstrap(&self) -> PathBuf {
        self.directory.join(NAME).join(BOOTSTRAP_FILE)
    }
}

fn create_parent(path: &Path) -> std::io::Result<()> {
    path.parent().map_or(Ok(()), std::fs::create_dir_all)
}

/// The package is the same when its files, and size and time of its extension are.
fn digest(extension: &Path) -> std::io::Result<String> {
    let metadata = std::fs::metadata(extension)?;
    let mut hasher = Sha256::new();
    for (path, content) in FILES {
        hasher.update(path);
        hasher.update(content);
    }
    hasher.update(metadata.len().to_le_bytes());
    hasher.update(format!("{:?}", metadata.modified()?));
    let digest = hasher.finalize();
    Ok(digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect())
}

/// Looks where an installation has it (`lib/bulkhead` beside `bin`) and where cargo builds it.
fn find_extension() -> Result<PathBuf, PackageError> {
    if let Some(path) = std::env::var_os(EXTENSION_VARIABLE) {
        return Ok(path.into());
    }
    let executable = std::env::current_exe().unwrap_or_default();
    let directory = executable.parent().unwrap_or(Path::new("."));
    let candidates = [
        directory.join("../lib/bulkhead").join(EXTENSION_FILE),
        directory.join(EXTENSION_FILE),
        directory.join("deps").join(EXTENSION_FILE),
    ];
    // An installation has one. Cargo puts it into either of the other two, depending on what it is told to build, and
    // leaves the older one where it is.
    let changed_at = |path: &&PathBuf| path.metadata().and_then(|file| file.modified()).ok();
    let [installed, built @ ..] = &candidates;
    let newest = || built.iter().filter(|path| path.is_file()).max_by_key(changed_at);
    let found = Some(installed).filter(|path| path.is_file()).or_else(newest);
    found.cloned().ok_or_else(|| PackageError::NoExtension {
        tried: candidates.iter().map(|path| path.display().to_string()).collect(),
    })
}
