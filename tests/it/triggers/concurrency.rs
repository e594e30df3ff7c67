//! Synchronous triggers run one invocation at a time, asynchronous ones several.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::world::{Request, TestRunner, Trigger, until};

const NAP: &str = "\
import os, time, uuid
def process_request(api, query, headers, body, args=None):
    time.sleep(float(query['seconds']))
    return os.environ.setdefault('LIFE', uuid.uuid4().hex)
";

/// Makes `count` requests at once and returns the texts and the time that they took together.
fn at_once(runner: &TestRunner, path: &str, count: usize) -> (Vec<String>, Duration) {
    let begun = Instant::now();
    let requests: Vec<_> = (0..count)
        .map(|_| {
            let (client, path) = (runner.client(), path.to_owned());
            std::thread::spawn(move || client.engine(&path))
        })
        .collect();
    let answers = requests.into_iter().map(|request| {
        let answer = request.join().unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.text()
    });
    (answers.collect(), begun.elapsed())
}

#[test]
fn requests_of_an_asynchronous_trigger_overlap_and_those_of_a_synchronous_one_do_not() {
    let runner = TestRunner::start();
    runner.plugin("nap.py", NAP);
    runner.create(&Trigger::new("sync", "nap.py", "request:sync"));
    runner.create(&Trigger::new("async", "nap.py", "request:async").run_async());
    // Workers are started by need; the measured calls find theirs.
    at_once(&runner, "async?seconds=0.5", 4);
    at_once(&runner, "sync?seconds=0", 1);

    let (pids, together) = at_once(&runner, "sync?seconds=0.5", 4);
    assert!(together >= Duration::from_secs(2), "{together:?}");
    assert!(pids.iter().all(|pid| *pid == pids[0]), "one worker: {pids:?}");

    let (mut pids, together) = at_once(&runner, "async?seconds=0.5", 4);
    assert!(together < Duration::from_millis(1800), "{together:?}");
    pids.sort();
    pids.dedup();
    assert_eq!(pids.len(), 4, "a worker each");
}

#[test]
fn an_asynchronous_trigger_has_as_many_workers_as_the_operator_allows() {
    let runner = TestRunner::start_with(&["--async-trigger-concurrency-limit", "2"]);
    runner.plugin("nap.py", NAP);
    runner.create(&Trigger::new("async", "nap.py", "request:async").run_async());
    let (mut pids, together) = at_once(&runner, "async?seconds=0.3", 6);
    pids.sort();
    pids.dedup();
    assert_eq!(pids.len(), 2);
    assert!(together >= Duration::from_millis(900), "{together:?}");
}

#[test]
fn batches_of_a_synchronous_trigger_come_in_order_and_those_of_an_asynchronous_one_overlap() {
    let runner = TestRunner::start();
    let code = "\
import time
def process_writes(api, batches, args=None):
    for row in batches[0]['rows']:
        api.info('begin', row['v'])
        time.sleep(1 if args and row['v'] == 1 else 0)
        api.info('end', row['v'])
";
    runner.plugin("order.py", code);
    runner.create(&Trigger::new("sync", "order.py", "table:m"));
    runner.create(
        &Trigger::new("async", "order.py", "table:m").run_async().arguments(serde_json::json!({ "slow": "1" })),
    );
    for number in 1..=5 {
        runner.write(&format!("m v={number} {number}"));
    }
    let said = |trigger: &str| -> Vec<String> {
        let is_ours = |line: &String| line.starts_with("INFO begin") || line.starts_with("INFO end");
        runner.logs(trigger).into_iter().filter(is_ours).collect()
    };
    for trigger in ["sync", "async"] {
        until("all batches are done", || {
            let lines = said(trigger);
            if lines.len() == 10 { Ok(()) } else { Err(format!("{lines:?}")) }
        });
    }
    let in_order: Vec<String> =
        (1..=5).flat_map(|n| [format!("INFO begin {n}.0"), format!("INFO end {n}.0")]).collect();
    assert_eq!(said("sync"), in_order);
    let overlapping = said("async");
    let place = |text: &str| overlapping.iter().position(|line| line == text).unwrap();
    assert!(place("INFO end 2.0") < place("INFO end 1.0"), "{overlapping:?}");
}

#[test]
fn a_slow_trigger_delays_neither_its_neighbours_nor_writes() {
    let runner = TestRunner::start();
    runner.plugin("nap.py", NAP);
    runner.plugin("slow.py", "import time\ndef process_writes(api, batches, args=None):\n    time.sleep(1000)\n");
    runner.plugin("copy.py", super::COPY);
    runner.create(&Trigger::new("slow", "slow.py", "table:m"));
    runner.create(&Trigger::new("copy", "copy.py", "table:m"));
    runner.create(&Trigger::new("nap", "nap.py", "request:nap"));
    for number in 1..=100 {
        runner.write(&format!("m v={number} {number}"));
    }
    runner.until_count("m_seen", 100);
    assert_eq!(runner.engine("nap?seconds=0").status, 200);
    let begun = Instant::now();
    runner.switch("disable", "slow").is(200, "");
    runner.delete("slow", false).is(200, "");
    assert!(begun.elapsed() < Duration::from_secs(20), "an endless run holds no change up: {:?}", begun.elapsed());
}

#[test]
fn a_request_that_waits_too_long_for_its_turn_is_told_so_and_delays_nobody() {
    let runner = TestRunner::start_with(&["--request-queue-timeout", "300ms"]);
    runner.fixture("gate.py");
    runner.plugin("nap.py", NAP);
    runner.create(&Trigger::new("gate", "gate.py", "request:gate").setting("allow_read", serde_json::json!(["."])));
    runner.create(&Trigger::new("nap", "nap.py", "request:nap"));
    let client = runner.client();
    let first = std::thread::spawn(move || client.engine("gate"));
    runner.until_logged("gate", "INFO waiting");
    let waiting: Vec<_> = (0..20)
        .map(|_| {
            let client = runner.client();
            std::thread::spawn(move || client.engine("gate"))
        })
        .collect();
    assert_eq!(runner.engine("nap?seconds=0").status, 200, "another trigger is not held up");
    for answer in waiting {
        answer.join().unwrap().contains(504, "waited 300ms for its turn in vain");
    }
    std::fs::write(runner.plugin_dir().join("go"), "").unwrap();
    first.join().unwrap().is(200, "gone through");
    runner.engine("gate").is(200, "gone through");
}

#[test]
fn a_thousand_requests_for_one_slow_trigger_do_not_delay_another_and_those_beyond_its_limit_are_turned_away() {
    let runner = TestRunner::start();
    runner.fixture("gate.py");
    runner.plugin("nap.py", NAP);
    runner.create(&Trigger::new("gate", "gate.py", "request:gate").setting("allow_read", serde_json::json!(["."])));
    runner.create(&Trigger::new("nap", "nap.py", "request:nap"));
    assert_eq!(runner.engine("nap?seconds=0").status, 200);
    let request = Request::new("GET", "/api/v3/engine/gate").encode(runner.client().address());
    let ask = || {
        let mut stream = runner.client().connect().unwrap();
        stream.write_all(&request).unwrap();
        stream
    };
    // As many as may wait or run, then those that are too many.
    let waiting: Vec<TcpStream> = (0..256).map(|_| ask()).collect();
    let under_way = || {
        let text = runner.get("/metrics").text();
        let line = text.lines().find(|line| line.contains("bulkhead_trigger_requests{") && line.contains("\"gate\""));
        line.map(|line| line.rsplit(' ').next().unwrap().to_owned())
    };
    until("all of them are under way", || match under_way() {
        Some(count) if count == "256" => Ok(()),
        other => Err(format!("{other:?}")),
    });
    for _ in 0..744 {
        let answer = runner.engine("gate");
        answer.contains(503, "trigger 'gate' has 256 requests waiting, which is the limit `request_queue_max`");
        assert_eq!(answer.header("retry-after"), "1");
    }
    let begun = Instant::now();
    assert_eq!(runner.engine("nap?seconds=0").status, 200);
    assert!(begun.elapsed() < Duration::from_secs(5), "another trigger is not held up: {:?}", begun.elapsed());
    // Clients that go away cancel what they asked for; the rest is served.
    let mut waiting = waiting.into_iter();
    let mut first = waiting.next().unwrap();
    drop(waiting);
    until("nobody else waits", || match under_way() {
        Some(count) if count == "1" => Ok(()),
        other => Err(format!("{other:?}")),
    });
    std::fs::write(runner.plugin_dir().join("go"), "").unwrap();
    let mut answer = String::new();
    first.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("gone through"), "{answer}");
    runner.stop_leaving_nothing();
}
