//! Where a plugin's files lie, and that they lie where they may.

use std::path::{Component, Path, PathBuf};
use std::time::SystemTime;

use crate::environment::requirement_files;
use crate::plugin_repository::{DEFAULT_REPOSITORY, PluginRepository};
use crate::trigger::PluginLocation;

/// A plugin that cannot be used. Worded as by InfluxDB 3, without the path of the plugin directory.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PluginFileError {
    /// The runner was started without `--plugin-dir`.
    #[error("Node not configured with plugin directory")]
    NoPluginDir,
    /// No such file.
    #[error("reading plugin file: Plugin not found: {0}")]
    NotFound(String),
    /// A directory without `__init__.py`.
    #[error("reading plugin file: Multi-file plugin directory must contain __init__.py: {0}")]
    NoInit(String),
    /// A path that leaves the plugin directory.
    #[error("Path traversal detected: plugin filename '{0}' attempts to access files outside the plugin directory")]
    Traversal(String),
    /// The repository does not have it, or does not give it.
    #[error("error fetching plugin from repository: {status} {url}")]
    Refused {
        /// Where it should be.
        url: String,
        /// The repository's answer.
        status: String,
    },
    /// The repository cannot be reached.
    #[error(
        "error getting plugin from repository: {url}: {reason}\nhint: check that the server reaches the repository, name \
         another one with `--plugin-repo`, or copy the file into the plugin directory and name it there"
    )]
    Unfetched {
        /// Where it should be.
        url: String,
        /// Why.
        reason: String,
    },
    /// The operator allows the files of the plugin directory only.
    #[error("plugin installation is disabled; plugins must already exist in the configured plugin directory")]
    PluginDirOnly,
    /// More than a limit allows.
    #[error(
        "{path} has {bytes} bytes; the limit `plugin_upload_bytes_max` is {}",
        crate::limits::PLUGIN_UPLOAD_BYTES_MAX
    )]
    TooLarge {
        /// The plugin.
        path: String,
        /// Its size.
        bytes: usize,
    },
    /// The file system failed.
    #[error("reading plugin file: {path}: {reason}")]
    Unreadable {
        /// The plugin.
        path: String,
        /// The system's words.
        reason: String,
    },
}

/// The directories in which plugins lie.
#[derive(Debug, Clone)]
pub struct PluginFiles {
    plugin_dir: Option<PathBuf>,
    uploads: PathBuf,
    repository: PluginRepository,
    /// Whether only files that are in the plugin directory already are plugins.
    plugin_dir_only: bool,
}

impl PluginFiles {
    /// `plugin_dir` holds the operator's plugins, `uploads` the ones that came with a trigger.
    #[must_use]
    pub fn new(plugin_dir: Option<PathBuf>, uploads: PathBuf) -> Self {
        let repository = PluginRepository::new(DEFAULT_REPOSITORY, &uploads);
        Self { plugin_dir, uploads, repository, plugin_dir_only: false }
    }

    /// With another repository of plugins, whose files are kept below `kept`.
    #[must_use]
    pub fn with_repository(mut self, base: &str, kept: &Path) -> Self {
        self.repository = PluginRepository::new(base, kept);
        self
    }

    /// With nothing but what the operator put into the plugin directory.
    #[must_use]
    pub fn plugin_dir_only(mut self, only: bool) -> Self {
        self.plugin_dir_only = only;
        self
    }

    /// Whether clients may bring plugins.
    ///
    /// # Errors
    /// When the operator does not want it.
    pub fn check_installable(&self) -> Result<(), PluginFileError> {
        if self.plugin_dir_only { Err(PluginFileError::PluginDirOnly) } else { Ok(()) }
    }

    /// Fetches a plugin of the repository; others lie where they are.
    ///
    /// # Errors
    /// When it cannot be had.
    pub async fn fetch(&self, location: &PluginLocation) -> Result<(), PluginFileError> {
        let PluginLocation::Repository(path) = location else { return Ok(()) };
        self.check_installable()?;
        let (repository, path) = (self.repository.clone(), path.clone());
        let fetched = tokio::task::spawn_blocking(move || repository.fetch(&path)).await;
        let failed = |error: tokio::task::JoinError| PluginFileError::Unreadable {
            path: location.filename().into_owned(),
            reason: error.to_string(),
        };
        fetched.map_err(failed)?.map(drop)
    }

    /// The directory that plugins see as `PLUGIN_DIR`.
    #[must_use]
    pub fn plugin_dir(&self) -> Option<&Path> {
        self.plugin_dir.as_deref()
    }

    /// The directory for files that come with triggers.
    #[must_use]
    pub fn uploads(&self) -> &Path {
        &self.uploads
    }

    /// Where a plugin is looked for, before anything is checked and links are followed. Empty when it cannot be anywhere.
    #[must_use]
    pub fn named(&self, location: &PluginLocation) -> PathBuf {
        match location {
            PluginLocation::PluginDir(path) => self.plugin_dir.as_deref().unwrap_or(Path::new("")).join(path),
            PluginLocation::Repository(path) => self.repository.copy_of(path).unwrap_or_default(),
            PluginLocation::Uploaded { directory, entry } => self.uploads.join(directory).join(entry),
        }
    }

    /// The absolute path of a plugin: a `.py` file, or a directory with `__init__.py`.
    ///
    /// # Errors
    /// When it is missing, has no entry, or leaves its directory, by `..` or by a symbolic link.
    pub fn resolve(&self, location: &PluginLocation) -> Result<PathBuf, PluginFileError> {
        match location {
            PluginLocation::PluginDir(path) => {
                resolve_below(self.plugin_dir.as_deref().ok_or(PluginFileError::NoPluginDir)?, path)
            }
            PluginLocation::Repository(_) if self.plugin_dir_only => Err(PluginFileError::PluginDirOnly),
            PluginLocation::Repository(path) => self.repository.kept(path),
            PluginLocation::Uploaded { directory, entry } => resolve_below(&self.uploads.join(directory), entry),
        }
    }
}

fn resolve_below(root: &Path, path: &str) -> Result<PathBuf, PluginFileError> {
    let traversal = || PluginFileError::Traversal(path.to_owned());
    if !Path::new(path).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
        return Err(traversal());
    }
    let unreadable = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => PluginFileError::NotFound(path.to_owned()),
        _ => PluginFileError::Unreadable { path: path.to_owned(), reason: error.to_string() },
    };
    let root = root.canonicalize().map_err(unreadable)?;
    let resolved = root.join(path).canonicalize().map_err(unreadable)?;
    if !resolved.starts_with(&root) {
        return Err(traversal());
    }
    if resolved.is_dir() {
        let init = resolved.join("__init__.py").canonicalize().map_err(|_| PluginFileError::NoInit(path.to_owned()))?;
        if !init.starts_with(&root) {
            return Err(traversal());
        }
    }
    Ok(resolved)
}

/// A file of a plugin.
#[derive(Debug, Clone)]
pub struct PluginFile {
    /// Its path below the plugin's directory; its name for a plugin of one file.
    pub name: String,
    /// Where it lies.
    pub path: PathBuf,
    /// Its size, bytes.
    pub bytes: i64,
    /// When it was last changed, milliseconds since the epoch.
    pub modified_ms: i64,
}

/// The Python files of a plugin, at most [`crate::limits::PLUGIN_FILES_SHOWN_MAX`], by name.
#[must_use]
pub fn files_of(plugin: &Path) -> Vec<PluginFile> {
    let root = if plugin.is_dir() { plugin } else { plugin.parent().unwrap_or(plugin) };
    let mut waiting = vec![plugin.to_owned()];
    let mut files = Vec::new();
    while let Some(path) = waiting.pop() {
        let Ok(metadata) = std::fs::symlink_metadata(&path) else { continue };
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if metadata.is_dir() && name != "__pycache__" {
            let entries = std::fs::read_dir(&path).into_iter().flatten().flatten();
            waiting.extend(entries.map(|entry| entry.path()));
        } else if metadata.is_file() && name.ends_with(".py") {
            let modified = metadata.modified().ok().and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
            files.push(PluginFile {
                name: path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned(),
                bytes: i64::try_from(metadata.len()).unwrap_or(i64::MAX),
                modified_ms: modified.and_then(|time| i64::try_from(time.as_millis()).ok()).unwrap_or_default(),
                path,
            });
        }
        if files.len() >= crate::limits::PLUGIN_FILES_SHOWN_MAX {
            break;
        }
    }
    files.sort_by(|one, other| one.name.cmp(&other.name));
    files
}

/// The time of the last change of a plugin's code and requirements, for noticing that a failed plugin is worth another try.
#[must_use]
pub fn changed_at(plugin: &Path) -> Option<SystemTime> {
    let newest = |path: &Path| std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    if !plugin.is_dir() {
        let beside = requirement_files(plugin).into_iter().filter_map(|path| newest(&path));
        return newest(plugin).into_iter().chain(beside).max();
    }
    let entries = std::fs::read_dir(plugin).ok()?;
    entries.filter_map(|entry| newest(&entry.ok()?.path())).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plugins_are_found_below_their_directory_only() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("plugins");
        std::fs::create_dir_all(dir.join("multi")).unwrap();
        std::fs::create_dir_all(dir.join("empty")).unwrap();
        std::fs::write(dir.join("a.py"), "").unwrap();
        std::fs::write(dir.join("multi/__init__.py"), "").unwrap();
        std::fs::write(root.path().join("secret.py"), "").unwrap();
        std::os::unix::fs::symlink(root.path().join("secret.py"), dir.join("link.py")).unwrap();
        let files = PluginFiles::new(Some(dir.clone()), root.path().join("uploads"));
        let check = |path: &str, expected: &str| {
            let actual = match files.resolve(&PluginLocation::PluginDir(path.to_owned())) {
                Ok(found) => found.strip_prefix(dir.canonicalize().unwrap()).unwrap().display().to_string(),
                Err(error) => error.to_string(),
            };
            assert_eq!(actual, expected);
        };
        let traversal = |path: &str| {
            format!(
                "Path traversal detected: plugin filename '{path}' attempts to access files outside the plugin directory"
            )
        };
        check("a.py", "a.py");
        check("multi/", "multi");
        check("nope.py", "reading plugin file: Plugin not found: nope.py");
        check("a.py/b.py", "reading plugin file: Plugin not found: a.py/b.py");
        check("empty", "reading plugin file: Multi-file plugin directory must contain __init__.py: empty");
        check("", "reading plugin file: Multi-file plugin directory must contain __init__.py: ");
        for path in ["../secret.py", "multi/../a.py", "/etc/hostname", "link.py"] {
            check(path, &traversal(path));
        }
    }

    #[test]
    fn a_change_of_what_a_plugin_asks_for_is_a_change_of_the_plugin() {
        let root = tempfile::tempdir().unwrap();
        let changed = |name: &str, seconds: u64| {
            let file = std::fs::File::create(root.path().join(name)).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds)).unwrap();
            changed_at(&root.path().join("a.py")).unwrap().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
        };
        assert_eq!(changed("a.py", 10), 10);
        assert_eq!(changed("other.py", 20), 10);
        assert_eq!(changed("requirements.txt", 30), 30);
        assert_eq!(changed("manifest.toml", 40), 40);
    }
}
