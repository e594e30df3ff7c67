//! Packages of the triggers, and of all of them.

use std::sync::Arc;

use super::engine::Engine;
use super::error::EngineError;
use crate::environment::{self, Environment, InstallError, Plan, Requirements};
use crate::limits;
use crate::trigger::{TriggerDefinition, TriggerId};

/// What the settings of a trigger ask for.
pub(super) fn own_requirements(lines: &[String]) -> Result<Requirements, EngineError> {
    if lines.len() > limits::TRIGGER_REQUIREMENTS_MAX {
        let text = format!("{} requirements; at most {} are allowed", lines.len(), limits::TRIGGER_REQUIREMENTS_MAX);
        return Err(EngineError::Settings(text));
    }
    Requirements::of_trigger(lines).map_err(|error| EngineError::Settings(format!("requirements: {error}")))
}

impl Engine {
    /// Installs packages for every plugin. Calls that run end with the packages that they began with; the next ones have the
    /// new ones.
    ///
    /// # Errors
    /// What was asked for cannot be installed, or nothing may be.
    pub async fn install(
        &self,
        packages: Result<Requirements, InstallError>,
    ) -> Result<Arc<Environment>, InstallError> {
        let environments = &self.parts.supervisor.environments;
        if environments.is_disabled() {
            return Err(InstallError::Disabled);
        }
        environments.install(packages?).await
    }

    /// What a trigger asks for, who asks for it, and what it comes to.
    ///
    /// # Errors
    /// When the trigger is unknown, its plugin or its requirements cannot be read, or no interpreter fits.
    pub async fn plan(&self, id: &TriggerId) -> Result<Plan, EngineError> {
        let definition = self.known(id)?;
        let own = own_requirements(&definition.requirements)?;
        Ok(self.parts.supervisor.environments.plan(&self.asked(&definition, own).await?).await?)
    }

    /// Puts these in place of what the settings of a trigger asked for. Its environment is built first; calls that run end in the
    /// old one.
    ///
    /// # Errors
    /// When the trigger is unknown, or the environment cannot be had: then everything is as it was.
    pub async fn set_requirements(&self, id: &TriggerId, lines: &[String]) -> Result<Arc<Environment>, EngineError> {
        let own = own_requirements(lines)?;
        let asked = self.asked(&self.known(id)?, own.clone()).await?;
        let environment = self.parts.supervisor.environments.ensure(&asked).await?;
        let _changing = self.change_lock().await?;
        self.parts
            .catalog
            .change(|triggers| {
                let definition = triggers.get_mut(id).ok_or_else(|| EngineError::NotFound(id.name.clone()))?;
                definition.requirements = own.packages().to_vec();
                Ok::<_, EngineError>(())
            })
            .await?;
        if let Some(runner) = self.runner_of(id) {
            runner.requirements.set(own);
        }
        Ok(environment)
    }

    fn known(&self, id: &TriggerId) -> Result<TriggerDefinition, EngineError> {
        self.check_database(id)?;
        self.parts.catalog.get(id).ok_or_else(|| EngineError::NotFound(id.name.clone()))
    }

    /// What a trigger asks for with its settings and its plugin's files.
    async fn asked(&self, definition: &TriggerDefinition, own: Requirements) -> Result<Requirements, EngineError> {
        let plugin = self.parts.files.resolve(&definition.plugin)?;
        let read = tokio::task::spawn_blocking(move || environment::requirements_of(&plugin)).await;
        let found = read.map_err(|error| EngineError::Requirements(error.to_string()))?;
        Ok(found.map_err(|error| EngineError::Requirements(error.to_string()))?.and(&own))
    }
}
