//! A pip that works on environments that have none, and that starts no other program.

use std::path::{Path, PathBuf};

use super::error::EnvironmentError;
use super::interpreter::Interpreter;
use super::marker;
use super::steps::Steps;
use super::tool::Tool;

/// Directory below the working directory of a build, for an environment with pip in it.
const DIRECTORY: &str = "pip";

/// What keeps pip from running anything of a package: whatever it would have to build is built in the sandbox.
const GUARD: &str = include_str!("guarded_pip.py");

/// First major version of pip that reports what it would install (22.2) and reads the metadata of indexes (22.3).
const MAJOR_MIN: u32 = 23;

/// A pip.
pub(super) struct Pip {
    /// The directory of its package.
    directory: PathBuf,
}

impl Pip {
    /// The interpreter's own where it will do; otherwise one in an environment below `work`, which takes 2 s to make.
    pub(super) async fn find(
        steps: &Steps<'_>,
        interpreter: &Interpreter,
        work: &Path,
    ) -> Result<Self, EnvironmentError> {
        if let Some(directory) = own(steps, &interpreter.base_executable, MAJOR_MIN).await? {
            return Ok(Self { directory });
        }
        let path = work.join(DIRECTORY);
        let python = marker::python(&path);
        if !python.exists() {
            let mut create = steps.tool(&interpreter.base_executable)?;
            create.args(["-I", "-m", "venv"]).args([&path]);
            steps.must("getting pip with venv", create).await?;
        }
        let directory = own(steps, &python, 0).await?;
        let directory = directory.ok_or_else(|| EnvironmentError::Tool {
            what: "getting pip with venv".to_owned(),
            exit: "an environment without pip".to_owned(),
            output: String::new(),
            hint: Some("install pip for this interpreter, or uv".to_owned()),
        })?;
        Ok(Self { directory })
    }

    /// Runs it for an interpreter, whose packages it installs; arguments follow.
    pub(super) fn tool(&self, steps: &Steps<'_>, python: &Path) -> Result<Tool, EnvironmentError> {
        let mut tool = steps.tool(python)?;
        tool.args(["-I", "-c", GUARD]).args([&self.directory]);
        Ok(tool)
    }
}

/// The directory of an interpreter's own pip, when it is there and new enough.
async fn own(steps: &Steps<'_>, python: &Path, major_min: u32) -> Result<Option<PathBuf>, EnvironmentError> {
    let mut tool = steps.tool(python)?;
    tool.args(["-I", "-m", "pip", "--disable-pip-version-check", "--version"]);
    let output = steps.output("asking pip for its version", tool).await?;
    let found = version(&output.stdout).filter(|(major, _)| output.status.success() && *major >= major_min);
    Ok(found.map(|(_, directory)| directory))
}

/// Number and place in `pip 23.2.1 from /usr/lib/python3/dist-packages/pip (python 3.11)`.
fn version(text: &str) -> Option<(u32, PathBuf)> {
    let (number, rest) = text.trim().strip_prefix("pip ")?.split_once(" from ")?;
    let major = number.split('.').next()?.parse().ok()?;
    let (package, _) = rest.rsplit_once(" (")?;
    Some((major, Path::new(package).parent()?.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_and_place_of_pip_are_read() {
        let words = "pip 23.2.1 from /usr/lib/python 3/dist-packages/pip (python 3.11)\n";
        assert_eq!(version(words), Some((23, PathBuf::from("/usr/lib/python 3/dist-packages"))));
        assert_eq!(version("No module named pip"), None);
    }
}
