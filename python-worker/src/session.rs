//! The session as the Python side sees it. All methods but `print` and `log` belong to the main thread.

use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use bulkhead_proto::transport::{VARIABLE_NAME_BYTES_MAX, VARIABLES_MISSING_MAX};
use bulkhead_proto::types::v1::{FailureKind, LogLevel, LogSource};
use bulkhead_proto::worker::v1::session_request::Fact;
use bulkhead_proto::worker::v1::{EntryPoint, LoadTrigger, Threads, TriggerLoaded, VariableMissing};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::pthread::pthread_self;
use parking_lot::Mutex;
use pyo3::exceptions::{PyConnectionError, PySystemExit};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::sleep_until;

use crate::api::{PluginApi, wait_for_room};
use crate::asker::Asker;
use crate::cache::CacheStore;
use crate::call::{Call, failure};
use crate::capture::LineAssembler;
use crate::driver::Driver;
use crate::gather::{Order, PendingCall};
use crate::handshake;
use crate::inbox::SignalBell;
use crate::invocation::Invocation;
use crate::life;
use crate::limits::{CLOSE_TIMEOUT, FLUSH_BYTES, LAST_WORDS_TIMEOUT, QUESTIONS_MAX, THREADS_LOOK};
use crate::outbox::{Outbox, Room};
use crate::shared::{CANCEL_SIGNAL, Shared};
use crate::usage::Begun;

/// The session with the runner.
#[pyclass(frozen, module = "bulkhead_worker._native")]
pub(crate) struct Session {
    shared: Arc<Shared>,
    signals: SignalBell,
    /// It ends with the process.
    _life: JoinHandle<()>,
    cache: Arc<CacheStore>,
    /// Threads that the plugin has left running, as the runner knows.
    threads: AtomicU32,
    /// The call that ended last.
    last: Mutex<Option<Arc<Invocation>>>,
    stdout: Mutex<LineAssembler>,
    stderr: Mutex<LineAssembler>,
    fd: RawFd,
}

/// Opens the session on an inherited socket. It raises `ConnectionError` when the runner refuses.
#[pyfunction]
pub(crate) fn connect(py: Python<'_>, fd: RawFd, python_version: String) -> PyResult<Session> {
    let outbox = Arc::new(Outbox::default());
    let (questions, asked) = mpsc::channel(QUESTIONS_MAX);
    let socket = adopt(fd).map_err(std::io::Error::from)?;
    let driver = Driver::start()?;
    let opening =
        async { Ok((SignalBell::new()?, handshake::open(socket, Arc::clone(&outbox), python_version).await)) };
    let (signals, opened) = py.detach(|| driver.drive(opening)).map_err(|error: std::io::Error| PyErr::from(error))?;
    let opened = opened.map_err(PyConnectionError::new_err)?;
    let shared = Arc::new(Shared::new(Arc::clone(&driver), outbox, questions, pthread_self(), opened.limits));
    let life = driver.spawn(life::run(opened, Arc::clone(&shared), asked));
    Ok(Session {
        shared,
        signals,
        _life: life,
        cache: Arc::default(),
        threads: AtomicU32::new(0),
        last: Mutex::default(),
        stdout: Mutex::default(),
        stderr: Mutex::default(),
        fd,
    })
}

#[expect(unsafe_code, reason = "a descriptor that was inherited by number has no safe owner yet")]
fn adopt(fd: RawFd) -> nix::Result<UnixStream> {
    // SAFETY: the runner passed this descriptor to the process for this use; nothing else owns it.
    let owned = unsafe { OwnedFd::from_raw_fd(fd) };
    // What the plugin starts must not hold the session open.
    fcntl(&owned, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    debug_assert_eq!(owned.as_raw_fd(), fd, "the descriptor keeps its number");
    Ok(UnixStream::from(owned))
}

#[pymethods]
impl Session {
    /// The signal for which a handler must call `take_cancellation`.
    #[classattr]
    const CANCEL_SIGNAL: i32 = CANCEL_SIGNAL as i32;

    /// Most variables that `variable_missing` may be called for.
    #[classattr]
    const VARIABLES_MISSING_MAX: usize = VARIABLES_MISSING_MAX;

    /// Serves orders until the runner says to finish. `load(trigger)` returns `None`, or the message and
    /// traceback of a failure; `call(call)` is the inside of the plugin. The loop itself runs no Python
    /// code, so a handler that the plugin left behind cannot raise in the middle of it.
    fn serve(&self, py: Python<'_>, load: &Bound<'_, PyAny>, call: &Bound<'_, PyAny>) -> PyResult<()> {
        loop {
            match py.detach(|| self.shared.driver.drive(self.wait())) {
                Woken::Order(Order::Load(order)) => self.load(py, order, load)?,
                Woken::Order(Order::Call(order)) => self.call(py, order, call)?,
                Woken::Order(Order::Drain) => return Ok(()),
                Woken::Signal => self.run_signal_handlers(py)?,
                Woken::Look => self.look_around(py),
            }
        }
    }

    /// To be given to `signal.set_wakeup_fd`, so that a signal is handled while there is nothing to do.
    #[getter]
    fn signal_fd(&self) -> RawFd {
        self.signals.fd()
    }

    /// The reason for which the call inside the plugin has to stop; each is given once.
    fn take_cancellation(&self) -> Option<String> {
        let invocation = self.shared.inside()?;
        let cancellation = invocation.cancellation()?;
        (!invocation.deliver_cancellation()).then(|| cancellation.reason.clone())
    }

    /// Takes text that was printed.
    fn print(&self, py: Python<'_>, to_stderr: bool, text: &Bound<'_, PyString>) -> PyResult<()> {
        // Locks may have been held when the plugin forked, so a child takes none.
        if self.shared.is_forked() {
            return Ok(());
        }
        let text = text.to_string_lossy();
        let mut rest: &str = &text;
        while !rest.is_empty() {
            // In pieces, so that a text of any size waits for room in between.
            let mut end = FLUSH_BYTES.min(rest.len());
            while !rest.is_char_boundary(end) {
                end -= 1;
            }
            let (piece, tail) = rest.split_at(end);
            let room = self.print_piece(to_stderr, piece);
            wait_for_room(py, &self.shared, room)?;
            rest = tail;
        }
        Ok(())
    }

    /// Takes a record of Python's `logging`; `level` is a `LogLevel`.
    fn log(&self, py: Python<'_>, level: i32, text: &Bound<'_, PyString>) -> PyResult<()> {
        if self.shared.is_forked() {
            return Ok(());
        }
        let level = LogLevel::try_from(level).unwrap_or(LogLevel::Info);
        let room = self.shared.log(self.inside_id(), level, LogSource::Logging, text.to_string_lossy().into_owned());
        wait_for_room(py, &self.shared, room)
    }

    /// Tells that the plugin looked for a variable that its environment does not have. The caller tells each once, and no more
    /// than [`Self::VARIABLES_MISSING_MAX`].
    fn variable_missing(&self, name: &Bound<'_, PyString>) {
        let name = name.to_string_lossy();
        if self.shared.is_forked() || name.len() > VARIABLE_NAME_BYTES_MAX {
            return;
        }
        self.shared.outbox.post(Fact::VariableMissing(VariableMissing { name: name.into_owned() }));
    }

    /// To be called in a child that the plugin forked: the session stays with the parent.
    fn forked(&self) {
        self.shared.set_forked();
        // The runner must see the parent's end although this child lives on.
        let _ = nix::unistd::close(self.fd);
    }

    /// Sends what was collected and waits a little until it is on its way: the process is about to end.
    fn flush(&self, py: Python<'_>) {
        if self.shared.is_forked() {
            return;
        }
        self.finish_lines();
        self.shared.outbox.flush();
        self.shared.driver.need();
        py.detach(|| self.shared.outbox.wait_until_sent(LAST_WORDS_TIMEOUT));
    }

    /// Sends the rest and ends the session.
    fn close(&self, py: Python<'_>) {
        self.finish_lines();
        self.shared.set_closing();
        self.shared.outbox.close();
        py.detach(|| self.shared.wait_until_ended(CLOSE_TIMEOUT));
    }
}

impl Session {
    /// Waits for what there is to do.
    async fn wait(&self) -> Woken {
        let threads = (self.threads.load(Ordering::Relaxed) > 0).then(|| Instant::now() + THREADS_LOOK);
        let look = threads.into_iter().chain(self.cache.next_loss()).min();
        let looked = async {
            match look {
                Some(look) => sleep_until(look.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            order = self.shared.inbox.next() => Woken::Order(order),
            () = self.signals.rung() => Woken::Signal,
            () = looked => Woken::Look,
        }
    }

    /// Looks whether what holds this process is over: threads of the plugin, and objects in the cache that live here only.
    fn look_around(&self, py: Python<'_>) {
        let Some(invocation) = self.last.lock().clone() else { return };
        let asker = Asker { shared: Arc::clone(&self.shared), invocation };
        let any_lost = self.cache.forget_lost(py, &asker);
        let running = threads(py);
        if self.threads.swap(running, Ordering::Relaxed) != running || any_lost {
            self.shared.outbox.post(Fact::Threads(Threads { running }));
        }
    }

    fn load(&self, py: Python<'_>, order: LoadTrigger, handler: &Bound<'_, PyAny>) -> PyResult<()> {
        *self.shared.database.lock() = Arc::from(order.database.as_str());
        self.cache.prepare(order.cache_is_shared, order.cache_is_empty);
        let trigger = Py::new(py, Trigger { load: order })?;
        let failed = match handler.call1((trigger,)).and_then(|result| result.extract::<Option<(String, String)>>()) {
            Ok(failed) => failed,
            Err(error) => Some(describe(py, &error)),
        };
        let failure = failed.map(|(message, traceback)| failure(FailureKind::Load.into(), message, traceback));
        self.finish_lines();
        // What the first call says first is sent at once.
        while self.shared.outbox.flush() {}
        self.shared.outbox.post(Fact::TriggerLoaded(TriggerLoaded { failure }));
        Ok(())
    }

    /// Runs `handler(call)` as the inside of the plugin and reports how it ended. Only while the handler
    /// runs does a cancellation raise.
    fn call(&self, py: Python<'_>, order: PendingCall, handler: &Bound<'_, PyAny>) -> PyResult<()> {
        let PendingCall { invocation, event } = order;
        let api = PluginApi::new(Arc::clone(&self.shared), Arc::clone(&invocation), Arc::clone(&self.cache));
        let call = Py::new(py, Call::new(Arc::clone(&invocation), Py::new(py, api)?, event, Arc::clone(&self.shared)))?;
        let begun = Begun::now();
        self.shared.enter(&invocation);
        let raised = match invocation.cancellation() {
            Some(_) => None,
            None => handler.call1((call.clone_ref(py),)).err(),
        };
        let elapsed = begun.elapsed();
        let asker = Asker { shared: Arc::clone(&self.shared), invocation: Arc::clone(&invocation) };
        self.cache.send_changes(py, &asker);
        self.finish_lines();
        self.shared.leave();
        let raised = raised.map(|error| describe(py, &error));
        let (outcome, effects) = call.get().outcome(raised, elapsed);
        let usage = begun.usage(&invocation, elapsed);
        let threads = threads(py);
        self.threads.store(threads, Ordering::Relaxed);
        self.shared.outbox.finish(invocation.id(), outcome, usage, effects, threads);
        *self.last.lock() = Some(invocation);
        Ok(())
    }

    /// Runs the handlers of signals that came while there was nothing to do. What they raise has no
    /// caller; only a wish to exit is followed.
    fn run_signal_handlers(&self, py: Python<'_>) -> PyResult<()> {
        let Err(error) = py.check_signals() else { return Ok(()) };
        if error.is_instance_of::<PySystemExit>(py) {
            return Err(error);
        }
        let (message, traceback) = describe(py, &error);
        self.shared.log(
            None,
            LogLevel::Error,
            LogSource::Stderr,
            format!("a signal handler raised {message}\n{traceback}"),
        );
        Ok(())
    }

    fn inside_id(&self) -> Option<u64> {
        self.shared.inside().map(|invocation| invocation.id())
    }

    fn print_piece(&self, to_stderr: bool, piece: &str) -> Room {
        let (stream, level, source) = self.stream(to_stderr);
        let invocation_id = self.inside_id();
        let mut room = Room::Enough;
        stream.lock().push(piece, self.shared.log_line_bytes_max(), |line| {
            room = self.shared.log(invocation_id, level, source, line);
        });
        room
    }

    /// Hands out lines that have no end.
    fn finish_lines(&self) {
        for to_stderr in [false, true] {
            let (stream, level, source) = self.stream(to_stderr);
            let line = stream.lock().finish(self.shared.log_line_bytes_max());
            if let Some(line) = line {
                self.shared.log(self.inside_id(), level, source, line);
            }
        }
    }

    fn stream(&self, to_stderr: bool) -> (&Mutex<LineAssembler>, LogLevel, LogSource) {
        if to_stderr {
            (&self.stderr, LogLevel::Warn, LogSource::Stderr)
        } else {
            (&self.stdout, LogLevel::Info, LogSource::Stdout)
        }
    }
}

/// Why the main thread goes on.
enum Woken {
    Order(Order),
    Signal,
    /// It is time to look around.
    Look,
}

/// Threads of the plugin that run. They may need their process between two calls.
fn threads(py: Python<'_>) -> u32 {
    static COUNT: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    // The C module: it is there although nobody imported `threading`.
    let count = COUNT.import(py, "_thread", "_count").and_then(|count| count.call0());
    count.and_then(|count| count.extract()).unwrap_or_default()
}

/// What a handler raised that did not report it itself: a cancellation, or a fault of ours.
fn describe(py: Python<'_>, error: &PyErr) -> (String, String) {
    let traceback = error.traceback(py).and_then(|traceback| traceback.format().ok()).unwrap_or_default();
    (error.to_string(), traceback)
}

/// The trigger to load.
#[pyclass(frozen, module = "bulkhead_worker._native")]
pub(crate) struct Trigger {
    load: LoadTrigger,
}

#[pymethods]
impl Trigger {
    /// Path of the plugin.
    #[getter]
    fn path(&self) -> &str {
        &self.load.plugin_path
    }

    /// Name of the function that the trigger calls; empty when the runner names none that is known.
    #[getter]
    fn entry_point(&self) -> &'static str {
        match self.load.entry_point() {
            EntryPoint::Writes => "process_writes",
            EntryPoint::ScheduledCall => "process_scheduled_call",
            EntryPoint::Request => "process_request",
            EntryPoint::Unspecified => "",
        }
    }

    /// Whether nothing of the plugin may run.
    #[getter]
    fn check_only(&self) -> bool {
        self.load.check_only
    }

    /// Arguments of the trigger, or `None`.
    #[getter]
    fn arguments<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDict>>> {
        if !self.load.has_arguments {
            return Ok(None);
        }
        let arguments = PyDict::new(py);
        for (key, value) in &self.load.arguments {
            arguments.set_item(key, value)?;
        }
        Ok(Some(arguments))
    }
}
