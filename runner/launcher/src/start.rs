//! How the holder learns whether its worker became the program: a pipe that closes at exec.
//!
//! The worker writes one line when all steps are taken, and another one only if a step or the exec failed.
//! End of file with the first line alone therefore means that the program runs.

use std::io::{ErrorKind, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, RawFd};

use serde::{Deserialize, Serialize};

use crate::control::{ControlError, Step, encode};
use crate::limits::{CONTROL_MESSAGE_BYTES_MAX, ERROR_TEXT_BYTES_MAX};
use crate::worker::StepError;

/// Descriptor on which the launcher gets the session socket, which goes on to the worker.
pub(crate) const SESSION_FD: RawFd = 3;
/// Descriptor on which the launcher gets its end of the control socket.
pub(crate) const CONTROL_FD: RawFd = 4;
/// First descriptor that the launcher has not been given: whatever is there came by accident.
pub(crate) const FIRST_FOREIGN_FD: RawFd = 5;
/// First descriptor that a worker does not get.
pub(crate) const FIRST_OWN_FD: RawFd = CONTROL_FD;

/// What the worker could enforce on itself.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StartReport {
    pub(crate) enforced: Vec<String>,
    pub(crate) missing: Vec<String>,
}

impl StartReport {
    /// Whether the worker's group has a limit in this file.
    pub(crate) fn group_has(&self, file: &str) -> bool {
        self.enforced.iter().any(|word| word.starts_with("cgroup=") && word.contains(file))
    }

    /// Enters an optional setting on the side that `result` (set, and read back as wanted) says.
    pub(crate) fn note(&mut self, name: &str, value: i32, result: std::io::Result<bool>) {
        match result {
            Ok(true) => self.enforced.push(format!("{name}={value}")),
            Ok(false) => self.missing.push(format!("{name}={value}: the kernel keeps another value")),
            Err(error) => self.missing.push(format!("{name}={value}: {error}")),
        }
    }
}

/// A line on the pipe.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Applied(StartReport),
    Failed { step: Step, error: String },
}

/// The worker's end. It closes at exec.
pub(crate) struct StartWriter(pub(crate) PipeWriter);

impl StartWriter {
    /// All steps are taken, the program comes next.
    pub(crate) fn applied(&self, report: &StartReport) -> Result<(), ControlError> {
        let report = StartReport { enforced: report.enforced.clone(), missing: report.missing.clone() };
        self.write(&Line::Applied(report))
    }

    /// A step failed. There is nobody left to tell where this cannot be written either.
    pub(crate) fn failed(&self, failure: StepError) {
        let StepError { step, error } = failure;
        drop(self.write(&Line::Failed { step, error: shorten(error) }));
    }

    fn write(&self, line: &Line) -> Result<(), ControlError> {
        // The pipe holds 64 KiB and the lines have a bound, so this does not block.
        let bytes = encode(line)?;
        (&self.0).write_all(&bytes).map_err(serde_json::Error::io)?;
        Ok(())
    }
}

/// What became of the start.
pub(crate) enum Start {
    /// The program runs.
    Running(StartReport),
    /// It never did.
    Failed(StepError),
}

/// The holder's end.
pub(crate) struct StartReader {
    pipe: PipeReader,
    text: Vec<u8>,
}

impl StartReader {
    pub(crate) fn new(pipe: PipeReader) -> Self {
        Self { pipe, text: Vec::new() }
    }

    /// Reads what is there; `Some` at the end of the pipe. Blocks unless the pipe is ready.
    pub(crate) fn read(&mut self) -> Option<Start> {
        let mut buffer = [0; 4096];
        match self.pipe.read(&mut buffer) {
            // Two lines are the most that an honest worker writes, and it is honest until it executes.
            Ok(bytes) if bytes > 0 && self.text.len() < 2 * CONTROL_MESSAGE_BYTES_MAX => {
                self.text.extend_from_slice(&buffer[..bytes]);
                None
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => None,
            Ok(_) | Err(_) => Some(self.outcome()),
        }
    }

    fn outcome(&self) -> Start {
        let mut report = None;
        for line in self.text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            match serde_json::from_slice(line) {
                Ok(Line::Applied(applied)) => report = Some(applied),
                Ok(Line::Failed { step, error }) => return Start::Failed(StepError { step, error }),
                // A worker that was killed in the middle of a line.
                Err(_) => break,
            }
        }
        report.map_or_else(
            || {
                Start::Failed(StepError {
                    step: Step::Exec,
                    error: "the worker died before it could execute the program".into(),
                })
            },
            Start::Running,
        )
    }
}

impl AsFd for StartReader {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}

/// Cuts an error text to its bound at a character boundary.
pub(crate) fn shorten(mut text: String) -> String {
    if text.len() > ERROR_TEXT_BYTES_MAX {
        text.truncate(text.floor_char_boundary(ERROR_TEXT_BYTES_MAX));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(write: impl FnOnce(&StartWriter)) -> Start {
        let (reader, writer) = std::io::pipe().unwrap();
        let writer = StartWriter(writer);
        write(&writer);
        drop(writer);
        let mut reader = StartReader::new(reader);
        loop {
            if let Some(start) = reader.read() {
                return start;
            }
        }
    }

    #[test]
    fn the_end_of_the_pipe_after_the_report_means_running() {
        let start =
            outcome(|writer| writer.applied(&StartReport { enforced: vec!["x".into()], missing: vec![] }).unwrap());
        assert!(matches!(start, Start::Running(report) if report.enforced == ["x"]));
    }

    #[test]
    fn a_failure_after_the_report_wins() {
        let start = outcome(|writer| {
            writer.applied(&StartReport::default()).unwrap();
            writer.failed(StepError { step: Step::Exec, error: "é".repeat(ERROR_TEXT_BYTES_MAX) });
        });
        assert!(
            matches!(start, Start::Failed(failure) if failure.step == Step::Exec && failure.error.len() <= ERROR_TEXT_BYTES_MAX)
        );
    }

    #[test]
    fn silence_means_death() {
        assert!(matches!(outcome(|_| ()), Start::Failed(failure) if failure.error.contains("died before")));
    }
}
