//! The interpreters of this machine.

use std::path::PathBuf;
use std::sync::OnceLock;

use super::process::output_of;

const VERSIONS: [&str; 6] = ["3.10", "3.11", "3.12", "3.13", "3.14", "3.15"];

/// An interpreter that the worker supports.
#[derive(Debug)]
pub(crate) struct Python {
    pub(crate) version: String,
    pub(crate) executable: PathBuf,
}

/// Every supported CPython that is found on `PATH`, pyenv's included.
pub(crate) fn pythons() -> &'static [Python] {
    static FOUND: OnceLock<Vec<Python>> = OnceLock::new();
    FOUND.get_or_init(|| {
        // pyenv's `python3.x` on `PATH` only work for versions that are switched on.
        let versions = output_of("pyenv", &["versions", "--bare"], "").unwrap_or_default();
        let enabled = versions.split_whitespace().collect::<Vec<_>>().join(":");
        let found: Vec<Python> = VERSIONS.iter().filter_map(|version| find(version, &enabled)).collect();
        assert!(!found.is_empty(), "no CPython of {VERSIONS:?} on PATH");
        found
    })
}

fn find(version: &str, pyenv_versions: &str) -> Option<Python> {
    let code = "import sys; print(sys.executable, '.'.join(map(str, sys.version_info[:3])))";
    let output = output_of(&format!("python{version}"), &["-I", "-c", code], pyenv_versions)?;
    let (executable, full_version) = output.trim().split_once(' ')?;
    Some(Python { version: full_version.to_owned(), executable: PathBuf::from(executable) })
}

/// Says on which interpreter a scenario runs; shown when it fails.
#[expect(clippy::print_stdout, reason = "captured by the test harness and shown for failures")]
pub(crate) fn announce(python: &Python) {
    println!("on {}", python.version);
}
