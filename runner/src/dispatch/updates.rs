//! Changes of a trigger's code by clients.

use std::path::PathBuf;

use bulkhead_proto::worker::v1::EntryPoint;

use super::engine::{Engine, PluginCheck, entry_point};
use super::error::EngineError;
use crate::plugin_files::PluginFileError;
use crate::trigger::{PluginLocation, TriggerDefinition};

/// Code that clients may change.
struct Updatable {
    /// Its file name.
    path: String,
    /// Where it is.
    plugin: PathBuf,
    /// What the triggers that have it call.
    entry_points: Vec<EntryPoint>,
}

impl Engine {
    /// Writes the code of a trigger's plugin; of a directory it is `__init__.py`. `database` is needed when several
    /// databases have a trigger of this name.
    ///
    /// # Errors
    /// When there is no such trigger, its code is not a client's to change, or the new code cannot be used; nothing has changed
    /// then.
    pub async fn update_file(
        &self,
        trigger: &str,
        database: Option<&str>,
        content: String,
        check: PluginCheck,
    ) -> Result<(), EngineError> {
        let Updatable { path, plugin, entry_points } = self.updatable(trigger, database)?;
        let files = self.parts.files.clone();
        let is_directory = plugin.is_dir();
        if check == PluginCheck::Load {
            let name = if is_directory { "__init__.py".to_owned() } else { String::new() };
            let changed = vec![(name, content.clone())];
            self.check_change(&plugin, changed, &entry_points).await?;
        }
        let path = if is_directory { format!("{}/__init__.py", path.trim_end_matches('/')) } else { path };
        blocking(move || files.write(&path, &content)).await
    }

    /// Puts these files in place of a trigger's plugin directory.
    ///
    /// # Errors
    /// As [`Engine::update_file`], and when the plugin is no directory.
    pub async fn update_directory(
        &self,
        trigger: &str,
        database: Option<&str>,
        changed: Vec<(String, String)>,
        check: PluginCheck,
    ) -> Result<(), EngineError> {
        let Updatable { path, plugin, entry_points } = self.updatable(trigger, database)?;
        if !plugin.is_dir() {
            return Err(EngineError::NoDirectory(path));
        }
        if check == PluginCheck::Load {
            self.check_change(&plugin, changed.clone(), &entry_points).await?;
        }
        let files = self.parts.files.clone();
        blocking(move || files.replace_directory(&plugin, &changed)).await
    }

    /// Looks at new code where nobody takes it for a plugin.
    async fn check_change(
        &self,
        plugin: &std::path::Path,
        changed: Vec<(String, String)>,
        entry_points: &[EntryPoint],
    ) -> Result<(), EngineError> {
        let (files, at) = (self.parts.files.clone(), plugin.to_owned());
        let staged = blocking(move || files.stage(&at, &changed)).await?;
        for entry_point in entry_points {
            self.check_plugin(staged.plugin.clone(), *entry_point).await?;
        }
        blocking(move || {
            drop(staged);
            Ok(())
        })
        .await
    }

    fn updatable(&self, trigger: &str, database: Option<&str>) -> Result<Updatable, EngineError> {
        self.parts.files.check_installable()?;
        let all = self.parts.catalog.list();
        let is_meant = |definition: &&TriggerDefinition| {
            definition.id.name == trigger && database.is_none_or(|database| definition.id.database == database)
        };
        let mut found: Vec<&TriggerDefinition> = all.iter().filter(is_meant).collect();
        // Triggers of several databases may share their code; then it does not matter which is meant.
        found.dedup_by(|one, other| one.plugin == other.plugin);
        match found.as_slice() {
            [] => Err(EngineError::NoPluginOf(trigger.to_owned())),
            [TriggerDefinition { plugin: PluginLocation::PluginDir(path), .. }] => {
                let location = PluginLocation::PluginDir(path.clone());
                let plugin = self.parts.files.resolve(&location)?;
                let sharing = all.iter().filter(|definition| definition.plugin == location);
                let mut entry_points: Vec<_> = sharing.map(|other| entry_point(other.spec.kind())).collect();
                entry_points.sort_unstable();
                entry_points.dedup();
                Ok(Updatable { path: path.clone(), plugin, entry_points })
            }
            [definition] => Err(EngineError::NotUpdatable(definition.plugin.filename().into_owned())),
            _ => Err(EngineError::Ambiguous(trigger.to_owned())),
        }
    }
}

/// Works on the file system where that holds nobody up.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PluginFileError> + Send + 'static,
) -> Result<T, EngineError> {
    let done = tokio::task::spawn_blocking(work).await;
    let failed =
        |error: tokio::task::JoinError| PluginFileError::Unreadable { path: String::new(), reason: error.to_string() };
    Ok(done.unwrap_or_else(|error| Err(failed(error)))?)
}
