//! Ends of the process.

use std::time::{Duration, Instant};

use bulkhead_proto::types::v1::FailureKind;
use bulkhead_proto::worker::v1::session_request::Fact;
use bulkhead_proto::worker::v1::session_response::Order;
use bulkhead_proto::worker::v1::{Drain, Welcome};

use tokio::time::timeout;

use crate::world::{World, request_event};

/// It takes a few milliseconds; the rest is for a busy machine, and still less than any time-out.
const SOON: Duration = Duration::from_millis(1500);

fn drain(seconds: i64) -> Order {
    Order::Drain(Drain { timeout: Some(prost_types::Duration { seconds, nanos: 0 }) })
}

/// Reads facts until the worker ends the session, then ends the runner's side.
async fn until_closed(world: &mut World) -> Vec<Fact> {
    let mut facts = Vec::new();
    while let Some(fact) =
        timeout(Duration::from_secs(20), world.peer.facts.recv()).await.expect("the session stays open")
    {
        facts.push(fact);
    }
    facts
}

on_every_python! {
    async fn drain_lets_the_call_finish_and_runs_atexit(python) {
        let mut world = World::start(python).await;
        world.load_request("
import atexit, os, time
atexit.register(lambda: print('at exit'))
time.sleep(0.1)
influxdb3_local.info('done')
return 'x'").await;
        let id = world.invoke(request_event(), false).await;
        world.order(drain(5)).await;
        let ended = world.end_of(id).await;
        assert_eq!((ended.body().as_str(), ended.messages()), ("x", vec!["done"]));
        assert!(until_closed(&mut world).await.is_empty());
        let World { worker, peer, .. } = world;
        drop(peer.orders);
        let (code, stderr, stdout) = worker.end().await;
        assert_eq!((code, stderr.as_str(), stdout.as_str()), (Some(0), "", "at exit\n"));
    }

    async fn an_idle_worker_drains_at_once(python) {
        let mut world = World::start(python).await;
        world.order(drain(5)).await;
        until_closed(&mut world).await;
        let World { worker, peer, .. } = world;
        drop(peer.orders);
        let began = Instant::now();
        assert_eq!(worker.end().await.0, Some(0));
        assert!(began.elapsed() < SOON);
    }

    async fn a_call_that_outlasts_the_drain_is_named(python) {
        let mut world = World::start(python).await;
        world.load_request("while True: pass").await;
        world.invoke(request_event(), false).await;
        world.order(Order::Drain(Drain { timeout: Some(prost_types::Duration { seconds: 0, nanos: 100_000_000 }) })).await;
        let (code, stderr, _) = world.worker.end().await;
        assert_eq!((code, stderr.as_str()), (Some(75), "bulkhead worker: a call still ran when the time to drain was over\n"));
    }

    async fn a_thread_that_never_ends_does_not_hold_a_drained_worker(python) {
        let mut world = World::start(python).await;
        world.respond("import threading, time; threading.Thread(target=time.sleep, args=(60,)).start(); return ''").await;
        world.order(Order::Drain(Drain { timeout: Some(prost_types::Duration { seconds: 0, nanos: 300_000_000 }) })).await;
        until_closed(&mut world).await;
        let World { worker, peer, .. } = world;
        drop(peer.orders);
        assert_eq!(worker.end().await.0, Some(0));
    }

    async fn a_lost_session_ends_the_process_at_once(python) {
        for body in ["", "while True: pass", "import time; time.sleep(60)", "influxdb3_local.query('select 1')"] {
            let mut world = World::start(python).await;
            if !body.is_empty() {
                world.load_request(&format!("influxdb3_local.info('begun')\n{body}")).await;
                world.invoke(request_event(), false).await;
                world.fact().await;
            }
            let World { worker, peer, .. } = world;
            peer.server.abort();
            drop(peer);
            let began = Instant::now();
            let (code, stderr, _) = worker.end().await;
            assert_eq!(code, Some(74), "{body}: {stderr}");
            assert!(stderr.starts_with("bulkhead worker: the session ended: "), "{stderr}");
            assert!(began.elapsed() < SOON);
        }
    }

    async fn another_protocol_version_is_refused_by_name(python) {
        let mut world = World::connect(python).await;
        world.order(Order::Welcome(Welcome { protocol_version: 99, worker_id: "w".into(), limits: None })).await;
        let (code, stderr, _) = world.worker.end().await;
        assert_eq!((code, stderr.as_str()), (Some(70), "bulkhead worker: protocol version mismatch: the worker speaks 2, the runner 99\n"));
    }

    async fn a_crash_leaves_the_stack_on_stderr(python) {
        let mut world = World::start(python).await;
        world.load_request("import ctypes; ctypes.string_at(0)").await;
        world.invoke(request_event(), false).await;
        let (code, stderr, _) = world.worker.end().await;
        assert_eq!(code, None);
        assert!(stderr.contains("Segmentation fault") && stderr.contains("in process_request"), "{stderr}");
    }

    async fn an_exit_by_the_plugin_is_an_exit(python) {
        let mut world = World::start(python).await;
        world.load_request("import os; os._exit(7)").await;
        world.invoke(request_event(), false).await;
        assert_eq!(world.worker.end().await.0, Some(7));
    }

    async fn handlers_of_signals_run_while_the_worker_waits(python) {
        let mut world = World::start(python).await;
        let body = "
import signal
def handler(*_):
    raise ValueError('from a handler')
signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.05)
return ''";
        world.respond(body).await.succeeded();
        let Fact::Logs(logs) = world.fact().await else { panic!("not logs") };
        assert!(logs.lines[0].entry.as_ref().unwrap().message.contains("a signal handler raised ValueError: from a handler"));
        assert_eq!(world.respond("raise KeyError").await.failure().kind(), FailureKind::Exception);
    }
}
