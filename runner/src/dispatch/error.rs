//! What can be wrong with a change of the triggers. Worded as by InfluxDB 3 where it has words.

use crate::catalog::CatalogError;
use crate::host::HostError;
use crate::limits;
use crate::plugin_files::PluginFileError;
use crate::trigger::TriggerNameError;

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
    /// Another trigger answers on this path.
    #[error("request path '{path}' is taken by trigger '{by}'; a path belongs to one trigger")]
    PathTaken {
        /// The path.
        path: String,
        /// The trigger that has it.
        by: String,
    },
    /// The trigger is enabled.
    #[error("Cannot delete running plugin {0}. Disable it first or use --force.")]
    Running(String),
    /// Too many triggers.
    #[error("{} triggers are registered, which is the limit `triggers_max`", limits::TRIGGERS_MAX)]
    TooMany,
    /// The catalog could not be changed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// Where the trigger begins could not be recorded.
    #[error("the trigger cannot be recorded: {0}")]
    Journal(HostError),
    /// The runner is stopping.
    #[error("the runner is stopping")]
    Stopping,
}
