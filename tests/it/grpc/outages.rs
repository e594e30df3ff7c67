//! Writes to a host that is away, refuses for now, or does not answer.

use serde_json::json;
use tonic::Status;

use super::client::{all_tables, derive, failure, path, request, response, trigger, with_arguments};
use super::host::Reply;
use super::{Delegation, PAUSE, make_file, rows, soon, text, until_file};
use crate::world::{Trigger, until_true};

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_the_host_cannot_take_now_is_repeated_as_it_was() {
    let delegation = Delegation::start();
    let mut client = delegation.client().await;
    client.create(trigger("all", derive(), all_tables())).await;
    delegation.host.on_write(|before, _| match before {
        0 | 1 => Reply::Refuse(Status::unavailable("electing a leader")),
        _ => Reply::Done(()),
    });
    let mut stream = client.stream().await;
    stream.send(rows::commit("db", 1, "weather", &[1.0])).await;
    stream.acks_up_to("db", 1).await;
    delegation.host.until_applied(1);
    let attempts = delegation.host.attempted();
    assert_eq!(attempts.len(), 3);
    assert!(attempts.iter().all(|attempt| *attempt == attempts[0]), "{attempts:?}");
    assert_eq!(delegation.host.applied().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_arrives_when_the_host_is_back() {
    let mut delegation = Delegation::start();
    let mut client = delegation.client().await;
    let [started, gate] = ["started", "gate"].map(|file| delegation.file(file));
    let arguments = [("started", text(&started)), ("gate", text(&gate))];
    client.create(with_arguments(trigger("all", derive(), all_tables()), &arguments)).await;
    let mut stream = client.stream().await;
    // The host goes away while the plugin is at work.
    stream.send(rows::commit("db", 1, "weather", &[1.0])).await;
    until_file(&started).await;
    delegation.host.stop();
    make_file(&gate);
    stream.acks_up_to("db", 1).await;
    until_true("the write waits", || delegation.runner.stderr().contains("could not be handed to the host"));
    delegation.host.come_back();
    delegation.host.until_applied(1);
    assert_eq!(delegation.host.lines(), ["derived,source=weather,by=- rows=1i,total=1.0,text=0i"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_are_bounded_and_their_end_is_reported() {
    let mut delegation = Delegation::start();
    let mut client = delegation.client().await;
    client.create(trigger("r", request(), path("r"))).await;
    delegation.host.stop();
    let unwritten = failure(client.call("r", &[("do", "write")], b"").await);
    assert!(unwritten.message.contains("could not be committed"), "{unwritten:?}");
    assert!(unwritten.message.contains(&delegation.host.address()), "{unwritten:?}");
    until_true("the failure is logged", || delegation.runner.stderr().contains(&unwritten.message));
    delegation.host.come_back();
    assert_eq!(response(client.call("r", &[("do", "write")], b"").await).body, "returned");
    assert_eq!(delegation.host.applied().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_waits_for_its_host_and_keeps_its_key_and_its_time() {
    let delegation = Delegation::start();
    let mut client = delegation.client().await;
    client.create(trigger("all", derive(), all_tables())).await;
    // More refusals than a caller who waits for an answer is kept for.
    delegation.host.on_write(|before, _| match before {
        0..9 => Reply::Refuse(Status::unavailable("electing a leader")),
        _ => Reply::Done(()),
    });
    let mut stream = client.stream().await;
    stream.send(rows::commit("db", 1, "weather", &[1.0])).await;
    stream.acks_up_to("db", 1).await;
    delegation.host.until_applied(1);
    let attempts = delegation.host.attempted();
    assert_eq!(attempts.len(), 10);
    assert!(attempts.iter().all(|attempt| *attempt == attempts[0]), "{attempts:?}");
    assert_eq!(delegation.host.applied().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_the_host_does_not_answer_holds_its_own_trigger_only() {
    let delegation = Delegation::start();
    let mut client = delegation.client().await;
    client.create(trigger("held", request(), path("held"))).await;
    client.create(trigger("free", request(), path("free"))).await;
    delegation
        .host
        .on_write(|_, write| if write.trigger == "databases/db/triggers/held" { Reply::Hang } else { Reply::Done(()) });
    let mut calls = client.clone();
    let others = async {
        let hangs = async {
            while delegation.host.hanging() == 0 {
                tokio::time::sleep(PAUSE).await
            }
        };
        soon("the write hangs", hangs).await;
        assert_eq!(response(client.call("free", &[("do", "write")], b"").await).body, "returned");
        client.create(trigger("new", request(), path("new"))).await;
    };
    tokio::select! {
        answer = calls.call("held", &[("do", "write")], b"") => panic!("the host did not answer: {answer:?}"),
        () = others => {}
    }
    assert_eq!(delegation.host.applied().len(), 1);
}

/// Waits until there is a file `go` beside it; then writes how many rows it was given.
const COUNTING: &str = "\
import os, time
def process_writes(api, batches, args=None):
    api.warn('waiting')
    while not os.path.exists(os.environ['PLUGIN_DIR'] + '/go'):
        time.sleep(0.01)
    api.write(LineBuilder('counted').int64_field('rows', sum(len(batch['rows']) for batch in batches)))
";

#[tokio::test(flavor = "multi_thread")]
async fn batches_that_are_given_together_are_the_same_ones_when_a_crash_repeats_their_call() {
    let mut delegation = Delegation::start();
    delegation.runner.plugin("counting.py", COUNTING);
    let trigger = Trigger::new("counting", "counting.py", "all_tables").setting("allow_read", json!(["."]));
    delegation.runner.create(&trigger.setting("coalesce_rows", json!(100)));
    let mut client = delegation.client().await;
    let mut stream = client.stream().await;
    stream.send(rows::commit("db", 1, "weather", &[1.0])).await;
    until_true("it waits", || delegation.runner.stderr().contains("waiting"));
    for number in 2..=6 {
        stream.send(rows::commit("db", number, "weather", &[1.0])).await;
    }
    stream.acks_up_to("db", 6).await;
    // The host takes what the first call writes, and refuses what the second one does, which has all the others.
    delegation.host.on_write(|before, _| match before {
        0 => Reply::Done(()),
        _ => Reply::Refuse(Status::unavailable("electing a leader")),
    });
    std::fs::write(delegation.runner.plugin_dir().join("go"), "").unwrap();
    until_true("the second write is refused", || delegation.host.attempted().len() >= 2);
    for number in 7..=9 {
        stream.send(rows::commit("db", number, "weather", &[1.0])).await;
    }
    stream.acks_up_to("db", 9).await;
    delegation.runner.kill();
    let refused = delegation.host.attempted()[1].clone();
    delegation.host.on_write(|_, _| Reply::Done(()));
    delegation.runner.restart();
    delegation.host.until_applied(3);
    assert_eq!(delegation.host.applied()[1], refused, "the same rows, key and time");
    assert_eq!(delegation.host.lines(), ["counted rows=1i", "counted rows=5i", "counted rows=3i"]);
}
