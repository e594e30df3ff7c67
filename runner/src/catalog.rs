//! The registered triggers, kept in an object store so that a restart brings them back.
//!
//! Each change writes the whole catalog as a new object with the next version number, on condition that
//! no such object exists. Two runners that change the same catalog therefore never overwrite each other: the
//! second one is refused. The newest readable version counts.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use crate::trigger::{TriggerDefinition, TriggerId};

/// Version of the format of the object. A runner refuses a newer one.
const FORMAT: u32 = 1;
/// Old versions that are kept, for a person who wants to look back.
const VERSIONS_KEPT: u64 = 8;

#[derive(Debug, Serialize, Deserialize)]
struct Document {
    format: u32,
    triggers: Vec<TriggerDefinition>,
}

/// A catalog that could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The store failed.
    #[error("trigger catalog: {0}")]
    Store(#[from] object_store::Error),
    /// The object is not what this version writes.
    #[error("trigger catalog {path}: {reason}")]
    Unreadable {
        /// The object.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Another runner changed it.
    #[error("trigger catalog was changed by another runner; restart this one to pick up the change")]
    Conflict,
}

/// The registered triggers.
#[derive(Debug)]
pub struct Catalog {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    /// Number of the newest version; held while a change is written, so that changes come one after another.
    version: Mutex<u64>,
    /// What the newest version says.
    triggers: RwLock<Arc<BTreeMap<TriggerId, TriggerDefinition>>>,
}

impl Catalog {
    /// Reads the newest version below `prefix`, or starts empty.
    ///
    /// # Errors
    /// When the store fails or the newest object cannot be understood.
    pub async fn open(store: Arc<dyn ObjectStore>, prefix: Path) -> Result<Self, CatalogError> {
        let objects: Vec<_> = store.list(Some(&prefix)).try_collect().await?;
        let newest = objects.iter().filter_map(|object| Some((version_of(&object.location)?, &object.location))).max();
        let (version, triggers) = match newest {
            None => (0, BTreeMap::new()),
            Some((version, location)) => (version, read(store.as_ref(), location).await?),
        };
        Ok(Self { store, prefix, version: Mutex::new(version), triggers: RwLock::new(Arc::new(triggers)) })
    }

    /// All triggers, by database and name.
    pub fn list(&self) -> Vec<TriggerDefinition> {
        self.triggers.read().values().cloned().collect()
    }

    /// One trigger.
    pub fn get(&self, id: &TriggerId) -> Option<TriggerDefinition> {
        self.triggers.read().get(id).cloned()
    }

    /// Applies `change` to the triggers and makes the result durable before anybody sees it. When `change` or
    /// the store fails, nothing has changed.
    ///
    /// # Errors
    /// The error of `change`, or that of the store.
    pub async fn change<T, E: From<CatalogError>>(
        &self,
        change: impl FnOnce(&mut BTreeMap<TriggerId, TriggerDefinition>) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut version = self.version.lock().await;
        let before = Arc::clone(&self.triggers.read());
        let mut triggers = before.as_ref().clone();
        let value = change(&mut triggers)?;
        if triggers != *before {
            self.write(*version + 1, &triggers).await?;
            *version += 1;
            *self.triggers.write() = Arc::new(triggers);
        }
        Ok(value)
    }

    async fn write(&self, version: u64, triggers: &BTreeMap<TriggerId, TriggerDefinition>) -> Result<(), CatalogError> {
        let document = Document { format: FORMAT, triggers: triggers.values().cloned().collect() };
        let path = self.path_of(version);
        let body = serde_json::to_vec_pretty(&document)
            .map_err(|error| CatalogError::Unreadable { path: path.to_string(), reason: error.to_string() })?;
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match self.store.put_opts(&path, PutPayload::from(Bytes::from(body)), options).await {
            Ok(_) => {}
            Err(object_store::Error::AlreadyExists { .. }) => return Err(CatalogError::Conflict),
            Err(error) => return Err(error.into()),
        }
        if let Some(old) = version.checked_sub(VERSIONS_KEPT).filter(|old| *old > 0) {
            // An old version that stays behind does no harm.
            if let Err(error) = self.store.delete(&self.path_of(old)).await {
                tracing::debug!("old trigger catalog {old} was not removed: {error}");
            }
        }
        Ok(())
    }

    fn path_of(&self, version: u64) -> Path {
        self.prefix.clone().join(format!("{version:020}.json"))
    }
}

fn version_of(location: &Path) -> Option<u64> {
    location.filename()?.strip_suffix(".json")?.parse().ok()
}

async fn read(
    store: &dyn ObjectStore,
    location: &Path,
) -> Result<BTreeMap<TriggerId, TriggerDefinition>, CatalogError> {
    let unreadable = |reason: String| CatalogError::Unreadable { path: location.to_string(), reason };
    let body = store.get(location).await?.bytes().await?;
    let format: FormatOnly = serde_json::from_slice(&body).map_err(|error| unreadable(error.to_string()))?;
    if format.format > FORMAT {
        return Err(unreadable(format!(
            "its format {} is newer than this version of bulkhead understands ({FORMAT})",
            format.format
        )));
    }
    let document: Document = serde_json::from_slice(&body).map_err(|error| unreadable(error.to_string()))?;
    Ok(document.triggers.into_iter().map(|trigger| (trigger.id.clone(), trigger)).collect())
}

#[derive(Deserialize)]
struct FormatOnly {
    format: u32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trigger::{ErrorBehavior, PluginLocation};
    use object_store::memory::InMemory;

    fn trigger(name: &str) -> TriggerDefinition {
        TriggerDefinition {
            id: TriggerId::new("db", name),
            plugin: PluginLocation::PluginDir("p.py".into()),
            spec: "every:10s".parse().unwrap(),
            arguments: Some(BTreeMap::from([("a".into(), "1".into())])),
            run_async: true,
            error_behavior: ErrorBehavior::Retry,
            attempts_max: None,
            timeout_ms: Some(5),
            requirements: vec!["six".to_owned()],
            permissions: crate::trigger::Permissions::default(),
            delivery: crate::trigger::Delivery::default(),
            disabled: false,
            disabled_reason: None,
            shares_path: false,
        }
    }

    async fn add(catalog: &Catalog, name: &str) -> Result<(), CatalogError> {
        catalog
            .change(|triggers| {
                triggers.insert(TriggerId::new("db", name), trigger(name));
                Ok(())
            })
            .await
    }

    #[tokio::test]
    async fn a_catalog_comes_back_and_keeps_few_versions() {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let catalog = Catalog::open(Arc::clone(&store), Path::from("catalog")).await.unwrap();
        for number in 0..20 {
            add(&catalog, &format!("t{number:02}")).await.unwrap();
        }
        let objects: Vec<_> = store.list(None).try_collect().await.unwrap();
        assert_eq!(objects.len() as u64, VERSIONS_KEPT);
        let again = Catalog::open(store, Path::from("catalog")).await.unwrap();
        assert_eq!(again.list(), catalog.list());
        assert_eq!(again.get(&TriggerId::new("db", "t07")), Some(trigger("t07")));
    }

    #[tokio::test]
    async fn a_second_writer_is_refused_and_sees_its_own_state_unchanged() {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let first = Catalog::open(Arc::clone(&store), Path::from("catalog")).await.unwrap();
        let second = Catalog::open(Arc::clone(&store), Path::from("catalog")).await.unwrap();
        add(&first, "a").await.unwrap();
        assert!(matches!(add(&second, "b").await, Err(CatalogError::Conflict)));
        assert!(second.list().is_empty());
    }

    #[tokio::test]
    async fn a_newer_format_is_refused() {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        store
            .put(
                &Path::from("catalog/00000000000000000001.json"),
                PutPayload::from_static(br#"{"format": 99, "new": 1}"#),
            )
            .await
            .unwrap();
        let error = Catalog::open(store, Path::from("catalog")).await.unwrap_err();
        assert!(error.to_string().contains("its format 99 is newer"), "{error}");
    }
}
