//! Interpreters that are not on `PATH`: those of pyenv, and those that uv has downloaded.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// Interpreters that are looked at, at most. People have ten.
const INSTALLATIONS_MAX: usize = 64;

/// The interpreters of this user's installations, the newest first.
pub(super) fn installations() -> Vec<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = variable("HOME");
    let below_home = |path: &str| home.as_ref().map(|home| home.join(path));
    let pyenv = variable("PYENV_ROOT").or_else(|| below_home(".pyenv")).map(|root| root.join("versions"));
    let data = variable("XDG_DATA_HOME").or_else(|| below_home(".local/share"));
    let uv = variable("UV_PYTHON_INSTALL_DIR").or_else(|| data.map(|data| data.join("uv/python")));
    let directories: Vec<PathBuf> = pyenv.into_iter().chain(uv).collect();
    below(&directories)
}

/// The interpreters of the installations that lie in these directories.
fn below(directories: &[PathBuf]) -> Vec<PathBuf> {
    let mut found: Vec<(Vec<u32>, PathBuf)> = Vec::new();
    for entry in directories.iter().flat_map(|directory| std::fs::read_dir(directory).into_iter().flatten().flatten()) {
        let python = entry.path().join("bin/python3");
        // uv has names such as `cpython-3.12.1-linux-x86_64-gnu`, and links from `cpython-3.12-...` to them.
        let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
        if let Some(version) = version(&entry.file_name()).filter(|_| !is_link && is_file(&python)) {
            found.push((version, python));
        }
    }
    found.sort_by(|one, other| other.cmp(one));
    found.truncate(INSTALLATIONS_MAX);
    found.into_iter().map(|(_, python)| python).collect()
}

fn is_file(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.is_file())
}

/// The version in the name of a CPython's directory.
fn version(name: &OsStr) -> Option<Vec<u32>> {
    let name = name.to_str()?;
    let text = name.strip_prefix("cpython-").unwrap_or(name);
    let text = text.split('-').next()?;
    text.split('.').map(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn installations_of_both_tools_are_found_the_newest_first() {
        let root = tempfile::tempdir().unwrap();
        let install = |name: &str| {
            let bin = root.path().join(name).join("bin");
            std::fs::create_dir_all(&bin).unwrap();
            std::fs::write(bin.join("python3"), "").unwrap();
            bin.join("python3")
        };
        let (old, new) = (install("versions/3.9.18"), install("versions/3.12.1"));
        let uv = install("uv/cpython-3.13.0-linux-x86_64-gnu");
        install("uv/pypy-3.10.14-linux-x86_64-gnu");
        install("versions/system");
        std::fs::create_dir_all(root.path().join("versions/3.14.0")).unwrap();
        let directories = ["versions", "uv", "nothing"].map(|name| root.path().join(name));
        assert_eq!(below(&directories), [uv, new, old], "what has no interpreter is none");
    }
}
