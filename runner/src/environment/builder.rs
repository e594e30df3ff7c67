//! Makes an environment with the tools that are there.
//!
//! An environment is built in its final place: scripts and `pyvenv.cfg` hold absolute paths, so a directory
//! that is renamed afterwards is broken. The marker, written last by the store, makes it count.
//!
//! What builds run is not trusted (an sdist's `setup.py` is the author's code); their sandbox and the stream of progress
//! belong between the steps here.

use std::path::Path;

use super::error::EnvironmentError;
use super::installer::Installer;
use super::interpreter::Interpreter;
use super::marker;
use super::steps::Steps;

/// Name of the file in the environment that says what is to be installed, while it is.
const REQUIREMENTS_FILE: &str = "requirements.txt";

/// Makes an environment without packages at `path`, with uv or with the interpreter's own `venv`.
pub(super) async fn create(
    steps: &Steps<'_>,
    uv: Option<&Path>,
    interpreter: &Interpreter,
    path: &Path,
) -> Result<(), EnvironmentError> {
    let base = &interpreter.base_executable;
    let (what, tool) = match uv {
        Some(uv) => {
            let mut tool = steps.tool(uv)?;
            tool.args(["venv", "--no-project", "--python"]).args([base.as_path(), path]);
            ("creating the environment with uv", tool)
        }
        None => {
            // Without pip in it an environment takes 50 ms and 60 KB; with pip, 2 s and 12 MB.
            let mut tool = steps.tool(base)?;
            tool.args(["-I", "-m", "venv", "--without-pip"]).args([path]);
            ("creating the environment with venv", tool)
        }
    };
    steps.must(what, tool).await.map(drop)
}

/// Installs what `lines` say, and nothing that they depend on, into the environment at `path`.
pub(super) async fn install(
    steps: &Steps<'_>,
    installer: &Installer<'_>,
    lines: &[String],
    path: &Path,
) -> Result<(), EnvironmentError> {
    let file = path.join(REQUIREMENTS_FILE);
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    std::fs::write(&file, text).map_err(EnvironmentError::io("write", &file))?;
    let python = marker::python(path);
    let (what, mut tool) = match installer {
        Installer::Uv(uv) => {
            let mut tool = steps.tool(uv)?;
            tool.args(["pip", "install", "--no-deps", "--compile-bytecode", "--python"]).args([python]);
            ("installing packages with uv", tool)
        }
        Installer::Pip(pip) => {
            let mut tool = pip.tool(steps)?;
            tool.args(["--python".into(), python]);
            tool.args(["install", "--no-deps", "--disable-pip-version-check", "--no-input", "--progress-bar", "off"]);
            ("installing packages with pip", tool)
        }
    };
    tool.args(steps.index.arguments());
    if steps.index.require_hashes {
        tool.args(["--require-hashes"]);
    }
    tool.args(["--requirement".as_ref(), file.as_path()]);
    steps.must(what, tool).await?;
    // The file may hold the password of an index, and plugins read their environment.
    std::fs::remove_file(&file).map_err(EnvironmentError::io("remove", &file))
}
