//! What of the host nobody inside may touch, and what has to be gone afterwards.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use bulkhead_launcher::Cgroups;
use tempfile::NamedTempFile;

use crate::cli::output::CliError;

/// A process, a server and a file of the host.
pub(super) struct Surroundings {
    victim: Child,
    listener: TcpListener,
    /// Everybody may read it, and nobody was granted it.
    pub(super) secret: NamedTempFile,
}

impl Surroundings {
    pub(super) fn new() -> Result<Self, CliError> {
        let failed = |error: std::io::Error| CliError::new(format!("something to attack: {error}"));
        // Rather not below `/tmp`, of which a worker has its own; a container may have nothing else to write to.
        let named = |directory: &Path| tempfile::Builder::new().prefix("bulkhead-secret-").tempfile_in(directory);
        let secret = named(Path::new("/var/tmp")).or_else(|_| named(&std::env::temp_dir())).map_err(failed)?;
        std::fs::write(secret.path(), "secret").map_err(failed)?;
        let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        std::fs::set_permissions(secret.path(), everybody).map_err(failed)?;
        let listener = TcpListener::bind("127.0.0.1:0").map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        Ok(Self { victim: victim().map_err(failed)?, listener, secret })
    }

    /// The victim's process id.
    pub(super) fn victim(&self) -> u32 {
        self.victim.id()
    }

    /// The server's port.
    pub(super) fn port(&self) -> Result<u16, CliError> {
        let address = self.listener.local_addr().map_err(|error| CliError::new(error.to_string()))?;
        Ok(address.port())
    }

    /// What somebody has done to them.
    pub(super) fn damage(&mut self) -> Option<&'static str> {
        if !matches!(self.victim.try_wait(), Ok(None)) {
            return Some("a process of the host was killed");
        }
        if self.listener.accept().is_ok() {
            return Some("a server of the host was reached");
        }
        let secret = std::fs::read_to_string(self.secret.path());
        secret.map_or(true, |text| text != "secret").then_some("a file of the host was changed")
    }
}

#[expect(clippy::disallowed_methods, reason = "it has to be of the host, not of a sandbox")]
fn victim() -> std::io::Result<Child> {
    Command::new("sleep").arg("1000").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()
}

impl Drop for Surroundings {
    fn drop(&mut self) {
        // It can only have ended already.
        let _ = self.victim.kill();
        let _ = self.victim.wait();
    }
}

/// Sockets that this process has open.
pub(super) fn open_sockets() -> usize {
    let all = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    all.filter_map(|entry| std::fs::read_link(entry.path()).ok())
        .filter(|target| target.to_string_lossy().starts_with("socket:"))
        .count()
}

/// Processes, mounts and control groups that still have to do with a directory that a server of this process has used.
pub(super) fn left_behind(directory: &Path) -> Vec<String> {
    let directory = directory.to_string_lossy();
    let mut left: Vec<String> =
        Cgroups::of_this_process().iter().map(|group| format!("control group {}", group.display())).collect();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    left.extend(mounts.lines().filter(|line| line.contains(&*directory)).map(|line| format!("mount {line}")));
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        let own = entry.file_name().to_string_lossy() == std::process::id().to_string();
        if command.contains(&*directory) && !own {
            left.push(format!("process {}: {command}", entry.file_name().to_string_lossy()));
        }
    }
    left
}
