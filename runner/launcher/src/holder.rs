//! The holder: one worker's parent, the reaper of all its descendants, and the end of its lifeline.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::time::{TimeVal, TimeValLike};
use nix::unistd::{Pid, dup2_stderr, dup2_stdin, dup2_stdout};

use crate::control::{LineDecoder, Order, Report, Step, Usage, encode};
use crate::limits::{POLICY_BYTES_MAX, SWEEP_PAUSE_MS, SWEEP_REPORT_AFTER};
use crate::policy::{LaunchPolicy, PolicyError};
use crate::start::{CONTROL_FD, FIRST_FOREIGN_FD, SESSION_FD, Start, StartReader, StartWriter, shorten};
use crate::worker::{self, StepError};
use crate::{processes, raw, sweep};

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
    match fork_worker(session) {
        Ok(Side::Worker) => ExitCode::from(EXIT_NO_PROGRAM),
        Ok(Side::Holder { worker, start, signals }) => {
            let holder = Holder {
                control,
                orders: LineDecoder::default(),
                signals,
                start: Some(start),
                worker,
                status: None,
                failure: None,
            };
            holder.run()
        }
        Err(StepError { step, error }) => {
            report(&control, &Report::Failed { step, error: shorten(error) });
            ExitCode::SUCCESS
        }
    }
}

/// Where [`fork_worker`] comes back.
enum Side {
    /// In the worker, which could not execute its program and has said so.
    Worker,
    /// In the holder.
    Holder { worker: Pid, start: StartReader, signals: SignalFd },
}

/// Reads the policy, becomes a holder and forks the worker. Namespaces belong between the two.
fn fork_worker(session: OwnedFd) -> Result<Side, StepError> {
    raw::close_from(FIRST_FOREIGN_FD).map_err(failed(Step::Descriptors))?;
    let policy = read_policy().map_err(failed(Step::Policy))?;
    let null = File::options().read(true).write(true).open("/dev/null").map_err(failed(Step::Descriptors))?;
    dup2_stdin(&null).map_err(failed(Step::Descriptors))?;

    let signals = become_holder().map_err(failed(Step::Holder))?;
    let holder = Pid::this();
    let (reader, writer) = io::pipe().map_err(failed(Step::Fork))?;
    let writer = StartWriter(writer);
    let Some(worker) = raw::fork().map_err(failed(Step::Fork))? else {
        let Err(failure) = worker::apply(&policy, holder, &writer);
        writer.failed(failure);
        return Ok(Side::Worker);
    };

    // The holder keeps no end of what belongs to the worker, so that the runner sees each of them end.
    drop(session);
    let silenced = dup2_stdout(&null).and_then(|()| dup2_stderr(&null));
    silenced.map_err(failed(Step::Descriptors))?;
    Ok(Side::Holder { worker, start: StartReader::new(reader), signals })
}

fn read_policy() -> Result<LaunchPolicy, PolicyError> {
    let mut json = Vec::new();
    let stdin = io::stdin().as_fd().try_clone_to_owned().map_err(serde_json::Error::io)?;
    File::from(stdin).take(POLICY_BYTES_MAX as u64 + 1).read_to_end(&mut json).map_err(serde_json::Error::io)?;
    if json.len() > POLICY_BYTES_MAX {
        return Err(PolicyError::TooLarge { bytes: json.len(), max: POLICY_BYTES_MAX });
    }
    let policy: LaunchPolicy = serde_json::from_slice(&json)?;
    policy.check()?;
    Ok(policy)
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
    worker: Pid,
    /// The worker's raw wait status, once it was reaped.
    status: Option<i32>,
    /// Why the program never ran.
    failure: Option<StepError>,
}

impl Holder {
    /// Waits for the first end (the worker's, the start's or the runner's) and then ends all the rest.
    fn run(mut self) -> ExitCode {
        while self.status.is_none() && self.failure.is_none() {
            let ready = self.wait(PollTimeout::NONE);
            if ready.start {
                self.read_start();
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
        fds.extend(self.start.as_ref().map(|start| PollFd::new(start.as_fd(), PollFlags::POLLIN)));
        if poll(&mut fds, timeout).is_err() {
            return Ready::default();
        }
        let ready = |index: usize| fds.get(index).and_then(PollFd::any).unwrap_or(false);
        Ready { control: ready(0), signals: ready(1), start: ready(2) }
    }

    /// Takes in what the worker says about its start.
    fn read_start(&mut self) {
        let Some(outcome) = self.start.as_mut().and_then(StartReader::read) else { return };
        self.start = None;
        match outcome {
            Start::Running(applied) => {
                let mut enforced = vec!["subreaper".to_owned()];
                enforced.extend(applied.enforced);
                let worker_pid = self.worker.as_raw();
                report(&self.control, &Report::Started { worker_pid, enforced, missing: applied.missing });
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
                    drop(raw::signal_child(self.worker, number));
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
            match raw::try_wait(None) {
                Ok(Some((pid, status))) if pid == self.worker && self.status.is_none() => self.status = Some(status),
                Ok(Some(_)) => {}
                Ok(None) => return false,
                Err(errno) => return errno == Errno::ECHILD,
            }
        }
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
                killed_descendants: killed.iter().filter(|pid| **pid != self.worker).count() as u64,
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
    start: bool,
}

/// Tells the runner. It may be gone, which the next read of the socket shows.
fn report(mut control: &UnixStream, message: &Report) {
    if let Ok(line) = encode(message) {
        drop(control.write_all(&line));
    }
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
