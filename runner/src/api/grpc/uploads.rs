//! Plugin files that come with a trigger.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tonic::Status;

use crate::limits;
use crate::plugin_files::PluginFiles;
use crate::trigger::PluginLocation;

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
    for path in sent.keys() {
        let is_plain =
            !path.is_empty() && Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
        if !is_plain {
            return Err(Status::invalid_argument(format!("plugin file `{path}` is not a plain relative path")));
        }
    }
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
        for path in ["../x.py", "/etc/x.py", "a/../x.py", ""] {
            let sent = BTreeMap::from([(path.to_owned(), Bytes::new())]);
            assert!(store(&files, &sent, "p").is_err(), "{path}");
        }
    }
}
