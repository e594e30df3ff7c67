//! Every system call for which there is no safe wrapper, each behind a safe function.
#![expect(unsafe_code, reason = "JUSTIFICATION: neither std nor nix wraps these calls safely; each block is one call")]

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::libc;
use nix::sched::CloneFlags;
use nix::sys::signal::Signal;
use nix::unistd::{ForkResult, Pid};

use crate::control::Usage;

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

/// A child that was reaped.
pub(crate) struct Reaped {
    pub(crate) pid: Pid,
    /// Raw wait status. nix decodes it and loses a child that a real-time signal ended.
    pub(crate) status: i32,
    pub(crate) usage: Usage,
}

/// Reaps `child` (`None`: any child) if it has ended, and gives its raw wait status.
///
/// # Errors
/// `ECHILD` where there is no such child.
pub(crate) fn try_wait(child: Option<Pid>) -> Result<Option<(Pid, i32)>, Errno> {
    Ok(reap(child, libc::WNOHANG)?.map(|reaped| (reaped.pid, reaped.status)))
}

/// The same with what it used.
pub(crate) fn try_reap_any() -> Result<Option<Reaped>, Errno> {
    reap(None, libc::WNOHANG)
}

fn reap(child: Option<Pid>, flags: i32) -> Result<Option<Reaped>, Errno> {
    let mut status = 0;
    // SAFETY: a structure of numbers, for which zero is valid.
    let mut used: libc::rusage = unsafe { std::mem::zeroed() };
    loop {
        // SAFETY: the pointers are to local values of the right types.
        let result =
            unsafe { libc::wait4(child.map_or(-1, Pid::as_raw), &raw mut status, flags | libc::__WALL, &raw mut used) };
        match Errno::result(result) {
            Ok(0) => return Ok(None),
            Ok(pid) => {
                let microseconds = |time: libc::timeval| {
                    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
                    seconds.saturating_mul(1_000_000).saturating_add(u64::try_from(time.tv_usec).unwrap_or(0))
                };
                let usage = Usage {
                    user_us: microseconds(used.ru_utime),
                    system_us: microseconds(used.ru_stime),
                    // The kernel counts in KiB.
                    max_rss_bytes: u64::try_from(used.ru_maxrss).unwrap_or(0).saturating_mul(1024),
                };
                return Ok(Some(Reaped { pid: Pid::from_raw(pid), status, usage }));
            }
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

/// The niceness of this process.
pub(crate) fn niceness() -> i32 {
    // SAFETY: a call without pointers. It cannot fail for the calling process, so -1 is a niceness.
    unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) }
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

/// Forks into new namespaces, as `fork` does with `clone` flags on top, and into a control group, whose directory it is;
/// `None` in the child. Only for [`crate::launcher_main`], whose process has one thread.
pub(crate) fn fork_into(namespaces: CloneFlags, group: Option<BorrowedFd<'_>>) -> io::Result<Option<Pid>> {
    /// A flag of `clone3` alone, beyond what libc's own type for it holds.
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
    let pid = match group {
        None => {
            let flags = libc::c_long::from(namespaces.bits() | libc::SIGCHLD);
            // SAFETY: without CLONE_VM and without a stack this is `fork`: the child goes on with a copy of this
            // one-threaded process. What the C library remembers of the thread's id is not used by anything here.
            unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) }
        }
        Some(group) => {
            // SAFETY: a structure of numbers, for which zero is valid.
            let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
            arguments.flags = u64::from(namespaces.bits().cast_unsigned()) | CLONE_INTO_CGROUP;
            arguments.exit_signal = u64::from(libc::SIGCHLD.cast_unsigned());
            arguments.cgroup = u64::try_from(group.as_raw_fd()).map_err(io::Error::other)?;
            // SAFETY: as above; the structure and its size agree, and the descriptor lives as long as the borrow.
            unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size_of::<libc::clone_args>()) }
        }
    };
    let pid = libc::pid_t::try_from(Errno::result(pid)?).map_err(io::Error::other)?;
    Ok((pid != 0).then(|| Pid::from_raw(pid)))
}

/// Whether an extended attribute of a file has this value.
pub(crate) fn attribute_is(path: &Path, name: &CStr, value: &[u8]) -> bool {
    let Ok(path) = CString::new(path.as_os_str().as_bytes()) else { return false };
    let mut buffer = [0_u8; 64];
    // SAFETY: both names are C strings; the kernel writes at most the given number of bytes.
    let length = unsafe { libc::getxattr(path.as_ptr(), name.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len()) };
    usize::try_from(length).is_ok_and(|length| buffer.get(..length) == Some(value))
}

/// Waits for any child to end.
///
/// # Errors
/// `ECHILD` when there is no child left.
pub(crate) fn wait_any() -> Result<Reaped, Errno> {
    reap(None, 0)?.ok_or(Errno::ECHILD)
}

/// A detached copy of the mounts below `path`.
pub(crate) fn copy_mounts(path: &CStr) -> io::Result<OwnedFd> {
    let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC | libc::AT_RECURSIVE.cast_unsigned();
    // SAFETY: the path is a C string; the kernel opens a descriptor or fails.
    let fd = Errno::result(unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags) })?;
    let fd = RawFd::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the kernel has just opened it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sets mount attributes (`MOUNT_ATTR_*`) on a copy of mounts and all below it.
pub(crate) fn restrict_mounts(mounts: BorrowedFd<'_>, attributes: u64) -> io::Result<()> {
    set_mount_attributes(mounts.as_raw_fd(), c"", libc::AT_EMPTY_PATH | libc::AT_RECURSIVE, attributes)
}

/// Sets mount attributes on the one mount at `path`.
pub(crate) fn restrict_mount(path: &CStr, attributes: u64) -> io::Result<()> {
    set_mount_attributes(libc::AT_FDCWD, path, 0, attributes)
}

fn set_mount_attributes(fd: RawFd, path: &CStr, flags: i32, attributes: u64) -> io::Result<()> {
    let attributes = libc::mount_attr { attr_set: attributes, attr_clr: 0, propagation: 0, userns_fd: 0 };
    let size = size_of::<libc::mount_attr>();
    // SAFETY: path and structure live during the call, and the size is the structure's.
    let result =
        unsafe { libc::syscall(libc::SYS_mount_setattr, fd, path.as_ptr(), flags, &raw const attributes, size) };
    Ok(Errno::result(result).map(drop)?)
}

/// Attaches a copy of mounts at `target`.
pub(crate) fn attach_mounts(mounts: BorrowedFd<'_>, target: &CStr) -> io::Result<()> {
    let flags = libc::MOVE_MOUNT_F_EMPTY_PATH;
    let (from, empty) = (mounts.as_raw_fd(), c"");
    // SAFETY: both paths are C strings; the descriptor lives as long as the borrow.
    let result =
        unsafe { libc::syscall(libc::SYS_move_mount, from, empty.as_ptr(), libc::AT_FDCWD, target.as_ptr(), flags) };
    Ok(Errno::result(result).map(drop)?)
}

/// Takes a capability out of the bounding set.
pub(crate) fn drop_from_bounding_set(capability: u32) -> io::Result<()> {
    // SAFETY: takes numbers.
    Ok(Errno::result(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(capability), 0, 0, 0) })
        .map(drop)?)
}

/// Empties the ambient, effective, permitted and inheritable sets of this process.
pub(crate) fn drop_capabilities() -> io::Result<()> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    /// `_LINUX_CAPABILITY_VERSION_3`.
    const VERSION_3: u32 = 0x2008_0522;
    // SAFETY: takes numbers. Kernels before 4.3 have no ambient set and fail.
    unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) };
    let header = Header { version: VERSION_3, pid: 0 };
    // Two sets of effective, permitted and inheritable, 32 capabilities each.
    let sets = [0_u32; 6];
    // SAFETY: version 3 reads two structures of three words each, which `sets` has.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw const header, sets.as_ptr()) };
    Ok(Errno::result(result).map(drop)?)
}

/// Makes a copy of mounts show files of the owner that `users` maps as the worker's, and the other way round.
pub(crate) fn map_mount_owner(mounts: BorrowedFd<'_>, users: BorrowedFd<'_>) -> io::Result<()> {
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_IDMAP,
        attr_clr: 0,
        propagation: 0,
        userns_fd: u64::try_from(users.as_raw_fd()).map_err(io::Error::other)?,
    };
    let (size, flags) = (size_of::<libc::mount_attr>(), libc::AT_EMPTY_PATH);
    // SAFETY: path and structure live during the call, as do both descriptors; the size is the structure's.
    let result = unsafe {
        libc::syscall(libc::SYS_mount_setattr, mounts.as_raw_fd(), c"".as_ptr(), flags, &raw const attributes, size)
    };
    Ok(Errno::result(result).map(drop)?)
}

/// Brings the loopback interface of this network namespace up.
pub(crate) fn raise_loopback(socket: BorrowedFd<'_>) -> io::Result<()> {
    /// `SIOCSIFFLAGS`.
    const SET_INTERFACE_FLAGS: libc::Ioctl = 0x8914;
    // SAFETY: a structure of numbers and bytes, for which zero is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = libc::c_char::from_ne_bytes([*from]);
    }
    request.ifr_ifru.ifru_flags =
        libc::c_short::try_from(libc::IFF_UP | libc::IFF_RUNNING).map_err(io::Error::other)?;
    // SAFETY: the kernel reads the structure, which lives during the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), SET_INTERFACE_FLAGS, &raw const request) };
    Ok(Errno::result(result).map(drop)?)
}

/// A System V session keyring of its own, so that keys of whoever started the runner are out of reach.
pub(crate) fn new_session_keyring() -> io::Result<()> {
    /// `KEYCTL_JOIN_SESSION_KEYRING`.
    const JOIN_SESSION_KEYRING: libc::c_long = 1;
    // SAFETY: a null name asks for a new anonymous keyring.
    let result = unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, std::ptr::null::<libc::c_char>()) };
    Ok(Errno::result(result).map(drop)?)
}

/// Ends this process without running anything of the program it is a copy of.
pub(crate) fn exit_at_once() -> ! {
    // SAFETY: takes a number and does not return.
    unsafe { libc::_exit(0) }
}

/// Makes a descriptor mean what another one means, whatever it meant before.
pub(crate) fn point_at(fd: RawFd, target: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: whoever owns the descriptor still owns an open one.
    Ok(Errno::result(unsafe { libc::dup3(target.as_raw_fd(), fd, libc::O_CLOEXEC) }).map(drop)?)
}

/// Takes over descriptors that a socket has just delivered.
pub(crate) fn take_received(fds: Vec<RawFd>) -> Vec<OwnedFd> {
    // SAFETY: the kernel has opened each of them for us, and nobody else knows their numbers.
    fds.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }).collect()
}

/// Sets the soft limit of a process's private memory; the hard one stays.
pub(crate) fn set_data_limit(pid: Pid, bytes: u64) -> io::Result<()> {
    let mut limits = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    let no_change = std::ptr::null();
    // SAFETY: the kernel writes the structure, which lives during the call.
    Errno::result(unsafe { libc::prlimit(pid.as_raw(), libc::RLIMIT_DATA, no_change, &raw mut limits) })?;
    let soft = bytes.min(limits.rlim_max);
    if soft == limits.rlim_cur {
        return Ok(());
    }
    limits.rlim_cur = soft;
    // SAFETY: the kernel reads the structure, which lives during the call.
    Errno::result(unsafe { libc::prlimit(pid.as_raw(), libc::RLIMIT_DATA, &raw const limits, std::ptr::null_mut()) })?;
    Ok(())
}
