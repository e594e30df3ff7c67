//! What can be wrong with a change of the triggers. Worded as by InfluxDB 3 where it has words.

use crate::catalog::CatalogError;
use crate::environment::EnvironmentError;
use crate::host::HostError;
use crate::journal::StoreError;
use crate::limits;
use crate::plugin_files::PluginFileError;
use crate::trigger::{BeyondCeiling, PermissionError, TriggerKind, TriggerNameError};

/// A change that was not made.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The name is taken.
    #[error("attempted to create a resource that already exists")]
    AlreadyExists,
    /// There is no such trigger.
    #[error("the requested resource was not found: {0}")]
    NotFound(String),
    /// There is no such database.
    #[error("Database not found {0}")]
    DatabaseNotFound(String),
    /// The plugin cannot be used.
    #[error("Plugin error: {0}")]
    Plugin(#[from] PluginFileError),
    /// The plugin's code cannot be used.
    #[error(
        "Plugin error: {0}\nhint: correct it, or skip this check with `--no-check` (`\"no_check\": true` in the request)"
    )]
    Unusable(String),
    /// The name cannot be used.
    #[error(transparent)]
    Name(#[from] TriggerNameError),
    /// A grant makes no sense.
    #[error(transparent)]
    Permission(#[from] PermissionError),
    /// A grant is more than the operator allows.
    #[error(transparent)]
    Ceiling(#[from] BeyondCeiling),
    /// Another trigger of the database answers on this path.
    #[error("request path '{path}' is taken by trigger '{by}'; in a database a path belongs to one trigger")]
    PathTaken {
        /// The path.
        path: String,
        /// The trigger that has it.
        by: String,
    },
    /// The trigger is enabled.
    #[error("Cannot delete running plugin {0}. Disable it first or use --force.")]
    Running(String),
    /// No trigger has this name.
    #[error("Processing engine error: plugin error: Plugin not found: {0}")]
    NoPluginOf(String),
    /// Several triggers have this name, with different code.
    #[error("triggers of several databases are named '{0}' and have different plugins; say which with `db`")]
    Ambiguous(String),
    /// The trigger's code did not come from the plugin directory.
    #[error("plugin '{0}' does not lie in the plugin directory, so it cannot be changed there")]
    NotUpdatable(String),
    /// The trigger's plugin is one file.
    #[error("plugin '{0}' is one file; a directory cannot take its place")]
    NoDirectory(String),
    /// The operator does not allow this kind of trigger.
    #[error("invalid request: server is configured to reject {} plugin triggers", restricted_name(*.0))]
    Restricted(TriggerKind),
    /// Too many dry runs.
    #[error(
        "{} tests of plugins are under way, which is the limit `dry_runs_max`; try again later",
        limits::DRY_RUNS_MAX
    )]
    TooManyDryRuns,
    /// Too many triggers.
    #[error("{} triggers are registered, which is the limit `triggers_max`", limits::TRIGGERS_MAX)]
    TooMany,
    /// The catalog could not be changed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// Where the trigger begins could not be recorded.
    #[error("the trigger cannot be recorded: {0}")]
    Journal(HostError),
    /// There is no such dead letter.
    #[error("the requested resource was not found: dead letter {0}")]
    LetterNotFound(String),
    /// The rows of a dead letter cannot be read.
    #[error("dead letter {id} cannot be read: {reason}")]
    LetterUnreadable {
        /// Its id.
        id: String,
        /// Why.
        reason: String,
    },
    /// The trigger of a dead letter does not run.
    #[error("trigger '{0}' does not run; enable it first")]
    NotRunning(String),
    /// The journal cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The settings of the trigger cannot be used.
    #[error("invalid trigger settings: {0}")]
    Settings(String),
    /// What a trigger asks for cannot be read.
    #[error("requirements: {0}")]
    Requirements(String),
    /// The environment of a trigger cannot be had.
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    /// A cache for tests cannot have this name.
    #[error("the name of a cache has 1 to {} bytes", limits::TEST_CACHE_NAME_BYTES_MAX)]
    CacheName,
    /// The runner is stopping.
    #[error("the runner is stopping")]
    Stopping,
}

/// InfluxDB 3's word.
fn restricted_name(kind: TriggerKind) -> &'static str {
    match kind {
        TriggerKind::Wal => "WalRows",
        TriggerKind::Schedule => "Schedule",
        TriggerKind::Request => "Request",
    }
}
