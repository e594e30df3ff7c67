//! The HTTP API, as clients of InfluxDB 3 know it.

mod databases;
mod invocations;
mod plugin_checks;
mod queries;
mod recorded;
mod responses;
mod streaming;
mod system_tables;
mod trigger_changes;
mod trigger_creation;
mod writes;

use crate::world::{Request, TestRunner};

#[test]
fn health_ping_and_unknown_routes_answer_as_expected() {
    let runner = TestRunner::start();
    runner.get("/health").is(200, "OK");
    let ping = runner.get("/ping");
    assert_eq!((ping.status, ping.header("content-type")), (200, "application/json"));
    for field in ["product_name", "version", "revision", "process_id"] {
        assert!(ping.json()[field].as_str().is_some_and(|text| !text.is_empty()), "{field} in {}", ping.text());
    }
    assert_eq!(ping.json()["process_id"].as_str().unwrap().len(), 36);
    runner.get("/ready").is(404, "Not found");
    runner.get("/api/v3/configure/processing_engine_trigger").is(404, "Not found");
    runner.send(&Request::new("PUT", "/api/v3/write_lp")).is(404, "Not found");
    runner.get("/api/v3/engine").is(404, "Not found");
    runner.get("/api/v3/engine/").is(404, r#"{"error":"not found"}"#);
    runner.get("/api/v3/engine/nobody").is(404, r#"{"error":"not found"}"#);
}

#[test]
fn a_body_over_the_limit_is_refused_on_every_route_that_reads_one() {
    let runner = TestRunner::start_with(&["--max-http-request-size", "1000"]);
    runner.plugin("echo.py", "def process_request(api, query, headers, body, args=None):\n    return str(len(body))\n");
    runner.create(&crate::world::Trigger::new("echo", "echo.py", "request:echo"));
    let refused = "max request size (1000 bytes) exceeded";
    let post = |path: &str, bytes: usize| runner.send(&Request::new("POST", path).body(vec![b' '; bytes]));
    for path in [
        "/api/v3/write_lp?db=db",
        "/api/v3/query_sql",
        "/api/v3/configure/database",
        "/api/v3/configure/processing_engine_trigger",
        "/api/v3/engine/echo",
    ] {
        post(path, 1001).is(413, refused);
        post(path, 3_000_000).is(413, refused);
    }
    post("/api/v3/engine/echo", 1000).is(200, "1000");
    // A small body that unpacks to a large one counts as large.
    let bomb = Request::new("POST", "/api/v3/engine/echo").header("content-encoding", "gzip").body(gzip(&[0; 2000]));
    runner.send(&bomb).is(413, refused);
}

/// Packs bytes as clients do.
pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
