//! Batches that a disk has damaged in the journal, after they were acknowledged.

use nix::sys::signal::Signal;

use super::client::{all_tables, derive, trigger, with_arguments};
use super::{Delegation, make_file, rows, text, until_file};
use crate::world::until_true;

/// A value by which a batch is found in the file.
const TELLING: f64 = 987_654.321;

/// A runner that stopped in a call, with three batches of one database and one of another in its journal, and the file that lets
/// the calls end.
async fn stopped(signal: Signal) -> (Delegation, std::path::PathBuf) {
    let mut delegation = Delegation::start_with(&["--shutdown-timeout", "100ms"]);
    let mut client = delegation.client().await;
    let [started, other_started, gate] = ["started", "other_started", "gate"].map(|file| delegation.file(file));
    let gated = |started| [("started", text(started)), ("gate", text(&gate))];
    client.create(with_arguments(trigger("gated", derive(), all_tables()), &gated(&started))).await;
    let mut neighbour = with_arguments(trigger("neighbour", derive(), all_tables()), &gated(&other_started));
    neighbour.name = "databases/other/triggers/neighbour".to_owned();
    client.create(neighbour).await;
    let mut stream = client.stream().await;
    for (sequence, value) in [(1, 1.0), (2, TELLING), (3, 3.0)] {
        stream.send(rows::commit("db", sequence, "weather", &[value])).await;
    }
    stream.acks_up_to("db", 3).await;
    for sequence in [1, 2] {
        stream.send(rows::commit("other", sequence, "weather", &[5.0])).await;
    }
    stream.acks_up_to("other", 2).await;
    until_file(&started).await;
    until_file(&other_started).await;
    delegation.runner.signal(signal);
    delegation.runner.wait();
    (delegation, gate)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_batch_is_set_aside_and_told_and_all_others_arrive() {
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let (mut delegation, gate) = stopped(signal).await;
        let damaged = delegation.runner.damage_journal(&TELLING.to_le_bytes());
        delegation.runner.restart();
        make_file(&gate);
        delegation.host.until_applied(4);
        let mut lines = delegation.host.lines();
        lines.sort();
        let derived = |total: f64| format!("derived,source=weather,by=- rows=1i,total={total:?},text=0i");
        assert_eq!(lines, [1.0, 3.0, 5.0, 5.0].map(derived));
        until_true("it is told", || delegation.runner.stderr().contains("1 commits were not delivered"));
        let told = delegation.runner.stderr();
        for words in [
            "it was damaged and is in `",
            "the rows of 1 are lost",
            "the rows of `spool/db/00000000000000000002` were damaged",
            "batch 2 is not in the journal",
        ] {
            assert!(told.contains(words), "{words}:\n{told}");
        }
        let kept = delegation.runner.node_dir().join("quarantine/journal-1.redb");
        assert!(std::fs::read(kept).unwrap() == damaged, "as it was found");
        delegation.runner.stop_leaving_nothing();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_whose_positions_are_damaged_refuses_the_start() {
    let (delegation, _) = stopped(Signal::SIGTERM).await;
    let damaged = delegation.runner.damage_journal(b"spool-head\x1fdb");
    let finished = delegation.runner.start_in_vain();
    assert_eq!(finished.code, Some(1), "{}", finished.stderr);
    assert!(finished.stderr.contains("journal.redb is damaged: "), "{}", finished.stderr);
    assert!(finished.stderr.contains("restore it from a backup of the whole node directory"), "{}", finished.stderr);
    let journal = std::fs::read(delegation.runner.node_dir().join("journal.redb")).unwrap();
    assert!(journal == damaged, "nothing has changed");
}
