//! Disks that lie or are full.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;

use crate::world::{Client, DB, TestRunner};

/// The newest segment of the write-ahead log.
fn last_segment(runner: &TestRunner) -> PathBuf {
    let files = fs::read_dir(runner.node_dir().join("wal")).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "wal")).max().expect("a segment")
}

fn written(rows: u64) -> TestRunner {
    let mut runner = TestRunner::start();
    for number in 1..=rows {
        runner.write(&format!("m v={number} {number}"));
    }
    runner.kill();
    runner
}

#[test]
fn a_torn_end_of_the_log_is_cut_off_with_a_warning() {
    let mut runner = written(20);
    let segment = last_segment(&runner);
    OpenOptions::new().append(true).open(&segment).unwrap().write_all(&[0xAB; 100]).unwrap();
    runner.restart();
    let warning = "the WAL ends in the middle of an entry, which was never acknowledged; cutting it off";
    assert!(runner.stderr().contains(warning), "{}", runner.stderr());
    assert_eq!(runner.count("m"), 20);
    runner.write("m v=21 21");
    runner.kill();
    runner.restart();
    assert_eq!(runner.count("m"), 21);
}

#[test]
fn an_entry_that_was_half_written_is_lost_alone() {
    let mut runner = written(20);
    let segment = last_segment(&runner);
    let file = OpenOptions::new().write(true).open(&segment).unwrap();
    file.set_len(file.metadata().unwrap().len() - 3).unwrap();
    runner.restart();
    assert!(runner.stderr().contains("cutting it off"), "{}", runner.stderr());
    let rows = runner.query("SELECT v FROM m ORDER BY v");
    let expected: Vec<_> = (1..=19).map(|v| serde_json::json!({ "v": f64::from(v) })).collect();
    assert_eq!(rows, expected);
    runner.write("m v=20 20");
    assert_eq!(runner.count("m"), 20);
}

#[test]
fn a_full_disk_refuses_writes_with_the_reason_and_nothing_else() {
    let mut runner = TestRunner::start();
    let batch = |number: u64| {
        let lines = (0..500).map(|row| {
            format!("m v={number},s=\"{:016x}{:016x}\" {}", fastrand::u64(..), fastrand::u64(..), number * 1000 + row)
        });
        lines.collect::<Vec<_>>().join("\n")
    };
    runner.write(&batch(1));
    runner.stop();
    // No file of this process grows beyond 1 MiB; the write then fails as on a full disk.
    runner.restart_as(Vec::new(), Some("trap '' XFSZ; ulimit -S -f 2048"));
    let mut accepted = 1;
    let refusal = loop {
        assert!(accepted < 1000, "no write was refused");
        let answer = runner.send(&Client::write_request(DB, &batch(accepted + 1)));
        if answer.status != 204 {
            break answer;
        }
        accepted += 1;
    };
    refusal.contains(500, "cannot store the write: ");
    assert!(refusal.text().contains("File too large"), "{}", refusal.text());
    runner.get("/health").is(200, "OK");
    assert_eq!(runner.count("m"), accepted * 500);

    runner.kill();
    runner.restart_as(Vec::new(), None);
    assert_eq!(runner.count("m"), accepted * 500);
    runner.write("m v=1 1");
    assert_eq!(runner.count("m"), accepted * 500 + 1);
}
