//! Calls of request triggers, and every way in which they end.

use bulkhead_proto::runner::v1 as wire;
use bulkhead_proto::types::v1::{FailureKind, HttpRequest, KeyValue};
use tonic::Code;

use super::client::{
    all_tables, call, derive, failure, json, name, path, request, response, seconds, trigger, with_arguments,
    writing_to,
};
use super::{Delegation, make_file, text, until_file};
use crate::world::until_true;

#[tokio::test(flavor = "multi_thread")]
async fn a_request_reaches_the_plugin_and_its_response_the_host() {
    let delegation = Delegation::start();
    let mut client = delegation.client().await;
    client.create(with_arguments(trigger("r", request(), path("r")), &[("k", "v")])).await;
    let pair = |key: &str, value: &str| KeyValue { key: key.to_owned(), value: value.to_owned() };
    let mut asked = call("r", &[("do", "echo"), ("ü", "a b&c")], &[0, 255, 10]);
    let sent: &mut HttpRequest = asked.request.as_mut().expect("a request");
    sent.headers = vec![pair("content-type", "application/x"), pair("x-two", "2")];
    let answer = response(client.try_call(asked).await.expect("CallTrigger"));
    assert_eq!(answer.status_code, 201);
    assert!(answer.headers.contains(&pair("x-answer", "42")), "{answer:?}");
    let expected = serde_json::json!({
        "query": {"do": "echo", "ü": "a b&c"},
        "headers": {"content-type": "application/x", "x-two": "2"},
        "body": "00ff0a",
        "args": {"k": "v"},
    });
    assert_eq!(json(&answer), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_plugin_is_an_outcome_and_a_faulty_call_is_a_status() {
    let delegation = Delegation::start();
    let mut client = delegation.client().await;
    client.create(trigger("r", request(), path("r"))).await;
    client.create(trigger("w", derive(), all_tables())).await;
    let raised = failure(client.call("r", &[("do", "fail")], b"").await);
    assert_eq!(raised.kind(), FailureKind::Exception);
    assert!(raised.message.contains("the plugin gave up"), "{raised:?}");
    for part in ["Traceback", "request.py", "in fail", "ValueError: the plugin gave up"] {
        assert!(raised.traceback.contains(part), "{part}: {}", raised.traceback);
    }
    assert!(!raised.traceback.contains("bulkhead_worker"), "{}", raised.traceback);
    assert!(delegation.host.attempted().is_empty(), "a failed call leaves no write behind");

    for (asked, expected) in [
        (call("nobody", &[], b""), Code::NotFound),
        (call("w", &[], b""), Code::NotFound),
        (wire::CallTriggerRequest { request: None, ..call("r", &[], b"") }, Code::InvalidArgument),
        (wire::CallTriggerRequest { name: "r".to_owned(), ..call("r", &[], b"") }, Code::InvalidArgument),
    ] {
        let status = client.try_call(asked).await.unwrap_err();
        assert_eq!(status.code(), expected, "{status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_worker_is_named_and_the_next_call_has_a_new_one() {
    let delegation = Delegation::start();
    let mut client = delegation.client().await;
    client.create(trigger("r", request(), path("r"))).await;
    client.create(trigger("other", request(), path("other"))).await;
    let killed = failure(client.call("r", &[("do", "segfault")], b"").await);
    assert_eq!(killed.kind(), FailureKind::Signal, "{killed:?}");
    assert!(killed.message.contains("SIGSEGV"), "{killed:?}");
    for part in ["last words", "Fatal Python error: Segmentation fault", "in segfault"] {
        assert!(killed.stderr_tail.contains(part), "{part}: {}", killed.stderr_tail);
    }
    let left = failure(client.call("r", &[("do", "leave")], b"").await);
    assert_eq!(left.kind(), FailureKind::Exit, "{left:?}");
    assert!(left.message.contains("exit code 7"), "{left:?}");
    for alive in ["other", "r"] {
        assert_eq!(response(client.call(alive, &[("do", "echo")], b"").await).status_code, 201);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_ends_at_the_timeout_of_its_trigger() {
    let delegation = Delegation::start();
    let mut client = delegation.client().await;
    let mut limited = trigger("r", request(), path("r"));
    limited.timeout = Some(prost_types::Duration { seconds: 0, nanos: 700_000_000 });
    client.create(limited).await;
    let late = failure(client.call("r", &[("do", "spin")], b"").await);
    assert_eq!(late.kind(), FailureKind::Deadline, "{late:?}");
    assert!(late.message.contains("700ms"), "{late:?}");

    let patient = wire::Trigger { timeout: Some(seconds(600)), ..trigger("p", request(), path("p")) };
    client.create(patient).await;
    assert_eq!(response(client.call("p", &[("do", "echo")], b"").await).status_code, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_ends_when_its_caller_goes_away() {
    let delegation = Delegation::start();
    let mut client = delegation.client().await;
    client.create(writing_to(trigger("r", request(), path("r")), delegation.file("").as_path())).await;
    let [started, gate, stopped] = ["started", "gate", "stopped"].map(|file| delegation.file(file));
    let query = [("do", "wait"), ("started", text(&started)), ("gate", text(&gate)), ("stopped", text(&stopped))];
    let mut calls = client.clone();
    let workers = tokio::select! {
        answer = calls.call("r", &query, b"") => panic!("nobody has opened the gate: {answer:?}"),
        workers = async { until_file(&started).await; delegation.workers() } => workers,
    };
    assert_eq!(workers.len(), 1, "{workers:?}");
    until_file(&stopped).await;
    // Its worker was interrupted half way and is replaced.
    until_true("the worker is gone", || workers.iter().all(|worker| !worker.is_alive()));
    make_file(&gate);
    assert_eq!(response(client.call("r", &query, b"").await).body, "waited");
    assert_eq!(client.list(0, "").await.0, [name("r")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_tells_how_long_the_plugin_ran() {
    let delegation = Delegation::start();
    let mut client = delegation.client().await;
    client.create(trigger("r", request(), path("r"))).await;
    for what in ["echo", "fail"] {
        let outcome = client.call("r", &[("do", what)], b"").await.outcome.expect("an outcome");
        let elapsed = outcome.elapsed.expect("a time");
        assert!(elapsed.seconds >= 0 && elapsed.nanos > 0, "{elapsed:?}");
    }
}
