//! The three entry points, and what they are called with.

use bulkhead_proto::WORKER_PROTOCOL_VERSION;
use bulkhead_proto::types::v1::{FailureKind, ScheduleTick, event};
use bulkhead_proto::worker::v1::EntryPoint;

use crate::world::{World, request_event, wal};

on_every_python! {
    async fn hello_names_the_interpreter(python) {
        let world = World::connect(python).await;
        assert_eq!(world.hello.protocol_version, WORKER_PROTOCOL_VERSION);
        assert_eq!(world.hello.python_version, format!("CPython {}", python.version));
        assert_eq!(world.hello.pid, world.worker.pid());
    }

    async fn a_request_is_handed_over(python) {
        let mut world = World::start(python).await;
        let ended = world.respond("return [query_parameters, request_headers, repr(request_body), args, type(influxdb3_local).__name__]").await;
        let expected = r#"[{"a": "2", "b": "x y"}, {"x-test": "Abc"}, "b'\\x00body'", {"k": "v"}, "PyPluginCallApi"]"#;
        assert_eq!(ended.parts(), (200, "application/json", expected.to_owned()));
    }

    async fn a_schedule_has_a_naive_utc_time_in_whole_seconds(python) {
        let mut world = World::start(python).await;
        let path = world.file("tick.py", "def process_scheduled_call(api, call_time, args):\n    api.info(repr(call_time), args, call_time.timestamp())\n");
        assert_eq!(world.load(&path, EntryPoint::ScheduledCall).await, None);
        let scheduled_at = Some(prost_types::Timestamp { seconds: 1_795_259_281, nanos: 500_000_000 });
        let ended = world.call(event::Kind::ScheduleTick(ScheduleTick { scheduled_at })).await;
        assert_eq!(ended.succeeded().messages(), ["datetime.datetime(2026, 11, 21, 11, 8, 1) {'k': 'v'} 1795259281.0"]);
    }

    async fn an_empty_batch_is_a_call_with_an_empty_list(python) {
        let mut world = World::start(python).await;
        let path = world.file("empty.py", "def process_writes(api, table_batches, args):\n    api.info(type(table_batches).__name__, table_batches)\n");
        assert_eq!(world.load(&path, EntryPoint::Writes).await, None);
        assert_eq!(world.call(wal(Vec::new())).await.succeeded().messages(), ["list []"]);
    }

    async fn globals_are_fresh_and_arguments_are_the_calls_own(python) {
        let mut world = World::start(python).await;
        let path = world.file("fresh.py", "
n = 0
seen = sorted(name for name in globals() if not name.startswith('__'))
def process_request(api, query, headers, body, args):
    global n
    n += 1
    args['k'] += 'x'
    return [n, args, seen, __name__, '__file__' in globals(), type(__builtins__).__name__]
");
        assert_eq!(world.load(&path, EntryPoint::Request).await, None);
        for _ in 0..2 {
            assert_eq!(world.request().await.body(), r#"[1, {"k": "vx"}, ["n"], "fresh", false, "module"]"#);
        }
    }

    async fn failures_have_type_text_and_the_plugins_frames(python) {
        let mut world = World::start(python).await;
        let cases = [
            ("raise ValueError(\"boom\")", "ValueError: boom"),
            ("class MyE(Exception): pass\nraise MyE(\"a\",\"b\")", "process_request.<locals>.MyE: ('a', 'b')"),
            ("raise RuntimeError()", "RuntimeError: "),
            ("import sys; sys.exit(3)", "SystemExit: 3"),
            ("raise KeyboardInterrupt()", "KeyboardInterrupt: "),
            ("raise MemoryError()", "MemoryError: "),
            ("try:\n    1/0\nexcept Exception as e:\n    raise KeyError(\"k\") from e", "KeyError: 'k'"),
            ("import not_a_module_xyz", "ModuleNotFoundError: No module named 'not_a_module_xyz'"),
            ("class E(Exception):\n    def __str__(self): raise ValueError\nraise E", "process_request.<locals>.E: <exception str() failed>"),
        ];
        for (body, message) in cases {
            let ended = world.respond(body).await;
            let failure = ended.failure();
            assert_eq!((failure.kind(), failure.message.as_str()), (FailureKind::Exception, message));
            assert!(failure.traceback.contains("request_plugin.py\", line "), "{}", failure.traceback);
            assert!(!failure.traceback.contains("bulkhead_worker"), "{}", failure.traceback);
        }
        let ended = world.respond("def f(): return f()\nreturn f()").await;
        assert!(ended.failure().message.starts_with("RecursionError: maximum recursion depth exceeded"), "{:?}", ended.outcome);
        world.respond("return 'still here'").await.succeeded();
    }

    async fn a_traceback_shows_the_lines_that_ran(python) {
        let mut world = World::start(python).await;
        world.load_request("x = 1\nraise ValueError('at line 3')").await;
        world.request().await;
        let ended = world.request().await;
        let lines: Vec<&str> = ended.failure().traceback.lines().collect();
        assert_eq!(lines.first(), Some(&"Traceback (most recent call last):"));
        assert!(lines[1].ends_with("request_plugin.py\", line 3, in process_request"), "{lines:?}");
        assert_eq!(lines[2], "    raise ValueError('at line 3')");
        assert_eq!(lines[3], "ValueError: at line 3");
        assert_eq!(lines.len(), 4);
    }

    async fn elapsed_is_the_time_in_the_plugin(python) {
        let mut world = World::start(python).await;
        let ended = world.respond("import time; time.sleep(0.05); return ''").await;
        let elapsed = ended.outcome.elapsed.unwrap();
        assert!(elapsed.seconds == 0 && (50_000_000..500_000_000).contains(&elapsed.nanos), "{elapsed:?}");
    }

    async fn orders_wait_for_the_call_before(python) {
        let mut world = World::start(python).await;
        world.load_request("import time; time.sleep(0.02); return 'x'").await;
        let mut ids = Vec::new();
        for _ in 0..10 {
            ids.push(world.invoke(request_event(), false).await);
        }
        for id in ids {
            world.end_of(id).await.succeeded();
        }
    }

    async fn classes_find_their_module(python) {
        let mut world = World::start(python).await;
        let path = world.file("classes.py", "
from __future__ import annotations
import pickle
from dataclasses import dataclass
from typing import get_type_hints
@dataclass
class Point:
    x: int
def process_request(api, query, headers, body, args):
    return [get_type_hints(Point)['x'].__name__, pickle.loads(pickle.dumps(Point(2))).x]
");
        assert_eq!(world.load(&path, EntryPoint::Request).await, None);
        assert_eq!(world.request().await.body(), r#"["int", 2]"#);
    }

    async fn the_plugin_sees_a_clean_process(python) {
        let mut world = World::start(python).await;
        let ended = world.respond("
import sys, os, builtins, threading
open_fds = sorted(os.listdir('/proc/self/fd'))
child = os.popen('ls -l /proc/self/fd').read()
return [sys.argv, '3' in open_fds, 'socket:' in child, threading.current_thread().name, [p for p in sys.path[:-1] if 'lib/bulkhead' in p], hasattr(builtins, 'LineBuilder')]").await;
        assert_eq!(ended.body(), r#"[[""], true, false, "MainThread", [], true]"#);
    }
}
