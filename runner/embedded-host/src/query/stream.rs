//! The result of a query, as its caller reads it.

use std::pin::Pin;
use std::task::{Context, Poll};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use futures_util::{Stream, TryStreamExt};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::error::QueryError;

/// A query that has begun to run.
#[derive(Debug)]
pub struct QueryResult {
    /// The columns, known before the first row.
    pub schema: SchemaRef,
    /// The rows. Dropping it stops the query.
    pub stream: BatchStream,
}

impl QueryResult {
    /// All rows.
    ///
    /// # Errors
    /// When the query fails before its end.
    pub async fn collect(self) -> Result<Vec<RecordBatch>, QueryError> {
        self.stream.try_collect().await
    }
}

/// The batches of a query. It runs on the host's own threads, a little ahead of its reader.
#[derive(Debug)]
pub struct BatchStream {
    batches: mpsc::Receiver<Result<RecordBatch, QueryError>>,
    /// The task that runs the query; it is aborted when this is dropped.
    _task: JoinSet<()>,
}

impl BatchStream {
    pub(super) fn new(batches: mpsc::Receiver<Result<RecordBatch, QueryError>>, task: JoinSet<()>) -> Self {
        Self { batches, _task: task }
    }
}

impl Stream for BatchStream {
    type Item = Result<RecordBatch, QueryError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.batches.poll_recv(context)
    }
}
