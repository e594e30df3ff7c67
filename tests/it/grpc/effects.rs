//! What plugins write, on a host that is well.

use std::collections::BTreeSet;

use tonic::Status;

use super::Delegation;
use super::client::{every, json, path, request, response, seconds, sent, tick, trigger};
use super::host::{Reply, lines};
use crate::world::until_true;

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_runs_and_writes_to_the_host() {
    let delegation = Delegation::start();
    let mut client = delegation.client().await;
    client.create(trigger("t", tick(), every(seconds(1)))).await;
    until_true("three ticks are written", || delegation.host.lines().len() >= 3);
    let ticks: Vec<chrono::NaiveDateTime> = delegation
        .host
        .lines()
        .iter()
        .map(|line| line.strip_prefix("tick at=\"").and_then(|rest| rest.strip_suffix('"')).expect("a tick"))
        .map(|time| time.parse().expect("a time"))
        .collect();
    for (earlier, later) in ticks.iter().zip(&ticks[1..]) {
        assert!((*later - *earlier) >= chrono::TimeDelta::seconds(1), "{ticks:?}");
    }
    assert!(ticks.iter().all(|tick| tick.and_utc().timestamp_subsec_nanos() == 0), "on whole seconds: {ticks:?}");
    let keys: BTreeSet<String> = delegation.host.applied().into_iter().map(|write| write.idempotency_key).collect();
    assert!(keys.len() >= 3);
    assert!(delegation.host.applied().iter().all(|write| write.trigger == "databases/db/triggers/t"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_synchronous_write_is_done_at_once_and_stays() {
    let delegation = Delegation::start();
    let mut client = delegation.client().await;
    client.create(trigger("r", request(), path("r"))).await;
    client.call("r", &[("do", "write_now"), ("then", "fail")], b"").await;
    client.call("r", &[("do", "write_now"), ("no_sync", "true")], b"").await;
    let writes = delegation.host.applied();
    assert_eq!(writes.len(), 2);
    for write in &writes {
        assert_eq!(
            (write.trigger.as_str(), lines(write).as_slice()),
            ("databases/db/triggers/r", &["at_once x=1i".to_owned()][..])
        );
        assert_eq!(write.batches[0].database, "db");
        assert!(write.default_time.is_some());
    }
    assert_eq!([writes[0].no_sync, writes[1].no_sync], [false, true]);
    assert_ne!(writes[0].idempotency_key, writes[1].idempotency_key);

    delegation.host.on_write(|_, _| Reply::Refuse(Status::invalid_argument("line 1: ü is no field")));
    let seen = json(&response(client.call("r", &[("do", "write_now")], b"").await));
    let text = "error writing line protocol to db: line 1: ü is no field";
    assert_eq!(seen, serde_json::json!({ "error": "Exception", "text": text }));
    assert_eq!(delegation.host.applied().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_of_one_call_go_in_one_step_and_a_refused_database_does_not_hold_the_others() {
    let delegation = Delegation::start();
    let mut client = delegation.client().await;
    client.create(trigger("r", request(), path("r"))).await;
    assert_eq!(response(client.call("r", &[("do", "write")], b"one two db one").await).body, "returned");
    let [write] = delegation.host.applied().try_into().expect("one write");
    let databases: Vec<&str> = write.batches.iter().map(|batch| batch.database.as_str()).collect();
    assert_eq!(databases, ["one", "two", "db"]);
    let counts: Vec<usize> =
        write.batches.iter().map(|batch| String::from_utf8_lossy(&batch.line_protocol).lines().count()).collect();
    assert_eq!(counts, [2, 1, 1]);
    assert!(lines(&write).iter().all(|line| line == "later x=1i"));

    // As in InfluxDB 3, lines that are refused are logged and fail nothing.
    delegation.host.on_write(|_, write| {
        let has_bad = write.batches.iter().any(|batch| batch.database == "bad");
        if has_bad { Reply::Refuse(Status::not_found("no database bad")) } else { Reply::Done(()) }
    });
    assert_eq!(response(client.call("r", &[("do", "write")], b"bad good").await).body, "returned");
    let applied = delegation.host.applied();
    assert_eq!(applied.len(), 2);
    assert_eq!(applied[1].batches.iter().map(|batch| batch.database.as_str()).collect::<Vec<_>>(), ["good"]);
    let keys: Vec<String> =
        delegation.host.attempted().into_iter().skip(1).map(|write| write.idempotency_key).collect();
    let mut distinct = keys.clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), keys.len(), "other batches have another key: {keys:?}");
    until_true("the refusal is logged", || {
        delegation.runner.stderr().contains("error writing back lines to bad: no database bad")
    });
}

const COUNTER: &str = "\
def process_request(api, query, headers, body, args=None):
    count = api.cache.get('count', default=0) + 1
    api.cache.put('count', count)
    api.write(LineBuilder('counted').int64_field('n', count))
    return str(count)
";

#[tokio::test(flavor = "multi_thread")]
async fn what_a_call_cached_is_in_the_runners_journal_when_the_host_has_its_writes() {
    let mut delegation = Delegation::start();
    let mut client = delegation.client().await;
    client.create(trigger("c", sent("counter.py", COUNTER), path("c"))).await;
    for count in 1..=4 {
        assert_eq!(response(client.call("c", &[], b"").await).body, count.to_string());
        delegation.runner.kill();
        delegation.runner.restart();
        client = delegation.client().await;
    }
    assert_eq!(delegation.host.lines(), ["counted n=1i", "counted n=2i", "counted n=3i", "counted n=4i"]);
}
