//! Why there is no environment, in the words of whoever knows, and why requirements cannot be used.

use std::path::PathBuf;
use std::time::Duration;

use super::interpreter::InterpreterError;
use super::limits::INCLUDE_DEPTH_MAX;

/// An environment that could not be had. Cheap to clone: everybody who waited for the same build gets it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnvironmentError {
    /// No interpreter fits.
    #[error(transparent)]
    Interpreter(#[from] InterpreterError),
    /// Packages are asked for and may not be installed.
    #[error(
        "installing packages is disabled on this server and the plugin asks for {}; remove them, or enable a package manager",
        list(packages)
    )]
    PackagesDisabled {
        /// What was asked for.
        packages: Vec<String>,
    },
    /// The operator's settings do not allow it.
    #[error("{reason}")]
    NotAllowed {
        /// What is not allowed, and what to do.
        reason: String,
    },
    /// `uv` was demanded and is not there.
    #[error("`uv` is not on PATH; install it, or choose the package manager `pip`")]
    NoUv,
    /// A tool ran and failed. The text ends with its own words.
    #[error("{what} failed with {exit}{}:\n{output}", hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default())]
    Tool {
        /// What it was to do, with its name: `resolving requirements with uv`.
        what: String,
        /// How it ended: `exit status: 1`.
        exit: String,
        /// The end of its output, credentials removed.
        output: String,
        /// What the reader can do, where that is known.
        hint: Option<String>,
    },
    /// A package that has no wheel could not be built.
    #[error("{what} cannot be built from source: {reason}")]
    Source {
        /// The package.
        what: String,
        /// Why.
        reason: String,
    },
    /// A tool took too long and was killed.
    #[error("{what} was not done after {}, the limit for a build:\n{output}", seconds(*limit))]
    Timeout {
        /// What it was to do.
        what: String,
        /// The limit.
        limit: Duration,
        /// The end of its output, credentials removed.
        output: String,
    },
    /// Another runner builds the same environment and does not finish.
    #[error("another process has been building environment `{id}` for more than {}; see who holds `{}`", seconds(*limit), lock.display())]
    Locked {
        /// The environment.
        id: String,
        /// The file that it holds.
        lock: PathBuf,
        /// How long was waited.
        limit: Duration,
    },
    /// A lock that cannot be read.
    #[error("the lock `{}` cannot be used: {reason}; remove it, and requirements are resolved anew", path.display())]
    Lock {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The packages of the whole server cannot be read.
    #[error("the packages of this server: {0}")]
    ServerWide(#[from] RequirementsError),
    /// The file system failed.
    #[error("cannot {what} `{}`: {reason}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which path.
        path: PathBuf,
        /// The system's words.
        reason: String,
    },
}

impl EnvironmentError {
    /// Turns an I/O error into one of these.
    pub(super) fn io(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |error| Self::Io { what, path, reason: error.to_string() }
    }
}

/// Packages that were not installed for the whole server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InstallError {
    /// The operator does not want it. Worded as by InfluxDB 3.
    #[error("Package installation has been disabled. Contact your administrator for more information.")]
    Disabled,
    /// Something is no requirement.
    #[error("Processing engine error: error installing python packages: {0}")]
    Requirements(#[from] RequirementsError),
    /// There is no such file on the server.
    #[error(
        "Processing engine error: error installing python packages: there is no file `{}` on the server", .0.display()
    )]
    NoFile(PathBuf),
    /// They cannot be installed.
    #[error("Processing engine error: error installing python packages: {0}")]
    Environment(#[from] EnvironmentError),
}

impl InstallError {
    /// The words for the person at whose machine the file was to be.
    #[must_use]
    pub fn as_told_here(&self) -> String {
        match self {
            Self::NoFile(path) => format!("there is no file `{}`", path.display()),
            Self::Requirements(error) => error.to_string(),
            other => other.to_string(),
        }
    }
}

fn list(packages: &[String]) -> String {
    packages.iter().map(|package| format!("`{package}`")).collect::<Vec<_>>().join(", ")
}

fn seconds(limit: Duration) -> String {
    format!("{} s", limit.as_secs_f64())
}

/// Requirements that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequirementsError {
    /// A file cannot be read.
    #[error("cannot read `{}`: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's words.
        reason: String,
    },
    /// A file is too long.
    #[error("`{}` is longer than {max} bytes", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The limit, bytes.
        max: u64,
    },
    /// A line of a requirements file.
    #[error("`{}`, line {line}: {reason}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Number of the line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// The metadata in the plugin's file, in a manifest or in a project's file.
    #[error("`{}`: {reason}", path.display())]
    Declared {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A requirement that did not come from a file.
    #[error("`{requirement}` {reason}")]
    Package {
        /// The requirement.
        requirement: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Requirements files that include each other.
    #[error("`{}` is included more than {INCLUDE_DEPTH_MAX} levels deep; do requirements files include each other?", path.display())]
    Depth {
        /// The file at which the reading stopped.
        path: PathBuf,
    },
}
