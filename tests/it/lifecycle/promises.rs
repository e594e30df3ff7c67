//! Nothing is lost, nothing happens twice: what a sudden end leaves, and what the next start makes of it.

use serde_json::{Value, json};

use super::Writer;
use crate::world::{TestRunner, Trigger, until};

/// A runner whose triggers write a row of its own for every row of `m`, the synchronous one to `sync`, the other to `async`.
fn world() -> TestRunner {
    // Snapshots come often, so that the log's segments go while triggers read them.
    let runner = TestRunner::start_with(&["--snapshot-bytes", "30000"]);
    runner.fixture("once.py");
    runner.create(&Trigger::new("sync", "once.py", "table:m").arguments(json!({ "target": "sync" })));
    runner.create(&Trigger::new("async", "once.py", "table:m").arguments(json!({ "target": "async" })).run_async());
    runner
}

/// Rows of `m` that have not exactly one row in `target`.
fn wrong(runner: &TestRunner, target: &str) -> Vec<Value> {
    if runner.count(target) == 0 {
        return runner.query("SELECT v FROM m");
    }
    let effects = format!("(SELECT v, count(*) AS n FROM {target} GROUP BY v)");
    runner.query(&format!(
        "SELECT coalesce(m.v, e.v) AS v, e.n FROM (SELECT v FROM m) m FULL JOIN {effects} e ON m.v = e.v \
         WHERE e.n IS NULL OR e.n <> 1 OR m.v IS NULL ORDER BY v"
    ))
}

#[test]
fn every_row_has_its_effect_exactly_once_whenever_the_runner_is_killed() {
    let mut runner = world();
    let mut chance = fastrand::Rng::new();
    eprintln!("seed {}", chance.get_seed());
    let mut first = 1;
    for _ in 0..8 {
        let writer = Writer::start_at(runner.client(), first);
        writer.until_more(chance.u64(1..60));
        runner.kill();
        first = writer.stop() + 10;
        runner.restart();
    }
    for target in ["sync", "async"] {
        until(&format!("all rows have their effects in {target}"), || match wrong(&runner, target) {
            wrong if wrong.is_empty() => Ok(()),
            wrong => Err(format!("{wrong:?}")),
        });
    }
    // In the order of the rows, for the synchronous one; the batches' own times say so.
    let times = runner.query("SELECT v FROM sync ORDER BY time, v");
    let order: Vec<f64> = times.iter().map(|row| row["v"].as_f64().unwrap()).collect();
    assert!(order.is_sorted(), "{order:?}");
    runner.stop_leaving_nothing();
}

#[test]
fn a_trigger_goes_on_where_it_was_and_a_batch_waits_for_it() {
    let mut runner = TestRunner::start_with(&["--shutdown-timeout", "1s", "--snapshot-bytes", "20000"]);
    runner.fixture("gate.py");
    runner.create(&Trigger::new("gate", "gate.py", "table:m").setting("allow_read", json!(["."])));
    for batch in 0..10 {
        let lines: Vec<String> = (0..200).map(|row| format!("m v={row} {}", batch * 200 + row)).collect();
        runner.write(&lines.join("\n"));
    }
    runner.until_logged("gate", "INFO waiting");
    // Neither an orderly stop nor a kill makes it forget.
    runner.stop();
    runner.restart();
    runner.until_logged("gate", "INFO waiting");
    runner.kill();
    runner.restart();
    assert_eq!(runner.count("through"), 0);
    std::fs::write(runner.plugin_dir().join("go"), "").unwrap();
    runner.until_count("through", 2000);
    assert!(!runner.stderr().contains("were not delivered"), "{}", runner.stderr());
    // What it is done with is not kept for it: the log's segments go.
    let segments = || std::fs::read_dir(runner.node_dir().join("wal")).unwrap().count();
    until("the log is short again", || {
        runner.write(&format!("other v=1 {}", fastrand::u32(..)));
        let lines: Vec<String> = (0..200).map(|row| format!("other v={row} {row}")).collect();
        runner.write(&lines.join("\n"));
        if segments() < 8 { Ok(()) } else { Err(format!("{} files", segments())) }
    });
}

#[test]
fn a_schedule_makes_up_for_the_ticks_that_it_missed_with_one_call() {
    let mut runner = TestRunner::start();
    runner.fixture("once.py");
    runner.create(&Trigger::new("tick", "once.py", "every:1s").arguments(json!({ "target": "ticks" })));
    let ticks = |runner: &TestRunner| -> Vec<String> {
        let rows = runner.query("SELECT at FROM ticks ORDER BY at");
        rows.iter().map(|row| row["at"].as_str().unwrap().to_owned()).collect()
    };
    until("it ticks", || (runner.count("ticks") > 0).then_some(()));
    runner.kill();
    let killed = chrono::Utc::now().naive_utc();
    let before = std::time::Instant::now();
    until("some ticks are missed", || (before.elapsed().as_millis() > 2500).then_some(()));
    runner.restart();
    let started = chrono::Utc::now().naive_utc();
    let known = ticks(&runner).len();
    until("it ticks again", || (ticks(&runner).len() > known + 1).then_some(()));
    let ticks = ticks(&runner);
    let mut distinct = ticks.clone();
    distinct.dedup();
    assert_eq!(ticks, distinct, "no tick runs twice");
    let times: Vec<chrono::NaiveDateTime> = ticks.iter().map(|tick| tick.parse().unwrap()).collect();
    // The call that makes up for all has the time of the last one, which is less than a second before the start.
    let last_missed = killed + chrono::TimeDelta::milliseconds(1500);
    assert!(!times.iter().any(|time| *time > killed && *time <= last_missed), "one call for all: {killed} {ticks:?}");
    assert!(times.iter().any(|time| *time > last_missed && *time < started), "{killed} {started} {ticks:?}");
    runner.stop_leaving_nothing();
}
