//! What an environment for some requirements would be, without making it.

use super::digest::request_id;
use super::error::EnvironmentError;
use super::lock::Lock;
use super::prerequisites::Prerequisites;
use super::requirements::Requirements;
use super::tool_environment::without_credentials;
use super::{Asked, Environment, EnvironmentStore, marker};

/// What is asked for, and what it comes to.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Each requirement with who asks for it, without credentials.
    pub asked: Vec<Asked>,
    /// What is wanted of the interpreter, and by whom.
    pub python_asked: Vec<Asked>,
    /// What is wanted beside packages.
    pub prerequisites: Prerequisites,
    /// The interpreter that fits.
    pub python_version: String,
    /// Digest of the requirements, which names their lock.
    pub request: String,
    /// The environment that their lock names; none as long as they are not resolved.
    pub environment: Option<Environment>,
    /// Whether it is built.
    pub is_built: bool,
    /// The text of the lock.
    pub lock: Option<String>,
}

impl EnvironmentStore {
    /// The environment of a plugin that asks for `requirements`, when nothing has to be done for it.
    pub async fn find(&self, requirements: &Requirements) -> Option<Environment> {
        let plan = self.plan(requirements).await.ok()?;
        plan.environment.filter(|_| plan.is_built)
    }

    /// What a plugin that asks for `requirements` runs in, and why. Nothing is resolved or built.
    ///
    /// # Errors
    /// No interpreter fits, or a lock cannot be read.
    pub async fn plan(&self, requirements: &Requirements) -> Result<Plan, EnvironmentError> {
        let requirements = self.with_server_wide(requirements)?;
        let interpreter = self.interpreters().find(requirements.requires_python()).await?;
        let request = request_id(&interpreter, &requirements, &self.index().places());
        let lock = if requirements.is_empty() { Some(Lock::default()) } else { self.kept_lock(&request)? };
        let environment = lock.as_ref().map(|lock| self.describe(&interpreter, &requirements, lock));
        let shown = |asked: &[Asked]| {
            let shown =
                asked.iter().map(|asked| Asked { what: without_credentials(&asked.what), by: asked.by.clone() });
            shown.collect()
        };
        Ok(Plan {
            asked: shown(requirements.asked()),
            python_asked: shown(requirements.python_asked()),
            prerequisites: requirements.prerequisites().clone(),
            python_version: interpreter.version.clone(),
            is_built: environment.as_ref().is_some_and(|environment| marker::is_complete(&environment.path)),
            environment,
            lock: lock.map(|lock| lock.to_text(&[])),
            request,
        })
    }
}
