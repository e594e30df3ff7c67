//! The Python interpreters of this machine.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::limits::{PYTHON_MINOR_MAX, PYTHON_MINOR_MIN, QUERY_TIMEOUT};
use super::tool::Tool;
use super::version_specifier;

/// Asks an interpreter what it is. Inside a virtual environment the one beneath it counts, so that
/// environments never depend on each other.
const QUERY: &str = r#"
import json, os, sys, sysconfig
executable = getattr(sys, "_base_executable", None) or sys.executable
if sys.prefix != sys.base_prefix and executable == sys.executable:
    executable = os.path.realpath(executable)
print(json.dumps({"implementation": sys.implementation.name, "version": ".".join(map(str, sys.version_info[:3])),
                  "base_executable": executable, "platform": sysconfig.get_platform()}))
"#;

/// An interpreter that environments can be made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Interpreter {
    /// For instance `3.12.1`.
    pub(super) version: String,
    /// Its binary, outside of any virtual environment.
    pub(super) base_executable: PathBuf,
    /// For instance `linux-x86_64`.
    pub(super) platform: String,
}

/// No interpreter that fits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("found no CPython that is 3.{PYTHON_MINOR_MIN} or newer{}; tried {}; install one, or name one with its path", wanted(requires.as_deref()), tried.join(", "))]
pub struct InterpreterError {
    /// What the plugin demands beyond that.
    pub requires: Option<String>,
    /// Each candidate and why it was not taken.
    pub tried: Vec<String>,
}

fn wanted(requires: Option<&str>) -> String {
    requires.map(|requires| format!(" and satisfies `{requires}`")).unwrap_or_default()
}

/// Finds interpreters and remembers their answers.
#[derive(Debug)]
pub(super) struct Interpreters {
    /// The one that the operator has named; where it is, that one counts unless a plugin wants another version.
    named: Option<OsString>,
    /// Names to look for on `PATH`.
    candidates: Vec<OsString>,
    /// Others.
    installed: Vec<PathBuf>,
    search_path: OsString,
    known: Mutex<HashMap<Identity, Result<Interpreter, String>>>,
}

/// A program file at a moment: an upgrade gives it another time.
type Identity = (PathBuf, Option<SystemTime>, u64);

impl Interpreters {
    /// `python` is a path, a name on `PATH`, or a version such as `3.12`. Without it `python3` on `PATH` counts, then the
    /// newest there, then those of `installed` in their order; with it these count for plugins that want another version.
    pub(super) fn new(python: Option<OsString>, search_path: OsString, installed: Vec<PathBuf>) -> Self {
        let named = python.map(|python| if is_version(&python) { concat("python", &python) } else { python });
        let by_version = (PYTHON_MINOR_MIN..=PYTHON_MINOR_MAX).rev().map(|minor| format!("python3.{minor}").into());
        let candidates = std::iter::once("python3".into()).chain(by_version).collect();
        Self { named, candidates, installed, search_path, known: Mutex::default() }
    }

    /// The first candidate that satisfies `requires` (a version specifier).
    pub(super) async fn find(&self, requires: Option<&str>) -> Result<Interpreter, InterpreterError> {
        let mut tried = Vec::new();
        if let Some(named) = &self.named {
            match self.try_candidate(named, requires, &mut tried).await {
                Ok(interpreter) => return Ok(interpreter),
                // What was named and is unusable is an error of the operator, not a wish of the plugin.
                Err(Misfit::Unusable) => return Err(InterpreterError { requires: requires.map(str::to_owned), tried }),
                Err(Misfit::OtherVersion) => {}
            }
        }
        let installed = self.installed.iter().map(|path| path.as_os_str());
        for candidate in self.candidates.iter().map(OsString::as_os_str).chain(installed) {
            if let Ok(interpreter) = self.try_candidate(candidate, requires, &mut tried).await {
                return Ok(interpreter);
            }
        }
        Err(InterpreterError { requires: requires.map(str::to_owned), tried })
    }

    async fn try_candidate(
        &self,
        candidate: &OsStr,
        requires: Option<&str>,
        tried: &mut Vec<String>,
    ) -> Result<Interpreter, Misfit> {
        let name = candidate.to_string_lossy();
        let Some(program) = find_program(candidate, &self.search_path) else {
            let place = if name.contains('/') { "no such program" } else { "not on PATH" };
            tried.push(format!("`{name}` ({place})"));
            return Err(Misfit::Unusable);
        };
        let checked = self.check(&program, requires).await;
        checked.map_err(|(misfit, reason)| {
            tried.push(format!("`{}` ({reason})", program.display()));
            misfit
        })
    }

    async fn check(&self, program: &Path, requires: Option<&str>) -> Result<Interpreter, (Misfit, String)> {
        let unusable = |reason| (Misfit::Unusable, reason);
        let metadata = fs::metadata(program).map_err(|error| unusable(error.to_string()))?;
        let identity = (program.to_owned(), metadata.modified().ok(), metadata.len());
        // The lock is held during the question, so that a start with many triggers asks once.
        let mut known = self.known.lock().await;
        let answer = match known.get(&identity) {
            Some(answer) => answer.clone(),
            None => {
                let answer = ask(program).await;
                if answer.is_ok() {
                    known.insert(identity, answer.clone());
                }
                answer
            }
        };
        let interpreter = answer.map_err(unusable)?;
        let fits = requires.map_or(Ok(true), |requires| version_specifier::satisfies(&interpreter.version, requires));
        match fits {
            Ok(true) => Ok(interpreter),
            Ok(false) => Err((Misfit::OtherVersion, format!("is {}", interpreter.version))),
            Err(clause) => Err(unusable(format!("`requires-python` cannot be read at `{clause}`"))),
        }
    }
}

/// Why an interpreter is not taken.
#[derive(Debug, Clone, Copy)]
enum Misfit {
    /// It is none that works.
    Unusable,
    /// It is not the version that is wanted.
    OtherVersion,
}

async fn ask(program: &Path) -> Result<Interpreter, String> {
    let mut tool = Tool::new(program, "/");
    tool.args(["-I", "-c", QUERY]);
    let output = tool.run(Instant::now() + QUERY_TIMEOUT).await.map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(format!("{}: {}", output.status, output.stderr.lines().last().unwrap_or_default()));
    }
    parse_answer(&output.stdout)
}

#[derive(Deserialize)]
struct Answer {
    implementation: String,
    version: String,
    base_executable: PathBuf,
    platform: String,
}

fn parse_answer(stdout: &str) -> Result<Interpreter, String> {
    let Ok(answer) = serde_json::from_str::<Answer>(stdout) else { return Err("does not answer like a Python".into()) };
    if answer.implementation != "cpython" {
        return Err(format!("is {} {}", answer.implementation, answer.version));
    }
    if version_specifier::satisfies(&answer.version, &format!(">=3.{PYTHON_MINOR_MIN}")) != Ok(true) {
        return Err(format!("is {}", answer.version));
    }
    Ok(Interpreter { version: answer.version, base_executable: answer.base_executable, platform: answer.platform })
}

/// Finds an executable file: a path as it is, a name in the directories of `search_path`.
pub(super) fn find_program(name: &std::ffi::OsStr, search_path: &std::ffi::OsStr) -> Option<PathBuf> {
    let is_program =
        |path: &PathBuf| fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0);
    if name.to_string_lossy().contains('/') {
        return std::path::absolute(name).ok().filter(is_program);
    }
    std::env::split_paths(search_path)
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join(name))
        .find(is_program)
}

fn is_version(python: &OsString) -> bool {
    let text = python.to_string_lossy();
    text.starts_with(|first: char| first.is_ascii_digit())
        && text.chars().all(|character| character.is_ascii_digit() || character == '.')
}

fn concat(prefix: &str, rest: &OsString) -> OsString {
    let mut name = OsString::from(prefix);
    name.push(rest);
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_judged() {
        let answer = |implementation: &str, version: &str| {
            parse_answer(&format!(
                r#"{{"implementation":"{implementation}","version":"{version}","base_executable":"/p","platform":"linux"}}"#
            ))
        };
        assert_eq!(answer("cpython", "3.10.0").unwrap().version, "3.10.0");
        assert_eq!(answer("cpython", "3.9.18"), Err("is 3.9.18".into()));
        assert_eq!(answer("pypy", "3.11.1"), Err("is pypy 3.11.1".into()));
        assert_eq!(parse_answer("hello"), Err("does not answer like a Python".into()));
    }

    #[tokio::test]
    async fn the_error_lists_what_was_tried() {
        let nothing = Interpreters::new(None, "/nowhere".into(), Vec::new());
        let error = nothing.find(None).await.unwrap_err().to_string();
        assert!(
            error.starts_with(
                "found no CPython that is 3.10 or newer; tried `python3` (not on PATH), `python3.14` (not on PATH)"
            ),
            "{error}"
        );
        let named = Interpreters::new(Some("/bin/true".into()), "/nowhere".into(), Vec::new());
        let error = named.find(Some(">=3.11")).await.unwrap_err().to_string();
        assert!(error.contains("and satisfies `>=3.11`; tried `/bin/true` (does not answer like a Python)"), "{error}");
    }

    #[test]
    fn a_version_names_its_interpreter() {
        let named = |python: &str| Interpreters::new(Some(python.into()), "".into(), Vec::new()).named.unwrap();
        assert_eq!(named("3.12"), "python3.12");
        assert_eq!(named("/usr/bin/python3"), "/usr/bin/python3");
    }

    #[tokio::test]
    async fn a_python_that_does_not_satisfy_is_passed_over() {
        let search_path = std::env::var_os("PATH").unwrap();
        let interpreters = Interpreters::new(None, search_path, Vec::new());
        let found = interpreters.find(Some(">=3.10")).await.unwrap();
        assert!(found.base_executable.is_absolute());
        let error = interpreters.find(Some("<3.10")).await.unwrap_err();
        assert!(error.tried.iter().any(|tried| tried.contains(&format!("(is {})", found.version))), "{error}");
        let error = interpreters.find(Some("^3.10")).await.unwrap_err();
        assert!(error.tried[0].contains("cannot be read at `^3.10`"), "{error}");
    }

    /// A program that answers as this version of CPython would.
    fn pretender(directory: &Path, version: &str) -> PathBuf {
        let path = directory.join(format!("python-{version}"));
        let answer = format!(
            r#"{{"implementation":"cpython","version":"{version}","base_executable":"{}","platform":"linux"}}"#,
            path.display()
        );
        fs::write(&path, format!("#!/bin/sh\necho '{answer}'\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    #[tokio::test]
    async fn a_plugin_gets_the_version_that_it_wants_wherever_it_is_installed() {
        let root = tempfile::tempdir().unwrap();
        let installed = ["3.13.0", "3.11.7"].map(|version| pretender(root.path(), version));
        let named = pretender(root.path(), "3.12.1").into_os_string();
        let interpreters = Interpreters::new(Some(named), "/nowhere".into(), installed.to_vec());
        let version = async |requires: Option<&str>| interpreters.find(requires).await.unwrap().version;
        assert_eq!(version(None).await, "3.12.1", "the named one, although there is a newer");
        assert_eq!(version(Some(">=3.11")).await, "3.12.1");
        assert_eq!(version(Some(">=3.13")).await, "3.13.0");
        assert_eq!(version(Some("==3.11.*")).await, "3.11.7");
        let error = interpreters.find(Some("==3.10.*")).await.unwrap_err().to_string();
        assert!(error.contains("python-3.13.0` (is 3.13.0)"), "{error}");
    }
}
