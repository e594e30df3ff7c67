//! Responses that plugins yield.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use serde_json::json;

use crate::world::{Request, TestRunner, Trigger, until};

fn world() -> TestRunner {
    let runner = TestRunner::start();
    for file in ["streams.py", "neighbour.py"] {
        runner.fixture(file);
    }
    runner.create(&Trigger::new("streams", "streams.py", "request:streams").setting("allow_read", json!(["."])));
    runner.create(&Trigger::new("neighbour", "neighbour.py", "request:neighbour"));
    runner
}

/// A response that is read by hand: the head is there, the body is still in the stream.
fn begin(runner: &TestRunner, what: &str) -> BufReader<TcpStream> {
    let mut stream = runner.connect().unwrap();
    let request = Request::new("GET", &format!("/api/v3/engine/streams?what={what}"));
    stream.write_all(&request.encode(runner.address())).unwrap();
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(stream.read_line(&mut head).unwrap() > 0, "the head is cut off: {head:?}");
    }
    let head = head.to_ascii_lowercase();
    for part in ["http/1.1 200 ok", "content-type: text/plain", "transfer-encoding: chunked"] {
        assert!(head.contains(part), "{part} in {head}");
    }
    stream
}

/// The next chunk; an empty one is the proper end of the body.
fn chunk(stream: &mut BufReader<TcpStream>) -> std::io::Result<Vec<u8>> {
    let mut size = String::new();
    stream.read_line(&mut size)?;
    let size = usize::from_str_radix(size.trim(), 16).map_err(std::io::Error::other)?;
    let mut bytes = vec![0; size + 2];
    stream.read_exact(&mut bytes)?;
    bytes.truncate(size);
    Ok(bytes)
}

#[test]
fn a_generator_is_sent_as_it_yields_and_its_end_says_that_its_writes_are_there() {
    let runner = world();
    let mut body = begin(&runner, "steps");
    assert_eq!(chunk(&mut body).unwrap(), b"one ");
    runner.plugin("second", "");
    assert_eq!(chunk(&mut body).unwrap(), b"two ");
    assert_eq!(runner.count("steps"), 0, "it still runs");
    runner.plugin("third", "");
    assert_eq!(chunk(&mut body).unwrap(), b"three");
    assert_eq!(chunk(&mut body).unwrap(), b"");
    assert_eq!(runner.count("steps"), 1);
}

#[test]
fn an_exception_in_the_middle_of_a_stream_breaks_it_off_and_is_logged() {
    let runner = world();
    let mut body = begin(&runner, "breaks");
    assert_eq!(chunk(&mut body).unwrap(), b"some");
    chunk(&mut body).expect_err("the body has no proper end");
    runner.until_logged("streams", "ERROR error running request plugin: Python function call failed: ValueError: late");
    assert_eq!(runner.count("steps"), 0, "what it wrote is dropped");
    let early = runner.engine("streams?what=fails_first");
    early.raised("ValueError: early");
    assert_eq!(runner.engine("neighbour").status, 200);
}

#[test]
fn a_client_that_goes_away_cancels_the_stream() {
    let runner = world();
    let mut body = begin(&runner, "endless");
    for _ in 0..3 {
        assert_eq!(chunk(&mut body).unwrap(), b"tick\n");
    }
    drop(body);
    runner.until_logged("streams", "INFO closed");
    runner.until_logged("streams", "invocation cancelled");
    assert_eq!(runner.engine("neighbour").status, 200);
    // The next request finds a worker.
    drop(begin(&runner, "endless"));
}

#[test]
fn a_slow_client_holds_its_generator_back_and_nobody_else() {
    let runner = world();
    let mut body = begin(&runner, "large");
    let produced = || runner.logs("streams").iter().filter(|line| line.contains("produced")).count();
    until("the first MiB is on its way", || (produced() > 1).then_some(()));
    // While nobody reads, others are served; the generator is as far as the buffers between it and the client reach.
    for _ in 0..50 {
        assert_eq!(runner.engine("neighbour").status, 200);
    }
    assert!(produced() < 32, "{} MiB were produced for a client that reads nothing", produced());
    let mut bytes = 0;
    loop {
        let chunk = chunk(&mut body).unwrap();
        if chunk.is_empty() {
            break;
        }
        bytes += chunk.len();
    }
    assert_eq!(bytes, 64 << 20);
}
