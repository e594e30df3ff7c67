//! Loading: what is refused and how, and what happens when files change.

use bulkhead_proto::types::v1::FailureKind;
use bulkhead_proto::worker::v1::EntryPoint;

use crate::world::World;

const SIGNATURE: &str = "process_writes(influxdb3_local, table_batches, args=None)";

on_every_python! {
    async fn refusals_say_why_and_where(python) {
        let mut world = World::start(python).await;
        let missing = format!("the process_writes function is not present in the plugin. Should be defined as: {SIGNATURE}");
        let not_async = format!("the process_writes function is an `async def`, which is not supported. Should be defined as: {SIGNATURE}");
        let cases = [
            ("", missing.clone(), "p.py\""),
            ("def other(): pass\nclass A:\n    def process_writes(self): pass", missing, "p.py\""),
            ("x = 1\nasync def process_writes(a, b, c): pass", not_async, "p.py\", line 2"),
            ("x = 1\ndef process_writes(a, b, c)\n    pass", "SyntaxError: ".into(), "p.py\", line 2"),
            ("def process_writes(a):\n  x\n x", "IndentationError: ".into(), "p.py\", line 3"),
            ("x = '\0'", "".into(), ""),
        ];
        for (source, message, location) in cases {
            let path = world.file("p.py", source);
            let failure = world.load(&path, EntryPoint::Writes).await.expect("it loads");
            assert_eq!(failure.kind(), FailureKind::Load);
            assert!(failure.message.starts_with(&message), "{failure:?}");
            assert!(failure.traceback.contains(location), "{failure:?}");
            assert!(!failure.traceback.contains("bulkhead_worker"), "{failure:?}");
        }
        let failure = world.load("/nope/p.py".as_ref(), EntryPoint::Writes).await.expect("it loads");
        assert_eq!(failure.message, "reading plugin file: Plugin not found: /nope/p.py");
        world.file("pkg/a.py", "");
        let dir = world.file("pkg/b.py", "").parent().unwrap().to_owned();
        let failure = world.load(&dir, EntryPoint::Writes).await.expect("it loads");
        assert!(failure.message.starts_with("Multi-file plugin directory must contain __init__.py: "), "{failure:?}");
        world.respond("return ''").await.succeeded();
    }

    async fn every_way_to_define_the_function_is_accepted(python) {
        let mut world = World::start(python).await;
        for source in [
            "def process_writes(a, b, c): pass",
            "if True:\n    def process_writes(a, b, c): pass",
            "try:\n    pass\nfinally:\n    process_writes = print",
            "from json import dumps as process_writes",
            "from json import *",
            "globals()['process_writes'] = print",
            "process_writes: object = print",
            "class process_writes: pass",
        ] {
            let path = world.file("p.py", source);
            assert_eq!(world.load(&path, EntryPoint::Writes).await, None, "{source}");
        }
    }

    async fn an_error_at_import_is_a_load_failure_of_the_call(python) {
        let mut world = World::start(python).await;
        let path = world.file("p.py", "def process_request(*a): return ''\nraise ValueError('at import')\n");
        assert_eq!(world.load(&path, EntryPoint::Request).await, None);
        let ended = world.request().await;
        assert_eq!((ended.failure().kind(), ended.failure().message.as_str()), (FailureKind::Load, "ValueError: at import"));
        assert!(ended.failure().traceback.contains("p.py\", line 2, in <module>"), "{:?}", ended.failure());
    }

    async fn a_changed_file_is_picked_up_and_a_vanished_one_stays(python) {
        let mut world = World::start(python).await;
        let path = world.file("p.py", "def process_request(*a): return 'v1'");
        assert_eq!(world.load(&path, EntryPoint::Request).await, None);
        assert_eq!(world.request().await.body(), "v1");
        world.file("p.py", "def process_request(*a): return 'version 2'");
        assert_eq!(world.request().await.body(), "version 2");
        world.file("p.py", "def process_request(*a) return 'broken'");
        assert!(world.request().await.failure().message.starts_with("SyntaxError: "));
        world.file("p.py", "def process_request(*a): return 'mended again'");
        assert_eq!(world.request().await.body(), "mended again");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(world.request().await.body(), "mended again");
    }

    async fn a_directory_is_imported_once_per_version(python) {
        let mut world = World::start(python).await;
        world.file("json/__init__.py", "
from .helper import VALUE
from . import helper
import json
n = 0
def process_request(api, query, headers, body, args):
    global n
    n += 1
    return [n, VALUE, helper.VALUE, json.dumps(1)]
");
        let dir = world.file("json/helper.py", "VALUE = 'v1'").parent().unwrap().to_owned();
        assert_eq!(world.load(&dir, EntryPoint::Request).await, None);
        assert_eq!(world.request().await.body(), r#"[1, "v1", "v1", "1"]"#);
        assert_eq!(world.request().await.body(), r#"[2, "v1", "v1", "1"]"#);
        world.file("json/helper.py", "from .deep.more import VALUE");
        world.file("json/deep/more.py", "VALUE = 'v2'");
        assert_eq!(world.request().await.body(), r#"[1, "v2", "v2", "1"]"#);
        world.file("json/deep/more.py", "VALUE = 'v3 is longer'");
        assert_eq!(world.request().await.body(), r#"[1, "v3 is longer", "v3 is longer", "1"]"#);
        world.file("json/deep/more.py", "1/0");
        let ended = world.request().await;
        assert_eq!((ended.failure().kind(), ended.failure().message.as_str()), (FailureKind::Load, "ZeroDivisionError: division by zero"));
        assert!(ended.failure().traceback.contains("more.py\", line 1"), "{:?}", ended.failure());
        assert!(!ended.failure().traceback.contains("importlib"), "{:?}", ended.failure());
        std::fs::remove_dir_all(&dir).unwrap();
        assert_eq!(world.request().await.body(), r#"[2, "v3 is longer", "v3 is longer", "1"]"#);
    }

    async fn a_file_named_like_a_module_takes_nothings_place(python) {
        let mut world = World::start(python).await;
        let path = world.file("colorsys.py", "import colorsys\ndef process_request(*a): return colorsys.__name__ + str(hasattr(colorsys, 'rgb_to_hls'))");
        assert_eq!(world.load(&path, EntryPoint::Request).await, None);
        assert_eq!(world.request().await.body(), "colorsysTrue");
    }

    async fn a_call_without_a_trigger_is_a_load_failure(python) {
        let mut world = World::start(python).await;
        assert_eq!(world.request().await.failure().message, "no trigger was loaded");
    }
}
