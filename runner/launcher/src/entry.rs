//! `bulkhead __launch`: this process becomes the holder and starts the worker, behind a process 1 where there are namespaces.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use nix::sched::CloneFlags;
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{Pid, dup2_stderr, dup2_stdin, dup2_stdout, geteuid};

use crate::control::{Report, Step};
use crate::first_process::{Attempt, fork_first_process};
use crate::held_group::HeldGroup;
use crate::holder::{Child, Holder, report};
use crate::launch::Assignment;
use crate::limits::POLICY_BYTES_MAX;
use crate::policy::PolicyError;
use crate::raw;
use crate::sandbox::root::{self, Place};
use crate::sandbox::{Access, Network, Sandbox, Tier, emulate};
use crate::session_weight::SessionWeight;
use crate::start::{CONTROL_FD, FIRST_FOREIGN_FD, SESSION_FD, StartReader, StartReport, StartWriter, shorten};
use crate::worker::{self, Confinement, StepError};

/// Exit code of a worker that could not execute its program, as shells have it.
const EXIT_NO_PROGRAM: u8 = 127;
/// Exit code of a launcher that was started by hand.
const EXIT_MISUSE: u8 = 2;

/// What `main` does when its first argument is [`crate::LAUNCH_ARGUMENT`]. Call it before anything opens a
/// descriptor or starts a thread, and return what it returns: it comes back both in the holder, when all is
/// over, and in a worker that could not execute its program.
#[must_use]
pub fn launcher_main() -> ExitCode {
    let inherited = raw::take_inherited(CONTROL_FD, true)
        .and_then(|control| Ok((UnixStream::from(control), raw::take_inherited(SESSION_FD, false)?)));
    let Ok((control, session)) = inherited else {
        drop(writeln!(io::stderr(), "`__launch` is how the runner starts a worker; it cannot be used by hand"));
        return ExitCode::from(EXIT_MISUSE);
    };
    let mut group = HeldGroup::default();
    match fork_worker(session, &control, &mut group) {
        Ok(Side::Worker) => ExitCode::from(EXIT_NO_PROGRAM),
        Ok(Side::Init) => ExitCode::SUCCESS,
        Ok(Side::Holder(child)) => Holder::new(control, child, group).run(),
        Err(StepError { step, error }) => {
            group.remove();
            report(&control, &Report::Failed { step, error: shorten(error) });
            ExitCode::SUCCESS
        }
    }
}

/// Where [`fork_worker`] comes back.
enum Side {
    /// In the worker, which could not execute its program and has said so.
    Worker,
    /// In process 1 of the worker's pid namespace, when all is over.
    Init,
    /// In the holder.
    Holder(Child),
}

/// Reads the policy, becomes a holder, and starts the worker in the best tier that the kernel grants.
fn fork_worker(session: OwnedFd, control: &UnixStream, held: &mut HeldGroup) -> Result<Side, StepError> {
    raw::close_from(FIRST_FOREIGN_FD).map_err(StepError::at(Step::Descriptors))?;
    let Assignment { policy, group } = read_assignment().map_err(StepError::at(Step::Policy))?;
    *held = HeldGroup::new(group.into_owned());
    let mut policy = policy.into_owned();
    policy.check().map_err(StepError::at(Step::Policy))?;
    let null = File::options().read(true).write(true).open("/dev/null").map_err(StepError::at(Step::Descriptors))?;
    dup2_stdin(&null).map_err(StepError::at(Step::Descriptors))?;

    let signals = become_holder().map_err(StepError::at(Step::Holder))?;
    let sandbox = policy.sandbox.take();
    let weight = policy.nice.map(SessionWeight::new);
    let mut report = StartReport::default();
    if let Some(sandbox) = &sandbox {
        if let Some(emulation) = sandbox.emulate {
            emulate::apply(emulation).map_err(StepError::at(Step::Policy))?;
        }
        match fork_first_process((&policy, sandbox), control, &null, held)? {
            Attempt::Inside => return Ok(Side::Init),
            Attempt::Worker => return Ok(Side::Worker),
            Attempt::Holder { pid, channel, start, listeners } => {
                silence(session, &null)?;
                let reports_children = policy.reports_children;
                return Ok(Side::Holder(Child {
                    pid,
                    init: Some(channel),
                    start,
                    signals,
                    listeners,
                    reports_children,
                    weight,
                }));
            }
            Attempt::Refused(reason) => report.missing.push(format!("namespaces: {reason}")),
        }
        if let Network::Named(_) = sandbox.network {
            return Err(StepError {
                step: Step::Network,
                error: "network endpoints can be granted one by one only where the kernel grants network namespaces, \
                        which it does not here; grant all of the network, or none"
                    .to_owned(),
            });
        }
    }
    let (reader, writer) = io::pipe().map_err(StepError::at(Step::Fork))?;
    let writer = StartWriter(writer);
    let places =
        sandbox.as_ref().map(|sandbox| prepare_plain(sandbox, &report.missing)).transpose()?.unwrap_or_default();
    let parent = Pid::this();
    let Some(worker) = held.fork(CloneFlags::empty(), &mut report).map_err(StepError::no_fork)? else {
        let (tier, places) = (Tier::Plain, places.as_slice());
        let confinement = Confinement { parent, tier, sandbox: sandbox.as_ref(), places, report };
        let Err(failure) = worker::apply(&policy, confinement, &writer);
        writer.failed(failure);
        return Ok(Side::Worker);
    };
    drop(writer);
    silence(session, &null)?;
    let start = StartReader::new(reader);
    let reports_children = policy.reports_children;
    Ok(Side::Holder(Child { pid: worker, init: None, start, signals, listeners: Vec::new(), reports_children, weight }))
}

/// The holder keeps no end of what belongs to the worker, so that the runner sees each of them end.
fn silence(session: OwnedFd, null: &File) -> Result<(), StepError> {
    drop(session);
    dup2_stdout(null).and_then(|()| dup2_stderr(null)).map_err(StepError::at(Step::Descriptors))
}

/// Finds the granted paths and makes the directory for temporary files, where there is no mount namespace.
fn prepare_plain(sandbox: &Sandbox, missing: &[String]) -> Result<Vec<Place>, StepError> {
    let places = root::places(sandbox).map_err(StepError::at(Step::Root))?;
    let id = sandbox.user.filter(|_| geteuid().is_root());
    let closed = |place: &&Place| place.access == Access::Write && !root::is_writable_for_all(&place.path);
    if let (Some(id), Some(place)) = (id, places.iter().find(closed)) {
        return Err(StepError::at(Step::Root)(format!(
            "`{}` was granted for writing, and without namespaces its owner cannot be mapped to the worker's user {id}; \
             make it writable for everybody, or run the runner as an ordinary user that owns it ({})",
            place.path.display(),
            missing.join("; ")
        )));
    }
    let scratch = &sandbox.scratch;
    let made = std::fs::create_dir_all(scratch).and_then(|()| std::os::unix::fs::chown(scratch, id, id));
    made.map_err(|error| StepError::at(Step::Root)(format!("`{}`: {error}", scratch.display())))?;
    Ok(places)
}

fn read_assignment() -> Result<Assignment<'static>, PolicyError> {
    let mut json = Vec::new();
    let stdin = io::stdin().as_fd().try_clone_to_owned().map_err(serde_json::Error::io)?;
    File::from(stdin).take(POLICY_BYTES_MAX as u64 + 1).read_to_end(&mut json).map_err(serde_json::Error::io)?;
    if json.len() > POLICY_BYTES_MAX {
        return Err(PolicyError::TooLarge { bytes: json.len(), max: POLICY_BYTES_MAX });
    }
    Ok(serde_json::from_slice(&json)?)
}

/// Makes this process the reaper of all its descendants, deaf to every signal that can be refused (a Ctrl-C
/// or a `SIGTERM` to the whole group is for the runner to handle), and closed to the plugin's debugger.
fn become_holder() -> nix::Result<SignalFd> {
    prctl::set_child_subreaper(true)?;
    prctl::set_name(c"bulkhead-holder")?;
    prctl::set_dumpable(false)?;
    SigSet::all().thread_set_mask()?;
    let child_signals = SigSet::from(Signal::SIGCHLD);
    SignalFd::with_flags(&child_signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
}
