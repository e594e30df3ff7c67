//! The manifest: what all snapshots so far hold. Each snapshot writes a new one; the newest valid one counts.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use serde::{Deserialize, Serialize};

use super::manifest_prefix;
use crate::error::{OpenError, SnapshotError};
use crate::limits::MANIFESTS_KEPT;
use crate::schema::{ColumnKind, DatabaseSchema, TableSchema};
use crate::table::{DataFile, State, TableData};

/// The version that is written, and the newest that is read.
const FORMAT_VERSION: u32 = 1;

/// All databases as of one sequence.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Manifest {
    pub(super) format_version: u32,
    /// The last WAL sequence that it covers.
    pub(super) covered_sequence: u64,
    pub(super) databases: BTreeMap<String, BTreeMap<String, TableManifest>>,
}

/// One table.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct TableManifest {
    /// All columns but `time`.
    pub(super) columns: BTreeMap<String, ColumnKind>,
    /// Whether two rows, of two files, may have the same series and time.
    pub(super) may_have_duplicates: bool,
    /// Oldest first.
    pub(super) files: Vec<DataFile>,
}

impl Manifest {
    pub(super) fn new(covered_sequence: u64) -> Self {
        Self { format_version: FORMAT_VERSION, covered_sequence, databases: BTreeMap::new() }
    }

    /// The state that the manifest describes.
    fn into_state(self) -> State {
        let mut state = State::default();
        state.applied = self.covered_sequence;
        for (name, tables) in self.databases {
            let database = state.create(&name);
            let mut schema = DatabaseSchema::default();
            for (name, table) in tables {
                let name: Arc<str> = Arc::from(name);
                let columns = table.columns.into_iter().map(|(name, kind)| (Arc::from(name), kind)).collect();
                schema.tables.insert(Arc::clone(&name), Arc::new(TableSchema::new(columns)));
                let files = table.files.into_iter().map(Arc::new).collect();
                database.tables.insert(name, TableData::new(files, table.may_have_duplicates));
            }
            database.schema = Arc::new(schema);
        }
        state
    }
}

/// What the store holds.
#[derive(Debug, Default)]
pub(crate) struct LoadedManifest {
    /// The state of the newest valid manifest; empty when there is none.
    pub(crate) state: State,
    /// The number of the newest manifest, valid or not.
    pub(crate) version: u64,
    /// Whether the newest manifest is the valid one.
    pub(crate) newest_is_valid: bool,
}

/// Reads the newest valid manifest.
///
/// # Errors
/// When the store fails, or when there are manifests and none is valid.
pub(crate) async fn load_newest(store: &dyn ObjectStore, prefix: &Path) -> Result<LoadedManifest, OpenError> {
    let versions = list(store, prefix).await?;
    let Some((version, newest)) = versions.last() else {
        return Ok(LoadedManifest { newest_is_valid: true, ..LoadedManifest::default() });
    };
    let mut newest_reason = None;
    for (number, path) in versions.iter().rev() {
        let bytes = store.get(path).await?.bytes().await?;
        match parse(&bytes) {
            Ok(manifest) => {
                let state = manifest.into_state();
                return Ok(LoadedManifest { state, version: *version, newest_is_valid: number == version });
            }
            Err(reason) => {
                tracing::warn!(manifest = %path, reason, "the manifest is not valid, trying the one before");
                newest_reason.get_or_insert(reason);
            }
        }
    }
    let reason = newest_reason.unwrap_or_default();
    Err(OpenError::Manifest { count: versions.len(), newest: newest.to_string(), reason })
}

fn parse(bytes: &[u8]) -> Result<Manifest, String> {
    #[derive(Deserialize)]
    struct Version {
        format_version: u32,
    }
    let version: Version = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if version.format_version > FORMAT_VERSION {
        return Err(format!("format version {}, this program reads up to {FORMAT_VERSION}", version.format_version));
    }
    serde_json::from_slice(bytes).map_err(|error| error.to_string())
}

/// Writes the manifest with this number and removes those that are older than [`MANIFESTS_KEPT`]. Returns its path.
///
/// # Errors
/// When the store fails or has a manifest of this number, which then is another process's.
pub(super) async fn store_manifest(
    store: &dyn ObjectStore,
    prefix: &Path,
    version: u64,
    manifest: &Manifest,
) -> Result<Path, SnapshotError> {
    let path = manifest_prefix(prefix).join(format!("{version:020}.json"));
    let payload = PutPayload::from(serde_json::to_vec(manifest)?);
    let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
    store.put_opts(&path, payload, options).await?;
    Ok(path)
}

/// Removes all but the newest manifests. What cannot be removed is left for the next time.
pub(super) async fn remove_old(store: &dyn ObjectStore, prefix: &Path) {
    let Ok(versions) = list(store, prefix).await else {
        return;
    };
    for (_, path) in versions.iter().rev().skip(MANIFESTS_KEPT) {
        if let Err(error) = store.delete(path).await {
            tracing::warn!(manifest = %path, %error, "cannot remove an old manifest");
        }
    }
}

/// The manifests by number, oldest first.
async fn list(store: &dyn ObjectStore, prefix: &Path) -> Result<Vec<(u64, Path)>, object_store::Error> {
    let objects: Vec<_> = store.list(Some(&manifest_prefix(prefix))).try_collect().await?;
    let mut versions: Vec<(u64, Path)> = objects
        .into_iter()
        .filter_map(|object| {
            let number = object.location.filename()?.strip_suffix(".json")?.parse().ok()?;
            Some((number, object.location))
        })
        .collect();
    versions.sort_unstable();
    Ok(versions)
}
