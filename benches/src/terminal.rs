//! The one place that writes to the terminal.

use std::io::{Result, Write};

/// Prints lines to standard output.
pub(crate) fn say(text: &str) -> Result<()> {
    writeln!(std::io::stdout().lock(), "{text}")
}

/// Prints progress or an error to standard error.
pub(crate) fn complain(text: &str) {
    // Nobody is left to be told of a standard error that is closed.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
