//! What the steps of a build have in common: one deadline, one lock, and errors in the words of the tool that failed.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use super::diagnosis;
use super::error::EnvironmentError;
use super::index::IndexSettings;
use super::interpreter::Interpreter;
use super::progress::News;
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
    /// Where it is said what tools say.
    pub(super) news: &'a News,
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
        if self.news.is_heard() {
            tool.heard_by(self.news.clone(), self.redactor.clone());
        }
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
        let words = self.redactor.clean(&diagnosis::words(&output.stdout, &output.stderr));
        Err(EnvironmentError::Tool {
            what: what.to_owned(),
            exit: output.status.to_string(),
            hint: diagnosis::hint(&words),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_pip_is_read() {
        assert_eq!(pip_major("pip 23.2.1 from /usr/lib/python3 (python 3.11)\n"), Some(23));
        assert_eq!(pip_major("No module named pip"), None);
    }
}
