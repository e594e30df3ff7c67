//! Finding and getting source packages, by a script that runs nothing of them.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::super::error::EnvironmentError;
use super::super::interpreter::Interpreter;
use super::super::limits::SOURCE_BYTES_MAX;
use super::super::steps::Steps;
use super::choice::Link;
use super::origins::Origins;

/// It runs in the interpreter, which knows the certificates and proxies that the tools know.
const SCRIPT: &str = include_str!("fetch.py");

/// What is known of a package that was fetched.
#[derive(Debug, Deserialize)]
pub(super) struct Fetched {
    /// Hash of the file; none of a directory and of a repository.
    pub(super) sha256: Option<String>,
    /// The revision of a repository.
    pub(super) commit: Option<String>,
}

/// The source packages of this name.
pub(super) async fn find(
    steps: &Steps<'_>,
    interpreter: &Interpreter,
    work: &Path,
    name: &str,
    places: &Origins,
) -> Result<Vec<Link>, EnvironmentError> {
    let order = json!({"find": {"name": name, "indexes": places.indexes, "directories": places.directories}});
    ask(steps, interpreter, work, (&format!("looking for the source of `{name}`"), &order)).await
}

/// Gets the package at an address, of a repository this revision or the one that the address names.
pub(super) async fn fetch(
    steps: &Steps<'_>,
    interpreter: &Interpreter,
    work: &Path,
    (address, revision): (&str, Option<&str>),
    to: &Path,
) -> Result<Fetched, EnvironmentError> {
    let order = json!({"get": {"url": address, "revision": revision, "to": to, "bytes_max": SOURCE_BYTES_MAX}});
    let shown = steps.redactor.clean(address);
    ask(steps, interpreter, work, (&format!("getting `{shown}`"), &order)).await
}

async fn ask<T: for<'a> Deserialize<'a>>(
    steps: &Steps<'_>,
    interpreter: &Interpreter,
    work: &Path,
    (what, order): (&str, &impl Serialize),
) -> Result<T, EnvironmentError> {
    let (asked, answer) = (work.join("fetch.json"), work.join("fetched.json"));
    let text = serde_json::to_string(order).unwrap_or_default();
    std::fs::write(&asked, text).map_err(EnvironmentError::io("write", &asked))?;
    let mut tool = steps.tool(&interpreter.base_executable)?;
    tool.args(["-I", "-c", SCRIPT]).args([&asked, &answer]);
    let done = steps.must(what, tool).await;
    // It may hold a password.
    std::fs::remove_file(&asked).map_err(EnvironmentError::io("remove", &asked))?;
    done?;
    let bytes = std::fs::read(&answer).map_err(EnvironmentError::io("read", &answer))?;
    let unreadable = |error: serde_json::Error| EnvironmentError::Io {
        what: "read",
        path: answer.clone(),
        reason: error.to_string(),
    };
    serde_json::from_slice(&bytes).map_err(unreadable)
}
