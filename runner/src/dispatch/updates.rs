//! Changes of a trigger's code by clients.

use std::path::PathBuf;

use super::engine::Engine;
use super::error::EngineError;
use crate::trigger::{PluginLocation, TriggerDefinition};

impl Engine {
    /// Writes the code of a trigger's plugin; of a directory it is `__init__.py`. `database` is needed when several
    /// databases have a trigger of this name.
    ///
    /// # Errors
    /// When there is no such trigger, or its code is not a client's to change.
    pub fn update_file(&self, trigger: &str, database: Option<&str>, content: &str) -> Result<(), EngineError> {
        let (path, plugin) = self.updatable(trigger, database)?;
        let path = if plugin.is_dir() { format!("{}/__init__.py", path.trim_end_matches('/')) } else { path };
        Ok(self.parts.files.write(&path, content)?)
    }

    /// Puts these files in place of a trigger's plugin directory.
    ///
    /// # Errors
    /// When there is no such trigger, its plugin is no directory, or its code is not a client's to change.
    pub fn update_directory(
        &self,
        trigger: &str,
        database: Option<&str>,
        files: &[(String, String)],
    ) -> Result<(), EngineError> {
        let (path, plugin) = self.updatable(trigger, database)?;
        if !plugin.is_dir() {
            return Err(EngineError::NoDirectory(path));
        }
        Ok(self.parts.files.replace_directory(&plugin, files)?)
    }

    /// The file name of a trigger's plugin, and where it is.
    fn updatable(&self, trigger: &str, database: Option<&str>) -> Result<(String, PathBuf), EngineError> {
        self.parts.files.check_installable()?;
        let mut found = self.parts.catalog.list();
        found.retain(|definition| {
            definition.id.name == trigger && database.is_none_or(|database| definition.id.database == database)
        });
        // Triggers of several databases may share their code; then it does not matter which is meant.
        found.dedup_by(|one, other| one.plugin == other.plugin);
        match found.as_slice() {
            [] => Err(EngineError::NoPluginOf(trigger.to_owned())),
            [TriggerDefinition { plugin: PluginLocation::PluginDir(path), .. }] => {
                let plugin = self.parts.files.resolve(&PluginLocation::PluginDir(path.clone()))?;
                Ok((path.clone(), plugin))
            }
            [definition] => Err(EngineError::NotUpdatable(definition.plugin.filename().into_owned())),
            _ => Err(EngineError::Ambiguous(trigger.to_owned())),
        }
    }
}
