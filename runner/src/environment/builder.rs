//! Makes an environment with the tools that are there.
//!
//! An environment is built in its final place: scripts and `pyvenv.cfg` hold absolute paths, so a directory
//! that is renamed afterwards is broken. The marker, written last by the store, makes it count.
//!
//! What builds run is not trusted (an sdist's `setup.py` is the author's code); their sandbox, the resolved
//! lock and the stream of progress belong between the steps here.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use super::error::EnvironmentError;
use super::interpreter::Interpreter;
use super::marker;
use super::requirements::Requirements;
use super::tool::{Output, Tool, ToolError};
use super::tool_environment::without_credentials;

/// Name of the file in the environment that says what is to be installed, while it is.
const REQUIREMENTS_FILE: &str = "requirements.txt";

/// First major version of pip that installs into another interpreter's environment by `--python` (22.3).
const PIP_MAJOR_MIN: u32 = 23;

/// What to build and with what.
pub(super) struct Build<'a> {
    /// Directory of the environment, which is not there yet.
    pub(super) path: &'a Path,
    pub(super) interpreter: &'a Interpreter,
    pub(super) requirements: &'a Requirements,
    /// Path of uv where it is to be used.
    pub(super) uv: Option<&'a Path>,
    /// Held by the tools too, see [`Tool::hold`].
    pub(super) lock: &'a File,
    /// Time for all steps together.
    pub(super) limit: Duration,
    pub(super) deadline: Instant,
}

impl Build<'_> {
    /// Takes all steps.
    pub(super) async fn run(&self) -> Result<(), EnvironmentError> {
        match self.uv {
            Some(uv) => self.with_uv(uv).await,
            None => self.with_pip().await,
        }
    }

    async fn with_uv(&self, uv: &Path) -> Result<(), EnvironmentError> {
        let mut create = self.tool(uv)?;
        create.args(["venv", "--no-project", "--python"]).args([&self.interpreter.base_executable]).args([self.path]);
        self.must("creating the environment with uv", create).await?;
        if self.requirements.is_empty() {
            return Ok(());
        }
        let mut install = self.tool(uv)?;
        install.args(["pip", "install", "--compile-bytecode", "--python"]).args([marker::python(self.path)]);
        install.args(["--requirement".into(), self.write_requirements()?]);
        self.must("installing packages with uv", install).await?;
        self.remove_requirements()
    }

    async fn with_pip(&self) -> Result<(), EnvironmentError> {
        let base = &self.interpreter.base_executable;
        // Without pip in it an environment takes 50 ms and 60 KB; with pip, 2 s and 12 MB.
        let with_base_pip = self.requirements.is_empty() || self.base_pip_will_do().await?;
        let mut create = self.tool(base)?;
        create.args(["-I", "-m", "venv"]).args(with_base_pip.then_some("--without-pip")).args([self.path]);
        self.must("creating the environment with venv", create).await?;
        if self.requirements.is_empty() {
            return Ok(());
        }
        let python = marker::python(self.path);
        let mut install = self.tool(if with_base_pip { base } else { &python })?;
        install.args(["-I", "-m", "pip"]);
        if with_base_pip {
            install.args(["--python".into(), python]);
        }
        install.args(["install", "--disable-pip-version-check", "--no-input", "--progress-bar", "off"]);
        install.args(["--requirement".into(), self.write_requirements()?]);
        self.must("installing packages with pip", install).await?;
        self.remove_requirements()
    }

    /// Whether the interpreter's own pip is there and new enough to install into the environment.
    async fn base_pip_will_do(&self) -> Result<bool, EnvironmentError> {
        let mut tool = self.tool(&self.interpreter.base_executable)?;
        tool.args(["-I", "-m", "pip", "--disable-pip-version-check", "--version"]);
        let output = self.output("asking pip for its version", tool).await?;
        Ok(output.status.success() && pip_major(&output.stdout).is_some_and(|major| major >= PIP_MAJOR_MIN))
    }

    fn write_requirements(&self) -> Result<std::path::PathBuf, EnvironmentError> {
        let path = self.path.join(REQUIREMENTS_FILE);
        let text: String = self.requirements.packages().iter().map(|line| format!("{line}\n")).collect();
        std::fs::write(&path, text).map_err(EnvironmentError::io("write", &path))?;
        Ok(path)
    }

    /// The file may hold the password of an index, and plugins read their environment.
    fn remove_requirements(&self) -> Result<(), EnvironmentError> {
        let path = self.path.join(REQUIREMENTS_FILE);
        std::fs::remove_file(&path).map_err(EnvironmentError::io("remove", path))
    }

    fn tool(&self, program: &Path) -> Result<Tool, EnvironmentError> {
        // The store's directory holds no project and no configuration that a tool might pick up.
        let cwd = self.path.parent().unwrap_or(Path::new("/"));
        let mut tool = Tool::new(program, cwd);
        tool.hold(self.lock).map_err(EnvironmentError::io("hold the lock of", self.path))?;
        tool.env("UV_PYTHON_DOWNLOADS", "never").env("UV_NO_PROGRESS", "1").env("NO_COLOR", "1");
        Ok(tool)
    }

    async fn output(&self, what: &str, tool: Tool) -> Result<Output, EnvironmentError> {
        tool.run(self.deadline).await.map_err(|error| match error {
            ToolError::Timeout { output } => EnvironmentError::Timeout {
                what: what.to_owned(),
                limit: self.limit,
                output: without_credentials(&output),
            },
            error => EnvironmentError::Tool {
                what: what.to_owned(),
                exit: error.to_string(),
                output: String::new(),
                hint: None,
            },
        })
    }

    async fn must(&self, what: &str, tool: Tool) -> Result<Output, EnvironmentError> {
        let output = self.output(what, tool).await?;
        if output.status.success() {
            return Ok(output);
        }
        // Both tools explain themselves on standard error; venv writes to standard output.
        let words = if output.stderr.trim().is_empty() { &output.stdout } else { &output.stderr };
        let words = without_credentials(words.trim_end());
        Err(EnvironmentError::Tool {
            what: what.to_owned(),
            exit: output.status.to_string(),
            hint: hint(&words),
            output: words,
        })
    }
}

/// The number in `pip 23.2.1 from ...`.
fn pip_major(version: &str) -> Option<u32> {
    version.strip_prefix("pip ")?.split('.').next()?.parse().ok()
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
