//! Sudden ends, while rows are written.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::Writer;
use crate::triggers::COPY;
use crate::world::{TestRunner, Trigger, processes_of, until, until_true};

/// A runner with a trigger that copies `m` to `m_seen`, and one whose worker never returns.
fn world() -> TestRunner {
    let runner = TestRunner::start();
    runner.plugin("copy.py", COPY);
    runner.fixture("sleeper.py");
    runner.create(&Trigger::new("copy", "copy.py", "table:m"));
    runner.create(&Trigger::new("sleeper", "sleeper.py", "request:sleeper"));
    runner
}

#[test]
fn after_a_kill_of_the_runner_all_acknowledged_rows_are_there_and_no_worker_is_left() {
    let mut runner = world();
    let client = runner.client();
    let sleeper =
        std::thread::spawn(move || client.try_send(&crate::world::Request::new("GET", "/api/v3/engine/sleeper")));
    runner.until_logged("sleeper", "INFO asleep");
    for _ in 0..3 {
        let before = runner.count("m_seen");
        let writer = Writer::start(runner.client());
        writer.until_more(100);
        until_true("rows are copied", || runner.count("m_seen") > before);
        assert!(!processes_of(runner.root()).is_empty());
        runner.kill();
        let acknowledged = writer.stop();
        runner.assert_no_process();

        runner.restart();
        let rows = runner.query(&format!("SELECT count(*) AS n FROM m WHERE v <= {acknowledged}"));
        assert_eq!(rows[0]["n"], acknowledged);
    }
    sleeper.join().unwrap().expect_err("the call died with the runner");
    // The trigger is back, too.
    let before = runner.count("m_seen");
    runner.write("m v=1 1000000");
    until_true("a new row is copied", || runner.count("m_seen") > before);
    runner.stop_leaving_nothing();
}

/// Kills what `victim` chooses ten times, while rows are written and copied.
fn killing(victim: impl Fn(&TestRunner) -> Option<i32>) {
    let runner = world();
    runner.write("m v=0 0");
    runner.until_count("m_seen", 1);
    let writer = Writer::start(runner.client());
    for _ in 0..10 {
        let pid = until("there is a process to kill", || victim(&runner));
        // It may have ended in between.
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        until_true("another one takes its place", || victim(&runner).is_some_and(|next| next != pid));
        let copied = runner.count("m_seen");
        writer.until_more(5);
        until_true("rows are copied again", || runner.count("m_seen") > copied);
    }
    let last = writer.stop();
    assert_eq!(runner.count("m"), last + 1);
    runner.stop_leaving_nothing();
}

#[test]
fn writes_and_the_trigger_go_on_when_its_worker_is_killed() {
    killing(|runner| {
        let workers = runner.workers("copy");
        let alive = workers.iter().find(|row| row["state"] != "ended")?;
        i32::try_from(alive["pid"].as_i64()?).ok()
    });
}

#[test]
fn writes_and_the_trigger_go_on_when_a_holder_is_killed() {
    killing(|runner| processes_of(runner.root()).iter().find(|process| process.is_holder()).map(|process| process.pid));
}

#[test]
fn the_end_of_a_killed_worker_is_named() {
    let runner = world();
    runner.write("m v=1 1");
    runner.until_count("m_seen", 1);
    let worker = i32::try_from(runner.workers("copy")[0]["pid"].as_i64().unwrap()).unwrap();
    kill(Pid::from_raw(worker), Signal::SIGKILL).unwrap();
    let ends = runner.until_ended("copy", 1);
    assert!(ends[0].starts_with("worker killed by signal 9 (SIGKILL), not by the runner"), "{ends:?}");
    runner.write("m v=2 2");
    runner.until_count("m_seen", 2);
}
