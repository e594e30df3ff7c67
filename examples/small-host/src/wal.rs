//! The commits of this server on their way to the runner.

use std::sync::Arc;

use bulkhead_proto::runner::v1::StreamWalRequest;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::delegate::Runner;
use super::store::Store;
use super::{PAUSE, say};

/// Commits that may be under way before the runner takes them in. A runner that is behind holds the stream back, never
/// the writers of this server.
const UNDER_WAY_MAX: usize = 16;

/// Streams commits for ever; after a failure it begins again with the oldest commit that is not acknowledged.
pub(crate) async fn stream(store: Arc<Store>, mut runner: Runner) {
    loop {
        let (batches, queue) = mpsc::channel(UNDER_WAY_MAX);
        let ended = tokio::select! {
            ended = acknowledge(&store, &mut runner, queue) => ended,
            () = send(&store, batches) => Ok(()),
        };
        if let Err(status) = ended {
            say(format!("the stream broke ({}); {} commits are sent again", status.message(), store.unacknowledged()));
        }
        sleep(PAUSE).await;
    }
}

/// Sends every commit in order, from the oldest that is not acknowledged.
async fn send(store: &Store, batches: mpsc::Sender<StreamWalRequest>) {
    let mut sent = 0;
    loop {
        match store.unacknowledged_after(sent) {
            Some(batch) => {
                sent = batch.wal_sequence;
                if batches.send(StreamWalRequest { batch: Some(batch) }).await.is_err() {
                    return;
                }
            }
            None => store.committed.notified().await,
        }
    }
}

/// Forgets what the runner is done with.
async fn acknowledge(
    store: &Store,
    runner: &mut Runner,
    queue: mpsc::Receiver<StreamWalRequest>,
) -> Result<(), Status> {
    let mut acks = runner.stream_wal(ReceiverStream::new(queue)).await?.into_inner();
    while let Some(ack) = acks.message().await? {
        // `ack.database` says which sequence it is; this server has one database.
        store.acknowledge(ack.acked_wal_sequence);
    }
    Ok(())
}
