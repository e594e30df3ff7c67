//! Where bytes of others come in: for any bytes these functions return, and what they assert holds. Fuzzers call them
//! (`fuzz/`), and so does every test run with a corpus and inputs that are made of it.

use std::time::Duration;

use bulkhead_proto::worker::v1::SessionRequest;
use bulkhead_proto::worker::v1::session_request::Fact;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use prost::Message;
use tokio::time::Instant;
use uuid::Uuid;

use crate::session::{FrameMeter, Session, Step, arrow_ipc};
use crate::trigger::TriggerSpec;

/// What a worker says: messages, each behind two bytes with its length. Every accepted fact leaves a state that takes another
/// one, and nothing is accepted before the greeting.
pub fn session(mut bytes: &[u8]) {
    let mut session = Session::default();
    let mut is_greeted = false;
    while let [high, low, rest @ ..] = bytes {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
        let (message, rest) = rest.split_at(length);
        bytes = rest;
        let Ok(mut said) = SessionRequest::decode(message) else { return };
        // No version stands for the present one, so that inputs outlive it.
        if let Some(Fact::Hello(hello)) = &mut said.fact
            && hello.protocol_version == 0
        {
            hello.protocol_version = bulkhead_proto::WORKER_PROTOCOL_VERSION;
        }
        match session.on_fact(said.fact) {
            Ok(Step::Greeted(_)) => is_greeted = true,
            // Every call has the id 1, so that a generator can find it.
            Ok(Step::Loaded) => session.begin(1, Uuid::nil(), true),
            Ok(_) => assert!(is_greeted, "a fact was accepted before the greeting"),
            Err(_) => return,
        }
        let _ = (session.is_held(), session.live_only().report());
    }
}

/// HTTP/2 frames: however they are cut, the meter comes to the same end. The first byte says where they are cut.
pub fn frames(bytes: &[u8]) {
    let Some((cut, bytes)) = bytes.split_first() else { return };
    let now = Instant::now();
    let mut whole = FrameMeter::default();
    let end = whole.take_in(bytes, now);
    let mut in_parts = FrameMeter::default();
    let parts = bytes.chunks(usize::from(*cut).max(1)).try_for_each(|part| in_parts.take_in(part, now));
    assert_eq!(end, parts, "cut every {cut} bytes");
}

/// Rows as a host sends them. What can be read can be cut and written again, and nothing is lost.
pub fn arrow(bytes: &[u8]) {
    let Ok(batches) = arrow_ipc::decode(&Bytes::copy_from_slice(bytes)) else { return };
    for batch in &batches {
        let parts = arrow_ipc::split(batch, 2);
        assert_eq!(parts.iter().map(arrow::array::RecordBatch::num_rows).sum::<usize>(), batch.num_rows());
        let _ = arrow_ipc::encode(&batch.schema(), std::slice::from_ref(batch));
    }
}

/// The specification of a trigger. What is understood is written as something that means the same.
pub fn trigger_spec(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(spec) = text.parse::<TriggerSpec>() else { return };
    assert_eq!(spec.to_string().parse::<TriggerSpec>().as_ref(), Ok(&spec), "{text:?}");
    let _ = spec.system_table_json();
    if let Some(schedule) = spec.schedule() {
        let now = DateTime::<Utc>::UNIX_EPOCH + Duration::from_secs(1 << 30);
        assert!(schedule.next_after(now).is_none_or(|next| next > now), "{text:?}");
    }
}

/// A body of line protocol.
#[cfg(feature = "embedded-host")]
pub fn line_protocol(bytes: &[u8]) {
    bulkhead_embedded_host::read_lines(bytes);
}

/// A body of line protocol; without the embedded host nobody here reads any.
#[cfg(not(feature = "embedded-host"))]
pub fn line_protocol(_: &[u8]) {}

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// Inputs that are made for each target.
    const INPUTS: usize = 4000;
    /// Longest one, bytes.
    const BYTES_MAX: usize = 1 << 16;

    /// The inputs that fuzzers begin with.
    fn corpus(target: &str) -> Vec<Vec<u8>> {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
        let mut paths: Vec<_> = std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        assert!(!paths.is_empty(), "{} has no inputs", directory.display());
        paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
    }

    /// Another input, made of the corpus: bytes changed, left out, doubled, exchanged with those of a second one.
    fn mutate(corpus: &[Vec<u8>], chance: &mut fastrand::Rng) -> Vec<u8> {
        let mut input = chance.choice(corpus).cloned().unwrap_or_default();
        for _ in 0..chance.usize(1..8) {
            let at = chance.usize(0..=input.len());
            let end = at + chance.usize(0..=(input.len() - at).min(16));
            match chance.u8(0..7) {
                0 => input.insert(at, chance.u8(..)),
                1 => drop(input.drain(at..end)),
                2 => input.splice(at..at, input[at..end].to_vec()).for_each(drop),
                3 => input.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << chance.u8(0..8)),
                4 => input.iter_mut().skip(at).take(4).for_each(|byte| *byte = chance.u8(..)),
                5 => {
                    let edge = chance.choice([0, 1, 0x7f, 0x80, 0xff]).unwrap_or_default();
                    input[at..end].fill(edge);
                }
                _ => {
                    let other = chance.choice(corpus).cloned().unwrap_or_default();
                    let from = chance.usize(0..=other.len());
                    input.truncate(at);
                    input.extend(&other[from..]);
                }
            }
        }
        input.truncate(BYTES_MAX);
        input
    }

    fn run(target: &str, entry: fn(&[u8])) {
        let corpus = corpus(target);
        corpus.iter().for_each(|input| entry(input));
        let mut chance = fastrand::Rng::with_seed(11);
        for _ in 0..INPUTS {
            entry(&mutate(&corpus, &mut chance));
        }
    }

    #[test]
    fn facts_of_workers() {
        run("session", super::session);
    }

    #[test]
    fn frames_of_workers() {
        run("frames", super::frames);
    }

    #[test]
    fn rows_of_hosts() {
        run("arrow", super::arrow);
    }

    #[test]
    fn specifications_of_triggers() {
        run("trigger_spec", super::trigger_spec);
    }

    #[test]
    #[cfg(feature = "embedded-host")]
    fn bodies_of_line_protocol() {
        run("line_protocol", super::line_protocol);
    }
}
