//! Plugins named `gh:…`: files of a repository, fetched over HTTP when a trigger is made and kept from then on.

use std::io::Read;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::limits;
use crate::plugin_files::PluginFileError;
use crate::trigger::REPOSITORY_PREFIX;

/// The repository of InfluxDB 3's published plugins, which is meant when no other is named.
pub const DEFAULT_REPOSITORY: &str = "https://raw.githubusercontent.com/influxdata/influxdb3_plugins/main/";

/// Time for one file; the largest plugins have some hundred kilobytes.
const FETCH_TIMEOUT: Duration = Duration::from_secs(30);

/// A repository, and what was fetched of it.
#[derive(Debug, Clone)]
pub struct PluginRepository {
    base: String,
    cache: PathBuf,
}

impl PluginRepository {
    /// The repository at the URL `base`; its files are kept below `cache`, apart from those of other repositories.
    #[must_use]
    pub fn new(base: &str, cache: &Path) -> Self {
        let base = format!("{}/", base.trim_end_matches('/'));
        let digest = Sha256::digest(&base);
        let name: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Self { cache: cache.join(name), base }
    }

    /// The kept copy of a file.
    ///
    /// # Errors
    /// When the path leaves the repository, or nothing was fetched.
    pub fn kept(&self, path: &str) -> Result<PathBuf, PluginFileError> {
        let copy = self.copy_of(path)?;
        if copy.is_file() { Ok(copy) } else { Err(PluginFileError::NotFound(format!("{REPOSITORY_PREFIX}{path}"))) }
    }

    /// Fetches a file and keeps it. It blocks.
    ///
    /// # Errors
    /// When the path leaves the repository, or the file cannot be had; a copy that was kept before stays.
    pub fn fetch(&self, path: &str) -> Result<PathBuf, PluginFileError> {
        let copy = self.copy_of(path)?;
        let url = format!("{}{path}", self.base);
        let content = get(&url)?;
        let failed = |error: std::io::Error| PluginFileError::Unreadable {
            path: format!("{REPOSITORY_PREFIX}{path}"),
            reason: error.to_string(),
        };
        let directory = copy.parent().unwrap_or(&self.cache);
        std::fs::create_dir_all(directory).map_err(failed)?;
        let file = tempfile::Builder::new().prefix(".new-").tempfile_in(directory).map_err(failed)?;
        std::fs::write(file.path(), content).map_err(failed)?;
        // Temporary files are for their owner only; a worker of a runner that is root has another user.
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o644)).map_err(failed)?;
        file.persist(&copy).map_err(|error| failed(error.error))?;
        Ok(copy)
    }

    pub(crate) fn copy_of(&self, path: &str) -> Result<PathBuf, PluginFileError> {
        let is_plain = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
        if path.is_empty() || !is_plain || path.contains(['?', '#', '\\', '%']) || path.chars().any(char::is_control) {
            return Err(PluginFileError::Traversal(format!("{REPOSITORY_PREFIX}{path}")));
        }
        Ok(self.cache.join(path))
    }
}

fn get(url: &str) -> Result<Vec<u8>, PluginFileError> {
    let unreachable = |reason: String| PluginFileError::Unfetched { url: url.to_owned(), reason };
    let agent: ureq::Agent =
        ureq::Agent::config_builder().timeout_global(Some(FETCH_TIMEOUT)).http_status_as_error(false).build().into();
    let mut response = agent.get(url).call().map_err(|error| unreachable(error.to_string()))?;
    let status = response.status();
    if !status.is_success() {
        return Err(PluginFileError::Refused { url: url.to_owned(), status: status.to_string() });
    }
    let max = limits::PLUGIN_UPLOAD_BYTES_MAX;
    let mut content = Vec::new();
    let body = response.body_mut().as_reader();
    body.take(max as u64 + 1).read_to_end(&mut content).map_err(|error| unreachable(error.to_string()))?;
    if content.len() > max {
        return Err(PluginFileError::TooLarge { path: url.to_owned(), bytes: content.len() });
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_the_repository() {
        let root = tempfile::tempdir().unwrap();
        let repository = PluginRepository::new("http://127.0.0.1:1/base", root.path());
        for path in ["", "../x.py", "a/../../x.py", "/etc/passwd", "./x.py", "a?b", "a#b", "a%2e%2e/b", "a\\b"] {
            let refused = PluginFileError::Traversal(format!("gh:{path}"));
            assert_eq!(repository.fetch(path), Err(refused.clone()), "{path}");
            assert_eq!(repository.kept(path), Err(refused), "{path}");
        }
        assert_eq!(repository.kept("a/b.py"), Err(PluginFileError::NotFound("gh:a/b.py".to_owned())));
    }

    #[test]
    fn repositories_do_not_share_what_they_keep() {
        let copy = |base: &str| PluginRepository::new(base, Path::new("/cache")).copy_of("a.py").unwrap();
        assert_eq!(copy("http://one"), copy("http://one/"));
        assert_ne!(copy("http://one"), copy("http://two"));
    }
}
