//! Workers that are copies of a process which has imported already.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::world::{Process, TestRunner, Trigger, processes_of, until_true};

fn request_trigger(runner: &TestRunner, fixture: &str) -> Trigger {
    runner.fixture(&format!("{fixture}.py"));
    Trigger::new(fixture, &format!("{fixture}.py"), &format!("request:{fixture}"))
}

/// What confines the youngest worker of a trigger.
fn enforced(runner: &TestRunner, trigger: &str) -> String {
    let workers = runner.workers(trigger);
    workers.last().unwrap()["enforced"].as_str().unwrap().to_owned()
}

#[test]
fn a_worker_after_a_crash_has_its_imports_already() {
    let runner = TestRunner::start();
    runner.create(&request_trigger(&runner, "preloaded"));
    let first = runner.engine("preloaded?how=life").text();
    assert!(first.starts_with("True "), "{first}");
    runner.engine("preloaded?how=die").contains(500, "exit code 3");
    let second = runner.engine("preloaded?how=life").text();
    assert!(second.starts_with("True ") && second != first, "another process: {second}");
    let words = enforced(&runner, "preloaded");
    assert!(words.contains("zygote") && words.contains("landlock_domain=own"), "{words}");
    runner.stop_leaving_nothing();
}

#[test]
fn siblings_reach_neither_each_other_nor_what_they_come_from() {
    let runner = TestRunner::start();
    runner.create(&request_trigger(&runner, "siblings").run_async());
    let client = runner.client();
    let waiting = std::thread::spawn(move || client.engine("siblings?how=wait"));
    let denied = "PermissionError";
    let expected = [denied; 8].join(" ");
    runner.engine("siblings?how=attack").is(200, &expected);
    waiting.join().unwrap().is(200, "over: True");
    runner.stop_leaving_nothing();
}

#[test]
fn one_worker_that_is_killed_takes_no_sibling_along() {
    let runner = TestRunner::start();
    runner.plugin(
        "p.py",
        "import os, time, uuid\ndef process_request(api, query, headers, body, args=None):\n    life = os.environ.setdefault('LIFE', uuid.uuid4().hex)\n    if 'gate' in query:\n        while not os.path.exists('/tmp/gate'):\n            time.sleep(0.01)\n    if 'open' in query:\n        open('/tmp/gate', 'w').close()\n        os.abort()\n    return life\n",
    );
    runner.create(&Trigger::new("p", "p.py", "request:p").run_async());
    let client = runner.client();
    let waiting = std::thread::spawn(move || client.engine("p?gate=1"));
    until_true("it waits", || runner.workers("p").iter().any(|worker| worker["state"] == "running"));
    runner.engine("p?open=1").contains(500, "signal 6 (SIGABRT");
    let survivor = waiting.join().unwrap();
    assert_eq!(survivor.status, 200, "{}", survivor.text());
    runner.engine("p").is(200, &survivor.text());
    runner.stop_leaving_nothing();
}

#[test]
fn whoever_loses_the_process_that_it_is_a_copy_of_is_told_so() {
    let runner = TestRunner::start();
    runner.create(&request_trigger(&runner, "preloaded"));
    runner.create(&request_trigger(&runner, "neighbour"));
    let neighbour = runner.engine("neighbour").text();
    let before: Vec<Process> = zygotes(&runner);
    assert_eq!(runner.engine("preloaded?how=life").status, 200);
    let client = runner.client();
    let waiting = std::thread::spawn(move || client.engine("preloaded?how=wait"));
    until_true("it waits", || runner.workers("preloaded").iter().any(|worker| worker["state"] == "running"));
    let zygote = zygotes(&runner).into_iter().find(|zygote| !before.contains(zygote)).expect("a zygote of its own");
    kill(Pid::from_raw(zygote.pid), Signal::SIGKILL).unwrap();
    let told =
        "worker broke the protocol: its zygote, the process that the workers of this trigger are copies of, was killed";
    waiting.join().unwrap().contains(500, told);
    assert_eq!(runner.engine("preloaded?how=life").status, 200, "the next call has another one");
    runner.engine("neighbour").is(200, &neighbour);
    runner.stop_leaving_nothing();
}

fn zygotes(runner: &TestRunner) -> Vec<Process> {
    processes_of(runner.root()).into_iter().filter(Process::is_zygote).collect()
}

#[test]
fn copies_have_random_numbers_of_their_own() {
    let runner = TestRunner::start();
    runner.create(&request_trigger(&runner, "preloaded"));
    let first = runner.engine("preloaded?how=random").text();
    runner.engine("preloaded?how=die").contains(500, "exit code 3");
    assert_ne!(runner.engine("preloaded?how=random").text(), first);
}
