//! Taking a snapshot.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};

use super::data_prefix;
use super::manifest::{Manifest, TableManifest, remove_old, store_manifest};
use super::parquet::encode;
use super::upkeep::remove_segments;
use crate::error::SnapshotError;
use crate::schema::TableSchema;
use crate::shared::Shared;
use crate::table::{Chunk, DataFile};

/// A table as it was when the snapshot began.
struct CapturedTable {
    database: String,
    generation: u64,
    name: Arc<str>,
    schema: Arc<TableSchema>,
    files: Arc<Vec<Arc<DataFile>>>,
    may_have_duplicates: bool,
    rows: Arc<Chunk>,
    saved: Option<DataFile>,
}

/// Writes all rows in memory to files, and a manifest that makes them count, then swaps the rows for the files and removes the
/// WAL segments that are needed no more.
///
/// Until the swap, which is one step, queries see the rows in memory; after it they see the files. When anything fails before,
/// the rows stay where they are.
///
/// # Errors
/// When the store fails or the rows cannot be encoded.
pub(crate) async fn save(shared: &Arc<Shared>) -> Result<(), SnapshotError> {
    // Held to the end: one snapshot at a time.
    let mut version = shared.manifest_version.lock().await;
    let unsaved = shared.unsaved.bytes();
    let saved = save_as(shared, &mut version).await;
    match &saved {
        Ok(()) => shared.unsaved.saved(unsaved),
        Err(error) => shared.unsaved.not_saved(error.to_string()),
    }
    if saved.is_ok() {
        remove_segments(shared).await;
        remove_old(shared.store.as_ref(), &shared.prefix).await;
    }
    saved
}

/// Takes the snapshot, whose number is one more than `version`.
async fn save_as(shared: &Arc<Shared>, version: &mut u64) -> Result<(), SnapshotError> {
    let (covered, mut manifest, mut tables) = capture(shared);
    if covered == shared.covered.load(Ordering::Relaxed) {
        return Ok(());
    }
    shared.rotate.store(true, Ordering::Relaxed);
    // The number is used up even when the snapshot fails: the store may have got some of its objects all the same.
    *version += 1;
    let mut paths = Vec::new();
    for (number, table) in tables.iter_mut().enumerate() {
        if !table.rows.is_empty() {
            let name = format!("{:020}-{number:05}.parquet", *version);
            let (path, file) = save_table(shared, &name, table).await?;
            paths.push(path);
            table.saved = Some(file);
        }
    }
    for table in &tables {
        add_to(&mut manifest, table);
    }
    paths.push(store_manifest(shared.store.as_ref(), &shared.prefix, *version, &manifest).await?);
    force_to_disk(shared, paths).await?;
    install(shared, tables);
    shared.covered.store(covered, Ordering::Relaxed);
    Ok(())
}

fn capture(shared: &Shared) -> (u64, Manifest, Vec<CapturedTable>) {
    let mut state = shared.state.write();
    let covered = state.applied;
    let mut manifest = Manifest::new(covered);
    let mut tables = Vec::new();
    for (database_name, database) in &mut state.databases {
        manifest.databases.entry(database_name.clone()).or_default();
        for (name, data) in &mut database.tables {
            let Some(schema) = database.schema.tables.get(name) else {
                continue;
            };
            tables.push(CapturedTable {
                database: database_name.clone(),
                generation: database.generation,
                name: Arc::clone(name),
                schema: Arc::clone(schema),
                files: Arc::clone(data.files()),
                may_have_duplicates: data.may_have_duplicates(),
                rows: data.begin_save(),
                saved: None,
            });
        }
    }
    (covered, manifest, tables)
}

async fn save_table(shared: &Shared, name: &str, table: &CapturedTable) -> Result<(Path, DataFile), SnapshotError> {
    let (rows, schema) = (Arc::clone(&table.rows), Arc::clone(&table.schema));
    let encoded = tokio::task::spawn_blocking(move || encode(&rows, &schema)).await;
    let encoded = encoded.map_err(|error| SnapshotError::Parquet(error.to_string()))?;
    let encoded = encoded.map_err(|error| SnapshotError::Parquet(error.to_string()))?;
    // The number in `name` makes the path unique; the directories are for people.
    let directory = data_prefix(&shared.prefix).join(table.database.as_str()).join(directory_name(&table.name));
    let path = directory.join(name);
    let size_bytes = encoded.bytes.len() as u64;
    shared.store.put(&path, PutPayload::from(encoded.bytes)).await?;
    let (min_time, max_time) = table.rows.bounds().unwrap_or_default();
    Ok((path.clone(), DataFile { path: path.to_string(), size_bytes, rows: encoded.rows, min_time, max_time }))
}

/// A table's name without what stores and file systems treat in their own ways, and not too long for them.
fn directory_name(table: &str) -> String {
    let plain = |character: char| {
        if character.is_ascii_alphanumeric() || character == '-' { character } else { '_' }
    };
    table.chars().take(64).map(plain).collect()
}

fn add_to(manifest: &mut Manifest, table: &CapturedTable) {
    let columns = table.schema.columns().iter().map(|(name, kind)| (name.to_string(), *kind)).collect();
    let files = table.files.iter().map(|file| DataFile::clone(file)).chain(table.saved.clone()).collect();
    let may_have_duplicates = table.may_have_duplicates;
    let tables = manifest.databases.entry(table.database.clone()).or_default();
    tables.insert(table.name.to_string(), TableManifest { columns, may_have_duplicates, files });
}

/// Swaps the rows in memory for the files that now hold them.
fn install(shared: &Shared, tables: Vec<CapturedTable>) {
    let mut orphans = Vec::new();
    let mut state = shared.state.write();
    for table in tables {
        let database = state.databases.get_mut(&table.database).filter(|it| it.generation == table.generation);
        match database.and_then(|database| database.tables.get_mut(&table.name)) {
            Some(data) => data.finish_save(table.saved),
            // The database was deleted in the meantime. The manifest still names it, but the WAL behind it has the deletion.
            None => orphans.extend(table.saved.map(|file| file.path)),
        }
    }
    drop(state);
    shared.garbage.lock().extend(orphans);
}

/// Forces new objects of a local store to disk, and the directories that name them.
async fn force_to_disk(shared: &Shared, paths: Vec<Path>) -> Result<(), SnapshotError> {
    let Some(root) = shared.local_store_root.clone() else {
        return Ok(());
    };
    let outcome = tokio::task::spawn_blocking(move || {
        for path in paths {
            let file: PathBuf = path.parts().fold(root.clone(), |file, part| file.join(part.as_ref()));
            for target in file.ancestors().take_while(|target| target.starts_with(&root)) {
                let synced = File::open(target).and_then(|target| target.sync_all());
                synced.map_err(|source| SnapshotError::Sync { path: target.to_owned(), source })?;
            }
        }
        Ok(())
    });
    outcome.await.map_err(|error| SnapshotError::Parquet(error.to_string()))?
}
