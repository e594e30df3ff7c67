//! A trigger comes from one environment to another while it works.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::json;

use super::loopback::Index;
use super::{VERSION, asking_for, environment, wheel};
use crate::world::{DB, Setup, TestRunner, Trigger, until};

/// Requests that are answered while a build is held up.
const ANSWERS: usize = 50;

struct World {
    runner: TestRunner,
    index: Index,
    _wheels: tempfile::TempDir,
}

/// A runner with an index that has two versions, and a trigger that asks for the first, in a file unless the plugin does.
fn world(plugin: &str, spec: &str, prepare: impl FnOnce(Trigger) -> Trigger) -> World {
    let wheels = tempfile::tempdir().unwrap();
    wheel(wheels.path(), "1.0");
    wheel(wheels.path(), "2.0");
    let index = Index::serve(wheels.path().to_owned());
    let setup = Setup::with_own_environments().env("BULKHEAD_INDEX_URL", &index.url());
    let runner = setup.args(&["--worker-idle-timeout", "1h"]).start();
    runner.create_database(DB);
    runner.plugin("user.py", plugin);
    if !plugin.contains("dependencies") {
        runner.plugin("user.requirements.txt", "tiny==1.0\n");
    }
    runner.create(&prepare(Trigger::new("user", "user.py", spec)));
    World { runner, index, _wheels: wheels }
}

/// Sends requests one after another until it is told to stop, and returns what was answered.
struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    senders: Vec<std::thread::JoinHandle<Vec<(u16, String)>>>,
}

impl Load {
    fn start(runner: &TestRunner, senders: usize) -> Self {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let sender = |_| {
            let (client, stop, answered) = (runner.client(), Arc::clone(&stop), Arc::clone(&answered));
            std::thread::spawn(move || {
                let mut answers = Vec::new();
                while !stop.load(Ordering::SeqCst) {
                    let answer = client.engine("user");
                    answers.push((answer.status, answer.text()));
                    answered.fetch_add(1, Ordering::SeqCst);
                }
                answers
            })
        };
        let senders = (0..senders).map(sender).collect();
        Self { stop, answered, senders }
    }

    /// Waits until so many more were answered.
    fn until_answered(&self, more: usize) {
        let before = self.answered.load(Ordering::SeqCst);
        until("requests are answered", || (self.answered.load(Ordering::SeqCst) >= before + more).then_some(()));
    }

    fn stop(self) -> Vec<Vec<(u16, String)>> {
        self.stop.store(true, Ordering::SeqCst);
        self.senders.into_iter().map(|sender| sender.join().unwrap()).collect()
    }
}

fn switches_under_load(senders: usize, prepare: impl FnOnce(Trigger) -> Trigger) {
    let World { runner, index, _wheels } = world(VERSION, "request:user", prepare);
    runner.engine("user").is(200, "1.0");
    let old = environment(&runner, "user");
    let load = Load::start(&runner, senders);
    load.until_answered(ANSWERS);
    index.close(true);
    runner.plugin("user.requirements.txt", "tiny==2.0\n");
    until("the new environment is being built", || {
        let row = runner.trigger("user");
        let reason = row["state_reason"].as_str().unwrap_or_default().to_owned();
        (row["state"] == "active" && reason.contains("its new environment is being built")).then_some(()).ok_or(row)
    });
    // The build is held up, and calls are not.
    load.until_answered(ANSWERS);
    runner.engine("user").is(200, "1.0");
    index.close(false);
    until("calls run in the new environment", || (runner.engine("user").text() == "2.0").then_some(()));
    until("every worker of the old one has left", || {
        let of_old = |row: &&serde_json::Value| row["environment"] == old.as_str() && row["state"] != "ended";
        let workers = runner.workers("user");
        if workers.iter().any(|row| of_old(&row)) { Err(format!("{workers:?}")) } else { Ok(()) }
    });
    load.until_answered(ANSWERS);
    let answers = load.stop();
    for (status, text) in answers.iter().flatten() {
        assert!(*status == 200 && (text == "1.0" || text == "2.0"), "{status} {text}");
    }
    for of_one in answers {
        assert_eq!(of_one.last().map(|(_, text)| text.as_str()), Some("2.0"));
    }
    assert!(runner.until_ended("user", 1).iter().all(|cause| cause == "worker stopped"));
    runner.stop_leaving_nothing();
}

#[test]
fn requests_do_not_notice_that_their_trigger_comes_to_another_environment() {
    switches_under_load(1, |trigger| trigger);
}

#[test]
fn nor_do_requests_that_overlap() {
    switches_under_load(3, Trigger::run_async);
}

/// Writes a row for each that it is given, with the version of its package.
const COPY: &str = "\
import tiny
def process_writes(api, batches, args=None):
    for batch in batches:
        for row in batch['rows']:
            line = LineBuilder('seen').tag('version', tiny.VERSION).int64_field('v', int(row['v'])).time_ns(row['time'])
            api.write(line)
";

#[test]
fn no_event_is_lost_or_seen_twice_on_the_way() {
    let World { runner, index, _wheels } = world(COPY, "table:m", |trigger| trigger);
    let mut written = 0;
    let mut write = |count: usize| {
        for _ in 0..count {
            written += 1;
            runner.write(&format!("m v={written}i {written}"));
        }
        written
    };
    write(10);
    runner.until_count("seen", 10);
    index.close(true);
    runner.plugin("user.requirements.txt", "tiny==2.0\n");
    until("the new environment is being built", || {
        write(1);
        runner.trigger("user")["state_reason"]
            .as_str()
            .is_some_and(|reason| reason.contains("being built"))
            .then_some(())
    });
    let so_far = write(10);
    runner.until_count("seen", so_far as u64);
    index.close(false);
    until("a row was seen in the new environment", || {
        write(1);
        (!runner.query("SELECT v FROM seen WHERE version = '2.0' LIMIT 1").is_empty()).then_some(())
    });
    let all = write(10) as u64;
    runner.until_count("seen", all);
    let rows = runner.query("SELECT count(DISTINCT v) AS n, min(v) AS first, max(v) AS last FROM seen");
    assert_eq!(rows[0], json!({ "n": all, "first": 1, "last": all }));
    let logs = runner.logs("user").join("\n");
    assert!(!logs.contains("error executing"), "{logs}");
}

#[test]
fn an_environment_that_cannot_be_had_changes_nothing() {
    let World { runner, index: _index, _wheels } = world(VERSION, "request:user", |trigger| trigger);
    runner.engine("user").is(200, "1.0");
    let worker = runner.workers("user")[0]["pid"].clone();
    runner.plugin("user.requirements.txt", "tiny==3.0\n");
    until("it is told", || {
        runner.engine("user").is(200, "1.0");
        runner.logs("user").iter().any(|line| line.contains("its new environment cannot be had")).then_some(())
    });
    let row = runner.trigger("user");
    let reason = row["state_reason"].as_str().unwrap();
    assert!(
        row["state"] == "active" && reason.contains("calls run in the old one") && reason.contains("tiny==3.0"),
        "{row}"
    );
    runner.engine("user").is(200, "1.0");
    assert_eq!(runner.workers("user")[0]["pid"], worker);
    assert_eq!(runner.workers("user").len(), 1);

    runner.plugin("user.requirements.txt", "tiny==2.0\n");
    until("it has come to the next one", || (runner.engine("user").text() == "2.0").then_some(()));
    assert!(runner.trigger("user")["state_reason"].is_null());
}

/// New code that asks for another version itself.
const NEXT: &str = "\
# /// script
# dependencies = ['tiny==2.0']
# ///
def process_request(api, query, headers, body, args=None):
    import tiny
    return f'next {tiny.VERSION}'
";

#[test]
fn a_file_that_takes_the_place_of_the_old_one_brings_its_packages_along() {
    let World { runner, index, _wheels } = world(&asking_for("tiny==1.0"), "request:user", |trigger| trigger);
    runner.engine("user").is(200, "1.0");
    let load = Load::start(&runner, 1);
    index.close(true);
    runner.plugin("next.txt", NEXT);
    std::fs::rename(runner.plugin_dir().join("next.txt"), runner.plugin_dir().join("user.py")).unwrap();
    until("the tool waits for the index", || {
        let reason = runner.trigger("user")["state_reason"].as_str().unwrap_or_default().to_owned();
        reason.contains("its new environment is being built").then_some(())
    });
    load.until_answered(ANSWERS);
    index.close(false);
    until("the new code answers", || (runner.engine("user").text() == "next 2.0").then_some(()));
    let answers = load.stop().remove(0);
    let old = answers.iter().take_while(|answer| **answer == (200, "1.0".to_owned())).count();
    assert!(old >= ANSWERS, "the old code answers until the new one can: {answers:?}");
    assert!(answers[old..].iter().all(|answer| *answer == (200, "next 2.0".to_owned())), "{answers:?}");
}

#[test]
fn a_file_that_is_edited_in_its_place_is_called_as_it_was_until_its_packages_are_there() {
    let World { runner, index, _wheels } = world(&asking_for("tiny==1.0"), "request:user", |trigger| trigger);
    runner.engine("user").is(200, "1.0");
    index.close(true);
    let asked = index.asked().len();
    runner.plugin("user.py", NEXT);
    until("the tool waits for the index", || {
        runner.engine("user").is(200, "1.0");
        (index.asked().len() > asked).then_some(())
    });
    for _ in 0..20 {
        runner.engine("user").is(200, "1.0");
    }
    index.close(false);
    let mut last = String::new();
    until("the new code is called", || {
        let answer = runner.engine("user");
        assert!(answer.status == 200 && ["1.0", "next 2.0"].contains(&&*answer.text()), "{}", answer.text());
        assert!(last != "next 2.0" || answer.text() == last, "the old code is not called again");
        last = answer.text();
        (last == "next 2.0").then_some(())
    });
    // What asks for nothing else is called at once.
    runner.plugin("user.py", &NEXT.replace("next", "then"));
    runner.engine("user").is(200, "then 2.0");
}
