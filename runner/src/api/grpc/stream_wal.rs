//! The commits of a host on their way into the feeds, and the acknowledgements back.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bulkhead_proto::runner::v1::{StreamWalRequest, StreamWalResponse};
use bulkhead_proto::types::v1::{TableBatch, WalBatch};
use futures_util::future::{BoxFuture, pending, select_all};
use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt, stream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use crate::clock::SharedClock;
use crate::host::grpc::MemoryFeeds;
use crate::host::{FeedDatabase, FeedTable, MemoryFeed};
use crate::session::arrow_ipc;

/// When a stream takes in no more, and when it ends.
#[derive(Debug, Clone)]
pub struct StreamEnds {
    /// The runner is stopping: no further batch is taken in, those that are there are still worked on.
    pub intake: CancellationToken,
    /// Nothing runs any more: no further acknowledgement will come.
    pub closed: CancellationToken,
}

/// One stream of batches.
struct Stream {
    batches: Streaming<StreamWalRequest>,
    feeds: Arc<MemoryFeeds>,
    clock: SharedClock,
    ends: StreamEnds,
    databases: BTreeMap<String, Database>,
    /// A batch that waits for room in its feed; the next one is not read before.
    entering: Option<BoxFuture<'static, Entered>>,
    acks: VecDeque<StreamWalResponse>,
    is_over: bool,
}

/// What the stream knows of one database.
struct Database {
    feed: Arc<MemoryFeed>,
    released: watch::Receiver<u64>,
    /// Batches that are not acknowledged: place in the feed, and the host's sequence.
    pending: VecDeque<(u64, u64)>,
    /// The host's last sequence, which has to grow.
    last: Option<u64>,
}

/// A batch that is in its feed.
struct Entered {
    database: String,
    feed_sequence: u64,
    wal_sequence: u64,
}

/// Takes in batches and acknowledges each once every trigger of its database is done with it.
pub(super) fn run(
    batches: Streaming<StreamWalRequest>,
    feeds: Arc<MemoryFeeds>,
    clock: SharedClock,
    ends: StreamEnds,
) -> BoxStream<'static, Result<StreamWalResponse, Status>> {
    let (databases, acks) = (BTreeMap::new(), VecDeque::new());
    let stream = Stream { batches, feeds, clock, ends, databases, entering: None, acks, is_over: false };
    stream::try_unfold(stream, |mut stream| async move { Ok(stream.next().await?.map(|ack| (ack, stream))) }).boxed()
}

impl Stream {
    async fn next(&mut self) -> Result<Option<StreamWalResponse>, Status> {
        loop {
            if let Some(ack) = self.acks.pop_front() {
                return Ok(Some(ack));
            }
            let is_idle =
                self.entering.is_none() && self.databases.values().all(|database| database.pending.is_empty());
            if self.is_over && is_idle {
                return Ok(None);
            }
            let takes_in = !self.is_over && self.entering.is_none();
            tokio::select! {
                biased;
                () = released(&mut self.databases) => self.acknowledge(),
                entered = next_in(&mut self.entering) => {
                    self.entering = None;
                    self.entered(&entered);
                }
                () = self.ends.closed.cancelled() => return Err(stopping()),
                () = self.ends.intake.cancelled(), if takes_in && is_idle => return Err(stopping()),
                batch = self.batches.message(), if takes_in && !self.ends.intake.is_cancelled() => match batch? {
                    Some(request) => self.take(request.batch.unwrap_or_default())?,
                    None => self.is_over = true,
                },
            }
        }
    }

    /// Checks a batch and lets it into its feed once there is room.
    fn take(&mut self, batch: WalBatch) -> Result<(), Status> {
        let WalBatch { database, wal_sequence, tables } = batch;
        if database.is_empty() {
            return Err(Status::invalid_argument("a batch names no database"));
        }
        let known = self.databases.entry(database.clone()).or_insert_with(|| {
            let feed = self.feeds.of(&database);
            Database { released: feed.released(), feed, pending: VecDeque::new(), last: None }
        });
        if known.last.is_some_and(|last| wal_sequence <= last) {
            let last = known.last.unwrap_or_default();
            let text = format!("batch {wal_sequence} of database `{database}` does not follow {last}");
            return Err(Status::invalid_argument(text));
        }
        known.last = Some(wal_sequence);
        let tables = tables.into_iter().map(table).collect::<Result<Vec<_>, Status>>()?;
        let (feed, now) = (Arc::clone(&known.feed), self.clock.now());
        self.entering = Some(
            async move {
                let rows = vec![FeedDatabase { database: database.clone(), tables }];
                Entered { feed_sequence: feed.push(now, rows).await, database, wal_sequence }
            }
            .boxed(),
        );
        Ok(())
    }

    fn entered(&mut self, entered: &Entered) {
        if let Some(database) = self.databases.get_mut(&entered.database) {
            database.pending.push_back((entered.feed_sequence, entered.wal_sequence));
        }
        self.acknowledge();
    }

    /// Batches of one database that are done together are acknowledged together.
    fn acknowledge(&mut self) {
        for (name, database) in &mut self.databases {
            let released = *database.released.borrow_and_update();
            let mut acked = None;
            while let Some((_, wal_sequence)) = database.pending.pop_front_if(|(place, _)| *place <= released) {
                acked = Some(wal_sequence);
            }
            if let Some(acked_wal_sequence) = acked {
                self.acks.push_back(StreamWalResponse { acked_wal_sequence, database: name.clone() });
            }
        }
    }
}

/// The batch that waits for room, once it has it.
async fn next_in(entering: &mut Option<BoxFuture<'static, Entered>>) -> Entered {
    match entering {
        Some(entering) => entering.await,
        None => pending().await,
    }
}

fn stopping() -> Status {
    Status::unavailable("the runner is stopping; send again what is not acknowledged")
}

/// Waits until triggers are done with more of any database.
async fn released(databases: &mut BTreeMap<String, Database>) {
    let waiting = databases.values_mut().filter(|database| !database.pending.is_empty());
    // A feed lives as long as its host, so a watch does not end before the stream.
    let changes: Vec<_> = waiting.map(|database| Box::pin(async { drop(database.released.changed().await) })).collect();
    if changes.is_empty() { pending().await } else { drop(select_all(changes).await) }
}

/// A table of a batch. Its rows are decoded once to see that they can be.
fn table(batch: TableBatch) -> Result<FeedTable, Status> {
    let decoded = arrow_ipc::decode(&batch.arrow_ipc_stream).map_err(|error| {
        Status::invalid_argument(format!("rows of table `{}` cannot be read: {error}", batch.table))
    })?;
    let rows = decoded.iter().map(arrow::array::RecordBatch::num_rows).sum();
    Ok(FeedTable { table: batch.table, rows, ipc: batch.arrow_ipc_stream })
}
