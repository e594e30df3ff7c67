//! Packages of the triggers, and of all of them.

use std::sync::Arc;

use futures_util::future::join_all;

use super::engine::Engine;
use super::error::EngineError;
use crate::environment::{self, Environment, InstallError, Plan, Relock, Requirements};
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
        let environment = environments.install(packages?).await?;
        let runners: Vec<_> = self.running.read().values().map(|running| Arc::clone(&running.runner)).collect();
        join_all(runners.iter().map(|runner| runner.pool.renew_environment())).await;
        Ok(environment)
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
        let changing = self.change_lock().await?;
        self.parts
            .catalog
            .change(|triggers| {
                let definition = triggers.get_mut(id).ok_or_else(|| EngineError::NotFound(id.name.clone()))?;
                definition.requirements = own.packages().to_vec();
                Ok::<_, EngineError>(())
            })
            .await?;
        let runner = self.runner_of(id);
        drop(changing);
        if let Some(runner) = runner {
            runner.requirements.set(own);
            runner.pool.renew_environment().await;
        }
        Ok(environment)
    }

    /// Resolves anew what a trigger asks for, and with `keep` keeps the lock for [`Self::sync`]. Nothing of it is in use yet.
    ///
    /// # Errors
    /// When the trigger is unknown, or its packages cannot be had.
    pub async fn relock(&self, id: &TriggerId, keep: bool) -> Result<Relock, EngineError> {
        let definition = self.known(id)?;
        let own = own_requirements(&definition.requirements)?;
        Ok(self.parts.supervisor.environments.relock(&self.asked(&definition, own).await?, keep).await?)
    }

    /// Builds the environment of a trigger's new lock, and brings its workers there.
    ///
    /// # Errors
    /// When the trigger is unknown, or the environment cannot be had: then everything is as it was.
    pub async fn sync(&self, id: &TriggerId) -> Result<Arc<Environment>, EngineError> {
        let definition = self.known(id)?;
        let own = own_requirements(&definition.requirements)?;
        let environment = self.parts.supervisor.environments.sync(&self.asked(&definition, own).await?).await?;
        if let Some(runner) = self.runner_of(id) {
            runner.pool.renew_environment().await;
        }
        Ok(environment)
    }

    pub(super) fn known(&self, id: &TriggerId) -> Result<TriggerDefinition, EngineError> {
        self.check_database(id)?;
        self.parts.catalog.get(id).ok_or_else(|| EngineError::NotFound(id.name.clone()))
    }

    /// What a trigger asks for with its settings and its plugin's files.
    pub(super) async fn asked(
        &self,
        definition: &TriggerDefinition,
        own: Requirements,
    ) -> Result<Requirements, EngineError> {
        let plugin = self.parts.files.resolve(&definition.plugin)?;
        let read = tokio::task::spawn_blocking(move || environment::requirements_of(&plugin)).await;
        let found = read.map_err(|error| EngineError::Requirements(error.to_string()))?;
        Ok(found.map_err(|error| EngineError::Requirements(error.to_string()))?.and(&own))
    }
}
