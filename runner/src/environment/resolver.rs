//! Makes a lock of requirements: which version of which package, with the hashes of their files.

use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use super::diagnosis;
use super::error::EnvironmentError;
use super::installer::Installer;
use super::interpreter::Interpreter;
use super::limits::LOG_BYTES_MAX;
use super::lock::Lock;
use super::steps::Steps;

/// Files in the working directory of a build.
const REQUIREMENTS_FILE: &str = "requirements.in";
const ANSWER_FILE: &str = "resolved";
const LOG_FILE: &str = "pip.log";

/// Asks the tool; nothing is installed.
pub(super) async fn resolve(
    steps: &Steps<'_>,
    installer: &Installer<'_>,
    interpreter: &Interpreter,
    lines: &[String],
    work: &Path,
) -> Result<Lock, EnvironmentError> {
    let asked = work.join(REQUIREMENTS_FILE);
    let answer = work.join(ANSWER_FILE);
    let log = work.join(LOG_FILE);
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    std::fs::write(&asked, text).map_err(EnvironmentError::io("write", &asked))?;
    let (what, tool) = match installer {
        Installer::Uv(uv) => {
            let mut tool = steps.tool(uv)?;
            tool.args(["pip", "compile", "--quiet", "--generate-hashes", "--no-header", "--no-annotate", "--python"]);
            tool.args([&interpreter.base_executable]).args(steps.index.arguments()).args([
                "--output-file".as_ref(),
                answer.as_path(),
                asked.as_path(),
            ]);
            ("resolving requirements with uv", tool)
        }
        Installer::Pip(pip) => {
            let mut tool = pip.tool(steps, &interpreter.base_executable)?;
            tool.args(["install", "--dry-run", "--ignore-installed", "--disable-pip-version-check"]);
            tool.args(["--log".as_ref(), log.as_path()]);
            tool.args(["--no-input", "--progress-bar", "off"]).args(steps.index.arguments());
            tool.args(["--report".as_ref(), answer.as_path(), "--requirement".as_ref(), asked.as_path()]);
            ("resolving requirements with pip", tool)
        }
    };
    if let Err(mut error) = steps.must(what, tool).await {
        if let EnvironmentError::Tool { output, hint, .. } = &mut error {
            // Why pip has found nothing stands in its log alone.
            let misfit = read_end(&log).and_then(|log| diagnosis::misfit(output, &log, interpreter));
            *hint = misfit.or_else(|| hint.take());
        }
        return Err(error);
    }
    let text = std::fs::read(&answer).map_err(EnvironmentError::io("read", &answer))?;
    let lock = match installer {
        Installer::Uv(_) => Lock::parse(&String::from_utf8_lossy(&text)),
        Installer::Pip(_) => Lock::from_pip_report(&text),
    };
    lock.map_err(|reason| EnvironmentError::Lock { path: answer, reason })
}

/// The end of a log, as far as it is of use.
fn read_end(path: &Path) -> Option<String> {
    let mut file = std::fs::File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_BYTES_MAX))).ok()?;
    let mut bytes = Vec::new();
    file.take(LOG_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}
