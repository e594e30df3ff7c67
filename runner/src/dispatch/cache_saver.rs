//! Records the changes of the cache that belong to no commit: those of calls that failed, of requests that wrote nothing, and of
//! threads that went on after their call.

use std::sync::Arc;

use tokio::time::sleep;

use crate::cache::Cache;
use crate::host::{Host, HostError};
use crate::limits;

/// Records what changes, gathered for a while. It never ends by itself.
pub(super) async fn run(cache: Arc<Cache>, host: Arc<dyn Host>) {
    loop {
        cache.changed().await;
        sleep(limits::CACHE_GATHERED).await;
        while let Err(error) = save(&cache, &host).await {
            tracing::warn!("changes of the cache could not be recorded and are tried again: {error}");
            sleep(limits::HOST_RETRY).await;
        }
    }
}

/// Records what has changed by now.
pub(super) async fn save(cache: &Arc<Cache>, host: &Arc<dyn Host>) -> Result<(), HostError> {
    while let Some(mut changes) = cache.unsaved() {
        host.commit(None, changes.take_records()).await?;
        changes.committed();
    }
    Ok(())
}
