//! Gives an environment the path at which it will be found: what was built elsewhere holds the path of there.
//!
//! Paths stand in `pyvenv.cfg`, in the scripts of `bin` and in the `RECORD`s, which have the scripts' hashes. Compiled code
//! gets its path when it is compiled. Files are replaced and never written to: they may be hard links into a tool's cache.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use super::limits::SCRIPT_BYTES_MAX;

/// Rewrites the files of the environment that lies at `from` for `to`.
pub(super) fn relocate(from: &Path, to: &Path) -> io::Result<()> {
    let paths = (from.as_os_str().as_bytes(), to.as_os_str().as_bytes());
    rewrite(&from.join("pyvenv.cfg"), paths)?;
    let mut changed = BTreeMap::new();
    for entry in fs::read_dir(from.join("bin"))?.flatten() {
        if let (Some(bytes), Ok(name)) = (rewrite(&entry.path(), paths)?, entry.file_name().into_string()) {
            changed.insert(name, bytes);
        }
    }
    if changed.is_empty() {
        return Ok(());
    }
    for library in fs::read_dir(from.join("lib"))?.flatten() {
        for entry in fs::read_dir(library.path().join("site-packages")).into_iter().flatten().flatten() {
            let record = entry.path().join("RECORD");
            let Ok(text) = fs::read_to_string(&record) else { continue };
            let corrected = corrected(&text, &changed);
            if corrected != text {
                replace(&record, corrected.as_bytes())?;
            }
        }
    }
    Ok(())
}

/// Replaces `paths.0` by `paths.1` in a file; its new bytes, when it held the path. Programs and links are left alone.
fn rewrite(path: &Path, paths: (&[u8], &[u8])) -> io::Result<Option<Vec<u8>>> {
    let metadata = fs::symlink_metadata(path)?;
    if !metadata.is_file() || metadata.len() > SCRIPT_BYTES_MAX {
        return Ok(None);
    }
    let bytes = fs::read(path)?;
    let replaced = replaced(&bytes, paths);
    if bytes.contains(&0) || replaced == bytes {
        return Ok(None);
    }
    replace(path, &replaced)?;
    Ok(Some(replaced))
}

fn replaced(bytes: &[u8], (from, to): (&[u8], &[u8])) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(first) = rest.first() {
        match rest.strip_prefix(from).filter(|_| !from.is_empty()) {
            Some(tail) => {
                out.extend_from_slice(to);
                rest = tail;
            }
            None => {
                out.push(*first);
                rest = &rest[1..];
            }
        }
    }
    out
}

/// A `RECORD` with the hashes and sizes of scripts that have changed.
fn corrected(record: &str, changed: &BTreeMap<String, Vec<u8>>) -> String {
    let line = |line: &str| {
        let script = line.split(',').next().and_then(|path| path.strip_prefix("../../../bin/"));
        match script.and_then(|name| Some((name, changed.get(name)?))) {
            Some((name, bytes)) => {
                let hash = URL_SAFE_NO_PAD.encode(Sha256::digest(bytes));
                format!("../../../bin/{name},sha256={hash},{}", bytes.len())
            }
            None => line.to_owned(),
        }
    };
    record.lines().map(|text| line(text) + "\n").collect()
}

/// Puts another file in the place of one, with the same permissions.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let permissions = fs::metadata(path)?.permissions();
    let mut draft = tempfile::NamedTempFile::new_in(path.parent().unwrap_or(Path::new("/")))?;
    draft.write_all(bytes)?;
    draft.as_file().set_permissions(permissions)?;
    draft.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn scripts_and_their_records_get_the_new_path_and_links_keep_their_files() {
        let root = tempfile::tempdir().unwrap();
        let (from, to) = (root.path().join("aa11.new"), root.path().join("aa11"));
        let info = from.join("lib/python3.12/site-packages/tool-1.dist-info");
        fs::create_dir_all(&info).unwrap();
        fs::create_dir_all(from.join("bin")).unwrap();
        let script = format!("#!{}/bin/python\nprint(1)\n", from.display());
        let cached = root.path().join("cached");
        fs::write(&cached, &script).unwrap();
        fs::set_permissions(&cached, fs::Permissions::from_mode(0o755)).unwrap();
        fs::hard_link(&cached, from.join("bin/tool")).unwrap();
        let program = [b"\x7fELF\0", from.as_os_str().as_bytes()].concat();
        fs::write(from.join("bin/program"), &program).unwrap();
        fs::write(from.join("pyvenv.cfg"), format!("home = /usr/bin\ncommand = venv {}\n", from.display())).unwrap();
        fs::write(info.join("RECORD"), "tool.py,sha256=aa,3\n../../../bin/tool,sha256=bb,9\n").unwrap();

        relocate(&from, &to).unwrap();
        let moved = fs::read_to_string(from.join("bin/tool")).unwrap();
        assert_eq!(moved, format!("#!{}/bin/python\nprint(1)\n", to.display()));
        assert_eq!(fs::metadata(from.join("bin/tool")).unwrap().permissions().mode() & 0o777, 0o755);
        assert_eq!(fs::read_to_string(&cached).unwrap(), script, "a tool's cache is not ours");
        assert_eq!(fs::read(from.join("bin/program")).unwrap(), program);
        let config = fs::read_to_string(from.join("pyvenv.cfg")).unwrap();
        assert_eq!(config, format!("home = /usr/bin\ncommand = venv {}\n", to.display()));
        let hash = URL_SAFE_NO_PAD.encode(Sha256::digest(&moved));
        let record = fs::read_to_string(info.join("RECORD")).unwrap();
        assert_eq!(record, format!("tool.py,sha256=aa,3\n../../../bin/tool,sha256={hash},{}\n", moved.len()));
    }
}
