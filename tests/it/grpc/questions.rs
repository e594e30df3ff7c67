//! Queries of plugins, which the host answers.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, DictionaryArray, Float64Array, Int64Array, NullArray, StringArray,
    TimestampNanosecondArray, UInt64Array,
};
use arrow::datatypes::Int32Type;
use arrow::record_batch::RecordBatch;
use bulkhead_proto::host::v1::QueryResponse;
use bulkhead_proto::types::v1::FailureKind;
use serde_json::{Value, json};
use tonic::Status;

use super::client::{Client, failure, json as body, path, request, response, seconds, trigger};
use super::host::{Reply, answer};
use super::{Delegation, PAUSE, rows, soon};
use crate::world::until_true;

/// Runs `sql` in the plugin and returns what it saw.
async fn ask(client: &mut Client, sql: &str) -> Value {
    let asked = json!({ "sql": sql, "parameters": {"station": "north", "limit": "3"} }).to_string();
    body(&response(client.call("r", &[("do", "ask")], asked.as_bytes()).await))
}

async fn asking() -> (Delegation, Client) {
    let delegation = Delegation::start();
    let mut client = delegation.client().await;
    client.create(trigger("r", request(), path("r"))).await;
    (delegation, client)
}

fn typed(first: i64) -> RecordBatch {
    let tags: DictionaryArray<Int32Type> = [Some("north"), None].into_iter().collect();
    let columns: [(&str, ArrayRef); 8] = [
        ("time", Arc::new(TimestampNanosecondArray::from(vec![1_700_000_000_000_000_001, 2]))),
        ("station", Arc::new(tags)),
        ("float", Arc::new(Float64Array::from(vec![1.5, 2.0]))),
        ("int", Arc::new(Int64Array::from(vec![first, -9_000_000_000_000_000_000]))),
        ("uint", Arc::new(UInt64Array::from(vec![u64::MAX, 0]))),
        ("bool", Arc::new(BooleanArray::from(vec![true, false]))),
        ("text", Arc::new(StringArray::from(vec!["ü", ""]))),
        ("null", Arc::new(NullArray::new(2))),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).expect("rows")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_goes_to_the_host_and_its_rows_come_back_typed() {
    let (delegation, mut client) = asking().await;
    delegation.host.on_query(|_| Reply::Done(answer(&[typed(1), typed(2)])));
    let seen = ask(&mut client, "SELECT * FROM weather WHERE station = $station").await;
    let rows = |first: i64| {
        [
            json!({
                "time": 1_700_000_000_000_000_001_i64, "station": "north", "float": 1.5, "int": first,
                "uint": u64::MAX, "bool": true, "text": "ü", "null": null,
            }),
            json!({
                "time": 2, "station": null, "float": 2.0, "int": -9_000_000_000_000_000_000_i64,
                "uint": 0, "bool": false, "text": "", "null": null,
            }),
        ]
    };
    assert_eq!(seen["rows"], json!([rows(1), rows(2)].concat()));
    let types = json!({
        "time": "int", "station": "str", "float": "float", "int": "int",
        "uint": "int", "bool": "bool", "text": "str", "null": "NoneType",
    });
    assert_eq!(seen["types"][0], types);

    let [query] = delegation.host.queries().try_into().expect("one query");
    assert_eq!((query.trigger.as_str(), query.database.as_str()), ("databases/db/triggers/r", "db"));
    assert_eq!(query.sql, "SELECT * FROM weather WHERE station = $station");
    let parameters: Vec<_> = query.parameters.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(parameters, [("limit", "3"), ("station", "north")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn results_may_be_empty_or_larger_than_a_message() {
    let (delegation, mut client) = asking().await;
    delegation.host.on_query(|_| Reply::Done(answer(&[rows::values(&[])])));
    assert_eq!(ask(&mut client, "SELECT 0").await["rows"], json!([]));

    // Two messages of the host, and many more to the worker.
    let wide = rows::wide(12_000, 1_000);
    delegation.host.on_query(move |_| Reply::Done(answer(&[wide.clone(), wide.clone()])));
    let seen = ask(&mut client, "SELECT *").await;
    let all = seen["rows"].as_array().expect("rows");
    assert_eq!(all.len(), 24_000);
    for (index, row) in all.iter().enumerate() {
        let length = row["note"].as_str().map(str::len);
        assert_eq!((length, &row["time"]), (Some(1_000 + index % 12_000 % 7), &json!(index % 12_000)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_fails_raises_in_the_plugin_with_the_words_of_the_host() {
    let (mut delegation, mut client) = asking().await;
    let error = async |client: &mut Client| {
        let seen = ask(client, "SELECT nothing").await;
        assert_eq!(seen["error"], "QueryError", "{seen}");
        seen["text"].as_str().expect("a text").to_owned()
    };
    let context = "executing query on db: SELECT nothing";

    delegation.host.on_query(|_| Reply::Refuse(Status::invalid_argument("table 'nothing' not found — ü")));
    assert_eq!(error(&mut client).await, format!("error: table 'nothing' not found — ü {context}"));
    delegation.host.on_query(|_| Reply::Refuse(Status::not_found("no database db")));
    assert_eq!(error(&mut client).await, format!("error: no database db {context}"));
    delegation.host.on_query(|_| Reply::Refuse(Status::resource_exhausted("too many rows")));
    assert_eq!(error(&mut client).await, format!("error: too many rows {context}"));

    // What a host must not do.
    delegation.host.on_query(|_| Reply::Done(Vec::new()));
    assert_eq!(error(&mut client).await, format!("error: the host sent no schema {context}"));
    let garbage = || QueryResponse { arrow_ipc_stream: "no Arrow".into() };
    delegation.host.on_query(move |_| Reply::Done(vec![Ok(garbage())]));
    let text = error(&mut client).await;
    assert!(text.contains("the host sent rows that cannot be read"), "{text}");
    delegation.host.on_query(move |_| {
        let mut messages = answer(&[rows::values(&[1.0])]);
        messages.push(Ok(garbage()));
        Reply::Done(messages)
    });
    let text = error(&mut client).await;
    assert!(text.contains("the host sent rows that cannot be read"), "{text}");

    // A result that breaks off is not taken for a whole one.
    delegation.host.on_query(|_| {
        let mut messages = answer(&[rows::values(&[1.0])]);
        messages.push(Err(Status::unavailable("moved away")));
        Reply::Done(messages)
    });
    let text = error(&mut client).await;
    assert!(text.contains("moved away"), "{text}");

    delegation.host.stop();
    let text = error(&mut client).await;
    assert!(text.contains(&format!("host {}", delegation.host.address())), "{text}");
    delegation.host.come_back();
    delegation.host.on_query(|_| Reply::Done(answer(&[rows::values(&[4.0])])));
    assert_eq!(ask(&mut client, "SELECT 4").await["rows"][0]["value"], 4.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_does_not_answer_holds_nobody_but_the_plugin_that_asks() {
    let (delegation, mut client) = asking().await;
    let mut limited = trigger("limited", request(), path("limited"));
    limited.timeout = Some(seconds(2));
    client.create(limited).await;
    delegation.host.on_query(|_| Reply::Hang);
    let mut other = client.clone();
    let asked = json!({ "sql": "SELECT 1" }).to_string();
    let asks = async { failure(client.call("limited", &[("do", "ask")], asked.as_bytes()).await) };
    let lives = async {
        let hangs = async {
            while delegation.host.hanging() == 0 {
                tokio::time::sleep(PAUSE).await
            }
        };
        soon("the query hangs", hangs).await;
        assert_eq!(response(other.call("r", &[("do", "echo")], b"").await).status_code, 201);
    };
    let (late, ()) = tokio::join!(asks, lives);
    assert_eq!(late.kind(), FailureKind::Deadline, "{late:?}");
    // Nobody waits for the answer any more, and the host is told so.
    until_true("the query is given up", || delegation.host.hanging() == 0);
}
