//! Makes an environment with the tools that are there.
//!
//! An environment is built beside its final place and renamed when it is complete, so that whatever has its name is whole.
//! Scripts, `pyvenv.cfg` and compiled code hold absolute paths: [`finish`] makes them those of the final place.
//!
//! Nothing of a package runs here: only wheels are installed, and an environment's own interpreter is not started once there
//! are packages in it.

use std::path::Path;

use super::error::EnvironmentError;
use super::files::blocking;
use super::installer::Installer;
use super::interpreter::Interpreter;
use super::marker;
use super::relocate::relocate;
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
    // Without what says that it is being built.
    let prompt = path.file_stem().unwrap_or_default();
    let (what, tool) = match uv {
        Some(uv) => {
            let mut tool = steps.tool(uv)?;
            tool.args(["venv", "--no-project", "--prompt"]).args([prompt]);
            tool.args(["--python"]).args([base.as_path(), path]);
            ("creating the environment with uv", tool)
        }
        None => {
            // Without pip in it an environment takes 50 ms and 60 KB; with pip, 2 s and 12 MB.
            let mut tool = steps.tool(base)?;
            tool.args(["-I", "-m", "venv", "--without-pip", "--prompt"]).args([prompt]).args([path]);
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
    let hashes = if steps.index.require_hashes { &["--no-deps", "--require-hashes"][..] } else { &["--no-deps"][..] };
    install_from(steps, installer, (lines, hashes), path).await
}

/// Installs what `lines` say and what it needs into the environment at `path`, which is for one build only.
pub(super) async fn install_with_needs(
    steps: &Steps<'_>,
    installer: &Installer<'_>,
    lines: &[String],
    path: &Path,
) -> Result<(), EnvironmentError> {
    install_from(steps, installer, (lines, &[]), path).await
}

async fn install_from(
    steps: &Steps<'_>,
    installer: &Installer<'_>,
    (lines, options): (&[String], &[&str]),
    path: &Path,
) -> Result<(), EnvironmentError> {
    let file = path.join(REQUIREMENTS_FILE);
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    std::fs::write(&file, text).map_err(EnvironmentError::io("write", &file))?;
    let python = marker::python(path);
    let (what, mut tool) = match installer {
        Installer::Uv(uv) => {
            let mut tool = steps.tool(uv)?;
            tool.args(["pip", "install", "--python"]).args([python]);
            ("installing packages with uv", tool)
        }
        Installer::Pip(pip) => {
            let mut tool = pip.tool(steps, &python)?;
            tool.args(["install", "--no-compile", "--disable-pip-version-check", "--no-input"]);
            tool.args(["--progress-bar", "off"]);
            ("installing packages with pip", tool)
        }
    };
    tool.args(options).args(steps.index.arguments());
    tool.args(["--requirement".as_ref(), file.as_path()]);
    steps.must(what, tool).await?;
    // The file may hold the password of an index, and plugins read their environment.
    std::fs::remove_file(&file).map_err(EnvironmentError::io("remove", &file))
}

/// Compiles what was installed at `path`, and makes it an environment of `to`.
pub(super) async fn finish(
    steps: &Steps<'_>,
    interpreter: &Interpreter,
    path: &Path,
    to: &Path,
) -> Result<(), EnvironmentError> {
    // Not by the environment's own interpreter, which would run what packages have it run at its start.
    let mut tool = steps.tool(&interpreter.base_executable)?;
    tool.args(["-I", "-m", "compileall", "-q", "-j", "0", "-s"]).args([path]).args(["-p"]).args([to]);
    tool.args([path.join("lib")]);
    // Packages bring files that no Python compiles, as test data or for another version.
    steps.output("compiling packages", tool).await?;
    let (from, to) = (path.to_owned(), to.to_owned());
    let failed = EnvironmentError::io("complete", path);
    blocking(move || relocate(&from, &to)).await.map_err(failed)
}
