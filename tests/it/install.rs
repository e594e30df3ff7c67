//! The layout that `deploy/install` makes: the binary in `bin`, its worker extension in `lib/bulkhead`.

use std::path::Path;

use crate::world::run_installed;

const EXTENSION: &str = "libbulkhead_python_worker.so";

/// A link where that is possible: the binaries of a development build are large.
fn place(from: &Path, to: &Path) {
    std::fs::create_dir_all(to.parent().unwrap()).unwrap();
    if std::fs::hard_link(from, to).is_err() {
        std::fs::copy(from, to).unwrap();
    }
}

#[test]
fn an_installation_finds_its_worker_extension() {
    let root = tempfile::tempdir().unwrap();
    let built = Path::new(env!("CARGO_BIN_EXE_bulkhead"));
    let program = root.path().join("bin/bulkhead");
    place(built, &program);

    let refused = run_installed(&program, &["demo"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains(&format!("the worker extension `{EXTENSION}` was not found")), "{refused:?}");

    place(&built.with_file_name("deps").join(EXTENSION), &root.path().join("lib/bulkhead").join(EXTENSION));
    let shown = run_installed(&program, &["demo"]);
    assert_eq!(shown.code, Some(0), "{shown:?}");
    assert!(shown.stdout.contains("same pid as before"), "{shown:?}");
}
