//! The commits of a host on their way into the feed, and the acknowledgements back.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bulkhead_proto::runner::v1::{StreamWalRequest, StreamWalResponse};
use bulkhead_proto::types::v1::WalBatch;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, stream};
use tokio::sync::watch;
use tonic::{Status, Streaming};

use crate::clock::SharedClock;
use crate::host::{FeedDatabase, FeedTable, MemoryFeed};
use crate::session::arrow_ipc;

/// Batches of one stream that are in the feed and not acknowledged.
struct Stream {
    batches: Streaming<StreamWalRequest>,
    feed: Arc<MemoryFeed>,
    released: watch::Receiver<u64>,
    clock: SharedClock,
    pending: VecDeque<Pending>,
    /// The last sequence of each database, which has to grow.
    last: BTreeMap<String, u64>,
    acks: VecDeque<StreamWalResponse>,
    is_over: bool,
}

struct Pending {
    feed_sequence: u64,
    database: String,
    wal_sequence: u64,
}

/// Takes in batches and acknowledges each once every trigger is done with it.
pub(super) fn run(
    batches: Streaming<StreamWalRequest>,
    feed: Arc<MemoryFeed>,
    clock: SharedClock,
) -> BoxStream<'static, Result<StreamWalResponse, Status>> {
    let released = feed.released();
    let stream = Stream {
        batches,
        feed,
        released,
        clock,
        pending: VecDeque::new(),
        last: BTreeMap::new(),
        acks: VecDeque::new(),
        is_over: false,
    };
    stream::try_unfold(stream, |mut stream| async move { Ok(stream.next().await?.map(|ack| (ack, stream))) }).boxed()
}

impl Stream {
    async fn next(&mut self) -> Result<Option<StreamWalResponse>, Status> {
        loop {
            if let Some(ack) = self.acks.pop_front() {
                return Ok(Some(ack));
            }
            if self.is_over && self.pending.is_empty() {
                return Ok(None);
            }
            tokio::select! {
                changed = self.released.changed(), if !self.pending.is_empty() => {
                    changed.map_err(|_| Status::unavailable("the runner is stopping"))?;
                    self.acknowledge();
                }
                batch = self.batches.message(), if !self.is_over => match batch? {
                    Some(request) => self.take(request.batch.unwrap_or_default()).await?,
                    None => self.is_over = true,
                },
            }
        }
    }

    async fn take(&mut self, batch: WalBatch) -> Result<(), Status> {
        let last = self.last.entry(batch.database.clone()).or_default();
        if batch.database.is_empty() || batch.wal_sequence <= *last {
            let text = format!("batch {} of database `{}` does not follow {last}", batch.wal_sequence, batch.database);
            return Err(Status::invalid_argument(text));
        }
        *last = batch.wal_sequence;
        let tables = batch.tables.into_iter().map(table).collect::<Result<Vec<_>, Status>>()?;
        let pending = (batch.database.clone(), batch.wal_sequence);
        let databases = vec![FeedDatabase { database: batch.database, tables }];
        // Waits while the feed is full, and with it the host.
        let feed_sequence = self.feed.push(self.clock.now(), databases).await;
        self.pending.push_back(Pending { feed_sequence, database: pending.0, wal_sequence: pending.1 });
        self.acknowledge();
        Ok(())
    }

    fn acknowledge(&mut self) {
        let released = *self.released.borrow_and_update();
        while let Some(done) = self.pending.pop_front_if(|pending| pending.feed_sequence <= released) {
            // Batches of one database that are done together are acknowledged together.
            match self.acks.back_mut() {
                Some(ack) if ack.database == done.database => ack.acked_wal_sequence = done.wal_sequence,
                _ => self
                    .acks
                    .push_back(StreamWalResponse { acked_wal_sequence: done.wal_sequence, database: done.database }),
            }
        }
    }
}

/// A table of a batch. Its rows are decoded once to see that they can be.
fn table(batch: bulkhead_proto::types::v1::TableBatch) -> Result<FeedTable, Status> {
    let decoded = arrow_ipc::decode(&batch.arrow_ipc_stream).map_err(|error| {
        Status::invalid_argument(format!("rows of table `{}` cannot be read: {error}", batch.table))
    })?;
    let rows = decoded.iter().map(arrow::array::RecordBatch::num_rows).sum();
    Ok(FeedTable { table: batch.table, rows, ipc: batch.arrow_ipc_stream })
}
