//! What a person reads: data on standard output, everything else on standard error.

use std::io::{IsTerminal, Write};

/// Width that every terminal has.
const TERMINAL_COLUMNS: usize = 76;

/// A command that failed, with what to do about it where that is known.
#[derive(Debug)]
pub(super) struct CliError {
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

impl CliError {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Writes a line to standard output. A reader that went away, such as `head`, is no failure.
pub(super) fn say(text: impl AsRef<str>) {
    let _ = writeln!(std::io::stdout().lock(), "{}", text.as_ref());
}

/// Writes bytes to standard output as they are.
pub(super) fn put(bytes: &[u8]) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(bytes).and_then(|()| stdout.flush());
}

/// Writes a line to standard error.
pub(super) fn note(text: impl AsRef<str>) {
    let _ = writeln!(std::io::stderr().lock(), "{}", text.as_ref());
}

/// Tells how something goes: on a terminal in one line that changes, elsewhere in a line each.
pub(super) struct Progress {
    is_terminal: bool,
    is_open: bool,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self { is_terminal: std::io::stderr().is_terminal(), is_open: false }
    }

    pub(super) fn tell(&mut self, text: &str) {
        if !self.is_terminal {
            return note(format!("  {text}"));
        }
        let text: String = text.chars().take(TERMINAL_COLUMNS).collect();
        let mut stderr = std::io::stderr().lock();
        let _ = write!(stderr, "\r\x1b[2K  {text}").and_then(|()| stderr.flush());
        self.is_open = true;
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_open {
            let _ = write!(std::io::stderr().lock(), "\r\x1b[2K");
        }
    }
}

/// Writes a failure to standard error.
pub(super) fn complain(error: &CliError) {
    note(format!("error: {}", error.message));
    if let Some(hint) = &error.hint {
        note(format!("\nhint: {hint}"));
    }
}
