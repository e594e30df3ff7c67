//! What a write would become, without writing it.

use std::sync::Arc;

use bytes::Bytes;

use crate::batches;
use crate::commit::TableRows;
use crate::error::{LimitExceeded, LineError, WriteError};
use crate::host::EmbeddedHost;
use crate::limits;
use crate::line::{LineOptions, split_lines};
use crate::precision::Precision;
use crate::write::parse_database;

/// What lines would become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rehearsal {
    /// The lines, blank ones and comments left out.
    pub lines: Vec<String>,
    /// Their rows, as a commit would hold them.
    pub tables: Vec<TableRows>,
    /// The lines that are not part of `tables`.
    pub errors: Vec<LineError>,
}

impl EmbeddedHost {
    /// Reads lines as [`EmbeddedHost::write`] would, against the tables that there are. Nothing is written; the database need
    /// not exist. Timestamps are in nanoseconds.
    ///
    /// # Errors
    /// When the database's name cannot be used, the text is not UTF-8, or a limit is reached. Bad lines are part of the result.
    pub async fn rehearse(
        &self,
        database: &str,
        line_protocol: Bytes,
        default_time: Option<i64>,
    ) -> Result<Rehearsal, WriteError> {
        let (limit, requested) = (limits::WRITE_BYTES_MAX, line_protocol.len());
        if requested > limit {
            return Err(LimitExceeded { name: "line protocol bytes", limit, requested }.into());
        }
        let lines = split_lines(std::str::from_utf8(&line_protocol)?).map(|(_, line)| line.trim().to_owned());
        let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
        let (shared, database) = (Arc::clone(&self.inner.shared), database.to_owned());
        let default_time = default_time.unwrap_or_else(|| (shared.now)());
        let options = LineOptions { precision: Precision::Nanosecond, default_time, go_on: true };
        let parsed =
            tokio::task::spawn_blocking(move || parse_database(&shared, &database, &[line_protocol], options)).await;
        let (write, errors) = parsed.map_err(|error| WriteError::Storage(format!("the parser failed: {error}")))??;
        let mut tables = Vec::new();
        for table in write.tables {
            let mut ipc = Vec::new();
            batches::encode_ipc(&table.batch, &mut ipc).map_err(|error| WriteError::Storage(error.to_string()))?;
            tables.push(TableRows { table: table.name.to_string(), rows: table.batch.num_rows(), ipc: ipc.into() });
        }
        Ok(Rehearsal { lines, tables, errors })
    }
}
