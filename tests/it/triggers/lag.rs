//! Triggers that are behind: what is kept for them, what they are given together, and who notices.

use serde_json::{Value, json};

use crate::world::{Client, DB, Request, TestRunner, Trigger, until};

/// Waits until there is a file `go` beside it; then copies rows whose value is not negative, and fails for the others.
const GATED: &str = "\
import os, time, uuid
def process_writes(api, batches, args=None):
    api.info('waiting')
    while not os.path.exists(os.environ['PLUGIN_DIR'] + '/go'):
        time.sleep(0.01)
    for batch in batches:
        for row in batch['rows']:
            if row['v'] < 0:
                raise ValueError('negative')
            line = LineBuilder('through').tag('call', uuid.uuid4().hex).float64_field('v', float(row['v']))
            api.write(line)
";

/// A runner with a trigger that is stuck until the gate opens, and a neighbour that is not.
fn world(arguments: &[&str], gated: impl Fn(Trigger) -> Trigger) -> TestRunner {
    let runner = TestRunner::start_with(arguments);
    runner.plugin("gated.py", GATED);
    runner.plugin("copy.py", super::COPY);
    runner.create(&gated(Trigger::new("gated", "gated.py", "table:m").setting("allow_read", json!(["."]))));
    runner.create(&Trigger::new("neighbour", "copy.py", "table:m"));
    runner.write("m v=0 1000");
    runner.until_logged("gated", "INFO waiting");
    runner
}

fn open(runner: &TestRunner) {
    std::fs::write(runner.plugin_dir().join("go"), "").unwrap();
}

/// The value of a sample of `/metrics`.
fn metric(runner: &TestRunner, sample: &str) -> Option<f64> {
    let answer = runner.get("/metrics");
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.text().lines().find_map(|line| line.strip_prefix(sample)?.trim().parse().ok())
}

#[test]
fn batches_of_a_trigger_that_lags_are_given_together_up_to_its_limit() {
    let mut runner = world(&[], |trigger| trigger.setting("coalesce_rows", json!(8)));
    (1..=30).for_each(|v| runner.write(&format!("m v={v} {v}")));
    runner.write("other v=1 1");
    runner.until_count("m_seen", 31);
    open(&runner);
    runner.until_count("through", 31);
    let values = runner.query("SELECT count(DISTINCT v) AS n FROM through");
    assert_eq!(values[0]["n"], 31, "each exactly once");
    let calls = |runner: &TestRunner| -> Vec<u64> {
        let sql = "SELECT rows FROM system.invocations WHERE trigger_name = 'gated' ORDER BY event_time";
        runner.query(sql).iter().map(|row| row["rows"].as_u64().unwrap()).collect()
    };
    let sizes = calls(&runner);
    assert_eq!(sizes.iter().sum::<u64>(), 31);
    assert!(sizes.len() <= 6 && sizes[1] == 8 && sizes.iter().all(|rows| *rows <= 8), "{sizes:?}");
    // Where it was is not forgotten.
    runner.kill();
    runner.restart();
    runner.write("m v=100 100");
    runner.until_count("through", 32);
    assert_eq!(calls(&runner), [1]);
}

#[test]
fn a_bad_batch_among_those_that_are_given_together_takes_no_other_along() {
    let runner = world(&[], |trigger| trigger.setting("coalesce_rows", json!(100)));
    (1..=20).for_each(|v| runner.write(&format!("m v={} {v}", if v == 7 { -v } else { v })));
    runner.until_count("m_seen", 21);
    open(&runner);
    runner.until_count("through", 20);
    let letters = until("there is a dead letter", || {
        let letters = runner.get("/api/v3/configure/dead_letter?db=db").json();
        if letters[0]["rows"].is_u64() { Ok(letters) } else { Err(letters.to_string()) }
    });
    assert_eq!((letters.as_array().unwrap().len(), &letters[0]["rows"]), (1, &json!(1)));
    runner.until_logged("gated", "20 batches that were given together failed; each is tried by itself");
    let values = runner.query("SELECT count(DISTINCT v) AS n, min(v) AS least FROM through");
    assert_eq!((&values[0]["n"], &values[0]["least"]), (&json!(20), &json!(0.0)));
}

#[test]
fn beyond_its_limit_the_journal_drops_the_oldest_loudly_and_only_for_those_behind() {
    let runner = world(&["--journal-bytes-max", "20000", "--journal-overflow", "drop"], |trigger| trigger);
    let lines = |batch: u64| (0..20).map(|row| format!("m v={row} {}\n", batch * 20 + row)).collect::<String>();
    for batch in 0..60 {
        runner.write(&lines(batch));
    }
    runner.until_count("m_seen", 1200);
    until("something is dropped", || {
        let dropped = metric(&runner, "bulkhead_journal_dropped_commits_total ").unwrap();
        if dropped > 10.0 { Ok(()) } else { Err(dropped.to_string()) }
    });
    assert!(runner.stderr().contains("that trigger db/gated had not worked on"), "{}", runner.stderr());
    let lag = metric(&runner, "bulkhead_trigger_lag_bytes{database=\"db\",trigger=\"neighbour\"}").unwrap();
    assert!(lag < 20_000.0, "{lag}");
    open(&runner);
    let line = runner.until_logged("gated", "commits were not delivered");
    assert!(line.contains("the journal reached its limit, and they were dropped"), "{line}");
    // What is written while it is behind may be too much again.
    until("it has worked through what is left", || {
        let lag = metric(&runner, "bulkhead_trigger_lag_rows{database=\"db\",trigger=\"gated\"}");
        if lag == Some(0.0) { Ok(()) } else { Err(format!("{lag:?}")) }
    });
    runner.write("m v=77 9999999");
    until("it goes on with what is left", || {
        let rows = runner.query("SELECT v FROM through WHERE v = 77");
        if rows.len() == 1 { Ok(()) } else { Err(format!("{:?}", runner.logs("gated"))) }
    });
    assert!(runner.count("through") < 1202);
    // One of those that were dropped is the batch that the trigger had in hand.
    assert!(metric(&runner, "bulkhead_undelivered_commits_total ").unwrap() >= 10.0);
}

#[test]
fn beyond_its_age_limit_the_journal_drops_what_is_old_and_only_that() {
    let runner = world(&["--journal-age-max", "1s", "--journal-overflow", "drop"], |trigger| trigger);
    (1..=5).for_each(|v| runner.write(&format!("m v={v} {v}")));
    until("what is old is dropped", || {
        let dropped = metric(&runner, "bulkhead_journal_dropped_commits_total ").unwrap();
        // One of them is the batch that the trigger has in hand.
        if dropped >= 5.0 { Ok(()) } else { Err(dropped.to_string()) }
    });
    open(&runner);
    let line = runner.until_logged("gated", "commits were not delivered");
    assert!(line.contains("the journal reached its limit, and they were dropped"), "{line}");
    let mut written = 0;
    until("what is new is delivered", || {
        // On a busy machine one may get old before its turn, too.
        written += 1;
        runner.write(&format!("m v=77 {}", 9_999_999 + written));
        let rows = runner.query("SELECT v FROM through WHERE v = 77");
        if rows.is_empty() { Err(format!("{:?}", runner.logs("gated"))) } else { Ok(()) }
    });
    // The batch that it held when it was stuck is worked on, too.
    assert_eq!(runner.query("SELECT v FROM through WHERE v = 0").len(), 1);
}

#[test]
fn or_it_pauses_the_writes_until_the_trigger_has_caught_up() {
    let runner = world(&["--journal-bytes-max", "20000", "--journal-overflow", "pause"], |trigger| trigger);
    let mut written = 1;
    let refused = until("a write is refused", || {
        let lines: String = (0..20).map(|row| format!("m v={row} {}\n", written * 20 + row)).collect();
        let answer = runner.send(&Client::write_request(DB, &lines));
        if answer.status == 204 {
            written += 1;
            return Err(written.to_string());
        }
        Ok(answer)
    });
    refused.contains(503, "writes are paused: the journal holds ");
    refused.contains(503, "the limit `journal_bytes_max` is 20000");
    assert_eq!(refused.header("retry-after"), "1");
    assert_eq!(metric(&runner, "bulkhead_feeds_paused "), Some(1.0));
    let stderr = runner.stderr();
    assert!(stderr.contains("writes are paused until trigger db/gated has caught up"), "{stderr}");
    // Everything else goes on.
    runner.until_count("m_seen", (written - 1) * 20 + 1);
    runner.get("/health").is(200, "OK");
    open(&runner);
    runner.until_count("through", (written - 1) * 20 + 1);
    until("writes are taken again", || {
        let answer = runner.send(&Client::write_request(DB, "m v=5 5"));
        if answer.status == 204 { Ok(()) } else { Err(answer.text()) }
    });
    assert_eq!(metric(&runner, "bulkhead_journal_dropped_commits_total "), Some(0.0));
}

#[test]
fn a_limit_of_the_journal_needs_a_policy() {
    let finished = crate::world::run(&["serve", "--journal-bytes-max", "1"]);
    assert_eq!(finished.code, Some(2));
    assert!(finished.stderr.contains("--journal-overflow <POLICY>"), "{}", finished.stderr);
}

#[test]
fn metrics_tell_how_far_a_trigger_is_behind_and_how_invocations_ended() {
    let runner = world(&["--log-format", "json"], |trigger| trigger);
    runner.plugin("fail.py", "def process_request(api, q, h, b, args=None):\n    raise ValueError('no')\n");
    runner.create(&Trigger::new("fail", "fail.py", "request:fail"));
    assert_eq!(runner.engine("fail").status, 500);
    (1..=9).for_each(|v| runner.write(&format!("m v={v} {v}\nm v={v} {}", v + 100)));
    runner.until_count("m_seen", 19);
    let of = |name: &str, trigger: &str, more: &str| {
        metric(&runner, &format!("bulkhead_{name}{{database=\"db\",trigger=\"{trigger}\"{more}}}"))
    };
    // The row of the beginning is not done either; records of the neighbour's positions are commits without rows.
    assert_eq!(of("trigger_lag_rows", "gated", ""), Some(19.0 + 19.0), "its own rows and the neighbour's");
    assert!(of("trigger_lag_commits", "gated", "").unwrap() >= 10.0);
    assert!(of("trigger_lag_bytes", "gated", "").unwrap() > 1_000.0);
    assert!(of("trigger_lag_seconds", "gated", "").unwrap() > 0.0);
    until("the neighbour has caught up", || {
        let lag = of("trigger_lag_rows", "neighbour", "");
        if lag == Some(0.0) { Ok(()) } else { Err(format!("{lag:?}")) }
    });
    assert_eq!(of("invocations_total", "fail", ",outcome=\"exception\""), Some(1.0));
    assert_eq!(of("invocations_total", "neighbour", ",outcome=\"success\""), Some(10.0));
    assert_eq!(of("trigger_state", "fail", ",state=\"active\""), Some(1.0));
    assert_eq!(of("trigger_requests", "fail", ""), Some(0.0));
    assert_eq!(of("dead_letters", "gated", ""), Some(0.0));
    assert!(of("worker_resident_bytes", "gated", "").unwrap() > 1e6);
    assert!(of("worker_cpu_seconds_total", "neighbour", "").is_some());
    for (sample, least) in [
        ("bulkhead_workers ", 3.0),
        ("bulkhead_worker_starts_total ", 3.0),
        ("bulkhead_journal_bytes ", 1_000.0),
        ("bulkhead_journal_sync_seconds_count ", 10.0),
        ("bulkhead_invocation_stage_seconds_count{stage=\"run\"} ", 11.0),
        ("bulkhead_invocation_stage_seconds_bucket{stage=\"commit\",le=\"+Inf\"} ", 11.0),
    ] {
        assert!(metric(&runner, sample).is_some_and(|value| value >= least), "{sample}");
    }
    let answer = runner.send(&Request::new("GET", "/metrics"));
    assert_eq!(answer.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    // Each family stands once, with help and type before its samples.
    let text = answer.text();
    let mut families: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    let count = families.len();
    families.sort_unstable();
    families.dedup();
    assert_eq!(families.len(), count);

    // Each line of a run says whose it is, also as JSON.
    let stderr = runner.stderr();
    let line = stderr.lines().find(|line| line.contains("error running request plugin")).expect(&stderr);
    let line: Value = serde_json::from_str(line).unwrap();
    assert_eq!((&line["trigger"], &line["level"]), (&json!("db/fail"), &json!("ERROR")));
    let sql = "SELECT invocation_id, worker_id FROM system.invocations WHERE trigger_name = 'fail'";
    let row = &runner.query(sql)[0];
    assert_eq!((&line["invocation"], &line["worker"]), (&row["invocation_id"], &row["worker_id"]));
    let sql = "SELECT count(*) AS n FROM system.processing_engine_logs WHERE trigger_name = 'gated' \
               AND log_text = 'waiting' AND invocation_id IS NOT NULL AND worker_id IS NOT NULL";
    assert_eq!(runner.query(sql)[0]["n"], 1);
}
