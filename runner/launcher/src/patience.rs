//! Forks where somebody else may have taken all processes for a moment.
//!
//! The kernel answers `EAGAIN` when the processes of a user, a control group or the machine are used up, as they are next to a
//! fork bomb until it is ended. That says nothing about what the kernel grants, so it is no reason for a weaker sandbox.

use std::io;
use std::thread::sleep;
use std::time::Duration;

use nix::unistd::Pid;

/// Attempts and the pause between them: a second in all, in which a neighbour's bomb comes to its own limit and is ended.
const ATTEMPTS: u32 = 50;
const PAUSE: Duration = Duration::from_millis(20);

/// Forks, and tries again as long as there is no process to be had.
pub(crate) fn fork_patiently(mut fork: impl FnMut() -> io::Result<Option<Pid>>) -> io::Result<Option<Pid>> {
    for _ in 1..ATTEMPTS {
        match fork() {
            Err(error) if is_exhausted(&error) => sleep(PAUSE),
            result => return result,
        }
    }
    fork()
}

/// Whether there was no process to be had.
pub(crate) fn is_exhausted(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

/// The error for people.
pub(crate) fn explain(error: &io::Error) -> String {
    if is_exhausted(error) {
        format!(
            "{error}: no process is left to start it in; look who has taken those that this user, its service or this machine \
             may have (`ulimit -u`, `TasksMax=`, `pids.max`)"
        )
    } else {
        error.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exhausted() -> io::Error {
        io::Error::from_raw_os_error(nix::libc::EAGAIN)
    }

    #[test]
    fn what_lasts_a_moment_is_waited_for() {
        let mut left = 3;
        let forked = fork_patiently(|| {
            left -= 1;
            if left > 0 { Err(exhausted()) } else { Ok(Some(Pid::from_raw(7))) }
        });
        assert_eq!((forked.unwrap(), left), (Some(Pid::from_raw(7)), 0));
    }

    #[test]
    fn what_lasts_longer_is_told_and_another_reason_at_once() {
        let mut attempts = 0;
        let error = fork_patiently(|| {
            attempts += 1;
            Err(exhausted())
        });
        let text = explain(&error.unwrap_err());
        assert!(text.contains("no process is left") && attempts == ATTEMPTS, "{attempts}: {text}");
        let mut attempts = 0;
        let error = fork_patiently(|| {
            attempts += 1;
            Err(io::Error::from_raw_os_error(nix::libc::ENOSPC))
        });
        let text = explain(&error.unwrap_err());
        assert!(!text.contains("no process is left") && attempts == 1, "{attempts}: {text}");
    }
}
