//! A pip that works on environments that have none.

use std::path::{Path, PathBuf};

use super::error::EnvironmentError;
use super::interpreter::Interpreter;
use super::marker;
use super::steps::Steps;
use super::tool::Tool;

/// Directory below the working directory of a build, for an environment with pip in it.
const DIRECTORY: &str = "pip";

/// An interpreter that has pip.
pub(super) struct Pip {
    python: PathBuf,
}

impl Pip {
    /// The interpreter's own where it will do; otherwise one in an environment below `work`, which takes 2 s to make.
    pub(super) async fn find(
        steps: &Steps<'_>,
        interpreter: &Interpreter,
        work: &Path,
    ) -> Result<Self, EnvironmentError> {
        if steps.base_pip_will_do(interpreter).await? {
            return Ok(Self { python: interpreter.base_executable.clone() });
        }
        let path = work.join(DIRECTORY);
        let mut create = steps.tool(&interpreter.base_executable)?;
        create.args(["-I", "-m", "venv"]).args([&path]);
        steps.must("getting pip with venv", create).await?;
        Ok(Self { python: marker::python(&path) })
    }

    /// Runs it; arguments follow.
    pub(super) fn tool(&self, steps: &Steps<'_>) -> Result<Tool, EnvironmentError> {
        let mut tool = steps.tool(&self.python)?;
        tool.args(["-I", "-m", "pip"]);
        Ok(tool)
    }
}
