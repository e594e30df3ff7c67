//! Every system call for which there is no safe wrapper, each behind a safe function.
#![expect(unsafe_code, reason = "JUSTIFICATION: neither std nor nix wraps these calls safely; each block is one call")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::Signal;
use nix::unistd::{ForkResult, Pid};

/// Forks; `None` in the child. Only for [`crate::launcher_main`], whose process has one thread.
pub(crate) fn fork() -> io::Result<Option<Pid>> {
    // SAFETY: a launcher starts no thread before it forks, so no lock can be held by a thread that the
    // child lacks, and the child may do whatever the parent might have done.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Parent { child } => Ok(Some(child)),
        ForkResult::Child => Ok(None),
    }
}

/// Takes over a descriptor that this program was started with and sets close-on-exec as told. Call it at
/// most once for each number, before anything opens a descriptor.
pub(crate) fn take_inherited(fd: RawFd, close_on_exec: bool) -> io::Result<OwnedFd> {
    let flags = if close_on_exec { libc::FD_CLOEXEC } else { 0 };
    // SAFETY: fcntl on any number is harmless; it fails with EBADF if nothing is open there.
    Errno::result(unsafe { libc::fcntl(fd, libc::F_SETFD, flags) })?;
    // SAFETY: the descriptor is open, as fcntl has shown, and nothing in this program owns it yet.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A copy of a descriptor with a number of at least `min`, closed at exec.
pub(crate) fn duplicate_from(fd: BorrowedFd<'_>, min: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: the descriptor is open as long as the borrow lives.
    let copy = Errno::result(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, min) })?;
    // SAFETY: the kernel has just opened it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// Closes every descriptor from `first` on. Nothing in this program may own one of them.
pub(crate) fn close_from(first: RawFd) -> io::Result<()> {
    close_range(first, 0).or_else(|_| {
        for fd in open_descriptors()?.into_iter().filter(|fd| *fd >= first) {
            // SAFETY: the caller vouches that nothing owns the descriptor. A number that is no longer open
            // (the directory's own) gives EBADF.
            unsafe { libc::close(fd) };
        }
        Ok(())
    })
}

/// Marks every descriptor from `first` on as to be closed at exec.
pub(crate) fn close_on_exec_from(first: RawFd) -> io::Result<()> {
    close_range(first, libc::CLOSE_RANGE_CLOEXEC).or_else(|_| {
        for fd in open_descriptors()?.into_iter().filter(|fd| *fd >= first) {
            // SAFETY: sets a flag; EBADF where nothing is open.
            unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
        }
        Ok(())
    })
}

/// `close_range`, by number: the C library has a name for it only since glibc 2.34.
fn close_range(first: RawFd, flags: libc::c_uint) -> io::Result<()> {
    let first = libc::c_uint::try_from(first).map_err(io::Error::other)?;
    // SAFETY: takes three numbers; both callers say why the descriptors concerned have no owner.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, flags) };
    Ok(Errno::result(result).map(drop)?)
}

fn open_descriptors() -> io::Result<Vec<RawFd>> {
    let entries = std::fs::read_dir("/proc/self/fd")?;
    Ok(entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
}

/// Reaps `child` (`None`: any child) if it has ended, and gives its raw wait status. nix decodes the status
/// and loses a child that a real-time signal ended.
///
/// # Errors
/// `ECHILD` where there is no such child.
pub(crate) fn try_wait(child: Option<Pid>) -> Result<Option<(Pid, i32)>, Errno> {
    let mut status = 0;
    loop {
        // SAFETY: the pointer is to a local integer; no usage is asked for.
        let result = unsafe {
            libc::wait4(
                child.map_or(-1, Pid::as_raw),
                &raw mut status,
                libc::WNOHANG | libc::__WALL,
                std::ptr::null_mut(),
            )
        };
        match Errno::result(result) {
            Ok(0) => return Ok(None),
            Ok(pid) => return Ok(Some((Pid::from_raw(pid), status))),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// A handle on a process that keeps meaning this process after its id was given to another one.
pub(crate) fn open_process(pid: Pid) -> io::Result<OwnedFd> {
    // SAFETY: takes two numbers.
    let fd = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) })?;
    let fd = RawFd::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the kernel has just opened it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sends a signal through a handle of [`open_process`].
pub(crate) fn signal_process(process: BorrowedFd<'_>, signal: Signal) -> io::Result<()> {
    let no_info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: the descriptor lives as long as the borrow; a null `siginfo` means what `kill` would send.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, process.as_raw_fd(), signal as i32, no_info, 0) };
    Ok(Errno::result(result).map(drop)?)
}

/// Sends a signal by number, real-time ones included, to a child that was not reaped yet.
pub(crate) fn signal_child(child: Pid, number: i32) -> io::Result<()> {
    // SAFETY: takes two numbers.
    Ok(Errno::result(unsafe { libc::kill(child.as_raw(), number) }).map(drop)?)
}

/// Sets the niceness of this process.
pub(crate) fn set_niceness(nice: i32) -> io::Result<()> {
    // SAFETY: takes three numbers.
    Ok(Errno::result(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) }).map(drop)?)
}

/// Gives every signal its default disposition. Rust's start-up ignores `SIGPIPE`, and what is ignored stays
/// ignored across exec.
pub(crate) fn default_signals() {
    for number in 1..=libc::SIGRTMAX() {
        // SAFETY: the default disposition runs no code of ours. The numbers that may not be changed (KILL,
        // STOP, the C library's own) give EINVAL, which is as good.
        unsafe { libc::signal(number, libc::SIG_DFL) };
    }
}
