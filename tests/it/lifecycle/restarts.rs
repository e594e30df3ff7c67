//! What a restart brings back.

use serde_json::json;

use crate::triggers::COPY;
use crate::world::{TestRunner, Trigger, until};

const HELLO: &str = "def process_request(api, query, headers, body, args=None):\n    return 'hello'\n";

#[test]
fn databases_rows_and_triggers_come_back() {
    // So small that rows come from snapshots and from the log.
    let mut runner = TestRunner::start_with(&["--snapshot-bytes", "20000"]);
    runner.create_database("other");
    runner.plugin("hello.py", HELLO);
    runner.plugin("copy.py", COPY);
    runner.create(&Trigger::new("hello", "hello.py", "request:hello"));
    runner
        .create(&Trigger::new("copy", "copy.py", "table:m").arguments(json!({ "target": "copied" })).on_error("retry"));
    runner.create(&Trigger::new("off", "hello.py", "request:off").run_async().disabled());
    for batch in 0..10 {
        let lines: Vec<String> = (0..200).map(|row| format!("m,tag=t{row} v={row} {batch}")).collect();
        runner.write(&lines.join("\n"));
    }
    runner.until_count("copied", 10);
    let tables = ["processing_engine_triggers", "processing_engine_trigger_arguments"];
    let seen = |runner: &TestRunner| -> Vec<_> {
        let mut seen: Vec<_> = tables
            .iter()
            .map(|table| runner.query(&format!("SELECT * FROM system.{table} ORDER BY trigger_name")))
            .collect();
        seen.push(runner.query("SELECT tag, sum(v) AS s, count(*) AS n FROM m GROUP BY tag ORDER BY tag"));
        seen
    };
    let before = seen(&runner);
    let databases = runner.get("/api/v3/configure/database").text();
    for _ in 0..2 {
        runner.stop();
        runner.assert_no_process();
        runner.restart();
        assert_eq!(seen(&runner), before);
        assert_eq!(runner.get("/api/v3/configure/database").text(), databases);
    }
    runner.engine("hello").is(200, "hello");
    runner.engine("off").is(404, r#"{"error":"not found"}"#);
    runner.write("m v=1 100");
    runner.until_count("copied", 11);
    runner.delete("off", false).is(200, "");
    runner.stop();
    runner.restart();
    assert_eq!(runner.query("SELECT * FROM system.processing_engine_triggers").len(), 2);
    runner.stop_leaving_nothing();
}

#[test]
fn a_plugin_that_has_gone_missing_marks_its_trigger_and_stops_nothing_else() {
    let mut runner = TestRunner::start();
    for file in ["gone.py", "hello.py"] {
        runner.plugin(file, HELLO);
    }
    runner.plugin("gone_copy.py", COPY);
    runner.create(&Trigger::new("gone", "gone.py", "request:gone"));
    runner.create(&Trigger::new("gone_copy", "gone_copy.py", "table:m"));
    runner.create(&Trigger::new("hello", "hello.py", "request:hello"));
    runner.stop();
    for file in ["gone.py", "gone_copy.py"] {
        std::fs::remove_file(runner.plugin_dir().join(file)).unwrap();
    }
    runner.restart();
    for (trigger, file) in [("gone", "gone.py"), ("gone_copy", "gone_copy.py")] {
        let reason = runner.until_state(trigger, "failed");
        assert_eq!(reason, format!("reading plugin file: Plugin not found: {file}"));
        runner.until_logged(trigger, &format!("ERROR failed to start trigger: {reason}"));
    }
    runner.engine("hello").is(200, "hello");
    runner.engine("gone").contains(500, "Plugin not found: gone.py");
    runner.write("m v=1 1");

    runner.plugin("gone.py", HELLO);
    runner.plugin("gone_copy.py", COPY);
    until("the plugin is back", || (runner.engine("gone").text() == "hello").then_some(()));
    assert_eq!(runner.trigger("gone")["state"], "active");
    until("rows are copied", || {
        runner.write("m v=2 2");
        (runner.count("m_seen") > 0).then_some(())
    });
    assert_eq!(runner.trigger("gone_copy")["state"], "active");
}

#[test]
fn idle_workers_stop_and_come_back_with_the_next_event() {
    let runner = TestRunner::start_with(&["--worker-idle-timeout", "1s"]);
    runner.plugin("hello.py", HELLO);
    runner.plugin("copy.py", COPY);
    runner.create(&Trigger::new("hello", "hello.py", "request:hello"));
    runner.create(&Trigger::new("copy", "copy.py", "table:m"));
    assert!(runner.workers("hello").is_empty(), "no worker before the first event");
    for round in 1..=2 {
        runner.engine("hello").is(200, "hello");
        runner.write(&format!("m v=1 {round}"));
        runner.until_count("m_seen", round);
        for trigger in ["hello", "copy"] {
            let ends = runner.until_ended(trigger, usize::try_from(round).unwrap());
            assert!(ends.iter().all(|end| end == "worker stopped"), "{ends:?}");
        }
    }
    for trigger in ["hello", "copy"] {
        assert!(!runner.logs(trigger).iter().any(|line| line.starts_with("ERROR")), "an idle end is no fault");
        assert_eq!(runner.trigger(trigger)["state"], "active");
    }
    runner.stop_leaving_nothing();
}
