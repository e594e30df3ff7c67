//! One thing to build, and what people read of it.

use std::path::PathBuf;

use super::interpreter::Interpreter;
use super::progress::News;
use super::requirements::Requirements;
use super::tool_environment::without_credentials;

/// What is to be made, and with what.
pub(super) struct Job<'a> {
    pub(super) request: &'a str,
    pub(super) interpreter: &'a Interpreter,
    pub(super) requirements: &'a Requirements,
    /// uv where it is to be used.
    pub(super) uv: Option<PathBuf>,
    /// Where it is said how it goes.
    pub(super) news: &'a News,
}

impl Job<'_> {
    /// Says what is done, in the log and to who waits for it.
    pub(super) fn say(&self, what: &str) {
        let (origin, version) = (self.origin(), &self.interpreter.version);
        tracing::info!("{what}{origin} with Python {version}");
        self.news.say(&format!("{what} with Python {version}"));
    }

    /// For a log line: who asks.
    fn origin(&self) -> String {
        let sources: Vec<_> = self.requirements.sources().iter().map(ToString::to_string).collect();
        if sources.is_empty() { String::new() } else { format!(" for {}", sources.join(", ")) }
    }

    /// What the lock says at its beginning, for people.
    pub(super) fn head(&self) -> Vec<String> {
        let asked = self.requirements.packages().iter().map(|line| format!("    {}", without_credentials(line)));
        let interpreter = self.interpreter;
        let made = format!("What was resolved for Python {} on {} of", interpreter.version, interpreter.platform);
        std::iter::once(made).chain(asked).collect()
    }
}
