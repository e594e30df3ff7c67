//! Disks that are slow, full, read-only or broken, and a runner without descriptors: what is refused is refused with its reason, the
//! rest goes on, and all is well again without a restart.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::world::{Client, DB, Disk, DiskFault, Setup, TestRunner, Trigger, until, until_true, with_disk};

/// A runner with a trigger on writes and one on requests, which has nothing to do with the disk.
fn world() -> (TestRunner, Disk) {
    let (runner, disk) = with_disk(&[]);
    runner.fixture("once.py");
    runner.fixture("neighbour.py");
    runner.create(&Trigger::new("once", "once.py", "table:m").arguments(json!({ "target": "done" })));
    runner.create(&Trigger::new("neighbour", "neighbour.py", "request:neighbour"));
    runner.write("m v=1 1");
    runner.until_count("done", 1);
    assert_eq!(runner.engine("neighbour").status, 200);
    (runner, disk)
}

/// Writes are refused for this reason while everything that needs no disk goes on; afterwards all is well again.
fn refuses_and_recovers(fault: DiskFault, reason: &str) {
    let (mut runner, disk) = world();
    let neighbour = runner.engine("neighbour").text();
    disk.fails(fault);
    for number in 2..5 {
        let answer = runner.send(&Client::write_request(DB, &format!("m v={number} {number}")));
        answer.contains(500, "cannot store the write: ");
        answer.contains(500, reason);
        runner.engine("neighbour").is(200, &neighbour);
    }
    assert_eq!((runner.count("m"), runner.count("done")), (1, 1));
    disk.recovers();
    runner.write("m v=5 5");
    runner.until_count("done", 2);
    assert_eq!(runner.count("m"), 2, "what was refused is not there");
    runner.engine("neighbour").is(200, &neighbour);
    runner.kill();
    runner.restart();
    runner.write("m v=6 6");
    runner.until_count("done", 3);
    assert_eq!(runner.count("m"), 3);
    runner.stop_leaving_nothing();
}

#[test]
fn a_full_disk() {
    refuses_and_recovers(DiskFault::Full, "No space left on device");
}

#[test]
fn a_disk_that_became_read_only() {
    refuses_and_recovers(DiskFault::ReadOnly, "Read-only file system");
}

#[test]
fn a_disk_that_takes_writes_and_does_not_keep_them() {
    refuses_and_recovers(DiskFault::FailingSync, "Input/output error");
}

#[test]
fn what_a_call_wrote_waits_for_a_full_disk_and_is_there_once() {
    let (runner, disk) = with_disk(&[]);
    runner.fixture("gate.py");
    runner.fixture("neighbour.py");
    runner.create(&Trigger::new("gate", "gate.py", "table:m").setting("allow_read", json!(["."])));
    runner.create(&Trigger::new("neighbour", "neighbour.py", "request:neighbour"));
    let neighbour = runner.engine("neighbour").text();
    runner.write("m v=1 1");
    runner.until_logged("gate", "INFO waiting");
    disk.fails(DiskFault::Full);
    std::fs::write(runner.plugin_dir().join("go"), "").unwrap();
    let reason = runner.until_state("gate", "failed");
    assert!(reason.contains("its writes wait for the host: cannot store the write"), "{reason}");
    runner.engine("neighbour").is(200, &neighbour);
    disk.recovers();
    runner.until_count("through", 1);
    runner.until_state("gate", "active");
    runner.stop_leaving_nothing();
}

#[test]
fn a_slow_disk_delays_what_has_to_be_durable_and_nothing_else() {
    let (runner, disk) = world();
    disk.fails(DiskFault::SlowSync(400));
    let client = runner.client();
    let writer = std::thread::spawn(move || {
        let begun = Instant::now();
        (2..6).for_each(|number| client.write(&format!("m v={number} {number}")));
        begun.elapsed()
    });
    let mut slowest = Duration::ZERO;
    while !writer.is_finished() {
        let begun = Instant::now();
        assert_eq!(runner.engine("neighbour").status, 200);
        slowest = slowest.max(begun.elapsed());
    }
    let written = writer.join().unwrap();
    assert!(written >= Duration::from_millis(1600), "an acknowledgement waits for the disk: {written:?}");
    assert!(slowest < Duration::from_millis(1600), "a request does not: {slowest:?}");
    disk.recovers();
    runner.until_count("done", 5);
    runner.stop_leaving_nothing();
}

#[test]
fn without_free_descriptors_what_runs_goes_on_and_clients_are_served_when_there_are_some_again() {
    let runner = Setup::new().shell("ulimit -n 80").start();
    runner.create_database(DB);
    runner.fixture("once.py");
    runner.create(&Trigger::new("tick", "once.py", "every:100ms").arguments(json!({ "target": "ticks" })));
    until_true("it ticks", || runner.count("ticks") >= 2);
    // More connections than the runner may have; those beyond it wait in the kernel.
    let held: Vec<TcpStream> = (0..100).filter_map(|_| TcpStream::connect(runner.client().address()).ok()).collect();
    let descriptors = || std::fs::read_dir(format!("/proc/{}/fd", runner.pid())).unwrap().count();
    until("the runner has no descriptor left", || {
        let count = descriptors();
        if count >= 78 { Ok(()) } else { Err(count.to_string()) }
    });
    let before = chrono::Utc::now().naive_utc() + chrono::TimeDelta::milliseconds(300);
    until("time passes", || (chrono::Utc::now().naive_utc() > before).then_some(()));
    drop(held);
    let time = before.format("%Y-%m-%dT%H:%M:%S%.6f");
    let sql = format!("SELECT at FROM ticks WHERE at < '{time}' ORDER BY at DESC LIMIT 1");
    let last = until("clients are served again", || match runner.client().try_get_rows(&sql) {
        Some(rows) if !rows.is_empty() => Ok(rows[0]["at"].as_str().unwrap().to_owned()),
        other => Err(format!("{other:?}")),
    });
    let last: chrono::NaiveDateTime = last.parse().unwrap();
    assert!(before - last < chrono::TimeDelta::seconds(1), "the trigger went on: {last} {before}");
    runner.stop_leaving_nothing();
}
