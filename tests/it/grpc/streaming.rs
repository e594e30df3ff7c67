//! WAL batches: what plugins see of them, and when they are acknowledged.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, UNIX_EPOCH};

use bulkhead_proto::host::v1::WriteRequest;
use bulkhead_proto::types::v1::{TableBatch, WalBatch};
use nix::sys::signal::Signal;
use tonic::Code;

use super::client::{all_tables, derive, name, one_table, trigger, with_arguments};
use super::host::lines;
use super::{Delegation, connect, make_file, rows, soon, text, until_file};
use crate::world::{Setup, until_true};

/// A derived line.
fn derived(source: &str, by: &str, count: usize, total: f64) -> String {
    format!("derived,source={source},by={by} rows={count}i,total={total:?},text=0i")
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_reach_their_triggers_and_what_these_write_reaches_the_host() {
    let delegation = Delegation::start();
    let mut client = delegation.client().await;
    let named = |trigger_name, kind| with_arguments(trigger(trigger_name, derive(), kind), &[("name", trigger_name)]);
    client.create(named("all", all_tables())).await;
    client.create(named("one", one_table("weather"))).await;
    let mut elsewhere = named("elsewhere", all_tables());
    elsewhere.name = "databases/other/triggers/elsewhere".to_owned();
    client.create(elsewhere).await;

    let before = UNIX_EPOCH.elapsed().unwrap();
    let mut stream = client.stream().await;
    stream
        .send(WalBatch {
            database: "db".to_owned(),
            wal_sequence: 7,
            tables: vec![
                rows::table("weather", &rows::values(&[1.0, 2.0])),
                rows::table("traffic", &rows::values(&[5.0])),
                rows::table("weather", &rows::values(&[3.5])),
            ],
        })
        .await;
    assert_eq!(stream.acks_up_to("db", 7).await, [7]);
    let after = UNIX_EPOCH.elapsed().unwrap();

    delegation.host.until_applied(2);
    let mut applied = delegation.host.applied();
    applied.sort_by(|a, b| a.trigger.cmp(&b.trigger));
    let writers: Vec<&str> = applied.iter().map(|write| write.trigger.as_str()).collect();
    assert_eq!(writers, ["databases/db/triggers/all", "databases/db/triggers/one"]);
    let both = [derived("weather", "all", 3, 6.5), derived("traffic", "all", 1, 5.0)];
    assert_eq!(lines(&applied[0]), both);
    assert_eq!(lines(&applied[1]), [derived("weather", "one", 3, 6.5)]);
    assert!(!applied[0].idempotency_key.is_empty());
    assert_ne!(applied[0].idempotency_key, applied[1].idempotency_key);
    for write in &applied {
        assert_eq!(write.batches.len(), 1);
        assert_eq!(write.batches[0].database, "db");
        assert!(!write.no_sync);
        let time = default_time(write);
        assert!(before <= time && time <= after, "{time:?}");
    }
    assert_eq!(applied[0].default_time, applied[1].default_time);
}

/// The time that lines without one get.
fn default_time(write: &WriteRequest) -> Duration {
    let time = write.default_time.expect("a default time");
    Duration::new(u64::try_from(time.seconds).unwrap(), u32::try_from(time.nanos).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_acknowledged_when_it_is_durable_however_slow_its_triggers_are() {
    let delegation = Delegation::start();
    let mut client = delegation.client().await;
    let [started, gate] = ["started", "gate"].map(|file| delegation.file(file));
    let slow = [("name", "slow"), ("started", text(&started)), ("gate", text(&gate))];
    client.create(with_arguments(trigger("slow", derive(), one_table("weather")), &slow)).await;
    client.create(with_arguments(trigger("fast", derive(), all_tables()), &[("name", "fast")])).await;
    let mut stream = client.stream().await;
    for sequence in [3, 4, 10] {
        stream.send(rows::commit("db", sequence, "weather", &[sequence as f64])).await;
    }
    stream.acks_up_to("db", 10).await;
    // The fast one is done with all of them and the slow one is at work on the first.
    for sequence in [3, 4, 10] {
        let line = derived("weather", "fast", 1, f64::from(sequence));
        delegation.host.until_written(|written| written == line);
    }
    until_file(&started).await;
    assert!(delegation.host.applied().iter().all(|write| write.trigger == "databases/db/triggers/fast"));

    make_file(&gate);
    until_true("the slow one is done", || delegation.host.applied().len() == 6);
    let by_slow: Vec<String> = delegation.host.lines().into_iter().filter(|line| line.contains("by=slow")).collect();
    assert_eq!(by_slow, [3.0, 4.0, 10.0].map(|total| derived("weather", "slow", 1, total)));
    let keys: BTreeSet<String> = delegation.host.applied().into_iter().map(|write| write.idempotency_key).collect();
    assert_eq!(keys.len(), 6, "each invocation has a key of its own");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_trigger_waits_for_is_acknowledged() {
    let delegation = Delegation::start();
    let mut client = delegation.client().await;
    let mut stream = client.stream().await;
    // No trigger at all.
    stream.send(rows::commit("db", 1, "weather", &[1.0])).await;
    assert_eq!(stream.ack().await, ("db".to_owned(), 1));
    // No trigger for this table, for this database, or for a commit without rows.
    client.create(trigger("one", derive(), one_table("traffic"))).await;
    stream.send(rows::commit("db", 2, "weather", &[1.0])).await;
    assert_eq!(stream.ack().await, ("db".to_owned(), 2));
    stream.send(rows::commit("other", 1, "traffic", &[1.0])).await;
    assert_eq!(stream.ack().await, ("other".to_owned(), 1));
    stream.send(rows::commit("db", 3, "traffic", &[])).await;
    assert_eq!(stream.ack().await, ("db".to_owned(), 3));
    stream.send(WalBatch { database: "db".to_owned(), wal_sequence: 4, tables: Vec::new() }).await;
    assert_eq!(stream.ack().await, ("db".to_owned(), 4));
    assert!(delegation.host.attempted().is_empty());
    // Batches that are open when the host has said its last are acknowledged before the stream ends.
    stream.send(rows::commit("db", 5, "traffic", &[1.0])).await;
    stream.end();
    assert_eq!(stream.ack().await, ("db".to_owned(), 5));
    assert_eq!(stream.next().await.expect("an orderly end"), None);
    delegation.host.until_applied(1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_plugin_and_a_deleted_trigger_leave_nothing_behind() {
    let delegation = Delegation::start();
    let mut client = delegation.client().await;
    client.create(with_arguments(trigger("failing", derive(), all_tables()), &[("fail", "yes")])).await;
    let mut stream = client.stream().await;
    stream.send(rows::commit("db", 1, "weather", &[1.0])).await;
    assert_eq!(stream.ack().await, ("db".to_owned(), 1));
    until_true("it fails", || delegation.runner.stderr().contains("asked to fail"));

    let [started, gate] = ["started", "gate"].map(|file| delegation.file(file));
    let blocked = [("started", text(&started)), ("gate", text(&gate))];
    client.create(with_arguments(trigger("blocked", derive(), all_tables()), &blocked)).await;
    stream.send(rows::commit("db", 2, "weather", &[1.0])).await;
    assert_eq!(stream.ack().await, ("db".to_owned(), 2));
    until_file(&started).await;
    client.try_delete(&name("blocked"), true, None).await.expect("by force");
    assert!(delegation.host.attempted().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_breaks_the_rules_is_ended_and_the_runner_goes_on() {
    let delegation = Delegation::start();
    let mut client = delegation.client().await;
    client.create(trigger("all", derive(), all_tables())).await;
    let good = rows::commit("db", 5, "weather", &[1.0]);
    let broken = |bytes: &[u8]| WalBatch {
        database: "db".to_owned(),
        wal_sequence: 6,
        tables: vec![TableBatch { table: "weather".to_owned(), arrow_ipc_stream: bytes.to_vec().into() }],
    };
    let whole = rows::ipc(&rows::values(&[1.0, 2.0]));
    let half = &whole[..whole.len() / 2];
    for (what, bad) in [
        ("does not follow 5", rows::commit("db", 5, "weather", &[1.0])),
        ("does not follow 5", rows::commit("db", 4, "weather", &[1.0])),
        ("names no database", rows::commit("", 6, "weather", &[1.0])),
        ("rows of table `weather` cannot be read", broken(b"")),
        ("rows of table `weather` cannot be read", broken(b"no Arrow at all, but long enough to look at")),
        ("rows of table `weather` cannot be read", broken(half)),
    ] {
        let mut stream = client.stream().await;
        stream.send(good.clone()).await;
        assert_eq!(stream.ack().await, ("db".to_owned(), 5));
        stream.send(bad).await;
        let status = stream.next().await.expect_err(what);
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert!(status.message().contains(what), "{status}");
    }
    // Every database counts for itself.
    let mut stream = client.stream().await;
    stream.send(rows::commit("db", 9, "weather", &[1.0])).await;
    stream.send(rows::commit("other", 2, "weather", &[1.0])).await;
    stream.send(rows::commit("db", 10, "weather", &[1.0])).await;
    let mut last = BTreeMap::new();
    while last.get("db") != Some(&10) {
        let (database, sequence) = stream.ack().await;
        last.insert(database, sequence);
    }
    assert_eq!(last.get("other"), Some(&2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_larger_than_one_message_to_the_worker_arrives_whole() {
    let delegation = Delegation::start();
    let mut client = delegation.client().await;
    client.create(trigger("all", derive(), all_tables())).await;
    let (count, text_bytes) = (30_000, 1_000);
    let wide = rows::wide(count, text_bytes);
    let text_total: usize = (0..count).map(|row| text_bytes + row % 7).sum();
    let batch = WalBatch { database: "db".to_owned(), wal_sequence: 1, tables: vec![rows::table("wide", &wide)] };
    assert!(batch.tables[0].arrow_ipc_stream.len() > 3 * bulkhead_proto::transport::PAYLOAD_PART_BYTES);
    let mut stream = client.stream().await;
    stream.send(batch).await;
    stream.acks_up_to("db", 1).await;
    delegation.host.until_applied(1);
    let expected = format!("derived,source=wide,by=- rows={count}i,total={:?},text={text_total}i", count as f64);
    assert_eq!(delegation.host.lines(), [expected]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledged_batch_outlives_streams_and_runners_and_runs_once_however_often_it_is_sent() {
    let mut delegation = Delegation::start();
    let mut client = delegation.client().await;
    let [started, gate] = ["started", "gate"].map(|file| delegation.file(file));
    let arguments = [("started", text(&started)), ("gate", text(&gate))];
    client.create(with_arguments(trigger("gated", derive(), all_tables()), &arguments)).await;
    let batch = |number: u64| rows::commit("db", number, "weather", &[number as f64]);

    // The stream is lost while the plugin is at work. A new one takes the same batch again.
    let mut stream = client.stream().await;
    stream.send(batch(1)).await;
    assert_eq!(stream.ack().await, ("db".to_owned(), 1));
    until_file(&started).await;
    drop((stream, client));
    let mut client = delegation.client().await;
    let mut stream = client.stream().await;
    stream.send(batch(1)).await;
    assert_eq!(stream.ack().await, ("db".to_owned(), 1));
    make_file(&gate);
    delegation.host.until_applied(1);

    // The runner is lost while the plugin is at work. Nobody sends the batch again.
    std::fs::remove_file(&gate).unwrap();
    std::fs::remove_file(&started).unwrap();
    stream.send(batch(2)).await;
    stream.send(batch(3)).await;
    stream.acks_up_to("db", 3).await;
    until_file(&started).await;
    delegation.runner.kill();
    delegation.runner.restart();
    make_file(&gate);
    delegation.host.until_applied(3);

    // Or a host that did not see the acknowledgements does.
    let mut client = delegation.client().await;
    let mut stream = client.stream().await;
    for number in 2..=4 {
        stream.send(batch(number)).await;
    }
    stream.acks_up_to("db", 4).await;
    delegation.host.until_applied(4);
    let expected = [1.0, 2.0, 3.0, 4.0].map(|total| derived("weather", "-", 1, total));
    assert_eq!(delegation.host.lines(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_stopping_runner_has_acknowledged_is_done_by_the_next_one() {
    for arguments in [&[][..], &["--shutdown-timeout", "100ms"]] {
        let mut delegation = Delegation::start_with(arguments);
        let mut client = delegation.client().await;
        let [started, gate] = ["started", "gate"].map(|file| delegation.file(file));
        let blocked = [("started", text(&started)), ("gate", text(&gate))];
        client.create(with_arguments(trigger("gated", derive(), all_tables()), &blocked)).await;
        let mut stream = client.stream().await;
        for sequence in [1, 2, 3] {
            stream.send(rows::commit("db", sequence, "weather", &[sequence as f64])).await;
        }
        stream.acks_up_to("db", 3).await;
        until_file(&started).await;
        delegation.runner.signal(Signal::SIGTERM);
        until_true("the runner is stopping", || delegation.runner.stderr().contains("stopping"));
        let is_drained = arguments.is_empty();
        if is_drained {
            make_file(&gate);
        }
        if let Ok(Some(ack)) = stream.next().await {
            panic!("nothing is left to acknowledge: {ack:?}");
        }
        delegation.runner.wait();
        assert!(is_drained || delegation.host.attempted().is_empty(), "a cancelled call leaves nothing behind");
        delegation.runner.restart();
        make_file(&gate);
        delegation.host.until_applied(3);
        let expected = [1.0, 2.0, 3.0].map(|total| derived("weather", "-", 1, total));
        assert_eq!(delegation.host.lines(), expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_trigger_holds_no_acknowledgement() {
    let delegation = Delegation::start();
    let mut client = delegation.client().await;
    let [started, gate] = ["started", "gate"].map(|file| delegation.file(file));
    let arguments = [("started", text(&started)), ("gate", text(&gate))];
    client.create(with_arguments(trigger("slow", derive(), all_tables()), &arguments)).await;
    let mut stream = client.stream().await;
    // More than a stream has under way at a time.
    for number in 1..=500 {
        stream.send(rows::commit("db", number, "weather", &[number as f64])).await;
        assert_eq!(stream.ack().await, ("db".to_owned(), number));
    }
    until_file(&started).await;
    make_file(&gate);
    delegation.host.until_applied(500);
    let expected: Vec<String> = (1..=500).map(|number| derived("weather", "-", 1, f64::from(number))).collect();
    assert_eq!(delegation.host.lines(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runner_that_keeps_the_data_itself_takes_no_stream() {
    let setup = Setup::new();
    let socket = super::socket_of(setup.root());
    let runner = setup.args(&["--grpc-bind", &format!("unix:{}", socket.display())]).start();
    let mut client = connect(&socket).await;
    let Err(status) = client.try_stream().await else { panic!("the stream was taken") };
    assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
    assert!(status.message().contains("--host grpc"), "{status}");
    // Triggers can be made over gRPC all the same, in databases that are there.
    let (code, message) = client.refusal(trigger("x", derive(), all_tables())).await;
    assert_eq!(code, Code::NotFound, "{message}");
    runner.create_database("db");
    client.create(trigger("x", derive(), all_tables())).await;
    runner.write("weather value=2");
    soon("the derived row", async {
        while runner.count("derived") == 0 {
            tokio::task::yield_now().await
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_of_the_journal_holds_batches_back_until_the_trigger_has_caught_up() {
    let delegation = Delegation::start_with(&["--journal-bytes-max", "5000", "--journal-overflow", "pause"]);
    let mut client = delegation.client().await;
    let [started, gate] = ["started", "gate"].map(|file| delegation.file(file));
    let arguments = [("started", text(&started)), ("gate", text(&gate))];
    client.create(with_arguments(trigger("slow", derive(), all_tables()), &arguments)).await;
    let mut stream = client.stream().await;
    let mut number = 0;
    while !delegation.runner.stderr().contains("writes of database db are paused until trigger db/slow has caught up") {
        number += 1;
        assert!(number < 100_000, "it is never paused");
        stream.send(rows::commit("db", number, "weather", &[number as f64])).await;
        // The one that is held has no acknowledgement.
        if tokio::time::timeout(Duration::from_secs(3), stream.ack()).await.is_err() {
            break;
        }
    }
    let stderr = delegation.runner.stderr();
    assert!(stderr.contains("the limit `journal_bytes_max` is 5000"), "{stderr}");
    until_file(&started).await;
    make_file(&gate);
    stream.send(rows::commit("db", number + 1, "weather", &[1.0])).await;
    stream.acks_up_to("db", number + 1).await;
    delegation.host.until_applied(usize::try_from(number + 1).unwrap());
    until_true("it is taken in again", || delegation.runner.stderr().contains("are taken in again"));
}
