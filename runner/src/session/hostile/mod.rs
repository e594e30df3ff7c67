//! What a hostile worker may send: whatever it is, it ends that worker's session at most, in words, and soon. Each attack runs
//! beside a neighbour whose questions have to be answered throughout.

mod attacks;
mod fake_worker;

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use bulkhead_proto::transport::SessionSocket;
use bulkhead_proto::worker::v1 as wire;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use tonic::Status;
use uuid::Uuid;

use self::fake_worker::{END_STREAM, FakeWorker, SESSION};
use super::{Endpoint, Questions, ResponseStream, Session, Step, nursery, open};

/// The id on the wire of the call that every worker here is given once it has loaded.
const CALL: u64 = 7;
/// Nothing here takes longer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Questions of the neighbour at a time.
const QUESTIONS: u32 = 20;

/// Answers what needs no host.
struct Nobody;

impl Questions for Nobody {
    fn query(&self, _: wire::QueryRequest) -> BoxFuture<'static, Result<ResponseStream<wire::QueryResponse>, Status>> {
        std::future::ready(Err(Status::unimplemented("there is no host"))).boxed()
    }

    fn write_sync(&self, _: wire::WriteSyncRequest) -> BoxFuture<'static, Result<(), Status>> {
        std::future::ready(Err(Status::unimplemented("there is no host"))).boxed()
    }
}

/// The session as a lane sees it, up to its end.
async fn end_of(endpoint: Endpoint) -> String {
    let Endpoint { opened, verdict, .. } = endpoint;
    let Ok(mut channel) = opened.await else {
        return verdict.violation().map_or_else(|| "it never opened its session".to_owned(), ToString::to_string);
    };
    let mut session = Session::default();
    loop {
        let fact = match channel.next_fact().await {
            Ok(fact) => fact,
            Err(how) => return how,
        };
        match session.on_fact(fact) {
            Ok(Step::Loaded) => session.begin(CALL, Uuid::nil(), false),
            Ok(_) => {}
            Err(violation) => return violation.to_string(),
        }
    }
}

/// Serves a worker that behaves as `act` does and returns how its session ended.
async fn serve(act: impl FnOnce(FakeWorker) + Send + 'static) -> String {
    let (ours, theirs) = UnixStream::pair().unwrap();
    // What an attacker does last is not to be taken for what the end of its socket does.
    let kept = theirs.try_clone().unwrap();
    let actor = std::thread::spawn(move || act(FakeWorker::new(theirs)));
    let (told, end) = oneshot::channel();
    nursery::run(move |spawner| async move {
        let tracker = TaskTracker::new();
        let socket = SessionSocket::new(ours).unwrap();
        let _ = told.send(end_of(open(socket, Arc::new(Nobody), &spawner, &tracker)).await);
    })
    .await;
    let end = end.await.unwrap();
    // The connection is gone, so that nothing the attacker does takes long.
    drop(kept);
    actor.join().unwrap();
    end
}

/// Asks, and waits for each answer.
fn ask(worker: &mut FakeWorker, from: u32) {
    for stream in (from..from + 2 * QUESTIONS).step_by(2) {
        worker.call(stream, "CacheGet");
        worker.message(stream, END_STREAM, &[]);
        worker.answered(stream).unwrap();
    }
}

/// Runs an attack, and returns how it ended. A neighbour asks before, meanwhile and after.
async fn survive(attack: impl FnOnce(FakeWorker) + Send + 'static) -> String {
    let (over, is_over) = std::sync::mpsc::sync_channel::<()>(1);
    let neighbour = TaskTracker::new().spawn(serve(move |mut worker| {
        worker.load();
        let mut stream = SESSION + 2;
        loop {
            let last = is_over.try_recv().is_ok();
            ask(&mut worker, stream);
            stream += 2 * QUESTIONS;
            if last {
                break;
            }
        }
        worker.finish(CALL);
        worker.frame(fake_worker::DATA, END_STREAM, SESSION, &[]);
    }));
    let end = timeout(PATIENCE, serve(attack)).await.expect("the attack is over in time");
    over.send(()).unwrap();
    let neighbours = timeout(PATIENCE, neighbour).await.expect("the neighbour is done in time").unwrap();
    assert_eq!(neighbours, "it closed its session and went on");
    end
}
