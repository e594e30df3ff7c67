//! Starts the session thread.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use bulkhead_proto::worker::v1::WorkerLimits;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, pthread_sigmask};
use tokio::runtime::Builder;
use tokio::sync::{mpsc, oneshot};

use crate::handshake;
use crate::life;
use crate::outbox::Outbox;
use crate::question::Question;
use crate::shared::Shared;

/// Signals that report a fault of the thread that gets them; blocking one kills without a report.
const FAULTS: [Signal; 6] =
    [Signal::SIGSEGV, Signal::SIGBUS, Signal::SIGFPE, Signal::SIGILL, Signal::SIGABRT, Signal::SIGSYS];

/// A session thread that says hello.
pub(crate) struct Starting {
    limits: Receiver<Result<WorkerLimits, String>>,
    shared: oneshot::Sender<Arc<Shared>>,
}

/// A session thread that was welcomed and waits for the state it shall work on.
pub(crate) struct Welcomed {
    /// Limits that the runner told.
    pub(crate) limits: WorkerLimits,
    shared: oneshot::Sender<Arc<Shared>>,
}

impl Starting {
    /// Waits for the runner's welcome. The error is a sentence.
    pub(crate) fn welcomed(self) -> Result<Welcomed, String> {
        let limits = self.limits.recv().map_err(|_| "the session thread ended".to_owned())??;
        Ok(Welcomed { limits, shared: self.shared })
    }
}

impl Welcomed {
    /// Lets the thread read orders.
    pub(crate) fn go_on(self, shared: Arc<Shared>) {
        // The thread waits for this, or the process is ending.
        let _ = self.shared.send(shared);
    }
}

/// Starts the thread; it lives until the process ends.
pub(crate) fn start(
    socket: UnixStream,
    outbox: Arc<Outbox>,
    python_version: String,
    questions: mpsc::Receiver<Question>,
) -> io::Result<Starting> {
    let (tell_limits, limits) = sync_channel(1);
    let (tell_shared, shared) = oneshot::channel();
    let body = move || session_thread(socket, outbox, python_version, &tell_limits, shared, questions);
    std::thread::Builder::new().name("bulkhead-session".to_owned()).spawn(body)?;
    Ok(Starting { limits, shared: tell_shared })
}

fn session_thread(
    socket: UnixStream,
    outbox: Arc<Outbox>,
    python_version: String,
    limits: &SyncSender<Result<WorkerLimits, String>>,
    shared: oneshot::Receiver<Arc<Shared>>,
    questions: mpsc::Receiver<Question>,
) {
    leave_signals_to_python();
    let runtime = match Builder::new_current_thread().enable_io().enable_time().build() {
        Ok(runtime) => runtime,
        Err(error) => return report(limits, Err(format!("cannot start the session: {error}"))),
    };
    runtime.block_on(async move {
        let session = match handshake::open(socket, outbox, python_version).await {
            Ok(session) => session,
            Err(refusal) => return report(limits, Err(refusal)),
        };
        report(limits, Ok(session.limits));
        if let Ok(shared) = shared.await {
            life::run(session, shared, questions).await;
        }
    });
}

fn report(limits: &SyncSender<Result<WorkerLimits, String>>, result: Result<WorkerLimits, String>) {
    // The main thread waits for this, or the process is ending.
    let _ = limits.send(result);
}

/// A signal to the process has to reach the main thread, where Python's handlers run.
fn leave_signals_to_python() {
    let mut blocked = SigSet::all();
    for fault in FAULTS {
        blocked.remove(fault);
    }
    // It cannot fail: the set is valid and the thread is this one.
    let _ = pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&blocked), None);
}
