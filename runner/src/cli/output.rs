//! What a person reads: data on standard output, everything else on standard error.

use std::io::Write;

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

/// Writes a failure to standard error.
pub(super) fn complain(error: &CliError) {
    note(format!("error: {}", error.message));
    if let Some(hint) = &error.hint {
        note(format!("\nhint: {hint}"));
    }
}
