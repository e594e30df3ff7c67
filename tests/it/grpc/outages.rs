//! Writes to a host that is away, refuses for now, or does not answer.

use tonic::Status;

use super::client::{all_tables, derive, failure, path, request, response, trigger, with_arguments};
use super::host::Reply;
use super::{Delegation, PAUSE, make_file, rows, soon, text, until_file};
use crate::world::until_true;

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
