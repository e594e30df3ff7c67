//! Stopping, and not starting.

use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::json;

use crate::world::{Answer, Request, Setup, TestRunner, Trigger, run, until_true};

fn calling(runner: &TestRunner, path: &str) -> JoinHandle<std::io::Result<Answer>> {
    let (client, request) = (runner.client(), Request::new("GET", &format!("/api/v3/engine/{path}")));
    std::thread::spawn(move || client.try_send(&request))
}

fn world(arguments: &[&str]) -> TestRunner {
    let runner = TestRunner::start_with(arguments);
    for fixture in ["gate", "sleeper"] {
        runner.fixture(&format!("{fixture}.py"));
        let trigger = Trigger::new(fixture, &format!("{fixture}.py"), &format!("request:{fixture}"));
        // They look for a file beside themselves.
        runner.create(&trigger.setting("allow_read", json!(["."])));
    }
    runner
}

fn until_stopping(runner: &TestRunner) {
    until_true("the runner is stopping", || runner.stderr().contains("stopping; a second signal hurries"));
}

#[test]
fn a_first_signal_lets_running_invocations_end() {
    let mut runner = world(&[]);
    runner.create(&Trigger::new("wal", "gate.py", "table:m").setting("allow_read", json!(["."])));
    let call = calling(&runner, "gate");
    runner.until_logged("gate", "INFO waiting");
    runner.write("m v=1 1");
    runner.until_logged("wal", "INFO waiting");
    runner.signal(Signal::SIGTERM);
    until_stopping(&runner);
    std::fs::write(runner.plugin_dir().join("go"), "").unwrap();
    call.join().unwrap().expect("the call is answered").is(200, "gone through");
    assert_eq!(runner.wait().code(), Some(0), "{}", runner.stderr());
    runner.assert_no_process();
    runner.restart();
    assert_eq!(runner.count("through"), 1, "what the running invocation wrote is durable");
}

#[test]
fn invocations_that_do_not_end_in_time_are_cancelled() {
    let mut runner = world(&["--shutdown-timeout", "1s"]);
    let call = calling(&runner, "sleeper");
    runner.until_logged("sleeper", "INFO asleep");
    let begun = Instant::now();
    runner.stop();
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    if let Ok(answer) = call.join().unwrap() {
        answer.contains(503, "");
    }
    runner.assert_no_process();
}

#[test]
fn a_second_signal_hurries() {
    let mut runner = world(&[]);
    let call = calling(&runner, "sleeper");
    runner.until_logged("sleeper", "INFO asleep");
    runner.write("m v=1 1");
    let begun = Instant::now();
    runner.signal(Signal::SIGTERM);
    until_stopping(&runner);
    runner.signal(Signal::SIGTERM);
    assert_eq!(runner.wait().code(), Some(0), "{}", runner.stderr());
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    let _broken_off = call.join().unwrap();
    runner.assert_no_process();
    runner.restart();
    assert_eq!(runner.count("m"), 1);
}

#[test]
fn a_data_directory_in_use_is_refused_with_a_hint() {
    let runner = TestRunner::start();
    let data = runner.root().join("data").display().to_string();
    let second = run(&["serve", "--data-dir", &data, "--http-bind", "127.0.0.1:0"]);
    assert_eq!(second.code, Some(1));
    assert!(
        second.stderr.contains("error: data directory ") && second.stderr.contains("is in use by another runner"),
        "{}",
        second.stderr
    );
    assert!(
        second.stderr.contains("hint: stop the other one, or choose another `--node-id` or `--data-dir`"),
        "{}",
        second.stderr
    );
    runner.get("/health").is(200, "OK");
}

#[test]
fn a_data_directory_of_which_nothing_can_be_executed_is_refused_with_a_hint() {
    let place = tempfile::Builder::new().prefix("bulkhead-it-").tempdir().unwrap();
    let script =
        "mount -t tmpfs -o noexec,size=128m none \"$0\" && exec \"$1\" serve --data-dir \"$0\" --http-bind 127.0.0.1:0";
    let mut command = std::process::Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script]).arg(place.path());
    let refused = command.arg(env!("CARGO_BIN_EXE_bulkhead")).output().unwrap();
    let words = String::from_utf8_lossy(&refused.stderr);
    if words.contains("unshare") {
        // Nobody can mount anything here, and neither can the sandbox.
        assert!(run(&["doctor"]).stdout.contains("MISSING    namespaces"), "{words}");
        return;
    }
    assert_eq!(refused.status.code(), Some(1), "{words}");
    assert!(words.contains("is mounted with `noexec`"), "{words}");
    assert!(words.contains("hint: mount it without `noexec`, or choose another place with `--data-dir`"), "{words}");
}

#[test]
fn an_address_that_others_can_reach_is_refused_with_a_hint() {
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:8181"] {
        let refused = Setup::new().args(&["--http-bind", address]).run();
        assert_eq!(refused.code, Some(1), "{refused:?}");
        assert!(
            refused.stderr.contains(&format!("error: refusing to listen on {address}: there is no authentication")),
            "{refused:?}"
        );
        assert!(refused.stderr.contains("hint: bind a loopback address"), "{refused:?}");
    }
}

#[test]
fn an_address_that_is_taken_is_refused_with_a_hint() {
    let runner = TestRunner::start();
    let address = runner.address().to_string();
    let refused = Setup::new().args(&["--http-bind", &address]).run();
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains(&format!("error: HTTP address {address}: ")), "{refused:?}");
    assert!(refused.stderr.contains("hint: choose another one with `--http-bind`"), "{refused:?}");
}
