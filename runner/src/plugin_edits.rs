//! Changes of the plugin directory on behalf of clients. Each is whole or not there at all.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

use crate::limits;
use crate::plugin_files::{PluginFileError, PluginFiles};

/// Mode of a written file: workers may run as another user.
const FILE_MODE: u32 = 0o644;
/// Mode of a made directory.
const DIRECTORY_MODE: u32 = 0o755;

/// Code that is looked at before it takes its place; it is removed when this is dropped.
#[derive(Debug)]
pub struct Staged {
    /// The plugin as it would be.
    pub plugin: PathBuf,
    _directory: tempfile::TempDir,
}

impl PluginFiles {
    /// Writes a file below the plugin directory, in place of one that is there. Missing directories are made.
    ///
    /// # Errors
    /// When the path leaves the plugin directory, the content is too large, or the file system fails.
    pub fn write(&self, path: &str, content: &str) -> Result<(), PluginFileError> {
        check_size(path, content.len())?;
        let root = self.root(path)?;
        let (parent, name) = prepare(&root, path)?;
        let target = parent.join(name);
        // A link that stands there would lead the next reader elsewhere; what it names is not ours to change.
        if std::fs::symlink_metadata(&target).is_ok_and(|metadata| metadata.is_symlink()) {
            return Err(PluginFileError::Traversal(path.to_owned()));
        }
        write_file(&target, content).map_err(|error| unreadable(path, &error))
    }

    /// Puts these files in place of everything in a plugin's directory, in one step.
    ///
    /// # Errors
    /// When a path leaves the directory, there is no `__init__.py`, the files are too large, or the file system fails.
    pub fn replace_directory(&self, plugin: &Path, files: &[(String, String)]) -> Result<(), PluginFileError> {
        let name = plugin.file_name().unwrap_or_default().to_string_lossy().into_owned();
        check_size(&name, files.iter().map(|(_, content)| content.len()).sum())?;
        if !files.iter().any(|(path, _)| path == "__init__.py") {
            return Err(PluginFileError::NoInit(name));
        }
        let failed = |error: std::io::Error| unreadable(&name, &error);
        let parent = plugin.parent().ok_or_else(|| PluginFileError::Traversal(name.clone()))?;
        // Hidden, so that nothing takes it for a plugin meanwhile. It is removed with whatever it then holds.
        let fresh = tempfile::Builder::new().prefix(".new-").tempdir_in(parent).map_err(failed)?;
        set_mode(fresh.path(), DIRECTORY_MODE).map_err(failed)?;
        for (path, content) in files {
            let (parent, file) = prepare(fresh.path(), path)?;
            write_file(&parent.join(file), content).map_err(failed)?;
        }
        let exchanged = renameat2(AT_FDCWD, fresh.path(), AT_FDCWD, plugin, RenameFlags::RENAME_EXCHANGE);
        match exchanged {
            Ok(()) => Ok(()),
            // Not every file system can exchange; there a reader may see nothing for a moment.
            Err(_) => {
                let old = fresh.path().with_extension("old");
                std::fs::rename(plugin, &old).map_err(failed)?;
                if let Err(error) = std::fs::rename(fresh.path(), plugin) {
                    std::fs::rename(&old, plugin).map_err(failed)?;
                    return Err(failed(error));
                }
                std::fs::remove_dir_all(&old).map_err(failed)
            }
        }
    }

    /// Writes files beside a plugin, as it would be with them: one with an empty name is the plugin itself, others lie in its
    /// directory.
    ///
    /// # Errors
    /// When a path leaves the directory, the files are too large, or the file system fails.
    pub fn stage(&self, plugin: &Path, files: &[(String, String)]) -> Result<Staged, PluginFileError> {
        let name = plugin.file_name().unwrap_or_default().to_string_lossy().into_owned();
        check_size(&name, files.iter().map(|(_, content)| content.len()).sum())?;
        let failed = |error: std::io::Error| unreadable(&name, &error);
        let parent = plugin.parent().ok_or_else(|| PluginFileError::Traversal(name.clone()))?;
        // Hidden, so that nothing takes it for a plugin meanwhile.
        let directory = tempfile::Builder::new().prefix(".new-").tempdir_in(parent).map_err(failed)?;
        set_mode(directory.path(), DIRECTORY_MODE).map_err(failed)?;
        let staged = directory.path().join(&name);
        for (path, content) in files {
            if path.is_empty() {
                write_file(&staged, content).map_err(failed)?;
                continue;
            }
            if !staged.is_dir() {
                std::fs::create_dir(&staged).map_err(failed)?;
                set_mode(&staged, DIRECTORY_MODE).map_err(failed)?;
            }
            let (parent, file) = prepare(&staged, path)?;
            write_file(&parent.join(file), content).map_err(failed)?;
        }
        Ok(Staged { plugin: staged, _directory: directory })
    }

    fn root(&self, path: &str) -> Result<PathBuf, PluginFileError> {
        let root = self.plugin_dir().ok_or(PluginFileError::NoPluginDir)?;
        root.canonicalize().map_err(|error| unreadable(path, &error))
    }
}

fn unreadable(path: &str, error: &std::io::Error) -> PluginFileError {
    PluginFileError::Unreadable { path: path.to_owned(), reason: error.to_string() }
}

fn check_size(path: &str, bytes: usize) -> Result<(), PluginFileError> {
    if bytes > limits::PLUGIN_UPLOAD_BYTES_MAX {
        return Err(PluginFileError::TooLarge { path: path.to_owned(), bytes });
    }
    Ok(())
}

/// The directory below `root` in which `path` lies, made if need be, and the file's name.
fn prepare<'a>(root: &Path, path: &'a str) -> Result<(PathBuf, &'a str), PluginFileError> {
    let traversal = || PluginFileError::Traversal(path.to_owned());
    let mut parts = Vec::new();
    for part in Path::new(path).components() {
        match part {
            Component::Normal(part) => parts.push(part.to_str().ok_or_else(traversal)?),
            Component::CurDir => {}
            _ => return Err(traversal()),
        }
    }
    let name = parts.pop().ok_or_else(traversal)?;
    let mut directory = root.to_owned();
    for part in parts {
        directory.push(part);
        match std::fs::create_dir(&directory) {
            Ok(()) => set_mode(&directory, DIRECTORY_MODE).map_err(|error| unreadable(path, &error))?,
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(unreadable(path, &error)),
        }
        // What was there already may be a link.
        let real = directory.canonicalize().map_err(|error| unreadable(path, &error))?;
        if !real.starts_with(root) {
            return Err(traversal());
        }
    }
    Ok((directory, name))
}

fn write_file(target: &Path, content: &str) -> std::io::Result<()> {
    let parent = target.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(".new-").tempfile_in(parent)?;
    file.write_all(content.as_bytes())?;
    set_mode(file.path(), FILE_MODE)?;
    file.persist(target)?;
    Ok(())
}

fn set_mode(path: &Path, mode: u32) -> std::io::Result<()> {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn world() -> (tempfile::TempDir, PluginFiles) {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("plugins")).unwrap();
        let files = PluginFiles::new(Some(root.path().join("plugins")), root.path().join("uploads"));
        (root, files)
    }

    #[test]
    fn files_are_written_below_the_plugin_directory_only() {
        let (root, files) = world();
        files.write("a/b/c.py", "x = 1").unwrap();
        files.write("a/b/c.py", "x = 2").unwrap();
        assert_eq!(std::fs::read_to_string(root.path().join("plugins/a/b/c.py")).unwrap(), "x = 2");
        std::os::unix::fs::symlink(root.path(), root.path().join("plugins/out")).unwrap();
        std::os::unix::fs::symlink(root.path().join("secret"), root.path().join("plugins/link.py")).unwrap();
        for path in ["", ".", "../x.py", "/x.py", "a/../../x.py", "out/x.py", "link.py"] {
            assert_eq!(files.write(path, ""), Err(PluginFileError::Traversal(path.to_owned())), "{path}");
        }
        assert!(!root.path().join("x.py").exists() && !root.path().join("secret").exists());
        let large = "x".repeat(limits::PLUGIN_UPLOAD_BYTES_MAX + 1);
        assert!(matches!(files.write("large.py", &large), Err(PluginFileError::TooLarge { .. })));
    }

    #[test]
    fn a_directory_is_replaced_as_a_whole_or_stays() {
        let (root, files) = world();
        let plugin = root.path().join("plugins/multi");
        files.write("multi/__init__.py", "old").unwrap();
        files.write("multi/gone.py", "old").unwrap();
        let of = |paths: &[&str]| paths.iter().map(|path| ((*path).to_owned(), "new".to_owned())).collect::<Vec<_>>();
        assert_eq!(
            files.replace_directory(&plugin, &of(&["part.py"])),
            Err(PluginFileError::NoInit("multi".to_owned()))
        );
        let escape = files.replace_directory(&plugin, &of(&["__init__.py", "../escaped.py"]));
        assert_eq!(escape, Err(PluginFileError::Traversal("../escaped.py".to_owned())));
        assert_eq!(std::fs::read_to_string(plugin.join("gone.py")).unwrap(), "old");
        files.replace_directory(&plugin, &of(&["__init__.py", "sub/part.py"])).unwrap();
        assert_eq!(std::fs::read_to_string(plugin.join("sub/part.py")).unwrap(), "new");
        assert!(!plugin.join("gone.py").exists());
        let left: Vec<_> = std::fs::read_dir(root.path().join("plugins")).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
    }
}
