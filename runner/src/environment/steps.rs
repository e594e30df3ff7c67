//! What the steps of a build have in common: one deadline, one lock, and errors in the words of the tool that failed.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use super::error::EnvironmentError;
use super::index::IndexSettings;
use super::interpreter::Interpreter;
use super::redactor::Redactor;
use super::tool::{Output, Tool, ToolError};

/// First major version of pip that installs into another interpreter's environment by `--python` (22.3) and reports what it
/// would install (22.2).
const PIP_MAJOR_MIN: u32 = 23;

/// The frame of a build.
#[derive(Clone, Copy)]
pub(super) struct Steps<'a> {
    /// Where packages come from.
    pub(super) index: &'a IndexSettings,
    /// Cleans what tools say.
    pub(super) redactor: &'a Redactor,
    /// The store's directory: it holds no project and no configuration that a tool might pick up.
    pub(super) root: &'a Path,
    /// Held by the tools too, see [`Tool::hold`].
    pub(super) lock: &'a File,
    /// Time for all steps together.
    pub(super) limit: Duration,
    pub(super) deadline: Instant,
}

impl Steps<'_> {
    pub(super) fn tool(&self, program: &Path) -> Result<Tool, EnvironmentError> {
        let mut tool = Tool::new(program, self.root);
        tool.hold(self.lock).map_err(EnvironmentError::io("hold the lock in", self.root))?;
        self.index.tell(&mut tool);
        tool.env("UV_PYTHON_DOWNLOADS", "never").env("UV_NO_PROGRESS", "1").env("NO_COLOR", "1");
        Ok(tool)
    }

    /// Runs a tool, whatever its exit status.
    pub(super) async fn output(&self, what: &str, tool: Tool) -> Result<Output, EnvironmentError> {
        tool.run(self.deadline).await.map_err(|error| match error {
            ToolError::Timeout { output } => EnvironmentError::Timeout {
                what: what.to_owned(),
                limit: self.limit,
                output: self.redactor.clean(&output),
            },
            error => EnvironmentError::Tool {
                what: what.to_owned(),
                exit: error.to_string(),
                output: String::new(),
                hint: None,
            },
        })
    }

    /// Runs a tool that must succeed.
    pub(super) async fn must(&self, what: &str, tool: Tool) -> Result<Output, EnvironmentError> {
        let output = self.output(what, tool).await?;
        if output.status.success() {
            return Ok(output);
        }
        // Both tools explain themselves on standard error; venv writes to standard output.
        let words = if output.stderr.trim().is_empty() { &output.stdout } else { &output.stderr };
        let words = self.redactor.clean(words.trim_end());
        Err(EnvironmentError::Tool {
            what: what.to_owned(),
            exit: output.status.to_string(),
            hint: hint(&words),
            output: words,
        })
    }

    /// Whether the interpreter's own pip is there and new enough to work on other environments.
    pub(super) async fn base_pip_will_do(&self, interpreter: &Interpreter) -> Result<bool, EnvironmentError> {
        let mut tool = self.tool(&interpreter.base_executable)?;
        tool.args(["-I", "-m", "pip", "--disable-pip-version-check", "--version"]);
        let output = self.output("asking pip for its version", tool).await?;
        Ok(output.status.success() && pip_major(&output.stdout).is_some_and(|major| major >= PIP_MAJOR_MIN))
    }
}

/// The number in `pip 23.2.1 from ...`.
fn pip_major(version: &str) -> Option<u32> {
    version.strip_prefix("pip ")?.split('.').next()?.parse().ok()
}

/// Whether a tool says that a file has not the hash that it should have.
pub(super) fn is_other_file(output: &str) -> bool {
    ["DO NOT MATCH THE HASHES", "Hash mismatch"].iter().any(|text| output.contains(text))
}

/// What the reader can do about the failures that people meet most.
fn hint(output: &str) -> Option<&'static str> {
    let hints = [
        ("ensurepip is not available", "install the package `python3-venv`, or uv"),
        ("No module named venv", "install the package `python3-venv`, or uv"),
        ("No space left on device", "free disk space below the data directory"),
        (
            "Temporary failure in name resolution",
            "the index cannot be reached: check network, proxy and index settings",
        ),
        ("dns error", "the index cannot be reached: check network, proxy and index settings"),
        ("No matching distribution found", "check the package's name and version, and that it supports this Python"),
        ("No solution found", "the requirements contradict each other or a package does not exist"),
        ("ResolutionImpossible", "the requirements contradict each other"),
        ("Failed building wheel", "a package has no wheel for this platform and its build failed"),
    ];
    hints.into_iter().find(|(text, _)| output.contains(text)).map(|(_, hint)| hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_pip_is_read() {
        assert_eq!(pip_major("pip 23.2.1 from /usr/lib/python3 (python 3.11)\n"), Some(23));
        assert_eq!(pip_major("No module named pip"), None);
    }

    #[test]
    fn known_failures_have_a_hint() {
        assert_eq!(
            hint("ERROR: No matching distribution found for x").map(|hint| hint.starts_with("check the package")),
            Some(true)
        );
        assert_eq!(hint("something else"), None);
    }
}
