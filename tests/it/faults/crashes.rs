//! Plugins that end their process.

use serde_json::json;

use super::World;
use crate::world::{Trigger, processes_of, until, until_true};

#[test]
fn an_exit_is_told_with_its_code() {
    let world = World::with("exit");
    world.engine("exit").is(500, r#"{"error":"worker exited by itself with exit code 7"}"#);
    assert_eq!(world.until_ended("exit", 1), ["worker exited by itself with exit code 7"]);
    world.until_logged("exit", "ERROR error running request plugin: worker exited by itself with exit code 7");
    world.ends_well();
}

#[test]
fn a_segmentation_fault_is_told_with_its_signal_and_the_python_stack() {
    let world = World::with("segfault");
    world.engine("segfault").is(500, r#"{"error":"worker killed by signal 11 (SIGSEGV)"}"#);
    let line = world.until_logged("segfault", "last words on stderr");
    assert!(line.starts_with("ERROR worker killed by signal 11 (SIGSEGV)"), "{line}");
    assert!(line.contains("Fatal Python error: Segmentation fault"), "{line}");
    assert!(line.contains("segfault.py\", line 11 in process_request"), "{line}");
    assert_eq!(world.until_ended("segfault", 1), ["worker killed by signal 11 (SIGSEGV)"]);
    world.ends_well();
}

#[test]
fn what_a_plugin_logged_before_it_crashed_is_kept() {
    let world = World::with("segfault");
    assert_eq!(world.engine("segfault").status, 500);
    world.until_ended("segfault", 1);
    let lines = world.logs("segfault");
    assert!(lines.contains(&"WARN about to read from address zero".to_owned()), "{lines:#?}");
}

#[test]
fn an_abort_is_told_with_its_signal() {
    let world = World::with("abort");
    world.engine("abort").is(500, r#"{"error":"worker killed by signal 6 (SIGABRT)"}"#);
    world.until_logged("abort", "Fatal Python error: Aborted");
    world.ends_well();
}

#[test]
fn a_crash_loop_is_slowed_down_and_shown() {
    let world = World::new(&[]);
    world.fixture("exit.py");
    world.create(&Trigger::new("loop", "exit.py", "every:10ms"));
    let reason = world.until_state("loop", "backoff");
    assert_eq!(reason, "worker exited by itself with exit code 7");
    // Six deaths need five waits: none, then at least 50, 100, 200 and 400 ms.
    world.until_ended("loop", 6);
    let started = |row: &serde_json::Value| row["started_at"].as_str().unwrap().to_owned();
    let workers = world.workers("loop");
    let (first, last) = (started(&workers[0]), started(&workers[5]));
    let sql = format!("SELECT CAST(TIMESTAMP '{last}' AS BIGINT) - CAST(TIMESTAMP '{first}' AS BIGINT) AS ns");
    let elapsed = world.query(&sql)[0]["ns"].as_i64().unwrap();
    assert!(elapsed >= 750_000_000, "six starts in {elapsed} ns");
    let reason = world.until_state("loop", "open");
    assert!(reason.contains(" faults in a row, the next attempt in ") && reason.ends_with("exit code 7"), "{reason}");
    world.neighbour_is_well();

    // Code that changed is tried at once, and a success ends the state.
    world.plugin("exit.py", "def process_scheduled_call(api, call_time, args=None):\n    pass\n");
    world.until_state("loop", "active");
    world.ends_well();
}

#[test]
fn requests_of_a_trigger_in_a_crash_loop_are_turned_away_until_a_probe_succeeds() {
    let world = World::with("exit");
    let refused = until("the breaker is open", || {
        let answer = world.engine("exit");
        if answer.status == 503 { Ok(answer) } else { Err(answer.text()) }
    });
    refused.contains(503, "trigger 'exit' is paused after 5 faults in a row: worker exited by itself with exit code 7");
    assert!(refused.header("retry-after").parse::<u64>().unwrap() >= 1);
    world.neighbour_is_well();
    // A probe that fails opens it for longer.
    until("there was a probe", || {
        let answer = world.engine("exit");
        if answer.text().contains("paused after 6 faults") { Ok(()) } else { Err(answer.text()) }
    });
    world.plugin("exit.py", "def process_request(api, query, headers, body, args=None):\n    return 'well'\n");
    until("it is well again", || {
        let answer = world.engine("exit");
        if answer.text() == "well" { Ok(()) } else { Err(answer.text()) }
    });
    world.until_state("exit", "active");
    world.ends_well();
}

#[test]
fn a_daemon_that_a_plugin_starts_ends_with_its_worker() {
    let world = World::new(&[]);
    let daemon = |world: &World| processes_of(world.root()).into_iter().find(|one| one.command() == "sleep 1000");
    world.create(&world.request_trigger("daemon").setting("allow_run", json!(true)));
    assert_eq!(world.engine("daemon").status, 200);
    let running = until("the daemon runs", || daemon(&world));
    world.delete("daemon", true).is(200, "");
    until_true("the daemon is gone", || !running.is_alive());

    world.create(&Trigger::new("again", "daemon.py", "request:again").setting("allow_run", json!(true)));
    world.engine("again?then=die").contains(500, "exit code 1");
    assert_eq!(world.count("daemons"), 1, "it was there");
    until_true("no daemon is left", || daemon(&world).is_none());
    world.ends_well();
}

#[test]
fn garbage_on_the_session_is_a_broken_protocol() {
    let world = World::with("session_garbage");
    world.engine("session_garbage").contains(500, "worker broke the protocol: ");
    let ends = world.until_ended("session_garbage", 1);
    assert!(ends[0].starts_with("worker broke the protocol: "), "{ends:?}");
    until("a new worker answers", || (world.engine("session_garbage?well=1").status == 200).then_some(()));
    world.ends_well();
}

#[test]
fn a_session_that_a_plugin_closes_is_a_broken_protocol() {
    let world = World::with("session_closed");
    world.engine("session_closed").contains(500, "worker ");
    world.until_ended("session_closed", 1);
    until("a new worker answers", || (world.engine("session_closed?well=1").status == 200).then_some(()));
    world.ends_well();
}
