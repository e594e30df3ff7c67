//! A runner whose disk fails when a test says so.

use std::path::{Path, PathBuf};

use super::{DB, Setup, TestRunner, run_installed};

/// What goes wrong with files in the data directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DiskFault {
    /// Forcing to disk takes so many milliseconds.
    SlowSync(u64),
    /// Forcing to disk fails.
    FailingSync,
    /// There is no room left.
    Full,
    /// Nothing may be written.
    ReadOnly,
}

/// The faults of one runner's disk.
#[derive(Debug, Clone)]
pub(crate) struct Disk {
    plan: PathBuf,
}

impl Disk {
    /// From now on this goes wrong.
    pub(crate) fn fails(&self, fault: DiskFault) {
        let lines = match fault {
            DiskFault::SlowSync(millis) => format!("sync delay {millis}\n"),
            DiskFault::FailingSync => format!("sync error {}\n", nix::errno::Errno::EIO as i32),
            DiskFault::Full => format!("write error {}\n", nix::errno::Errno::ENOSPC as i32),
            DiskFault::ReadOnly => {
                let errno = nix::errno::Errno::EROFS as i32;
                format!("write error {errno}\nopen error {errno}\n")
            }
        };
        // Replaced as a whole, so that it is never seen half written.
        let next = self.plan.with_extension("next");
        std::fs::write(&next, lines).unwrap();
        std::fs::rename(&next, &self.plan).unwrap();
    }

    /// From now on all is well.
    pub(crate) fn recovers(&self) {
        if self.plan.exists() {
            std::fs::remove_file(&self.plan).unwrap();
        }
    }
}

/// A runner with an empty database [`DB`], and its disk.
pub(crate) fn with_disk(arguments: &[&str]) -> (TestRunner, Disk) {
    let setup = Setup::new().args(arguments);
    let (plan, directory) = (setup.root().join("faults"), setup.data_dir());
    let preload = library(setup.root());
    let before = format!(
        "export LD_PRELOAD='{}' FAULTS='{}' FAULTY_DIRECTORY='{}'",
        preload.display(),
        plan.display(),
        directory.display()
    );
    let runner = setup.shell(&before).start();
    runner.create_database(DB);
    (runner, Disk { plan })
}

/// The preloaded library, compiled for one runner: a directory for all of them would be left behind.
fn library(root: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/it/world/disk.c");
    let path = root.join("disk.so");
    let (source, target) = (source.to_str().unwrap(), path.to_str().unwrap());
    let arguments = ["-shared", "-fPIC", "-O1", "-Wall", "-o", target, source, "-ldl"];
    let compiled = run_installed(Path::new("cc"), &arguments);
    assert_eq!(compiled.code, Some(0), "a C compiler, which building needs too: {compiled:?}");
    path
}
