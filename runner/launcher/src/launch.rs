//! The runner's side: starting a holder, reaping it, and sweeping what a killed holder left.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, PipeReader, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawn};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::cgroup::{Cgroups, Group, GroupLimits, Leaf};
use crate::limits::{NICE_INSTEAD_OF_CPU_LIMIT, POLICY_BYTES_MAX};
use crate::policy::{LaunchPolicy, PolicyError};
use crate::start::{CONTROL_FD, FIRST_FOREIGN_FD, SESSION_FD};
use crate::sweep::{Swept, kill_descendants};
use crate::{LAUNCH_ARGUMENT, processes, raw};

/// What a worker with a limit of processor time reads where there is no group to hold it. All read the same, so that it is said
/// aloud once.
const CPU_NOT_LIMITED: &str = "cpu: a limit of processor time needs the cgroup controller `cpu`; without it such a worker only \
                               gives way to others";

/// Holders of this process that were not reaped yet. Children belong to the process and not to a
/// [`Launcher`], hence the only global. The lock is held while a holder is started, so that a sweep never
/// meets one that it does not know.
static HOLDERS: Mutex<BTreeSet<Pid>> = Mutex::new(BTreeSet::new());

/// Starts workers.
#[derive(Debug)]
pub struct Launcher {
    executable: PathBuf,
    /// Where groups for workers are made, or why nowhere.
    cgroups: Result<Cgroups, String>,
    /// Children from before: a shell that became the runner by `exec` leaves its own.
    inherited: BTreeSet<Pid>,
}

/// A worker on its way. Dropping it ends the worker: the control socket is its lifeline. The holder stays
/// to be reaped with [`Launcher::try_reap`].
#[derive(Debug)]
pub struct Launched {
    /// Process id of the holder.
    pub holder: Pid,
    /// Reports come from here (see [`crate::ReportDecoder`]) and orders go in ([`crate::encode_order`]).
    /// Non-blocking. Shutting down the writing half kills the worker and still lets the last report through.
    pub control: UnixStream,
    /// Reading end of the worker's standard output. Non-blocking. It ends when every process that holds the
    /// other end is gone, which the end of [`Self::control`] guarantees.
    pub stdout: OwnedFd,
    /// The same for standard error.
    pub stderr: OwnedFd,
    /// Its group. The holder removes it; one that was killed leaves it.
    pub group: Option<Leaf>,
}

/// A worker that could not even be given to a holder. What fails later comes as [`crate::Report::Failed`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LaunchError {
    /// The policy cannot work.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// No descriptors left, or no memory for them.
    #[error("cannot open the descriptors of a new worker: {0}")]
    Descriptors(#[from] io::Error),
    /// The launcher's own binary could not be executed.
    #[error("cannot execute the launcher `{}`: {source}", executable.display())]
    Spawn {
        /// The binary.
        executable: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// This process cannot become the reaper of what a killed holder leaves.
    #[error("cannot become the reaper of orphaned workers: {0}")]
    Subreaper(io::Error),
}

impl Launcher {
    /// A launcher that executes `executable`, whose `main` calls [`crate::launcher_main`]. This process
    /// becomes the reaper of whatever a killed holder leaves behind.
    ///
    /// # Errors
    /// The kernel refuses the latter, which none is known to do.
    pub fn new(executable: PathBuf) -> Result<Self, LaunchError> {
        prctl::set_child_subreaper(true).map_err(|errno| LaunchError::Subreaper(errno.into()))?;
        let inherited = processes::children(Pid::this()).into_iter().filter(|pid| !holders().contains(pid)).collect();
        let cgroups = Err("the runner has not looked for any".to_owned());
        Ok(Self { executable, cgroups, inherited })
    }

    /// The same with groups for workers whose policy has limits for one, or the reason that there are none.
    #[must_use]
    pub fn with_cgroups(self, cgroups: Result<Cgroups, String>) -> Self {
        Self { cgroups, ..self }
    }

    /// A launcher that executes the binary of this very process, also after its file was replaced or
    /// deleted by an upgrade.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn of_this_binary() -> Result<Self, LaunchError> {
        Self::new(PathBuf::from("/proc/self/exe"))
    }

    /// Starts a holder, which starts the worker; `session` becomes the worker's descriptor 3. Takes about a
    /// millisecond and waits for nothing else: whether the worker runs comes as the first report.
    ///
    /// # Errors
    /// The policy cannot work, or the kernel has no descriptors or processes left.
    pub fn launch(&self, policy: &LaunchPolicy, session: OwnedFd) -> Result<Launched, LaunchError> {
        policy.check()?;
        let group = policy.group.map_or_else(Group::default, |limits| self.group(&limits));
        let leaf = group.leaf.clone();
        let mut policy = Cow::Borrowed(policy);
        if group.missing.iter().any(|layer| layer.starts_with("cpu: ")) {
            // What cannot be withheld from the worker is at least given to others first.
            let nice = policy.nice.unwrap_or_default().max(NICE_INSTEAD_OF_CPU_LIMIT);
            policy.to_mut().nice = Some(nice);
        }
        self.launch_in(policy, session, group).inspect_err(|_| drop(leaf.map(|leaf| leaf.remove())))
    }

    fn launch_in(
        &self,
        policy: Cow<'_, LaunchPolicy>,
        session: OwnedFd,
        group: Group,
    ) -> Result<Launched, LaunchError> {
        let policy = policy_file(&Assignment { policy, group: Cow::Borrowed(&group) })?;
        let group = group.leaf;
        let (control, holders_control) = UnixStream::pair()?;
        control.set_nonblocking(true)?;
        let (stdout, workers_stdout) = io::pipe()?;
        let (stderr, workers_stderr) = io::pipe()?;

        let given =
            [policy.as_fd(), workers_stdout.as_fd(), workers_stderr.as_fd(), session.as_fd(), holders_control.as_fd()];
        let holder = self.spawn(given)?;
        Ok(Launched { holder, control, stdout: non_blocking(stdout)?, stderr: non_blocking(stderr)?, group })
    }

    /// A group with these limits, or what stands in for it.
    fn group(&self, limits: &GroupLimits) -> Group {
        let mut group = match &self.cgroups {
            Ok(cgroups) => cgroups.group(limits),
            Err(reason) => Group { missing: vec![format!("cgroup: {reason}")], ..Group::default() },
        };
        if let Some(thousandths) = limits.cpu_thousandths {
            let limit = f64::from(thousandths) / 1_000.0;
            if group.enforced.iter().any(|word| word.contains("cpu.max:")) {
                group.enforced.push(format!("cpu={limit}"));
            } else {
                group.missing.push(CPU_NOT_LIMITED.to_owned());
            }
        }
        group
    }

    /// Starts the binary with `given` as its descriptors 0 to 4, an empty environment and clean signals.
    fn spawn(&self, given: [BorrowedFd<'_>; 5]) -> Result<Pid, LaunchError> {
        // A source among the targets would be overwritten before it is copied, so all are moved away first.
        let sources = given.map(|fd| raw::duplicate_from(fd, FIRST_FOREIGN_FD));
        let targets: [RawFd; 5] = [0, 1, 2, SESSION_FD, CONTROL_FD];
        let failed = |source: io::Error| LaunchError::Spawn { executable: self.executable.clone(), source };

        let mut actions = PosixSpawnFileActions::init().map_err(|errno| failed(errno.into()))?;
        let mut kept = Vec::with_capacity(targets.len());
        for (source, target) in sources.into_iter().zip(targets) {
            let source = source?;
            actions.add_dup2(source.as_raw_fd(), target).map_err(|errno| failed(errno.into()))?;
            kept.push(source);
        }

        let attributes = attributes().map_err(|errno| failed(errno.into()))?;
        let program = CString::new(self.executable.as_os_str().as_bytes()).map_err(|error| failed(error.into()))?;
        let argument = CString::new(LAUNCH_ARGUMENT).map_err(|error| failed(error.into()))?;
        let no_environment: [&CStr; 0] = [];

        let mut holders = holders();
        let arguments = [c"bulkhead", argument.as_c_str()];
        let holder = posix_spawn(program.as_c_str(), &actions, &attributes, &arguments, &no_environment)
            .map_err(|errno| failed(errno.into()))?;
        holders.insert(holder);
        Ok(holder)
    }

    /// Reaps a holder if it has ended, without blocking, and gives its raw wait status. Call it once the
    /// control socket has ended, and again until it gives one: the socket closes a moment earlier. A status
    /// other than 0 means that somebody killed the holder: [`Self::reap_orphans`] is due.
    ///
    /// # Errors
    /// `holder` is not a holder of this process, or was reaped before.
    pub fn try_reap(&self, holder: Pid) -> io::Result<Option<i32>> {
        let mut holders = holders();
        if !holders.contains(&holder) {
            return Err(Errno::ECHILD.into());
        }
        let Some((_, status)) = raw::try_wait(Some(holder))? else { return Ok(None) };
        holders.remove(&holder);
        Ok(Some(status))
    }

    /// Kills a holder that does not answer an [`crate::Order::Kill`], for instance because its worker has
    /// stopped it. The worker dies with it; the rest is left to [`Self::reap_orphans`] after the reaping.
    pub fn kill_holder(&self, holder: Pid) {
        // The lock keeps it from being reaped, and its id from being given to another, in between.
        let holders = holders();
        if holders.contains(&holder) {
            // It can only have ended already, which is what was wanted.
            let _ = kill(holder, Signal::SIGKILL);
        }
    }

    /// Kills and reaps children of this process that it did not start: what a killed holder leaves falls to
    /// its parent. `known` tells which children the caller has started in another way; it must know them
    /// before they exist, so hold the lock under which they are started. One pass, which does not wait: call
    /// it again, after a pause, until [`Swept::remaining`] is zero.
    pub fn reap_orphans(&self, known: impl Fn(Pid) -> bool) -> Swept {
        let holders = holders();
        let is_orphan = |pid: Pid| !holders.contains(&pid) && !self.inherited.contains(&pid) && !known(pid);
        let me = Pid::this();
        let orphans = || processes::children(me).into_iter().filter(|pid| is_orphan(*pid));
        let mut reaped = 0;
        let mut reap = || reaped += orphans().filter(|pid| matches!(raw::try_wait(Some(*pid)), Ok(Some(_)))).count();
        let killed = kill_descendants(&is_orphan, &mut reap).len();
        reap();
        Swept { killed, reaped, remaining: orphans().count() }
    }
}

fn holders() -> MutexGuard<'static, BTreeSet<Pid>> {
    // A set of numbers is whole at every moment, so a panic elsewhere has not spoilt it.
    HOLDERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a launcher is told.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Assignment<'a> {
    pub(crate) policy: Cow<'a, LaunchPolicy>,
    pub(crate) group: Cow<'a, Group>,
}

/// The policy as a file in memory: unlike a pipe it takes any size without somebody who writes meanwhile.
fn policy_file(assignment: &Assignment<'_>) -> Result<File, LaunchError> {
    let json = serde_json::to_vec(assignment).map_err(PolicyError::from)?;
    if json.len() > POLICY_BYTES_MAX {
        return Err(PolicyError::TooLarge { bytes: json.len(), max: POLICY_BYTES_MAX }.into());
    }
    let mut file = File::from(memfd_create(c"bulkhead-policy", MFdFlags::MFD_CLOEXEC).map_err(io::Error::from)?);
    file.write_all(&json)?;
    file.rewind()?;
    Ok(file)
}

/// Own process group, so that a Ctrl-C in the terminal does not reach the holder; every signal as by
/// default and none blocked. The group stays in the runner's session on purpose: if a plugin has stopped
/// its holder and the runner dies, the kernel continues a stopped group that has lost its session's last
/// link to it, and the holder then sees the end of its lifeline. In a session of its own it would sleep on.
fn attributes() -> nix::Result<PosixSpawnAttr> {
    let mut attributes = PosixSpawnAttr::init()?;
    attributes.set_flags(
        PosixSpawnFlags::POSIX_SPAWN_SETPGROUP
            | PosixSpawnFlags::POSIX_SPAWN_SETSIGDEF
            | PosixSpawnFlags::POSIX_SPAWN_SETSIGMASK,
    )?;
    attributes.set_pgroup(Pid::from_raw(0))?;
    attributes.set_sigdefault(&SigSet::all())?;
    attributes.set_sigmask(&SigSet::empty())?;
    Ok(attributes)
}

/// A pipe's ends have their status flags each, so the worker's end still blocks.
fn non_blocking(pipe: PipeReader) -> io::Result<OwnedFd> {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    let flags = OFlag::from_bits_retain(fcntl(&pipe, FcntlArg::F_GETFL)?);
    fcntl(&pipe, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(pipe.into())
}
