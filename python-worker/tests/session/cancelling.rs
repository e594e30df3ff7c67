//! Cancelling: the plugin gets an exception wherever it is, and only there.

use std::time::{Duration, Instant};

use bulkhead_proto::types::v1::FailureKind;
use bulkhead_proto::worker::v1::session_request::Fact;

use crate::world::{World, request_event, wal};

const REASON: &str = "the deadline of 1 s passed";

/// Longest time from the order to the end of the call. It takes a millisecond; the rest is for a busy machine.
const PROMPT: Duration = Duration::from_secs(2);

/// What a plugin may be doing; each says first that it has begun.
const BUSY: [(&str, &str); 8] = [
    ("sleep", "import time; time.sleep(60)"),
    ("loop", "while True: pass"),
    ("query", "influxdb3_local.query('select 1')"),
    ("write_sync", "influxdb3_local.write_sync(LineBuilder('m').int64_field('i', 1), False)"),
    (
        "except Exception",
        "while True:\n    try:\n        influxdb3_local.query('select 1')\n    except Exception:\n        pass",
    ),
    ("lock", "import threading; threading.Lock().acquire(); l = threading.Lock(); l.acquire(); l.acquire()"),
    (
        "swallowed",
        "import time\ntry:\n    time.sleep(60)\nexcept BaseException:\n    pass\ninfluxdb3_local.info('more')",
    ),
    ("returned", "import time\ntry:\n    time.sleep(60)\nexcept BaseException:\n    return 'fine'"),
];

/// Waits until the plugin logs, which it does from inside.
async fn begun(world: &mut World) {
    let fact = world.fact().await;
    assert!(matches!(fact, Fact::Logs(_)), "{fact:?}");
}

on_every_python! {
    async fn a_cancelled_call_ends_wherever_it_is(python) {
        let mut world = World::start(python).await;
        for (name, body) in BUSY {
            world.load_request(&format!("influxdb3_local.info('begun')\n{body}")).await;
            let id = world.invoke(request_event(), false).await;
            begun(&mut world).await;
            let ordered = Instant::now();
            world.cancel(id, FailureKind::Deadline).await;
            let ended = world.end_of(id).await;
            assert!(ordered.elapsed() < PROMPT, "{name}: {:?}", ordered.elapsed());
            assert_eq!((ended.failure().kind(), ended.failure().message.as_str()), (FailureKind::Deadline, REASON), "{name}");
            assert_eq!(world.respond("return 'fine'").await.body(), "fine", "{name}");
        }
    }

    async fn the_plugin_sees_the_reason(python) {
        let mut world = World::start(python).await;
        world.load_request("
import time, bulkhead_worker
influxdb3_local.info('begun')
try:
    time.sleep(60)
except KeyboardInterrupt as e:
    print(type(e).__name__, isinstance(e, bulkhead_worker.Cancelled), e)
try:
    influxdb3_local.write(LineBuilder('m').int64_field('i', 1))
except KeyboardInterrupt as e:
    print('write', e)
print(influxdb3_local.cache.get('k', 'the cache works'))
raise ValueError('later')").await;
        let id = world.invoke(request_event(), false).await;
        begun(&mut world).await;
        world.cancel(id, FailureKind::Cancelled).await;
        let ended = world.end_of(id).await;
        assert_eq!(ended.failure().kind(), FailureKind::Cancelled);
        assert_eq!(ended.messages(), [format!("Cancelled True {REASON}"), format!("write {REASON}"), "the cache works".to_owned()]);
    }

    async fn a_call_that_waits_its_turn_is_cancelled_unrun(python) {
        let mut world = World::start(python).await;
        world.load_request("import time; time.sleep(0.2); influxdb3_local.info('ran'); return ''").await;
        let first = world.invoke(request_event(), false).await;
        let second = world.invoke(request_event(), false).await;
        let third = world.invoke(wal(Vec::new()), true).await;
        world.cancel(second, FailureKind::Cancelled).await;
        world.cancel(third, FailureKind::Cancelled).await;
        assert_eq!(world.end_of(first).await.succeeded().messages(), ["ran"]);
        for id in [second, third] {
            let ended = world.end_of(id).await;
            assert_eq!((ended.failure().kind(), ended.logs.len()), (FailureKind::Cancelled, 0));
        }
    }

    async fn a_late_cancel_touches_nothing(python) {
        let mut world = World::start(python).await;
        world.load_request("return 'x'").await;
        for _ in 0..300 {
            let id = world.invoke(request_event(), false).await;
            world.cancel(id, FailureKind::Cancelled).await;
            // Either it ended before or it was cancelled; the worker goes on in both cases.
            world.end_of(id).await;
        }
        assert_eq!(world.respond("import time; time.sleep(0.05); return 'fine'").await.body(), "fine");
    }
}
