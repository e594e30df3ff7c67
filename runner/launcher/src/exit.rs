//! How a process ended, in words.

use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use nix::sys::signal::Signal;

/// First real-time signal number that programs see; the C library keeps the two below for itself.
const REALTIME_MIN: i32 = 34;
/// Last signal number of Linux.
const REALTIME_MAX: i32 = 64;

/// The end of a process, decoded from its raw wait status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// It ended by itself with this code.
    Code(i32),
    /// A signal ended it.
    Signal {
        /// The signal's number on this machine.
        number: i32,
        /// Its name, for instance `SIGSEGV`.
        name: String,
        /// Whether the kernel wrote a core dump.
        core: bool,
    },
}

/// Decodes a raw wait status, as `wait4` returns it.
#[must_use]
pub fn describe_exit(raw: i32) -> Exit {
    let status = ExitStatus::from_raw(raw);
    match (status.code(), status.signal()) {
        (None, Some(number)) => Exit::Signal { number, name: signal_name(number), core: status.core_dumped() },
        (code, _) => Exit::Code(code.unwrap_or(raw)),
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(out, "exit code {code}"),
            Self::Signal { number, name, core } => {
                let core = if *core { ", core dumped" } else { "" };
                write!(out, "signal {number} ({name}{core})")
            }
        }
    }
}

fn signal_name(number: i32) -> String {
    match Signal::try_from(number) {
        Ok(signal) => signal.as_str().to_owned(),
        Err(_) if (REALTIME_MIN..=REALTIME_MAX).contains(&number) => format!("SIGRTMIN+{}", number - REALTIME_MIN),
        Err(_) => format!("signal {number}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_code_is_in_the_second_byte() {
        assert_eq!(describe_exit(3 << 8), Exit::Code(3));
        assert_eq!(describe_exit(0).to_string(), "exit code 0");
    }

    #[test]
    fn a_signal_has_number_name_and_core_flag() {
        let exit = describe_exit(11 | 0x80);
        assert_eq!(exit, Exit::Signal { number: 11, name: "SIGSEGV".into(), core: true });
        assert_eq!(exit.to_string(), "signal 11 (SIGSEGV, core dumped)");
    }

    #[test]
    fn a_real_time_signal_has_a_name_too() {
        assert_eq!(describe_exit(37).to_string(), "signal 37 (SIGRTMIN+3)");
    }
}
