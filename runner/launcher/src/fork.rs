//! A process that a worker's zygote has forked, as the runner sees it.

use std::os::fd::{AsFd, OwnedFd};

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::{processes, raw};

/// A handle on a process that keeps meaning it. Dropping it kills the process.
#[derive(Debug)]
pub struct ForkedProcess {
    handle: OwnedFd,
    /// Its process id in the runner's view.
    pub pid: i32,
    /// The same in its own, innermost namespace, by which its reaper reports its end.
    pub inner_pid: i32,
}

impl ForkedProcess {
    /// Opens `pid`, which has to be a child of the reaper of `zygote`.
    ///
    /// # Errors
    /// In words, when it is not there or not such a child.
    pub fn open(pid: i32, zygote: i32) -> Result<Self, String> {
        let process = Pid::from_raw(pid);
        let handle = raw::open_process(process).map_err(|error| format!("process {pid}: {error}"))?;
        let parent = |pid| processes::state(Pid::from_raw(pid)).map(|state| state.parent);
        if parent(pid).is_none() || parent(pid) != parent(zygote) {
            return Err(format!("process {pid} is not a fork of the zygote {zygote}"));
        }
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).map_err(|error| error.to_string())?;
        let inner = status.lines().find_map(|line| line.strip_prefix("NSpid:")?.split_ascii_whitespace().last());
        // Kernels without pid namespaces do not have the line.
        let inner_pid = inner.map_or(Some(pid), |inner| inner.parse().ok()).ok_or("its process id cannot be read")?;
        Ok(Self { handle, pid, inner_pid })
    }

    /// Another handle, which has no say in when the process ends.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn killer(&self) -> std::io::Result<ProcessKiller> {
        Ok(ProcessKiller(self.handle.try_clone()?))
    }

    /// Kills it.
    pub fn kill(&self) {
        // It can only have ended already.
        drop(raw::signal_process(self.handle.as_fd(), Signal::SIGKILL));
    }
}

impl Drop for ForkedProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Kills a process that somebody else looks after.
#[derive(Debug)]
pub struct ProcessKiller(OwnedFd);

impl ProcessKiller {
    /// Kills it.
    pub fn kill(&self) {
        // It can only have ended already.
        drop(raw::signal_process(self.0.as_fd(), Signal::SIGKILL));
    }
}
