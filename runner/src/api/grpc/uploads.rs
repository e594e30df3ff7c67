//! Plugin files that come with a trigger.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tonic::Status;

use crate::dispatch::Engine;
use crate::limits;
use crate::plugin_files::PluginFiles;
use crate::trigger::PluginLocation;

/// Longest name of a file or directory, bytes, as Linux has it.
const NAME_BYTES_MAX: usize = 255;
/// Longest path below the upload's directory, bytes; the directory itself needs room in Linux's 4,096.
const PATH_BYTES_MAX: usize = 1_024;

/// Stores the files, named by their content, so that the same files are stored once and are never changed in place.
pub(super) fn store(
    files: &PluginFiles,
    sent: &BTreeMap<String, Bytes>,
    entry: &str,
) -> Result<PluginLocation, Status> {
    let bytes: usize = sent.values().map(Bytes::len).sum();
    if bytes > limits::PLUGIN_UPLOAD_BYTES_MAX {
        let max = limits::PLUGIN_UPLOAD_BYTES_MAX;
        return Err(Status::resource_exhausted(format!(
            "plugin files have {bytes} bytes; the limit `plugin_upload_bytes_max` is {max}"
        )));
    }
    check_paths(sent)?;
    let directory = digest(sent);
    let root = files.uploads().join(&directory);
    if !root.exists() {
        let failed = |error: std::io::Error| Status::internal(format!("plugin files could not be stored: {error}"));
        std::fs::create_dir_all(files.uploads()).map_err(failed)?;
        let partial = files.uploads().join(format!("{directory}.{}", uuid::Uuid::now_v7()));
        let written = write(&partial, sent).and_then(|()| std::fs::rename(&partial, &root));
        if let Err(error) = written {
            // Another call may have stored the same files meanwhile.
            let _ = std::fs::remove_dir_all(&partial);
            if !root.exists() {
                return Err(failed(error));
            }
        }
    }
    Ok(PluginLocation::Uploaded { directory, entry: entry.to_owned() })
}

/// Refuses names that no file system takes, and files that would have to be directories too.
fn check_paths(sent: &BTreeMap<String, Bytes>) -> Result<(), Status> {
    for path in sent.keys() {
        let is_name =
            |name: &str| !matches!(name, "" | "." | "..") && name.len() <= NAME_BYTES_MAX && !name.contains('\0');
        if path.len() > PATH_BYTES_MAX || !path.split('/').all(is_name) {
            return Err(Status::invalid_argument(format!(
                "plugin file `{}` is not a plain relative path",
                path.escape_debug()
            )));
        }
        let parents = path.match_indices('/').map(|(end, _)| &path[..end]);
        if let Some(parent) = parents.into_iter().find(|parent| sent.contains_key(*parent)) {
            return Err(Status::invalid_argument(format!("plugin file `{parent}` is a directory in `{path}`")));
        }
    }
    Ok(())
}

/// Removes the files that no trigger uses any more.
pub(super) async fn remove_unused(engine: &Engine) {
    let used: BTreeSet<String> = engine
        .list()
        .into_iter()
        .filter_map(|trigger| match trigger.definition.plugin {
            PluginLocation::Uploaded { directory, .. } => Some(directory),
            PluginLocation::PluginDir(_) | PluginLocation::Repository(_) => None,
        })
        .collect();
    let root = engine.files().uploads().to_owned();
    let removed = tokio::task::spawn_blocking(move || {
        let Ok(entries) = std::fs::read_dir(&root) else { return };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        for name in names.filter(|name| !used.contains(name)) {
            if let Err(error) = std::fs::remove_dir_all(root.join(&name)) {
                tracing::warn!("unused plugin files {name} were not removed: {error}");
            }
        }
    });
    if let Err(error) = removed.await {
        tracing::warn!("unused plugin files were not removed: {error}");
    }
}

fn write(root: &Path, sent: &BTreeMap<String, Bytes>) -> std::io::Result<()> {
    for (path, content) in sent {
        let path = root.join(path);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(path, content)?;
    }
    Ok(())
}

fn digest(sent: &BTreeMap<String, Bytes>) -> String {
    let mut hasher = Sha256::new();
    for (path, content) in sent {
        hasher.update((path.len() as u64).to_le_bytes());
        hasher.update(path);
        hasher.update((content.len() as u64).to_le_bytes());
        hasher.update(content);
    }
    hasher.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_stored_once_and_stay_inside() {
        let root = tempfile::tempdir().unwrap();
        let files = PluginFiles::new(None, root.path().join("uploads"));
        let sent = BTreeMap::from([("p/__init__.py".to_owned(), Bytes::from_static(b"x = 1"))]);
        let first = store(&files, &sent, "p").unwrap();
        assert_eq!(store(&files, &sent, "p").unwrap(), first);
        assert!(files.resolve(&first).unwrap().join("__init__.py").is_file());
        assert_eq!(std::fs::read_dir(files.uploads()).unwrap().count(), 1);
        for path in ["../x.py", "/etc/x.py", "a/../x.py", "", "a.py/", "a\0.py"] {
            let sent = BTreeMap::from([(path.to_owned(), Bytes::new())]);
            assert!(store(&files, &sent, "p").is_err(), "{path}");
        }
    }
}
