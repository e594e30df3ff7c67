//! Process 1 of a worker's pid namespace: it sets the namespaces up, starts the worker, reaps, and reports the worker's
//! raw wait status. When it ends, the kernel kills everything that is left.

use std::io::{self, IoSlice, Read, Write};
use std::net::TcpListener;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;

use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use nix::unistd::{Gid, Pid, Uid, sethostname};
use serde::{Deserialize, Serialize};

use super::policy::{Network, Sandbox};
use super::root::{self, Owners, Place, RootError, Tenant};
use super::{etc, identity, namespaces, network};
use crate::control::{Step, Usage, encode};
use crate::policy::LaunchPolicy;
use crate::raw;
use crate::start::StartReport;
use crate::worker::{StepError, set_priority};

/// What process 1 tells the holder, a line each.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Message {
    /// The namespaces are as they should be; the worker comes next. Listeners come along.
    Ready,
    /// The kernel does not allow these namespaces; nothing has happened yet.
    Refused(String),
    /// They cannot be set up as the policy wants them.
    Failed {
        /// What was tried.
        step: Step,
        /// Why it failed.
        error: String,
    },
    /// A process has ended that its parent had left to this one.
    ChildEnded {
        /// Its process id in here.
        pid: i32,
        /// Its raw wait status.
        raw_status: i32,
        /// What it used.
        usage: Usage,
    },
    /// The worker has ended, and so has everything else.
    Ended {
        /// Its raw wait status.
        raw_status: i32,
        /// Other processes that had to be killed.
        killed: u64,
    },
}

/// Process 1 before it starts the worker.
pub(crate) struct Init<'a> {
    pub(crate) policy: &'a LaunchPolicy,
    pub(crate) sandbox: &'a Sandbox,
    pub(crate) namespaces: CloneFlags,
    /// The runner's user and group.
    pub(crate) user: Uid,
    pub(crate) group: Gid,
    /// What the worker may see.
    pub(crate) places: Vec<Place>,
    /// How to show the worker the directories that it may write to.
    pub(crate) owners: Owners,
    /// To the holder, and the lifeline from it.
    pub(crate) channel: UnixStream,
}

/// Why the namespaces are not set up.
enum SetupError {
    Refused(String),
    Failed(StepError),
}

impl Init<'_> {
    /// Sets everything up and tells the holder; nothing when it is over.
    pub(crate) fn set_up(&self, report: &mut StartReport) -> Option<()> {
        let listeners = match self.try_set_up(report) {
            Ok(done) => done,
            Err(error) => {
                tell(
                    &self.channel,
                    &match error {
                        SetupError::Refused(reason) => Message::Refused(reason),
                        SetupError::Failed(StepError { step, error }) => Message::Failed { step, error },
                    },
                );
                return None;
            }
        };
        send_ready(&self.channel, &listeners).ok()
    }

    fn try_set_up(&self, report: &mut StartReport) -> Result<Vec<TcpListener>, SetupError> {
        let refused = |what: &str, error: &dyn std::fmt::Display| SetupError::Refused(format!("{what}: {error}"));
        let failed = |step: Step, error: String| SetupError::Failed(StepError { step, error });
        // Files of /proc/self belong to root as long as the holder's protection from debuggers lasts.
        prctl::set_dumpable(true).map_err(|errno| refused("dumpable", &errno))?;
        if self.namespaces.contains(CloneFlags::CLONE_NEWUSER) {
            namespaces::map_self(self.user, self.group).map_err(|error| refused("user namespace", &error))?;
        }
        self.die_with_holder().map_err(|error| failed(Step::Session, error))?;
        // Only now, so that the worker's own group is the root of what it sees.
        unshare(CloneFlags::CLONE_NEWCGROUP).map_err(|errno| refused("cgroup namespace", &errno))?;
        report.enforced.extend(namespaces::names(self.namespaces));
        set_priority(self.policy, report);
        if raw::new_session_keyring().is_ok() {
            report.enforced.push("keyring=own".to_owned());
        }
        // The host's name tells about the host; a kernel that keeps it for itself is no reason to stop.
        let _ = sethostname(etc::HOST_NAME);

        let (listeners, hosts) = match &self.sandbox.network {
            Network::Named(endpoints) => network::listen(endpoints).map_err(|error| failed(Step::Network, error))?,
            Network::None | Network::Host => (Vec::new(), String::new()),
        };
        nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
        let id = self.sandbox.user.filter(|_| self.user.is_root());
        let tenant = Tenant {
            user: id.map_or(self.user, Uid::from_raw),
            group: id.map_or(self.group, Gid::from_raw),
            owners: &self.owners,
            cwd: &self.policy.cwd,
            hosts: &hosts,
        };
        root::enter(self.sandbox, &self.places, &tenant, report).map_err(|error| match error {
            RootError::Refused(reason) => refused("root", &reason),
            RootError::Grant(error) => failed(Step::Root, error),
        })?;
        identity::adopt(self.sandbox.user, report).map_err(|error| failed(Step::Identity, error))?;
        // A change of user clears it.
        self.die_with_holder().map_err(|error| failed(Step::Session, error))?;
        Ok(listeners)
    }

    /// Ties this process to the holder, which has no process id in here: its end of the channel tells whether it lives.
    fn die_with_holder(&self) -> Result<(), String> {
        prctl::set_pdeathsig(Signal::SIGKILL).map_err(|errno| errno.to_string())?;
        self.channel.set_nonblocking(true).map_err(|error| error.to_string())?;
        let alive =
            matches!((&self.channel).read(&mut [0; 1]), Err(error) if error.kind() == io::ErrorKind::WouldBlock);
        self.channel.set_nonblocking(false).map_err(|error| error.to_string())?;
        if alive { Ok(()) } else { Err("the holder has died".to_owned()) }
    }

    /// Reaps until the worker has ended, kills the rest, and reports.
    pub(crate) fn reap(self, worker: Pid) {
        // Nobody inside may look into this process. It has nothing to hide but its memory layout.
        let _ = prctl::set_dumpable(false);
        let _ = prctl::set_name(c"bulkhead-init");
        let raw_status = loop {
            match raw::wait_any() {
                Ok(child) if child.pid == worker => break child.status,
                Ok(child) if self.policy.reports_children => {
                    let (pid, raw_status, usage) = (child.pid.as_raw(), child.status, child.usage);
                    tell(&self.channel, &Message::ChildEnded { pid, raw_status, usage });
                }
                Ok(_) => {}
                Err(_) => return,
            }
        };
        let mut killed = 0;
        loop {
            // Everybody but this process; who forks meanwhile is met in the next round.
            let _ = kill(Pid::from_raw(-1), Signal::SIGKILL);
            match raw::wait_any() {
                Ok(child) => killed += u64::from(child.status & 0x7f == Signal::SIGKILL as i32),
                Err(_) => break,
            }
        }
        tell(&self.channel, &Message::Ended { raw_status, killed });
    }
}

/// The holder may be gone, which ends this process anyway.
fn tell(mut channel: &UnixStream, message: &Message) {
    if let Ok(line) = encode(message) {
        drop(channel.write_all(&line));
    }
}

fn send_ready(channel: &UnixStream, listeners: &[TcpListener]) -> io::Result<()> {
    let line = encode(&Message::Ready).map_err(io::Error::other)?;
    let fds: Vec<RawFd> = listeners.iter().map(AsRawFd::as_raw_fd).collect();
    send_with(channel.as_raw_fd(), &line, &fds)
}

/// Sends bytes with descriptors. The line is short, so it goes out in one piece.
pub(crate) fn send_with(socket: RawFd, line: &[u8], fds: &[RawFd]) -> io::Result<()> {
    let rights = [ControlMessage::ScmRights(fds)];
    let control: &[ControlMessage<'_>] = if fds.is_empty() { &[] } else { &rights };
    let sent = sendmsg::<()>(socket, &[IoSlice::new(line)], control, MsgFlags::empty(), None)?;
    if sent == line.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}
