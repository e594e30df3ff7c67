//! Messages on the control socket: one JSON object a line. Pure, so that any event loop can use them.
//!
//! The end of the stream is a message too: for the holder it means that the runner is gone and everything
//! dies, for the runner that the holder is gone and wants to be reaped.

use std::fmt;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::limits::CONTROL_MESSAGE_BYTES_MAX;

/// What the holder tells the runner. `Started` comes at most once and first; `Failed` or `Exited` comes
/// last. A stream that ends without either means that the holder itself was killed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "report")]
pub enum Report {
    /// The program runs.
    Started {
        /// Process id of the worker, in the runner's view.
        worker_pid: i32,
        /// What was enforced, each read back after it was set, for instance `open_files=256`.
        enforced: Vec<String>,
        /// What was asked for and not granted, each with the reason.
        missing: Vec<String>,
    },
    /// The program never ran; nothing of the attempt is left.
    Failed {
        /// Step that failed.
        step: Step,
        /// Why, as a fragment for people.
        error: String,
    },
    /// A process that the worker had left to its reaper has ended, where the policy asks for it.
    ChildExited {
        /// Its process id as it is inside of the worker's innermost namespace.
        pid: i32,
        /// Raw wait status, for [`crate::describe_exit`].
        raw_status: i32,
        /// What it used.
        usage: Usage,
        /// Processes of its group that the kernel has ended for their memory since the last report.
        memory_kills: u64,
    },
    /// The worker has ended, and so has all that it had started.
    Exited {
        /// Raw wait status, for [`crate::describe_exit`].
        raw_status: i32,
        /// What worker and descendants used.
        usage: Usage,
        /// Descendants that had to be killed, the worker not counted.
        killed_descendants: u64,
        /// Children of the holder that had not ended when this was sent; it goes on for them.
        remaining_descendants: u64,
        /// Processes of its group that the kernel has ended for their memory since the last report.
        memory_kills: u64,
    },
}

/// What the runner tells the holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "order")]
pub enum Order {
    /// Kill the worker and every descendant.
    Kill,
    /// Send this signal to the worker alone, for instance `SIGABRT` for the stack of a hanging plugin.
    /// The holder does it because only a parent can be sure that the process id still is the worker's.
    Signal {
        /// Number of the signal on this machine.
        number: i32,
    },
}

/// Resources used by a worker and those of its descendants that were waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// CPU time in user mode, microseconds.
    pub user_us: u64,
    /// CPU time in the kernel, microseconds.
    pub system_us: u64,
    /// Largest resident size of any single process among them, bytes.
    pub max_rss_bytes: u64,
}

impl Usage {
    /// CPU time in user mode and in the kernel together.
    #[must_use]
    pub fn cpu(&self) -> Duration {
        Duration::from_micros(self.user_us.saturating_add(self.system_us))
    }
}

/// A step of the launch, in the order in which they are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Step {
    /// Reading and checking the policy.
    Policy,
    /// Making the holder the reaper of its descendants.
    Holder,
    /// Namespaces of its own.
    Namespaces,
    /// Listeners for the network endpoints that were granted.
    Network,
    /// A root directory with what was granted.
    Root,
    /// Forking the worker.
    Fork,
    /// Giving the worker its own session and tying its life to the holder's.
    Session,
    /// Niceness and preference of the out-of-memory killer.
    Priority,
    /// File mode creation mask.
    Umask,
    /// Changing into the working directory.
    WorkingDirectory,
    /// Setting resource limits.
    ResourceLimits,
    /// Changing to the worker's own user, without capabilities.
    Identity,
    /// Giving up new privileges for good.
    NoNewPrivileges,
    /// Rules about files, ports and signals.
    Landlock,
    /// Comparing what the kernel granted with the least that is required.
    Minimum,
    /// Filters of system calls.
    Seccomp,
    /// Default signal dispositions and an empty mask.
    Signals,
    /// Closing what does not belong to the worker.
    Descriptors,
    /// Executing the program.
    Exec,
}

impl fmt::Display for Step {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Policy => "policy",
            Self::Holder => "holder",
            Self::Namespaces => "namespaces",
            Self::Network => "network",
            Self::Root => "root directory",
            Self::Fork => "fork",
            Self::Session => "session",
            Self::Priority => "priority",
            Self::Umask => "umask",
            Self::WorkingDirectory => "working directory",
            Self::ResourceLimits => "resource limits",
            Self::Identity => "identity",
            Self::NoNewPrivileges => "no new privileges",
            Self::Landlock => "landlock",
            Self::Minimum => "required minimum",
            Self::Seccomp => "seccomp",
            Self::Signals => "signals",
            Self::Descriptors => "descriptors",
            Self::Exec => "exec",
        })
    }
}

/// A control message that could not be understood.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// No newline within the limit.
    #[error("a control message is longer than {max} bytes (limit CONTROL_MESSAGE_BYTES_MAX)")]
    TooLong {
        /// The limit, bytes.
        max: usize,
    },
    /// Not JSON, or not a message of this version.
    #[error("malformed control message: {0}")]
    Malformed(#[from] serde_json::Error),
}

/// Encodes an order as the bytes to write to [`crate::Launched::control`].
///
/// # Errors
/// Only if the encoder fails, which it has no cause to for these types.
pub fn encode_order(order: Order) -> Result<Vec<u8>, ControlError> {
    encode(&order)
}

/// Takes bytes as they arrive from [`crate::Launched::control`] and gives the reports in them.
#[derive(Debug, Default)]
pub struct ReportDecoder(LineDecoder);

impl ReportDecoder {
    /// A decoder at the start of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds bytes that were read.
    pub fn push(&mut self, bytes: &[u8]) {
        self.0.push(bytes);
    }

    /// The next whole report, `None` until more bytes arrive.
    ///
    /// # Errors
    /// The line is too long or no report; the stream cannot be used any further.
    pub fn next_report(&mut self) -> Result<Option<Report>, ControlError> {
        self.0.next_message()
    }
}

/// One message as a line.
pub(crate) fn encode(message: &impl Serialize) -> Result<Vec<u8>, ControlError> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    if line.len() > CONTROL_MESSAGE_BYTES_MAX {
        return Err(ControlError::TooLong { max: CONTROL_MESSAGE_BYTES_MAX });
    }
    Ok(line)
}

/// Splits a stream into lines of bounded length and decodes them.
#[derive(Debug, Default)]
pub(crate) struct LineDecoder {
    pending: Vec<u8>,
}

impl LineDecoder {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    pub(crate) fn next_message<T: DeserializeOwned>(&mut self) -> Result<Option<T>, ControlError> {
        let end = self.pending.iter().position(|byte| *byte == b'\n');
        if end.unwrap_or(self.pending.len()) >= CONTROL_MESSAGE_BYTES_MAX {
            return Err(ControlError::TooLong { max: CONTROL_MESSAGE_BYTES_MAX });
        }
        let Some(end) = end else { return Ok(None) };
        let line: Vec<u8> = self.pending.drain(..=end).collect();
        Ok(Some(serde_json::from_slice(&line)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_survive_any_split() {
        let reports = [
            Report::Started { worker_pid: 7, enforced: vec!["umask=077".into()], missing: vec![] },
            Report::Failed { step: Step::Exec, error: "no\nsuch".into() },
        ];
        let stream: Vec<u8> = reports.iter().flat_map(|report| encode(report).unwrap()).collect();
        for size in [1, 3, stream.len()] {
            let mut decoder = ReportDecoder::new();
            let mut seen = Vec::new();
            for part in stream.chunks(size) {
                decoder.push(part);
                while let Some(report) = decoder.next_report().unwrap() {
                    seen.push(report);
                }
            }
            assert_eq!(seen, reports);
        }
    }

    #[test]
    fn a_line_without_end_is_refused() {
        let mut decoder = ReportDecoder::new();
        decoder.push(&vec![b'x'; CONTROL_MESSAGE_BYTES_MAX]);
        assert!(matches!(decoder.next_report(), Err(ControlError::TooLong { .. })));
    }

    #[test]
    fn garbage_is_an_error_not_a_panic() {
        let mut decoder = ReportDecoder::new();
        decoder.push(b"{\"report\":\"dance\"}\n");
        assert!(decoder.next_report().unwrap_err().to_string().contains("dance"));
    }
}
