//! Snapshots: the rows in memory to Parquet files, a manifest that names them, and the removal of what they make needless.

mod manifest;
mod parquet;
mod save;
mod upkeep;

pub(crate) use self::manifest::load_newest;
pub(crate) use self::save::save;
pub(crate) use self::upkeep::{clean_orphans, run as run_upkeep, sync_records};

use object_store::path::Path;

/// Where the Parquet files lie.
fn data_prefix(prefix: &Path) -> Path {
    prefix.clone().join("data")
}

/// Where the manifests lie.
fn manifest_prefix(prefix: &Path) -> Path {
    prefix.clone().join("manifest")
}
