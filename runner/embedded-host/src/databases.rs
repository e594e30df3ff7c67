//! Creating, deleting and listing databases.

use tokio::sync::oneshot;

use crate::error::DatabaseError;
use crate::host::EmbeddedHost;
use crate::name::{INTERNAL_DATABASE, check_database_name};
use crate::wal::{Admission, Operation, Queued};

impl EmbeddedHost {
    /// Creates an empty database, durably.
    ///
    /// # Errors
    /// When the name is not valid or taken, there are too many, or the log cannot be written.
    pub async fn create_database(&self, name: &str) -> Result<(), DatabaseError> {
        if name == INTERNAL_DATABASE {
            return Err(DatabaseError::AlreadyExists);
        }
        check_database_name(name)?;
        self.change(|| Operation::Create(name.to_owned()), || DatabaseError::AlreadyExists).await
    }

    /// Deletes a database with all its tables, durably. Queries that have begun may fail.
    ///
    /// # Errors
    /// When there is no such database, it is the server's own, or the log cannot be written.
    pub async fn delete_database(&self, name: &str) -> Result<(), DatabaseError> {
        if name == INTERNAL_DATABASE {
            return Err(DatabaseError::ReadOnly(name.to_owned()));
        }
        self.change(|| Operation::Delete(name.to_owned()), || DatabaseError::NotFound(name.to_owned())).await
    }

    /// The names of all databases in alphabetical order, without [`INTERNAL_DATABASE`].
    #[must_use]
    pub fn list_databases(&self) -> Vec<String> {
        self.inner.shared.state.read().databases.keys().cloned().collect()
    }

    async fn change(
        &self,
        operation: impl Fn() -> Operation,
        not_possible: impl Fn() -> DatabaseError,
    ) -> Result<(), DatabaseError> {
        let shared = &self.inner.shared;
        loop {
            let settled = shared.queue.settled.notified();
            tokio::pin!(settled);
            // Counted from here, so that what settles before the wait is not missed.
            settled.as_mut().enable();
            let (reply, outcome) = oneshot::channel();
            let queued = Queued {
                operation: operation(),
                records: Vec::new(),
                bytes: 0,
                is_urgent: false,
                reply: Some(reply),
                permit: None,
            };
            match shared.queue.enter(&shared.state, queued).0 {
                Admission::Entered => {
                    let outcome = outcome.await.map_err(|_| DatabaseError::Closed)?;
                    return outcome.map(|_| ()).map_err(DatabaseError::Storage);
                }
                Admission::Busy => settled.await,
                Admission::Stale => return Err(not_possible()),
                Admission::Refused(limit) => return Err(limit.into()),
                Admission::Closed => return Err(DatabaseError::Closed),
            }
        }
    }
}
