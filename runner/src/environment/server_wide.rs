//! The packages of the whole server: what `install packages` adds, a requirements file below the store's root. Every plugin
//! has them, except where it asks for a package of the same name itself.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::asked::Source;
use super::error::EnvironmentError;
use super::files::write_whole;
use super::requirements::{self, Requirements};
use super::{Environment, EnvironmentStore, InstallError, PackageManager};

/// Name of the file.
const NAME: &str = "packages.txt";

/// First lines of the file.
const HEAD: &str = "# The packages of this server, which every plugin has unless it asks for another version of one itself.\n\
     # `bulkhead install package` adds to them; take lines out by hand.\n";

impl EnvironmentStore {
    /// Adds packages to those that every plugin has, in place of those of the same names. They are resolved and installed
    /// together with the others before anything is changed.
    ///
    /// # Errors
    /// Something is no requirement, nothing may be installed, or it cannot be: then everything is as it was.
    pub async fn install(&self, packages: Requirements) -> Result<Arc<Environment>, InstallError> {
        if self.is_disabled() {
            return Err(InstallError::Disabled);
        }
        // One at a time: the second adds to what the first made of the file.
        let _turn = self.installing().lock().await;
        let path = self.server_wide_path();
        let merged = packages.over(&self.server_wide()?);
        let environment = self.ensure_exactly(&merged).await?;
        let text = merged.packages().iter().fold(HEAD.to_owned(), |text, line| format!("{text}{line}\n"));
        let failed = EnvironmentError::io("write", path.clone());
        tokio::task::spawn_blocking(move || write_whole(&path, &text))
            .await
            .map_err(std::io::Error::other)
            .and_then(std::convert::identity)
            .map_err(failed)?;
        self.generation_counter().fetch_add(1, Ordering::Release);
        tracing::info!("every plugin has these packages now: {}", environment.packages.join(", "));
        Ok(environment)
    }

    /// Whether nothing may be installed.
    #[must_use]
    pub fn is_disabled(&self) -> bool {
        self.package_manager() == PackageManager::Disabled
    }

    /// Counts the changes of what every plugin has. A worker that was started before one has the packages of before.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation_counter().load(Ordering::Acquire)
    }

    /// What every plugin has.
    pub(super) fn server_wide(&self) -> Result<Requirements, EnvironmentError> {
        let found = requirements::of_file(&self.server_wide_path())?;
        Ok(found.map(|found| found.asked_by(&Source::Server)).unwrap_or_default())
    }

    fn server_wide_path(&self) -> PathBuf {
        self.root().join(NAME)
    }
}

/// Reads the requirements file at `path` for [`EnvironmentStore::install`].
///
/// # Errors
/// It is not there, or cannot be read or understood.
pub fn requirements_at(path: &Path) -> Result<Requirements, InstallError> {
    requirements::of_file(path)?.ok_or_else(|| InstallError::NoFile(path.to_owned()))
}
