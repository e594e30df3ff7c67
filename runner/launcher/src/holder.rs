//! The holder: one worker's parent, the reaper of all its descendants, and the end of its lifeline.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitCode, ExitStatus};
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::CloneFlags;
use nix::sys::prctl;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{MsgFlags, recv};
use nix::sys::time::{TimeVal, TimeValLike};
use nix::unistd::{Pid, dup2_stderr, dup2_stdin, dup2_stdout, getegid, geteuid};

use crate::control::{LineDecoder, Order, Report, Step, Usage, encode};
use crate::held_group::HeldGroup;
use crate::launch::Assignment;
use crate::limits::{CONTROL_MESSAGE_BYTES_MAX, POLICY_BYTES_MAX, SWEEP_PAUSE_MS, SWEEP_REPORT_AFTER};
use crate::patience::{explain, fork_patiently, is_exhausted};
use crate::policy::{LaunchPolicy, PolicyError};
use crate::raw::Reaped;
use crate::receive::receive_with;
use crate::sandbox::init::{Init, Message, send_with};
use crate::sandbox::root::{self, Place};
use crate::sandbox::{Access, Network, Sandbox, Tier, emulate, namespaces};
use crate::start::{CONTROL_FD, FIRST_FOREIGN_FD, SESSION_FD, Start, StartReader, StartReport, StartWriter, shorten};
use crate::worker::{self, Confinement, StepError};
use crate::{processes, raw, sweep};

/// Exit code of a worker that could not execute its program, as shells have it.
const EXIT_NO_PROGRAM: u8 = 127;
/// Process 1, as its children see it.
const INIT: Pid = Pid::from_raw(1);
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
        Ok(Side::Holder(Child { pid, init, start, signals, listeners, reports_children })) => {
            let holder = Holder {
                control,
                orders: LineDecoder::default(),
                signals,
                start: Some(start),
                child: pid,
                init,
                inside: LineDecoder::default(),
                ended_inside: None,
                reports_children,
                listeners,
                status: None,
                failure: None,
                killed_inside: 0,
                group,
            };
            holder.run()
        }
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

/// What the holder holds.
struct Child {
    /// The worker, or process 1 of its pid namespace.
    pid: Pid,
    /// To process 1, where there is one.
    init: Option<UnixStream>,
    start: StartReader,
    signals: SignalFd,
    /// Listeners that the runner accepts for the worker.
    listeners: Vec<OwnedFd>,
    reports_children: bool,
}

/// Reads the policy, becomes a holder, and starts the worker in the best tier that the kernel grants.
fn fork_worker(session: OwnedFd, control: &UnixStream, held: &mut HeldGroup) -> Result<Side, StepError> {
    raw::close_from(FIRST_FOREIGN_FD).map_err(failed(Step::Descriptors))?;
    let Assignment { policy, group } = read_assignment().map_err(failed(Step::Policy))?;
    *held = HeldGroup::new(group.into_owned());
    let mut policy = policy.into_owned();
    policy.check().map_err(failed(Step::Policy))?;
    let null = File::options().read(true).write(true).open("/dev/null").map_err(failed(Step::Descriptors))?;
    dup2_stdin(&null).map_err(failed(Step::Descriptors))?;

    let signals = become_holder().map_err(failed(Step::Holder))?;
    let sandbox = policy.sandbox.take();
    let mut report = StartReport::default();
    if let Some(sandbox) = &sandbox {
        if let Some(emulation) = sandbox.emulate {
            emulate::apply(emulation).map_err(failed(Step::Policy))?;
        }
        match fork_init((&policy, sandbox), control, &null, held)? {
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
    let (reader, writer) = io::pipe().map_err(failed(Step::Fork))?;
    let writer = StartWriter(writer);
    let places =
        sandbox.as_ref().map(|sandbox| prepare_plain(sandbox, &report.missing)).transpose()?.unwrap_or_default();
    let parent = Pid::this();
    let Some(worker) = held.fork(CloneFlags::empty(), &mut report).map_err(no_fork)? else {
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
    Ok(Side::Holder(Child { pid: worker, init: None, start, signals, listeners: Vec::new(), reports_children }))
}

/// The holder keeps no end of what belongs to the worker, so that the runner sees each of them end.
fn silence(session: OwnedFd, null: &File) -> Result<(), StepError> {
    drop(session);
    dup2_stdout(null).and_then(|()| dup2_stderr(null)).map_err(failed(Step::Descriptors))
}

/// Finds the granted paths and makes the directory for temporary files, where there is no mount namespace.
fn prepare_plain(sandbox: &Sandbox, missing: &[String]) -> Result<Vec<Place>, StepError> {
    let places = root::places(sandbox).map_err(failed(Step::Root))?;
    let id = sandbox.user.filter(|_| geteuid().is_root());
    let closed = |place: &&Place| place.access == Access::Write && !root::is_writable_for_all(&place.path);
    if let (Some(id), Some(place)) = (id, places.iter().find(closed)) {
        return Err(failed(Step::Root)(format!(
            "`{}` was granted for writing, and without namespaces its owner cannot be mapped to the worker's user {id}; \
             make it writable for everybody, or run the runner as an ordinary user that owns it ({})",
            place.path.display(),
            missing.join("; ")
        )));
    }
    let scratch = &sandbox.scratch;
    let made = std::fs::create_dir_all(scratch).and_then(|()| std::os::unix::fs::chown(scratch, id, id));
    made.map_err(|error| failed(Step::Root)(format!("`{}`: {error}", scratch.display())))?;
    Ok(places)
}

/// What came of trying namespaces.
enum Attempt {
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
fn fork_init(
    (policy, sandbox): (&LaunchPolicy, &Sandbox),
    control: &UnixStream,
    null: &File,
    held: &HeldGroup,
) -> Result<Attempt, StepError> {
    let (channel, theirs) = UnixStream::pair().map_err(failed(Step::Namespaces))?;
    let (reader, writer) = io::pipe().map_err(failed(Step::Fork))?;
    let writer = StartWriter(writer);
    let (user, group) = (geteuid(), getegid());
    let namespaces = namespaces::wanted(user.is_root(), &sandbox.network);
    let other_user = sandbox.user.filter(|_| user.is_root());
    let places = root::places(sandbox).map_err(failed(Step::Root))?;
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
        Err(error) if is_exhausted(&error) => return Err(StepError { step: Step::Fork, error: explain(&error) }),
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
            writer.failed(no_fork(error));
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

struct Holder {
    control: UnixStream,
    orders: LineDecoder,
    signals: SignalFd,
    /// Open until the worker runs or has failed to.
    start: Option<StartReader>,
    /// The worker, or process 1 of its pid namespace.
    child: Pid,
    /// To process 1, where there is one.
    init: Option<UnixStream>,
    /// What process 1 says.
    inside: LineDecoder,
    /// The worker's raw wait status, as process 1 has said it.
    ended_inside: Option<i32>,
    /// Whether the ends of other children are for the runner to know.
    reports_children: bool,
    /// Listeners that go to the runner once the worker runs.
    listeners: Vec<OwnedFd>,
    /// The worker's raw wait status, once it was reaped.
    status: Option<i32>,
    /// Why the program never ran.
    failure: Option<StepError>,
    /// Processes that process 1 had to kill.
    killed_inside: u64,
    group: HeldGroup,
}

impl Holder {
    /// Waits for the first end (the worker's, the start's or the runner's) and then ends all the rest.
    fn run(mut self) -> ExitCode {
        while self.status.is_none() && self.failure.is_none() {
            let ready = self.wait(PollTimeout::NONE);
            if ready.start {
                self.read_start();
            }
            if ready.inside {
                self.listen_inside();
            }
            if ready.signals {
                self.reap();
            }
            if ready.control && !self.obey() {
                break;
            }
        }
        self.end_all();
        ExitCode::SUCCESS
    }

    /// Sleeps until something is ready.
    fn wait(&self, timeout: PollTimeout) -> Ready {
        let mut fds = vec![
            PollFd::new(self.control.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
        ];
        // Without children to report process 1 speaks once, at its end, which comes as a signal.
        let inside = self.init.as_ref().filter(|_| self.reports_children);
        fds.extend(inside.map(|init| PollFd::new(init.as_fd(), PollFlags::POLLIN)));
        fds.extend(self.start.as_ref().map(|start| PollFd::new(start.as_fd(), PollFlags::POLLIN)));
        if poll(&mut fds, timeout).is_err() {
            return Ready::default();
        }
        let ready = |index: usize| fds.get(index).and_then(PollFd::any).unwrap_or(false);
        let start = 2 + usize::from(inside.is_some());
        Ready { control: ready(0), signals: ready(1), inside: inside.is_some() && ready(2), start: ready(start) }
    }

    /// Takes in what the worker says about its start.
    fn read_start(&mut self) {
        let Some(outcome) = self.start.as_mut().and_then(StartReader::read) else { return };
        self.start = None;
        match outcome {
            Start::Running(applied) => {
                let mut enforced = vec!["subreaper".to_owned()];
                enforced.extend(applied.enforced);
                let worker_pid = self.worker().as_raw();
                let started = Report::Started { worker_pid, enforced, missing: applied.missing };
                report_with(&self.control, &started, &std::mem::take(&mut self.listeners));
            }
            Start::Failed(failure) => self.failure = Some(failure),
        }
    }

    /// Follows the orders that have come in; false when everything has to end.
    fn obey(&mut self) -> bool {
        let mut buffer = [0; 512];
        match self.control.read(&mut buffer) {
            Ok(bytes) if bytes > 0 => self.orders.push(&buffer[..bytes]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return true,
            Ok(_) | Err(_) => return false,
        }
        loop {
            match self.orders.next_message() {
                Ok(None) => return true,
                Ok(Some(Order::Signal { number })) if self.status.is_none() => {
                    // An invalid number is the runner's mistake and changes nothing.
                    self.signal_worker(number);
                }
                Ok(Some(Order::Signal { .. })) => {}
                // An order that cannot be read may have been meant as the end.
                Ok(Some(Order::Kill)) | Err(_) => return false,
            }
        }
    }

    /// Reaps every child that has ended; true when there is no child left.
    fn reap(&mut self) -> bool {
        while let Ok(Some(_)) = self.signals.read_signal() {}
        loop {
            match raw::try_reap_any() {
                Ok(Some(Reaped { pid, status, .. })) if pid == self.child && self.status.is_none() => {
                    self.listen_inside();
                    self.status = Some(self.ended_inside.unwrap_or(status));
                }
                Ok(Some(Reaped { pid, status, usage })) if self.reports_children && self.init.is_none() => {
                    self.report_child(pid.as_raw(), status, usage);
                }
                Ok(Some(_)) => {}
                Ok(None) => return false,
                Err(errno) => return errno == Errno::ECHILD,
            }
        }
    }

    /// The worker's process id in this namespace: process 1 has no older child.
    fn worker(&self) -> Pid {
        let first = || processes::children(self.child).first().copied();
        self.init.as_ref().and_then(|_| first()).unwrap_or(self.child)
    }

    /// Signals the worker alone. One inside of a pid namespace is not this process's child, so it could have ended and
    /// its id be somebody else's: the handle comes first and the look at its parent second.
    fn signal_worker(&self, number: i32) {
        if self.init.is_none() {
            drop(raw::signal_child(self.child, number));
            return;
        }
        let worker = self.worker();
        let Ok(handle) = raw::open_process(worker) else { return };
        let is_inside = processes::state(worker).is_some_and(|state| state.parent == self.child && !state.ended);
        if let (true, Ok(signal)) = (is_inside, Signal::try_from(number)) {
            drop(raw::signal_process(handle.as_fd(), signal));
        }
    }

    /// Takes in what process 1 has said. The last that it says before it ends itself is the worker's status; one that was
    /// killed has not said it.
    fn listen_inside(&mut self) {
        let mut buffer = [0; CONTROL_MESSAGE_BYTES_MAX];
        loop {
            while let Ok(Some(message)) = self.inside.next_message() {
                match message {
                    Message::ChildEnded { pid, raw_status, usage } => {
                        self.report_child(pid, raw_status, usage);
                    }
                    Message::Ended { raw_status, killed } => {
                        self.killed_inside = killed;
                        self.ended_inside = Some(raw_status);
                    }
                    Message::Ready | Message::Refused(_) | Message::Failed { .. } => {}
                }
            }
            let Some(mut channel) = self.init.as_ref() else { return };
            match channel.read(&mut buffer) {
                Ok(bytes) if bytes > 0 => self.inside.push(&buffer[..bytes]),
                Ok(_) | Err(_) => return,
            }
        }
    }

    fn report_child(&mut self, pid: i32, raw_status: i32, usage: Usage) {
        let memory_kills = self.group.new_memory_kills();
        report(&self.control, &Report::ChildExited { pid, raw_status, usage, memory_kills });
    }

    /// Kills and reaps until this process has no descendant, and reports.
    fn end_all(mut self) {
        let begin = Instant::now();
        let mut killed = BTreeSet::new();
        let mut reported = false;
        loop {
            let none_left = self.reap();
            let overdue = begin.elapsed() >= SWEEP_REPORT_AFTER;
            if let Some(status) = self.status.filter(|_| !reported && (none_left || overdue)) {
                reported = true;
                self.report_end(status, &killed, none_left);
            }
            if none_left {
                self.group.remove();
                return;
            }
            killed.append(&mut sweep::kill_descendants(&|_| true, &mut || {
                self.reap();
            }));
            let pause = PollTimeout::from(SWEEP_PAUSE_MS);
            // Only the signals: the control socket stays ready once the runner is gone.
            let _ = poll(&mut [PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)], pause);
        }
    }

    fn report_end(&mut self, raw_status: i32, killed: &BTreeSet<Pid>, none_left: bool) {
        // The worker is dead, so the pipe has an end.
        while self.start.is_some() {
            self.read_start();
        }
        let last = match self.failure.take() {
            Some(StepError { step, error }) => Report::Failed { step, error },
            None => Report::Exited {
                raw_status,
                usage: usage(),
                killed_descendants: self.killed_inside + killed.iter().filter(|pid| **pid != self.child).count() as u64,
                memory_kills: self.group.new_memory_kills(),
                remaining_descendants: if none_left { 0 } else { processes::children(Pid::this()).len() as u64 },
            },
        };
        report(&self.control, &last);
    }
}

/// What [`Holder::wait`] found.
#[derive(Default)]
struct Ready {
    control: bool,
    signals: bool,
    inside: bool,
    start: bool,
}

/// Tells the runner. It may be gone, which the next read of the socket shows.
fn report(control: &UnixStream, message: &Report) {
    report_with(control, message, &[]);
}

/// The same, with descriptors.
fn report_with(mut control: &UnixStream, message: &Report, fds: &[OwnedFd]) {
    let Ok(line) = encode(message) else { return };
    if fds.is_empty() {
        drop(control.write_all(&line));
        return;
    }
    let fds: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    drop(send_with(control.as_raw_fd(), &line, &fds));
}

/// What all reaped descendants have used.
fn usage() -> Usage {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_CHILDREN) else {
        return Usage { user_us: 0, system_us: 0, max_rss_bytes: 0 };
    };
    let microseconds = |time: TimeVal| u64::try_from(time.num_microseconds()).unwrap_or(0);
    Usage {
        user_us: microseconds(usage.user_time()),
        system_us: microseconds(usage.system_time()),
        // The kernel counts in KiB.
        max_rss_bytes: u64::try_from(usage.max_rss()).unwrap_or(0).saturating_mul(1024),
    }
}

fn failed<E: ToString>(step: Step) -> impl FnOnce(E) -> StepError {
    move |error| StepError { step, error: error.to_string() }
}

fn no_fork(error: io::Error) -> StepError {
    StepError { step: Step::Fork, error: explain(&error) }
}
