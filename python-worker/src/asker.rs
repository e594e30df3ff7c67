//! A call's way to ask the runner something, from any thread.

use std::sync::Arc;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use tokio::sync::mpsc::error::TrySendError;

use crate::errors::Cancelled;
use crate::invocation::Invocation;
use crate::limits::ROOM_POLL;
use crate::question::{Answer, AnswerSlot, Ask, Question};
use crate::shared::Shared;

/// One call's means to ask. It stays usable after the call.
#[derive(Clone, Debug)]
pub(crate) struct Asker {
    /// The worker.
    pub(crate) shared: Arc<Shared>,
    /// The call.
    pub(crate) invocation: Arc<Invocation>,
}

impl Asker {
    /// Asks the runner and waits, with the GIL released. A signal handler may raise meanwhile.
    pub(crate) fn ask(&self, py: Python<'_>, ask: Ask) -> PyResult<Answer> {
        self.check_usable()?;
        let _timer = self.invocation.time_callback();
        let slot = Arc::new(AnswerSlot::new().map_err(std::io::Error::from)?);
        let mut question = Question { invocation: Arc::clone(&self.invocation), ask, slot: Arc::clone(&slot) };
        while let Err(refused) = self.shared.questions.try_send(question) {
            question = match refused {
                TrySendError::Full(question) => question,
                TrySendError::Closed(_) => {
                    return Err(PyRuntimeError::new_err("the session with the runner has ended"));
                }
            };
            self.shared.driver.need();
            py.detach(|| std::thread::sleep(ROOM_POLL));
            py.check_signals()?;
            self.check_usable()?;
        }
        self.shared.driver.need();
        loop {
            if let Some(answer) = py.detach(|| slot.wait()) {
                return Ok(answer);
            }
            py.check_signals()?;
        }
    }

    /// Fails when the call was stopped, or in a forked copy.
    pub(crate) fn check_usable(&self) -> PyResult<()> {
        if self.invocation.cancellation().is_some() {
            return Err(self.cancelled());
        }
        self.check_own_process()
    }

    /// Fails in a forked copy.
    pub(crate) fn check_own_process(&self) -> PyResult<()> {
        if self.shared.is_forked() {
            return Err(PyRuntimeError::new_err("`influxdb3_local` cannot be used in a forked process"));
        }
        Ok(())
    }

    /// The exception of a cancelled call; once it is raised in the main thread no signal has to follow.
    pub(crate) fn cancelled(&self) -> PyErr {
        if self.shared.is_main_thread() {
            self.invocation.deliver_cancellation();
        }
        let reason =
            self.invocation.cancellation().map_or("the call was cancelled", |cancellation| &cancellation.reason);
        Cancelled::new_err(reason.to_owned())
    }
}
