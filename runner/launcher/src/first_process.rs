//! Starting a process 1 for the worker, in new namespaces: both sides, up to where each goes on by itself.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::socket::{MsgFlags, recv};
use nix::unistd::{Pid, dup2_stderr, dup2_stdout, getegid, geteuid};

use crate::control::Step;
use crate::held_group::HeldGroup;
use crate::limits::CONTROL_MESSAGE_BYTES_MAX;
use crate::patience::{fork_patiently, is_exhausted};
use crate::policy::LaunchPolicy;
use crate::raw;
use crate::receive::receive_with;
use crate::sandbox::init::{Init, Message};
use crate::sandbox::{Sandbox, Tier, namespaces, root};
use crate::start::{CONTROL_FD, SESSION_FD, StartReader, StartReport, StartWriter};
use crate::worker::{self, Confinement, StepError};

/// Process 1, as its children see it.
const INIT: Pid = Pid::from_raw(1);

/// What came of trying namespaces.
pub(crate) enum Attempt {
    /// In process 1, when all is over or nothing came of it.
    Inside,
    /// In the worker, which could not execute its program and has said so.
    Worker,
    /// In the holder: process 1 is ready and starts the worker.
    Holder { pid: Pid, channel: UnixStream, start: StartReader, listeners: Vec<OwnedFd> },
    /// The kernel does not grant them.
    Refused(String),
}

/// Starts process 1 in new namespaces and waits until it has set them up.
pub(crate) fn fork_first_process(
    (policy, sandbox): (&LaunchPolicy, &Sandbox),
    control: &UnixStream,
    null: &File,
    held: &HeldGroup,
) -> Result<Attempt, StepError> {
    let (channel, theirs) = UnixStream::pair().map_err(StepError::at(Step::Namespaces))?;
    let (reader, writer) = io::pipe().map_err(StepError::at(Step::Fork))?;
    let writer = StartWriter(writer);
    let (user, group) = (geteuid(), getegid());
    let namespaces = namespaces::wanted(user.is_root(), &sandbox.network);
    let other_user = sandbox.user.filter(|_| user.is_root());
    let places = root::places(sandbox).map_err(StepError::at(Step::Root))?;
    let owners = match other_user.map(|id| root::owners(&places, id)).transpose() {
        Ok(owners) => owners.unwrap_or_default(),
        Err(reason) => return Ok(Attempt::Refused(reason)),
    };
    let mut report = StartReport::default();
    let pid = match held.fork(namespaces, &mut report) {
        Ok(Some(pid)) => pid,
        Ok(None) => {
            drop((channel, reader));
            let init = Init { policy, sandbox, namespaces, user, group, places, owners, channel: theirs };
            return Ok(inside(init, report, writer, null));
        }
        Err(error) if is_exhausted(&error) => return Err(StepError::no_fork(error)),
        Err(error) => return Ok(Attempt::Refused(format!("clone: {error}"))),
    };
    drop((theirs, writer));
    // The runner may give up, or go, while a mount hangs on a dead file server.
    let mut fds = [PollFd::new(channel.as_fd(), PollFlags::POLLIN), PollFd::new(control.as_fd(), PollFlags::POLLIN)];
    while poll(&mut fds, PollTimeout::NONE) == Err(Errno::EINTR) {}
    let has_spoken = fds.first().and_then(PollFd::any).unwrap_or(false);
    let failed = |error: String| Err(StepError { step: Step::Namespaces, error });
    let (message, listeners) = match has_spoken.then(|| receive(&channel)) {
        Some(Ok(received)) => received,
        Some(Err(error)) => {
            reap_init(pid);
            return failed(format!("process 1 cannot be heard: {error}"));
        }
        None => {
            reap_init(pid);
            return failed("the runner has given up the start before process 1 was ready".to_owned());
        }
    };
    match message {
        Some(Message::Ready) => Ok(Attempt::Holder { pid, channel, start: StartReader::new(reader), listeners }),
        Some(Message::Failed { step, error }) => {
            reap_init(pid);
            Err(StepError { step, error })
        }
        Some(Message::Refused(reason)) => {
            reap_init(pid);
            Ok(Attempt::Refused(reason))
        }
        Some(Message::Ended { .. } | Message::ChildEnded { .. }) | None => {
            // It has closed its end, so it was ending by itself.
            let how = reap_init(pid).map_or_else(String::new, |status| format!(" ({})", ExitStatus::from_raw(status)));
            failed(format!("process 1 ended before it was ready{how}"))
        }
    }
}

/// Ends process 1, and gives its raw wait status.
fn reap_init(pid: Pid) -> Option<i32> {
    // It can only have ended already.
    drop(raw::signal_child(pid, Signal::SIGKILL as i32));
    loop {
        match raw::try_wait(Some(pid)) {
            Ok(None) => std::thread::sleep(std::time::Duration::from_millis(1)),
            Ok(Some((_, status))) => return Some(status),
            Err(_) => return None,
        }
    }
}

/// The life of process 1.
fn inside(init: Init<'_>, mut report: StartReport, writer: StartWriter, null: &File) -> Attempt {
    if init.set_up(&mut report).is_none() {
        return Attempt::Inside;
    }
    let worker = match fork_patiently(raw::fork) {
        Ok(Some(worker)) => worker,
        Ok(None) => {
            let (policy, sandbox, places) = (init.policy, Some(init.sandbox), init.places.as_slice());
            let confinement = Confinement { parent: INIT, tier: Tier::Namespaces, sandbox, places, report };
            let Err(failure) = worker::apply(policy, confinement, &writer);
            writer.failed(failure);
            return Attempt::Worker;
        }
        Err(error) => {
            writer.failed(StepError::no_fork(error));
            return Attempt::Inside;
        }
    };
    drop(writer);
    // Nothing of the worker's may stay open here, or the runner would not see it end.
    let silenced = dup2_stdout(null).and_then(|()| dup2_stderr(null));
    if silenced.is_ok() && [SESSION_FD, CONTROL_FD].iter().all(|fd| raw::point_at(*fd, null.as_fd()).is_ok()) {
        init.reap(worker);
    }
    Attempt::Inside
}

/// One message of process 1, with the descriptors that come along.
fn receive(channel: &UnixStream) -> io::Result<(Option<Message>, Vec<OwnedFd>)> {
    let mut buffer = [0; CONTROL_MESSAGE_BYTES_MAX];
    channel.set_nonblocking(true)?;
    // A worker that ends at once has its end told before this process comes to read: that line is for later.
    let waiting = recv(channel.as_raw_fd(), &mut buffer, MsgFlags::MSG_PEEK)?;
    let line = buffer.iter().take(waiting).position(|byte| *byte == b'\n').map_or(waiting, |end| end + 1);
    let (bytes, fds) = receive_with(channel, buffer.get_mut(..line).unwrap_or_default())?;
    let line = buffer.get(..bytes).unwrap_or_default();
    Ok((serde_json::from_slice(line).ok(), fds))
}
