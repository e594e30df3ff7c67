//! Ends of the process that do not wait for Python.

use std::io::Write as _;

use crate::package::{EXIT_PROTOCOL, EXIT_SESSION_LOST};

/// Why the process ends without Python's finalisation, as an exit code.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Exit {
    /// Everything was said; only threads or `atexit` functions of the plugin were left.
    Done = 0,
    /// Runner and worker do not speak the same protocol.
    Protocol = EXIT_PROTOCOL as isize,
    /// The session ended before the worker was told to finish.
    SessionLost = EXIT_SESSION_LOST as isize,
    /// A call still ran when the time to drain was over.
    DrainTimeout = 75,
}

/// Ends the process at once. The message goes to the real standard error.
#[expect(unsafe_code, reason = "`_exit` is the only end that runs neither destructors nor Python code, which may hang")]
pub(crate) fn exit_now(exit: Exit, message: &str) -> ! {
    if !message.is_empty() {
        // Nobody may be left to read it.
        let _ = writeln!(std::io::stderr(), "bulkhead worker: {message}");
    }
    // SAFETY: `_exit` has no preconditions and does not return.
    unsafe { nix::libc::_exit(exit as i32) }
}
