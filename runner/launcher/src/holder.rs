//! The holder: one worker's parent, the reaper of all its descendants, and the end of its lifeline.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;
use nix::sys::time::{TimeVal, TimeValLike};
use nix::unistd::Pid;

use crate::control::{LineDecoder, Order, Report, Usage, encode};
use crate::held_group::HeldGroup;
use crate::limits::{CONTROL_MESSAGE_BYTES_MAX, SESSION_WEIGHT_PAUSE_MS, SWEEP_PAUSE_MS, SWEEP_REPORT_AFTER};
use crate::raw::Reaped;
use crate::sandbox::init::{Message, send_with};
use crate::session_weight::SessionWeight;
use crate::start::{Start, StartReader};
use crate::worker::StepError;
use crate::{processes, raw, sweep};

/// What the holder holds.
pub(crate) struct Child {
    /// The worker, or process 1 of its pid namespace.
    pub(crate) pid: Pid,
    /// To process 1, where there is one.
    pub(crate) init: Option<UnixStream>,
    pub(crate) start: StartReader,
    pub(crate) signals: SignalFd,
    /// Listeners that the runner accepts for the worker.
    pub(crate) listeners: Vec<OwnedFd>,
    /// Whether the ends of other children are for the runner to know.
    pub(crate) reports_children: bool,
    /// What its session is to weigh.
    pub(crate) weight: Option<SessionWeight>,
}

/// See the module.
pub(crate) struct Holder {
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
    /// What the worker's session has yet to get.
    weight: Option<SessionWeight>,
}

impl Holder {
    pub(crate) fn new(control: UnixStream, child: Child, group: HeldGroup) -> Self {
        let Child { pid, init, start, signals, listeners, reports_children, weight } = child;
        Self {
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
            weight,
        }
    }

    /// Waits for the first end (the worker's, the start's or the runner's) and then ends all the rest.
    pub(crate) fn run(mut self) -> ExitCode {
        while self.status.is_none() && self.failure.is_none() {
            let is_due = self.start.is_none() && self.weight.is_some();
            let ready = self.wait(if is_due { SESSION_WEIGHT_PAUSE_MS.into() } else { PollTimeout::NONE });
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
            if self.start.is_none()
                && let Some(weight) = self.weight.take()
            {
                self.weight = weight.give(self.worker());
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
pub(crate) fn report(control: &UnixStream, message: &Report) {
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
