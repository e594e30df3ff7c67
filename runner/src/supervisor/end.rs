//! How a worker ended, with a name for every end.

use std::time::Duration;

use bulkhead_launcher::Exit;
use bulkhead_proto::types::v1::{Failure, FailureKind};

use super::watchdog::Excess;
use crate::session::Violation;

/// Why a worker is no more.
#[derive(Debug, Clone, PartialEq)]
pub enum WorkerEnd {
    /// It had no work for its idle timeout, or its trigger or the runner stopped.
    Stopped,
    /// It ended by itself.
    Exited(Exit),
    /// It was killed because a call overran.
    Deadline(Duration),
    /// It was killed because a call was cancelled and did not end in time, or it was replaced after a cancelled
    /// call, whose state nobody can trust.
    Cancelled,
    /// It was killed because it held more memory than it may.
    Memory(Excess),
    /// It was killed because it broke the protocol.
    Protocol(Violation),
    /// It closed or garbled its connection.
    Disconnected(String),
    /// It never became ready.
    Start(String),
    /// Its plugin cannot be used.
    Load(String),
    /// Its environment could not be built.
    Environment(String),
}

impl WorkerEnd {
    /// Whether the end is a fault, after which a start is delayed.
    #[must_use]
    pub fn is_fault(&self) -> bool {
        !matches!(self, Self::Stopped | Self::Cancelled)
    }

    /// One word for the cause, for counting.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Exited(Exit::Signal { .. }) => "signal",
            Self::Exited(Exit::Code(_)) => "exit",
            Self::Deadline(_) => "deadline",
            Self::Cancelled => "cancelled",
            Self::Memory(_) => "memory",
            Self::Protocol(_) | Self::Disconnected(_) => "protocol",
            Self::Start(_) => "start",
            Self::Load(_) => "load",
            Self::Environment(_) => "environment",
        }
    }

    /// The kind of failure that a call sees which this end cut off.
    #[must_use]
    pub fn failure_kind(&self) -> FailureKind {
        match self {
            Self::Stopped | Self::Cancelled => FailureKind::Cancelled,
            Self::Exited(Exit::Signal { .. }) => FailureKind::Signal,
            Self::Exited(Exit::Code(_)) => FailureKind::Exit,
            Self::Deadline(_) => FailureKind::Deadline,
            Self::Memory(_) => FailureKind::Memory,
            Self::Protocol(_) | Self::Disconnected(_) => FailureKind::Protocol,
            Self::Start(_) => FailureKind::Start,
            Self::Load(_) => FailureKind::Load,
            Self::Environment(_) => FailureKind::Environment,
        }
    }

    /// The failure that a call sees which this end cut off.
    #[must_use]
    pub fn failure(&self, stderr_tail: String) -> Failure {
        Failure { kind: self.failure_kind().into(), message: self.to_string(), traceback: String::new(), stderr_tail }
    }
}

impl std::fmt::Display for WorkerEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Stopped => f.write_str("worker stopped"),
            Self::Exited(exit @ Exit::Signal { number: 9, .. }) => {
                write!(f, "worker killed by {exit}, not by the runner; the kernel does this when memory runs out")
            }
            Self::Exited(exit @ Exit::Signal { .. }) => write!(f, "worker killed by {exit}"),
            Self::Exited(Exit::Code(code)) => write!(f, "worker exited by itself with exit code {code}"),
            Self::Deadline(limit) => {
                write!(f, "plugin ran longer than its timeout of {}", humantime::format_duration(*limit))
            }
            Self::Memory(Excess { bytes, limit, processes }) => {
                let processes = if *processes > 1 { format!(" in {processes} processes") } else { String::new() };
                let (bytes, limit) = (bytes >> 20, limit >> 20);
                write!(f, "worker held {bytes} MiB of memory{processes} and may hold {limit} MiB (limit `memory`)")
            }
            Self::Cancelled => f.write_str("invocation cancelled"),
            Self::Protocol(violation) => write!(f, "worker broke the protocol: {violation}"),
            Self::Disconnected(how) => write!(f, "worker broke the protocol: {how}"),
            Self::Start(reason) | Self::Load(reason) | Self::Environment(reason) => f.write_str(reason),
        }
    }
}
