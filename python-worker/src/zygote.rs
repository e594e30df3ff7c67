//! A process that has imported what a plugin needs and is copied for each worker: its channel to the runner, and what each
//! copy gives up before it becomes a worker.

use std::io::{self, IoSliceMut, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use parking_lot::Mutex;
use pyo3::prelude::*;

use crate::limits::ZYGOTE_FILTER_INSTRUCTIONS_MAX;

/// Descriptors of a worker in the order in which the runner sends them: session, standard output, standard error.
const TARGETS: [RawFd; 3] = [crate::package::SESSION_FD, 1, 2];
/// First number for descriptors that the worker's own must not overwrite.
const FIRST_FREE_FD: RawFd = 10;
/// The version of Landlock that separates signals and abstract sockets.
const SCOPES_SINCE: i64 = 6;

/// The zygote's end of its channel.
#[pyclass(frozen, module = "bulkhead_worker._native")]
pub(crate) struct Zygote {
    channel: Mutex<Option<UnixStream>>,
    /// What each copy installs.
    after_fork: Vec<libc::sock_filter>,
    /// Descriptors of the next worker.
    given: Mutex<Vec<OwnedFd>>,
}

#[pymethods]
impl Zygote {
    /// Takes the inherited socket over, reads the filters, and installs the one for imports.
    #[new]
    fn new(fd: RawFd) -> PyResult<Self> {
        let mut channel = UnixStream::from(adopt(fd)?);
        let before_imports = read_filter(&mut channel)?;
        let after_fork = read_filter(&mut channel)?;
        install(&before_imports)?;
        set_name(c"bulkhead-zygote");
        Ok(Self { channel: Mutex::new(Some(channel)), after_fork, given: Mutex::default() })
    }

    /// Tells the runner something in one line.
    fn say(&self, line: &str) -> PyResult<()> {
        let channel = self.channel.lock();
        let Some(mut channel) = channel.as_ref() else { return Ok(()) };
        Ok(channel.write_all(format!("{line}\n").as_bytes())?)
    }

    /// Waits for the next worker to make; false when the runner wants no more.
    fn wait(&self, py: Python<'_>) -> PyResult<bool> {
        py.detach(|| {
            let given = match self.channel.lock().as_ref() {
                Some(channel) => receive(channel)?,
                None => None,
            };
            let is_order = given.is_some();
            *self.given.lock() = given.unwrap_or_default();
            Ok(is_order)
        })
    }

    /// In the zygote: the descriptors belong to the copy now.
    fn forget(&self) {
        self.given.lock().clear();
    }

    /// In a copy: becomes a worker with its own descriptors, apart from its siblings and without the zygote's rights. The
    /// channel is closed.
    fn enter(&self) -> PyResult<()> {
        let Some(inherited) = self.channel.lock().take() else { return Ok(()) };
        let mut channel = UnixStream::from(move_away(&inherited)?);
        // Its number is the session's from here on.
        drop(inherited);
        let given = std::mem::take(&mut *self.given.lock());
        let moved = given.iter().map(move_away).collect::<io::Result<Vec<OwnedFd>>>()?;
        drop(given);
        for (fd, target) in moved.iter().zip(TARGETS) {
            point_at(target, fd)?;
        }
        drop(moved);
        set_name(c"python");
        let words = tighten(&self.after_fork)?;
        Ok(channel.write_all(format!("forked\t{}\n", words.join("\t")).as_bytes())?)
    }
}

/// One order with its descriptors; nothing at the end of the channel.
fn receive(channel: &UnixStream) -> io::Result<Option<Vec<OwnedFd>>> {
    let mut space = nix::cmsg_space!([RawFd; 3]);
    let mut order = [0; 1];
    let mut parts = [IoSliceMut::new(&mut order)];
    let message = loop {
        match recvmsg::<()>(channel.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC) {
            Err(nix::errno::Errno::EINTR) => {}
            received => break received?,
        }
    };
    let mut fds = Vec::new();
    for part in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(received) = part {
            fds.extend(received.into_iter().map(owned));
        }
    }
    Ok((message.bytes > 0 && fds.len() == TARGETS.len()).then_some(fds))
}

/// A number of instructions, and the instructions as the kernel has them.
fn read_filter(channel: &mut UnixStream) -> io::Result<Vec<libc::sock_filter>> {
    let mut count = [0; 4];
    channel.read_exact(&mut count)?;
    let count = u32::from_le_bytes(count);
    if count > ZYGOTE_FILTER_INSTRUCTIONS_MAX {
        return Err(io::Error::other("a filter of system calls is longer than the kernel takes"));
    }
    let mut filter = Vec::new();
    for _ in 0..count {
        let mut line = [0; 8];
        channel.read_exact(&mut line)?;
        let word = u64::from_le_bytes(line);
        #[expect(clippy::cast_possible_truncation, reason = "each part is cut out of its place in the word")]
        filter.push(libc::sock_filter {
            code: (word >> 48) as u16,
            jt: (word >> 40) as u8,
            jf: (word >> 32) as u8,
            k: word as u32,
        });
    }
    Ok(filter)
}

/// Dies with the reaper, gets a Landlock domain of its own, gives forks up. What was done, in words.
fn tighten(after_fork: &[libc::sock_filter]) -> io::Result<Vec<String>> {
    let mut words = vec!["zygote".to_owned()];
    die_with_parent()?;
    match own_domain() {
        Ok(what) => words.push(what.to_owned()),
        Err(error) => words.push(format!("!landlock: workers of this trigger have one domain together: {error}")),
    }
    install(after_fork)?;
    Ok(words)
}

/// Under what name people find this process.
#[expect(unsafe_code, reason = "prctl has no safe wrapper for this option without another feature of nix")]
fn set_name(name: &std::ffi::CStr) {
    // SAFETY: the kernel copies at most 16 bytes of a C string. It cannot fail.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
}

#[expect(unsafe_code, reason = "prctl has no safe wrapper for this option without another feature of nix")]
fn die_with_parent() -> io::Result<()> {
    // SAFETY: takes numbers.
    let result = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A Landlock domain below the zygote's: whoever is in another one below it can be neither signalled nor looked into.
#[expect(unsafe_code, reason = "three numbers in a structure do not need another dependency")]
fn own_domain() -> io::Result<&'static str> {
    /// `LANDLOCK_CREATE_RULESET_VERSION`.
    const VERSION: libc::c_uint = 1;
    /// `LANDLOCK_ACCESS_FS_MAKE_BLOCK`, which no worker has.
    const MAKE_BLOCK_DEVICE: u64 = 1 << 11;
    /// `LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | LANDLOCK_SCOPE_SIGNAL`.
    const SCOPES: u64 = 3;
    // SAFETY: asks for a number and reads nothing.
    let version = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0, VERSION) };
    if version < 1 {
        return Err(io::Error::last_os_error());
    }
    // Files, network, scopes; older versions know the first one or two.
    let (attributes, size, what) = if version >= SCOPES_SINCE {
        ([MAKE_BLOCK_DEVICE, 0, SCOPES], 24, "landlock_domain=own,signals")
    } else {
        ([MAKE_BLOCK_DEVICE, 0, 0], 8, "landlock_domain=own")
    };
    // SAFETY: the kernel reads `size` bytes of an array of 24.
    let ruleset = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, attributes.as_ptr(), size, 0) };
    let ruleset = RawFd::try_from(ruleset).ok().filter(|fd| *fd >= 0).ok_or_else(io::Error::last_os_error)?;
    let ruleset = owned(ruleset);
    // SAFETY: takes an open descriptor and a number.
    let result = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0) };
    if result == 0 { Ok(what) } else { Err(io::Error::last_os_error()) }
}

/// Installs a filter of system calls for good.
#[expect(unsafe_code, reason = "the system call has no wrapper")]
fn install(filter: &[libc::sock_filter]) -> io::Result<()> {
    /// `SECCOMP_SET_MODE_FILTER`.
    const SET_MODE_FILTER: libc::c_uint = 1;
    let length = u16::try_from(filter.len()).map_err(io::Error::other)?;
    let program = libc::sock_fprog { len: length, filter: filter.as_ptr().cast_mut() };
    // SAFETY: the kernel reads the program and its instructions, which live during the call, and writes nothing.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, 0, &raw const program) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The same open file under a number that is in nobody's way.
fn move_away(fd: &impl std::os::fd::AsFd) -> io::Result<OwnedFd> {
    Ok(owned(fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(FIRST_FREE_FD))?))
}

#[expect(unsafe_code, reason = "a descriptor's number is all that the kernel gives")]
fn owned(fd: RawFd) -> OwnedFd {
    // SAFETY: the kernel has just opened it for us.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

#[expect(unsafe_code, reason = "a descriptor that was inherited by number has no safe owner yet")]
fn adopt(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: fcntl on any number is harmless; it fails with EBADF if nothing is open there.
    if unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the runner passed this descriptor to the process for this use; nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Makes `target` mean what `fd` means, also after an exec.
#[expect(unsafe_code, reason = "the numbers of a worker's descriptors are fixed")]
fn point_at(target: RawFd, fd: &OwnedFd) -> io::Result<()> {
    // SAFETY: whoever owns the target still owns an open one.
    if unsafe { libc::dup2(fd.as_raw_fd(), target) } < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
