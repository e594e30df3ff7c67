//! The worker's process, started as the runner starts it but without a sandbox.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use bulkhead_python_worker::package;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::Python;

const PATIENCE: Duration = Duration::from_secs(20);

/// A started worker.
#[derive(Debug)]
pub(crate) struct Worker {
    child: Option<Child>,
    pid: u32,
}

impl Worker {
    pub(crate) fn start(python: &Python, dir: &Path, session: UnixStream) -> Self {
        let bootstrap = lay_out(&dir.join("lib")).join(package::BOOTSTRAP_FILE);
        // The shell moves the socket to its number: there is no safe way to do so between fork and exec.
        let script = format!("exec \"$0\" -I \"$1\" {}<&0 0</dev/null", package::SESSION_FD);
        let mut command = command("/bin/sh");
        command.arg("-c").arg(script).arg(&python.executable).arg(bootstrap);
        command.env_clear().env("LANG", "C.UTF-8").env("TZ", "UTC").env("HOME", dir).current_dir(dir);
        command.stdin(OwnedFd::from(session)).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        Self { pid: child.id(), child: Some(child) }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits for the end: exit code (`None` for a signal), standard error, standard output.
    pub(crate) async fn end(mut self) -> (Option<i32>, String, String) {
        let child = self.child.take().unwrap();
        let ended = timeout(PATIENCE, spawn_blocking(|| child.wait_with_output())).await;
        let Output { status, stdout, stderr } = ended.expect("the worker does not end").unwrap().unwrap();
        (status.code(), String::from_utf8_lossy(&stderr).into_owned(), String::from_utf8_lossy(&stdout).into_owned())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Writes the package as the runner does; returns its directory.
fn lay_out(root: &Path) -> PathBuf {
    let dir = root.join(package::NAME);
    std::fs::create_dir_all(&dir).unwrap();
    for (name, content) in package::FILES {
        std::fs::write(dir.join(name), content).unwrap();
    }
    std::fs::copy(extension(), dir.join(package::EXTENSION_FILE)).unwrap();
    dir
}

/// The extension that cargo built with this test: it lies beside the test's executable.
fn extension() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().unwrap().join("libbulkhead_python_worker.so")
}

/// What a tool prints; `None` if it is not there or fails.
pub(crate) fn output_of(program: &str, arguments: &[&str], pyenv_versions: &str) -> Option<String> {
    let mut command = command(program);
    if !pyenv_versions.is_empty() {
        command.env("PYENV_VERSION", pyenv_versions);
    }
    let output = command.args(arguments).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test starts interpreters by itself, the runner's launcher is not part of this package"
)]
fn command(program: &str) -> Command {
    Command::new(program)
}
