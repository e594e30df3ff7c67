//! Virtual environments: each plugin runs with the packages that it asks for and no others.
//!
//! - [`requirements_of`] reads what a plugin asks for (pure apart from reading its files);
//! - a resolver makes a lock of them, which is kept: the same requirements give the same packages until the lock is removed;
//! - an environment is named by the digest of interpreter and lock, so plugins whose requirements come to the same packages
//!   share one;
//! - [`EnvironmentStore::ensure`] gives the environment, building it if it is not there;
//! - [`tool`](self) is the one place that runs external programs (the interpreter, uv, pip). They run no code of packages:
//!   what has no wheel is built in a sandbox ([`Workbench`]), and they get the wheel.
//!
//! On disk, below the store's root:
//!
//! ```text
//! 3f29c81b7e50aa41/                   an environment
//! 3f29c81b7e50aa41/bulkhead.json      written last: without it the directory is a leftover
//! 3f29c81b7e50aa41.new/               the same while it is built; renamed when it is complete
//! 3f29c81b7e50aa41/lock.txt           the lock that it was made of
//! resolved/91d0c6fe5a3b2c44.txt       the lock that was made of requirements
//! resolved/91d0c6fe5a3b2c44.next.txt  one that was made anew and is not in use yet
//! packages.txt                        what every plugin has
//! 91d0c6fe5a3b2c44/                   where a resolver works; a leftover when it does not
//! locks/3f29c81b7e50aa41              held while it is built or its requirements are resolved, and shared by who uses it
//! ```

mod asked;
mod builder;
mod diagnosis;
mod digest;
mod error;
mod files;
mod import_venv;
mod index;
mod inline_metadata;
mod installations;
mod installer;
mod interpreter;
pub mod inventory;
mod job;
mod limits;
mod lock;
mod marker;
mod output_tail;
mod own;
mod pip;
mod plan;
mod prerequisites;
mod progress;
mod project_files;
mod redactor;
mod relocate;
mod relock;
mod requirements;
mod requirements_file;
mod resolver;
mod server_wide;
mod sources;
mod steps;
mod store;
mod tool;
mod tool_environment;
mod version_specifier;
mod workbench;

#[cfg(test)]
mod tests;

use std::path::PathBuf;

pub use asked::{Asked, Source};
pub use error::{EnvironmentError, InstallError, RequirementsError};
pub use import_venv::{Needs, Venv};
pub use index::IndexSettings;
pub use interpreter::InterpreterError;
pub(crate) use output_tail::Tail as OutputTail;
pub use own::OwnRequirements;
pub use plan::Plan;
pub use prerequisites::{DATABASE_VERSION, PluginDependency, Prerequisites};
pub use progress::listened_to;
pub use relock::Relock;
pub use requirements::{Requirements, requirement_files, requirements_of};
pub use server_wide::requirements_at;
pub use store::EnvironmentStore;
pub use tool::is_tool_process;
pub use tool_environment::{is_for_tools_only, without_credentials};
pub use workbench::{BenchOutput, BenchTask, Listener, Workbench};

/// A virtual environment that is complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Environment {
    /// Digest of interpreter and lock: 16 hexadecimal digits, also the directory's name.
    pub id: String,
    /// The directory.
    pub path: PathBuf,
    /// Its interpreter.
    pub python: PathBuf,
    /// Version of the interpreter, for instance `3.12.1`.
    pub python_version: String,
    /// What was asked for, normalised and sorted, without credentials; empty for the plain environment.
    pub requirements: Vec<String>,
    /// What was installed for it, with versions (`numpy==2.1.0`).
    pub packages: Vec<String>,
}

/// Which tool makes environments and installs packages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PackageManager {
    /// uv when it is on `PATH`, otherwise pip.
    #[default]
    Discover,
    /// uv; an error where it is missing.
    Uv,
    /// The interpreter's own `venv` and `pip`.
    Pip,
    /// Nothing is ever installed: the plain environment is made with `venv`, and a plugin that asks for
    /// packages does not start.
    Disabled,
}
