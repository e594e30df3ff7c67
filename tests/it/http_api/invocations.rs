//! `system.invocations`, `system.plugin_files` and `system.databases`.

use serde_json::{Value, json};

use crate::world::{DB, TestRunner, Trigger, until};

const PLUGIN: &str = "\
import time

def process_writes(api, batches, args=None):
    if any('bad' in row for batch in batches for row in batch['rows']):
        raise ValueError('two\\nlines')
    api.query('SELECT 1')
    deadline = time.process_time() + 0.02
    while time.process_time() < deadline:
        pass

def process_request(api, query, headers, body, args=None):
    import os
    os._exit(7)
";

fn rows(runner: &TestRunner, count: usize) -> Vec<Value> {
    until(&format!("{count} invocations"), || {
        let rows = runner.query("SELECT * FROM system.invocations ORDER BY event_time");
        if rows.len() >= count { Ok(rows) } else { Err(format!("{rows:?}")) }
    })
}

#[test]
fn each_invocation_is_told_with_its_times_resources_and_outcome() {
    let runner = TestRunner::start();
    runner.create_database("other");
    runner.plugin("plugin.py", PLUGIN);
    runner.create(&Trigger::new("writes", "plugin.py", "table:m"));
    runner.create(&Trigger::new("dies", "plugin.py", "request:dies"));
    runner.write("m v=1 1\nm v=2 2\n");
    let first = rows(&runner, 1).remove(0);
    let number = |row: &Value, column: &str| row[column].as_u64().unwrap_or_else(|| panic!("{column} in {row}"));
    let said = json!([first["trigger_name"], first["kind"], first["outcome"], first["rows"], first["database"]]);
    assert_eq!(said, json!(["writes", "wal", "success", 2, "db"]));
    assert_eq!(first.get("error"), None);
    for column in ["bytes", "start_us", "deserialise_us", "callbacks_us", "max_rss_bytes"] {
        assert!(number(&first, column) > 0, "{column} in {first}");
    }
    assert!(number(&first, "plugin_us") >= 20_000 && number(&first, "cpu_us") >= 20_000, "{first}");
    let parts: u64 = ["plugin_us", "deserialise_us", "callbacks_us"].iter().map(|column| number(&first, column)).sum();
    assert!(number(&first, "elapsed_us") >= parts, "{first}");
    let worker = runner.workers("writes").remove(0)["worker_id"].clone();
    assert_eq!(first["worker_id"], worker);
    let logged = format!(
        "SELECT * FROM system.processing_engine_logs WHERE invocation_id = '{}'",
        first["invocation_id"].as_str().unwrap()
    );
    assert!(runner.query(&logged).len() >= 2, "the log lines have the same id");

    runner.write("m bad=1 3\n");
    let second = rows(&runner, 2).remove(1);
    assert_eq!(
        json!([second["outcome"], second["error"], second["start_us"]]),
        json!(["exception", "ValueError: two", 0])
    );
    assert_eq!(runner.engine("dies").status, 500);
    let third = rows(&runner, 3).remove(2);
    assert_eq!(json!([third["trigger_name"], third["outcome"]]), json!(["dies", "exit"]));
    assert_eq!(third.get("cpu_us"), None, "a dead worker tells nothing");
    assert_eq!(runner.query_in("other", "SELECT * FROM system.invocations").len(), 0);
    assert_eq!(runner.query_in("_internal", "SELECT * FROM system.invocations").len(), 3);
}

#[test]
fn files_and_databases_are_shown() {
    let runner = TestRunner::start();
    runner.create_database("other");
    runner.plugin("single.py", "process_request = print\n");
    runner.plugin("multi/__init__.py", "from .sub.part import process_request\n");
    runner.plugin("multi/sub/part.py", "process_request = print\n");
    runner.plugin("multi/data.txt", "not code");
    runner.create(&Trigger::new("one", "single.py", "request:one"));
    runner.create(&Trigger::new("many", "multi", "request:many"));
    let sql = "SELECT plugin_name, file_name, file_path, size_bytes, last_modified > 1600000000000 AS dated \
               FROM system.plugin_files ORDER BY plugin_name, file_name";
    let path = |name: &str| runner.plugin_dir().join(name).canonicalize().unwrap().display().to_string();
    let row = |plugin: &str, file: &str, at: &str, bytes: u64| json!({ "plugin_name": plugin, "file_name": file, "file_path": path(at), "size_bytes": bytes, "dated": true });
    let expected = [
        row("many", "__init__.py", "multi/__init__.py", 38),
        row("many", "sub/part.py", "multi/sub/part.py", 24),
        row("one", "single.py", "single.py", 24),
    ];
    assert_eq!(runner.query_in("_internal", sql), expected);
    assert_eq!(runner.query(sql), expected);
    assert_eq!(runner.query_in("other", sql).len(), 0);
    let databases = runner.query("SELECT * FROM system.databases ORDER BY database_name");
    assert_eq!(
        json!(databases),
        json!([{ "database_name": "db", "triggers": 2 }, { "database_name": "other", "triggers": 0 }])
    );
}

#[test]
fn every_table_has_a_verb() {
    let runner = TestRunner::start();
    runner.plugin("hello.py", "def process_request(*all):\n    return 'hello'\n");
    runner.create(&Trigger::new("hello", "hello.py", "request:hello").arguments(json!({ "k": "v" })));
    runner.engine("hello").is(200, "hello");
    let shows = |arguments: &[&str], parts: &[&str]| {
        let shown = runner.cli(&[&["show"], arguments].concat());
        assert_eq!((shown.code, shown.stderr.as_str()), (Some(0), ""), "{shown:?}");
        for part in parts {
            assert!(shown.stdout.contains(part), "{part} in {}", shown.stdout);
        }
    };
    shows(&["plugins"], &["hello.py", "file_path"]);
    shows(&["plugins", "--format", "json"], &[r#""plugin_name":"hello""#]);
    shows(&["arguments", "-d", DB], &["argument_key", "k", "v"]);
    shows(&["invocations", "-d", DB], &["success", "cpu_us"]);
    shows(
        &["system", "--database", DB, "table-list"],
        &["processing_engine_logs", "event_time, trigger_name, log_level, log_text"],
    );
    let table =
        ["system", "--database", DB, "table", "processing_engine_triggers", "--select", "trigger_name,disabled"];
    shows(
        &[&table[..], &["--order-by", "trigger_name", "--limit", "1", "--format", "csv"]].concat(),
        &["trigger_name,disabled\nhello,false"],
    );
    shows(&["system", "--database", DB, "summary", "--limit", "2"], &["workers:\n", "invocations:\n", "databases:\n"]);
    let file = runner.root().join("plugins.csv");
    shows(&["plugins", "--format", "csv", "--output", file.to_str().unwrap()], &[]);
    assert!(std::fs::read_to_string(&file).unwrap().starts_with("database,plugin_name,file_name"));
}
