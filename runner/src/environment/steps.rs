//! What the steps of a build have in common: one deadline, one lock, and errors in the words of the tool that failed.

use std::fs::File;
use std::path::Path;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::diagnosis;
use super::error::EnvironmentError;
use super::index::IndexSettings;
use super::progress::News;
use super::redactor::Redactor;
use super::tool::{Output, Tool, ToolError};
use super::workbench::{BenchOutput, BenchTask, Listener, Workbench};

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

    /// Runs what nobody trusts in the sandbox, where it must succeed; what it has said.
    pub(super) async fn on_bench(
        &self,
        what: &str,
        workbench: &dyn Workbench,
        task: BenchTask,
    ) -> Result<String, EnvironmentError> {
        let (news, redactor) = (self.news.clone(), self.redactor.clone());
        let listener: Listener = Arc::new(move |line| news.say(&redactor.clean(line)));
        let failed = |exit: String, output: String| EnvironmentError::Tool {
            what: what.to_owned(),
            exit,
            hint: diagnosis::hint(&output),
            output,
        };
        let run = workbench.run(task, listener).await;
        let BenchOutput { status, stdout, stderr, remark } = run.map_err(|reason| failed(reason, String::new()))?;
        if let Some(status) = status.filter(|_| remark.is_none()).filter(ExitStatus::success) {
            tracing::debug!("{what}: {status}");
            return Ok(stdout);
        }
        // A build tells its steps on one of them, and why it fails on the other.
        let words = self.redactor.clean(format!("{}\n{}", stdout.trim_end(), stderr.trim_end()).trim_start());
        match (status, remark) {
            (None, None) => Err(EnvironmentError::Timeout { what: what.to_owned(), limit: self.limit, output: words }),
            (_, Some(remark)) => Err(failed(remark, words)),
            (Some(status), None) => Err(failed(status.to_string(), words)),
        }
    }
}

/// Whether a tool says that a file has not the hash that it should have.
pub(super) fn is_other_file(output: &str) -> bool {
    ["DO NOT MATCH THE HASHES", "Hash mismatch"].iter().any(|text| output.contains(text))
}
