//! The commits of a host on their way into the spools, and the acknowledgements back.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bulkhead_proto::runner::v1::{StreamWalRequest, StreamWalResponse};
use bulkhead_proto::types::v1::{TableBatch, WalBatch};
use futures_util::future::BoxFuture;
use futures_util::stream::{BoxStream, FuturesOrdered};
use futures_util::{FutureExt, StreamExt, stream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use crate::clock::SharedClock;
use crate::host::FeedTable;
use crate::host::grpc::Spools;
use crate::limits;
use crate::session::arrow_ipc;

/// One stream of batches.
struct Stream {
    batches: Streaming<StreamWalRequest>,
    spools: Arc<Spools>,
    clock: SharedClock,
    /// The runner is stopping: no further batch is taken in.
    intake: CancellationToken,
    /// The host's last sequence of each database, which has to grow.
    last: BTreeMap<String, u64>,
    /// Batches that are being made durable, in their order, with their bytes.
    entering: FuturesOrdered<BoxFuture<'static, Result<StreamWalResponse, Status>>>,
    entering_bytes: VecDeque<usize>,
    /// A batch whose database takes none in at present; nothing else of the stream is read until it does.
    held: Option<(WalBatch, watch::Receiver<bool>)>,
    is_over: bool,
}

/// Takes in batches and acknowledges each once it is durable here.
pub(super) fn run(
    batches: Streaming<StreamWalRequest>,
    spools: Arc<Spools>,
    clock: SharedClock,
    intake: CancellationToken,
) -> BoxStream<'static, Result<StreamWalResponse, Status>> {
    let stream = Stream {
        batches,
        spools,
        clock,
        intake,
        last: BTreeMap::new(),
        entering: FuturesOrdered::new(),
        entering_bytes: VecDeque::new(),
        held: None,
        is_over: false,
    };
    stream::try_unfold(stream, |mut stream| async move { Ok(stream.next().await?.map(|ack| (ack, stream))) }).boxed()
}

impl Stream {
    async fn next(&mut self) -> Result<Option<StreamWalResponse>, Status> {
        loop {
            if self.is_over && self.held.is_none() && self.entering.is_empty() {
                return Ok(None);
            }
            let is_full = self.entering_bytes.iter().sum::<usize>() >= limits::STREAM_ENTERING_BYTES_MAX
                || self.entering.len() >= limits::STREAM_ENTERING_MAX;
            let takes_in = !self.is_over && !is_full && self.held.is_none() && !self.intake.is_cancelled();
            tokio::select! {
                biased;
                Some(entered) = self.entering.next() => {
                    self.entering_bytes.pop_front();
                    return entered.map(Some);
                }
                () = self.intake.cancelled(), if self.entering.is_empty() => return Err(stopping()),
                opened = opened(&mut self.held), if self.held.is_some() => {
                    let batch = self.held.take().map(|(batch, _)| batch);
                    if let (true, Some(batch)) = (opened, batch) {
                        self.take(batch)?;
                    }
                }
                batch = self.batches.message(), if takes_in => match batch? {
                    Some(request) => {
                        let batch = request.batch.unwrap_or_default();
                        let intake = self.spools.of(&batch.database).intake();
                        let is_open = *intake.borrow();
                        if is_open { self.take(batch)? } else { self.held = Some((batch, intake)) }
                    }
                    None => self.is_over = true,
                },
            }
        }
    }

    /// Checks a batch and lets it into its spool.
    fn take(&mut self, batch: WalBatch) -> Result<(), Status> {
        let WalBatch { database, wal_sequence, tables } = batch;
        if database.is_empty() {
            return Err(Status::invalid_argument("a batch names no database"));
        }
        if let Some(last) = self.last.get(&database).filter(|last| wal_sequence <= **last) {
            let text = format!("batch {wal_sequence} of database `{database}` does not follow {last}");
            return Err(Status::invalid_argument(text));
        }
        let tables = tables.into_iter().map(table).collect::<Result<Vec<_>, Status>>()?;
        self.last.insert(database.clone(), wal_sequence);
        let bytes = tables.iter().map(|table| table.ipc.len()).sum();
        let spool = self.spools.of(&database);
        // Here and not in the future, so that batches enter in their order.
        let entry = spool.enter(wal_sequence, self.clock.now(), tables).map_err(|error| unavailable(&error))?;
        self.entering_bytes.push_back(bytes);
        self.entering.push_back(
            async move {
                spool.settle(entry).await.map_err(|error| unavailable(&error))?;
                Ok(StreamWalResponse { acked_wal_sequence: wal_sequence, database })
            }
            .boxed(),
        );
        Ok(())
    }
}

/// Waits until the database of the held batch takes it in; `false` when it never will.
async fn opened(held: &mut Option<(WalBatch, watch::Receiver<bool>)>) -> bool {
    match held {
        Some((_, intake)) => intake.wait_for(|is_open| *is_open).await.is_ok(),
        None => false,
    }
}

fn stopping() -> Status {
    Status::unavailable("the runner is stopping; send again what is not acknowledged")
}

fn unavailable(error: &dyn std::fmt::Display) -> Status {
    tracing::warn!("a batch could not be stored: {error}");
    Status::unavailable(format!("the batch could not be stored: {error}; send it again"))
}

/// A table of a batch. Its rows are decoded once to see that they can be.
fn table(batch: TableBatch) -> Result<FeedTable, Status> {
    let decoded = arrow_ipc::decode(&batch.arrow_ipc_stream).map_err(|error| {
        Status::invalid_argument(format!("rows of table `{}` cannot be read: {error}", batch.table))
    })?;
    let rows = decoded.iter().map(arrow::array::RecordBatch::num_rows).sum();
    Ok(FeedTable { table: batch.table, rows, ipc: batch.arrow_ipc_stream })
}
