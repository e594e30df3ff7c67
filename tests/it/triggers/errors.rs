//! What follows when a plugin fails.

use crate::world::{TestRunner, Trigger, until};

/// Fails for rows whose value is negative, after a write that must not arrive.
const PICKY: &str = "\
def process_writes(api, batches, args=None):
    for batch in batches:
        for row in batch['rows']:
            api.write(LineBuilder('kept').float64_field('v', row['v']).time_ns(row['time']))
            api.write_sync(LineBuilder('synced').float64_field('v', row['v']).time_ns(row['time']), no_sync=False)
            if row['v'] < 0:
                raise ValueError('negative')
";

fn world(behavior: &str) -> TestRunner {
    let runner = TestRunner::start();
    runner.plugin("picky.py", PICKY);
    runner.create(&Trigger::new("picky", "picky.py", "table:m").on_error(behavior));
    runner
}

fn count(lines: &[String], part: &str) -> usize {
    lines.iter().filter(|line| line.contains(part)).count()
}

#[test]
fn with_log_the_failure_is_logged_with_its_traceback_and_the_next_event_runs() {
    let runner = world("log");
    runner.write("m v=-1 1");
    runner.write("m v=2 2");
    runner.until_count("kept", 1);
    let lines = runner.logs("picky");
    assert_eq!(count(&lines, "ERROR error executing wal plugin: ValueError: negative"), 1, "{lines:#?}");
    let traceback = lines.iter().find(|line| line.contains("Traceback")).unwrap();
    assert!(traceback.contains("line 7, in process_writes"), "{traceback}");
    assert!(
        traceback.contains("raise ValueError('negative')") && !traceback.contains("bulkhead_worker"),
        "{traceback}"
    );
    assert_eq!(runner.trigger("picky")["state"], "active");
    assert_eq!(runner.workers("picky").len(), 1, "an exception does not end the worker");
}

#[test]
fn buffered_writes_go_with_the_failure_and_synchronous_ones_stay() {
    let runner = world("log");
    runner.write("m v=-1 1");
    runner.until_logged("picky", "ValueError: negative");
    assert_eq!((runner.count("kept"), runner.count("synced")), (0, 1));
    runner.write("m v=1 2");
    runner.until_count("kept", 1);
    assert_eq!(runner.count("synced"), 2);
}

#[test]
fn with_retry_the_event_is_tried_a_bounded_number_of_times_with_growing_waits() {
    let runner = TestRunner::start();
    runner.plugin("picky.py", PICKY);
    let trigger = Trigger::new("picky", "picky.py", "table:m").on_error("retry");
    runner.create(&trigger.setting("attempts_max", serde_json::json!(4)));
    runner.write("m v=-1 1");
    runner.write("m v=2 2");
    runner.until_logged("picky", "gave up after 4 attempts");
    runner.until_count("kept", 1);
    let lines = runner.logs("picky");
    assert_eq!(count(&lines, "ERROR error executing wal plugin: ValueError: negative"), 4, "{lines:#?}");
    let waits: Vec<u64> = (2..=4)
        .map(|attempt| {
            let said = format!("attempt {attempt} of 4 in ");
            let line = lines.iter().find(|line| line.contains(&said)).unwrap_or_else(|| panic!("{said}: {lines:#?}"));
            line.split_once(&said).unwrap().1.trim_end_matches("ms").parse().unwrap()
        })
        .collect();
    for (wait, (least, most)) in waits.iter().zip([(50, 100), (100, 200), (200, 400)]) {
        assert!((least..=most).contains(wait), "{waits:?}");
    }
}

#[test]
fn a_retried_event_succeeds_when_the_cause_is_gone() {
    let runner = TestRunner::start();
    let code = "\
import os
def process_writes(api, batches, args=None):
    api.write(LineBuilder('tried').int64_field('n', 1))
    if not os.path.exists('go'):
        raise RuntimeError('not yet')
    api.write(LineBuilder('done').int64_field('n', 1))
";
    runner.plugin("later.py", code);
    let trigger = Trigger::new("later", "later.py", "table:m").on_error("retry");
    runner.create(&trigger.setting("allow_read", serde_json::json!(["."])));
    runner.write("m v=1 1");
    runner.until_logged("later", "RuntimeError: not yet");
    std::fs::write(runner.plugin_dir().join("go"), "").unwrap();
    runner.until_count("done", 1);
    assert_eq!(runner.count("tried"), 1, "only the attempt that returned has effects");
}

#[test]
fn with_disable_the_trigger_stops_visibly_also_after_a_restart_and_enable_brings_it_back() {
    let mut runner = world("disable");
    runner.write("m v=-1 1");
    let reason = runner.until_state("picky", "disabled");
    assert_eq!(reason, "disabled by its error behavior: ValueError: negative");
    assert_eq!(runner.trigger("picky")["disabled"], true);
    assert_eq!(count(&runner.logs("picky"), "WARN disabled by its error behavior"), 1);
    runner.write("m v=2 2");

    runner.stop();
    runner.restart();
    let row = runner.trigger("picky");
    assert_eq!((&row["state"], &row["disabled"]), (&"disabled".into(), &true.into()));
    assert_eq!(row["state_reason"], "disabled by its error behavior: ValueError: negative");
    assert_eq!(runner.count("kept"), 0);

    runner.switch("enable", "picky").is(200, "");
    assert_eq!(runner.trigger("picky")["state"], "active");
    assert_eq!(runner.trigger("picky").get("state_reason"), None);
    runner.write("m v=3 3");
    runner.until_count("kept", 1);
}

#[test]
fn a_trigger_that_disabled_itself_can_be_enabled_at_once_and_again() {
    let runner = world("disable");
    for round in 1..=3 {
        runner.write(&format!("m v=-1 {round}"));
        runner.until_state("picky", "disabled");
        runner.switch("enable", "picky").is(200, "");
        runner.write(&format!("m v=1 {}", round + 100));
        runner.until_count("kept", round);
    }
}

#[test]
fn a_failing_schedule_follows_its_error_behavior() {
    let runner = TestRunner::start();
    runner.plugin("fails.py", "def process_scheduled_call(api, call_time, args=None):\n    raise ValueError('tick')\n");
    runner.create(&Trigger::new("log", "fails.py", "every:100ms"));
    runner.create(&Trigger::new("disable", "fails.py", "every:100ms").on_error("disable"));
    until("the first one goes on", || {
        (count(&runner.logs("log"), "ERROR error executing schedule plugin: ValueError: tick") >= 3).then_some(())
    });
    runner.until_state("disable", "disabled");
    assert_eq!(count(&runner.logs("disable"), "ERROR error executing schedule plugin: ValueError: tick"), 1);
}

#[test]
fn what_a_plugin_says_right_before_it_ends_its_process_is_logged() {
    let runner = TestRunner::start();
    let code = "\
import os
def process_request(api, query, headers, body, args=None):
    api.info('about to go')
    print('really')
    os._exit(3)
";
    runner.plugin("goes.py", code);
    runner.create(&Trigger::new("goes", "goes.py", "request:goes"));
    assert_eq!(runner.engine("goes").status, 500);
    runner.until_logged("goes", "INFO about to go");
    runner.until_logged("goes", "INFO really");
}
