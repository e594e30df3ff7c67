//! The tool that resolves and installs.

use std::path::{Path, PathBuf};

use super::error::EnvironmentError;
use super::interpreter::Interpreter;
use super::pip::Pip;
use super::steps::Steps;

/// The tool.
pub(super) enum Installer<'a> {
    /// uv, at this path.
    Uv(&'a PathBuf),
    /// pip.
    Pip(Pip),
}

impl<'a> Installer<'a> {
    /// uv where it is to be used, pip otherwise; `work` is the working directory of the build.
    pub(super) async fn find(
        steps: &Steps<'_>,
        uv: Option<&'a PathBuf>,
        interpreter: &Interpreter,
        work: &Path,
    ) -> Result<Self, EnvironmentError> {
        match uv {
            Some(uv) => Ok(Self::Uv(uv)),
            None => Pip::find(steps, interpreter, work).await.map(Self::Pip),
        }
    }
}
