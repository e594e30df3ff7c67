//! What whoever makes a trigger should know and what is no reason to refuse it.

use super::engine::Engine;
use crate::environment::Requirements;
use crate::supervisor::unheld_limit;
use crate::trigger::TriggerId;

impl Engine {
    /// What is not as a registered trigger wants it: a sentence each.
    pub async fn warnings(&self, id: &TriggerId) -> Vec<String> {
        let mut warnings = self.missing_prerequisites(id).await;
        if let Ok(definition) = self.known(id) {
            // What its maker asks for; a default of the operator is the operator's to know.
            warnings.extend(unheld_limit(&self.parts.supervisor, &definition.permissions));
        }
        warnings
    }

    /// What is not there of what a trigger's plugin wants beside packages: a sentence each. Nothing where its files cannot be
    /// read; that is told where they are needed.
    pub async fn missing_prerequisites(&self, id: &TriggerId) -> Vec<String> {
        let Ok(definition) = self.known(id) else { return Vec::new() };
        let Ok(asked) = self.asked(&definition, Requirements::default()).await else { return Vec::new() };
        let directory = self.parts.files.plugin_dir().map(ToOwned::to_owned);
        let look = move || asked.prerequisites().warnings(directory.as_deref());
        tokio::task::spawn_blocking(look).await.unwrap_or_default()
    }
}
