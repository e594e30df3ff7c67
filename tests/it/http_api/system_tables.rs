//! `system.*`: the incumbent's columns first, ours after them.

use serde_json::{Value, json};

use crate::world::{TestRunner, Trigger};

fn columns(runner: &TestRunner, table: &str) -> Vec<String> {
    let sql = format!(
        "SELECT column_name, data_type FROM information_schema.columns \
         WHERE table_schema = 'system' AND table_name = '{table}' ORDER BY ordinal_position"
    );
    let text = |row: &Value, column: &str| row[column].as_str().unwrap().to_owned();
    runner.query(&sql).iter().map(|row| format!("{} {}", text(row, "column_name"), text(row, "data_type"))).collect()
}

#[test]
fn the_tables_have_the_columns_that_clients_know() {
    let runner = TestRunner::start();
    assert_eq!(
        columns(&runner, "processing_engine_triggers"),
        [
            "trigger_name Utf8",
            "plugin_filename Utf8",
            "trigger_specification Utf8",
            "disabled Boolean",
            "error_behavior Utf8",
            "run_async Boolean",
            "state Utf8",
            "state_reason Utf8",
            "database Utf8",
        ]
    );
    assert_eq!(
        columns(&runner, "processing_engine_trigger_arguments"),
        ["trigger_name Utf8", "argument_key Utf8", "argument_value Utf8"]
    );
    let logs = columns(&runner, "processing_engine_logs");
    assert_eq!(logs[..4], ["event_time Timestamp(ns)", "trigger_name Utf8", "log_level Utf8", "log_text Utf8"]);
    let workers = columns(&runner, "workers");
    for column in ["worker_id Utf8", "pid UInt64", "state Utf8", "end_cause Utf8", "environment Utf8"] {
        assert!(workers.contains(&column.to_owned()), "{column} in {workers:?}");
    }
}

#[test]
fn triggers_are_shown_with_their_specs_as_json() {
    let runner = TestRunner::start();
    runner.create_database("other");
    runner.plugin("noop.py", "process_writes = process_scheduled_call = process_request = print\n");
    let specs = [
        ("a", "all_tables", r#""all_tables_wal_write""#),
        ("b", "table:cpu", r#"{"single_table_wal_write":{"table_name":"cpu"}}"#),
        ("c", "cron:0 * * * * *", r#"{"schedule":{"schedule":"0 * * * * *"}}"#),
        ("d", "every:1s", r#"{"every":{"duration":{"secs":1,"nanos":0}}}"#),
        ("e", "request:hello", r#"{"request_path":{"path":"hello"}}"#),
    ];
    for (name, spec, _) in specs {
        runner.create(&Trigger::new(name, "noop.py", spec).disabled());
    }
    runner.create(&Trigger::new("elsewhere", "noop.py", "all_tables").in_database("other").disabled());
    let sql = "SELECT trigger_name, trigger_specification FROM system.processing_engine_triggers ORDER BY trigger_name";
    let shown: Vec<(String, Value)> = runner
        .query(sql)
        .iter()
        .map(|row| {
            let text = |column: &str| row[column].as_str().unwrap();
            (text("trigger_name").to_owned(), serde_json::from_str(text("trigger_specification")).unwrap())
        })
        .collect();
    let expected: Vec<(String, Value)> =
        specs.iter().map(|(name, _, json)| ((*name).to_owned(), serde_json::from_str(json).unwrap())).collect();
    assert_eq!(shown, expected);
    let all = runner.query_in("_internal", "SELECT trigger_name FROM system.processing_engine_triggers");
    assert_eq!(all.len(), 6);
    let row = json!({
        "trigger_name": "a", "plugin_filename": "noop.py", "trigger_specification": "\"all_tables_wal_write\"",
        "disabled": true, "error_behavior": "log", "run_async": false, "state": "disabled", "database": "db",
    });
    assert_eq!(runner.trigger("a"), row);
}

#[test]
fn arguments_logs_and_workers_are_shown_for_their_database_only() {
    let runner = TestRunner::start();
    runner.create_database("other");
    let code =
        "def process_request(api, query, headers, body, args=None):\n    api.info('hello', args)\n    return args\n";
    runner.plugin("args.py", code);
    let arguments = json!({ "k": "v", "n": "1" });
    runner.create(&Trigger::new("t", "args.py", "request:args").arguments(arguments.clone()));
    let answer = runner.engine("args");
    assert_eq!(answer.json(), arguments);

    let sql = "SELECT * FROM system.processing_engine_trigger_arguments ORDER BY argument_key";
    let expected = json!([
        { "trigger_name": "t", "argument_key": "k", "argument_value": "v" },
        { "trigger_name": "t", "argument_key": "n", "argument_value": "1" },
    ]);
    assert_eq!(json!(runner.query(sql)), expected);
    assert_eq!(runner.query_in("other", sql).len(), 0);

    let logs = runner.logs("t");
    assert_eq!(logs[0], "INFO starting execution of request plugin.");
    assert!(logs.contains(&"INFO hello {'k': 'v', 'n': '1'}".to_owned()), "{logs:?}");
    assert!(logs.iter().any(|line| line.starts_with("INFO finished execution in ")), "{logs:?}");
    assert_eq!(runner.query_in("other", "SELECT * FROM system.processing_engine_logs").len(), 0);

    let workers = runner.workers("t");
    assert_eq!(workers.len(), 1, "{workers:?}");
    assert_eq!((&workers[0]["state"], &workers[0]["invocations"]), (&json!("idle"), &json!(1)));
    assert!(workers[0]["pid"].as_i64().is_some_and(|pid| pid != i64::from(runner.pid())), "{workers:?}");
    assert_eq!(runner.query_in("other", "SELECT * FROM system.workers").len(), 0);
}
