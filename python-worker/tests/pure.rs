//! The parts that need no Python. That this links shows that they, and the package's files, pull
//! nothing of Python into the runner.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bulkhead_proto::transport::PAYLOAD_PART_BYTES;
use bulkhead_proto::types::v1::{Event, LogEntry, Outcome, ScheduleTick, TableBatch, WalBatch, event};
use bulkhead_proto::worker::v1::session_request::Fact;
use bulkhead_proto::worker::v1::{Cancel, Invoke, InvokeRows, Usage};
use bulkhead_python_worker::capture::{LineAssembler, cut_line};
use bulkhead_python_worker::gather::{CallEvent, Gatherer, PendingCall};
use bulkhead_python_worker::invocation::{Cancellation, Invocation};
use bulkhead_python_worker::limits::{FLUSH_LINES, OPEN_BATCHES_MAX, OUTBOX_BYTES_MAX};
use bulkhead_python_worker::outbox::{Effects, Outbox, Room};
use bulkhead_python_worker::package;
use bulkhead_python_worker::split::split_lines;

const MAX: usize = 100;

fn assembled(pieces: &[&str]) -> (Vec<String>, Option<String>) {
    let mut assembler = LineAssembler::default();
    let mut lines = Vec::new();
    for piece in pieces {
        assembler.push(piece, MAX, |line| lines.push(line));
    }
    (lines, assembler.finish(MAX))
}

#[test]
fn lines_are_put_together_from_pieces() {
    assert_eq!(assembled(&["a", "b\nc\r\n", "\nd"]), (vec!["ab".into(), "c".into(), String::new()], Some("d".into())));
    assert_eq!(assembled(&["a\n"]), (vec!["a".into()], None));
}

#[test]
fn long_lines_are_cut_at_a_character_and_counted() {
    let (lines, rest) = assembled(&["é".repeat(80).as_str(), "more", "\nnext"]);
    assert_eq!(lines, [format!("{} ... (104 bytes cut)", "é".repeat(30))]);
    assert_eq!(rest.as_deref(), Some("next"));
    assert_eq!(cut_line("x".repeat(MAX), MAX), "x".repeat(MAX));
    assert_eq!(cut_line("x".repeat(MAX + 1), MAX), format!("{} ... (41 bytes cut)", "x".repeat(60)));
    assert_eq!(cut_line("xyz".into(), 2), "");
}

#[test]
fn line_protocol_is_split_at_line_ends() {
    let line = format!("{}\n", "x".repeat(PAYLOAD_PART_BYTES / 3));
    let parts = split_lines(line.repeat(5).into());
    assert_eq!(parts.iter().map(|part| part.len() / line.len()).collect::<Vec<_>>(), [2, 2, 1]);
    let long = format!("{}\nshort\n", "x".repeat(PAYLOAD_PART_BYTES * 2));
    assert_eq!(
        split_lines(long.into()).iter().map(|part| part.len()).collect::<Vec<_>>(),
        [PAYLOAD_PART_BYTES * 2 + 1, 6]
    );
    assert!(split_lines(bytes::Bytes::new()).is_empty());
}

fn invoke(id: u64, kind: event::Kind, more: bool) -> Invoke {
    Invoke { invocation_id: id, event: Some(Event { kind: Some(kind) }), more, keep_code: false }
}

fn tables(names: &[&str]) -> Vec<TableBatch> {
    names
        .iter()
        .map(|name| TableBatch { table: (*name).into(), arrow_ipc_stream: bytes::Bytes::from_static(b"x") })
        .collect()
}

fn wal(names: &[&str]) -> event::Kind {
    event::Kind::WalBatch(WalBatch { tables: tables(names), ..WalBatch::default() })
}

fn sizes(call: &PendingCall) -> Vec<(&str, usize)> {
    match &call.event {
        CallEvent::Writes(tables) => tables.iter().map(|table| (table.name.as_str(), table.streams.len())).collect(),
        other => panic!("not rows but {other:?}"),
    }
}

#[test]
fn parts_of_an_event_are_gathered() {
    let mut gatherer = Gatherer::default();
    let whole = gatherer.invoke(invoke(1, wal(&["a", "b", "a"]), false)).unwrap().unwrap();
    assert_eq!(sizes(&whole), [("a", 2), ("b", 1)]);
    assert!(gatherer.invoke(invoke(2, wal(&["a"]), true)).unwrap().is_none());
    assert!(gatherer.invoke(invoke(3, wal(&[]), true)).unwrap().is_none());
    assert!(gatherer.rows(InvokeRows { invocation_id: 2, tables: tables(&["b", "a"]), more: true }).is_none());
    let last = gatherer.rows(InvokeRows { invocation_id: 2, tables: tables(&["c"]), more: false }).unwrap();
    assert_eq!(sizes(&last), [("a", 2), ("b", 1), ("c", 1)]);
    let cancelled = gatherer.cancel(&Cancel { invocation_id: 3, reason: "r".into(), kind: 4 }).unwrap();
    assert_eq!(cancelled.invocation.cancellation(), Some(&Cancellation { reason: "r".into(), kind: 4 }));
    assert!(gatherer.rows(InvokeRows { invocation_id: 3, tables: tables(&["c"]), more: false }).is_none());
    assert_eq!(gatherer.waiting(), 0);
}

#[test]
fn events_that_make_no_sense_are_violations() {
    let mut gatherer = Gatherer::default();
    assert!(gatherer.invoke(Invoke { invocation_id: 1, event: None, more: false, keep_code: false }).is_err());
    assert!(gatherer.invoke(invoke(1, event::Kind::ScheduleTick(ScheduleTick::default()), true)).is_err());
    assert!(gatherer.invoke(invoke(1, wal(&[]), true)).unwrap().is_none());
    assert!(gatherer.invoke(invoke(1, wal(&[]), true)).is_err());
}

#[test]
fn buffered_writes_are_counted_until_the_call_ends() {
    let invocation = Invocation::new(1);
    assert_eq!(invocation.reserve_write(60, 100), Ok(()));
    assert_eq!(invocation.reserve_write(60, 100), Err(120));
    assert_eq!(invocation.reserve_write(40, 100), Ok(()));
    invocation.end();
    assert_eq!(invocation.reserve_write(60, 100), Ok(()));
    assert_eq!(invocation.reserve_write(101, 100), Err(101));
}

#[test]
fn the_first_cancellation_stays_and_is_delivered_once() {
    let invocation = Invocation::new(1);
    assert!(!invocation.awaits_signal());
    invocation.cancel(Cancellation { reason: "first".into(), kind: 3 });
    invocation.cancel(Cancellation { reason: "second".into(), kind: 4 });
    assert_eq!(invocation.cancellation().unwrap().reason, "first");
    assert!(invocation.awaits_signal());
    assert!(!invocation.deliver_cancellation() && invocation.deliver_cancellation());
    assert!(!invocation.awaits_signal());
}

fn sent(outbox: &Outbox) -> Vec<Fact> {
    let mut facts = Vec::new();
    while let Poll::Ready(Some(fact)) = outbox.poll_next(&mut Context::from_waker(Waker::noop())) {
        facts.push(fact);
    }
    facts
}

fn entry(message: &str) -> LogEntry {
    LogEntry { message: message.into(), ..LogEntry::default() }
}

/// What was sent, in short.
fn told(outbox: &Outbox) -> Vec<String> {
    let name = |fact| match fact {
        Fact::Logs(logs) => format!("{} lines", logs.lines.len()),
        Fact::Written(written) => {
            let batch = written.batch.unwrap();
            format!(
                "{} {} {}",
                written.invocation_id,
                batch.database,
                String::from_utf8(batch.line_protocol.to_vec()).unwrap()
            )
        }
        Fact::Finished(finished) => format!("end of {}", finished.invocation_id),
        other => format!("{other:?}"),
    };
    sent(outbox).into_iter().map(name).collect()
}

#[test]
fn the_end_of_a_call_comes_after_its_effects() {
    let outbox = Outbox::default();
    let database: Arc<str> = "db".into();
    outbox.write(1, &database, "m i=1i");
    outbox.log(Some(1), entry("a"));
    outbox.write(2, &database, "late i=1i");
    outbox.write(1, &database, "m i=2i\n");
    assert!(sent(&outbox).is_empty());
    outbox.finish(1, Outcome::default(), Usage::default(), Effects::Keep, 0);
    assert_eq!(told(&outbox), ["1 lines", "1 db m i=1i\nm i=2i\n", "end of 1"]);
    assert!(outbox.flush() && !outbox.flush());
    assert_eq!(told(&outbox), ["2 db late i=1i\n"]);
    outbox.write(3, &database, "m i=1i");
    outbox.finish(3, Outcome::default(), Usage::default(), Effects::Drop, 0);
    assert_eq!(told(&outbox), ["end of 3"]);
}

#[test]
fn lines_are_sent_by_number_and_targets_by_number() {
    let outbox = Outbox::default();
    for _ in 0..FLUSH_LINES + 1 {
        outbox.log(None, entry(""));
    }
    assert_eq!(told(&outbox), [format!("{FLUSH_LINES} lines")]);
    for index in 0..=OPEN_BATCHES_MAX {
        outbox.write(1, &format!("db{index}").into(), "m i=1i");
    }
    assert_eq!(sent(&outbox).len(), OPEN_BATCHES_MAX);
}

#[test]
fn a_full_outbox_says_so_until_it_is_read() {
    let outbox = Outbox::default();
    let message = "x".repeat(OUTBOX_BYTES_MAX / 2 + 1);
    assert_eq!(outbox.log(None, entry(&message)), Room::Enough);
    assert_eq!(outbox.log(None, entry(&message)), Room::Full);
    assert_eq!(sent(&outbox).len(), 2);
    assert_eq!(outbox.wait_for_room(std::time::Duration::ZERO), Room::Enough);
}

#[test]
fn a_closed_outbox_ends_after_the_rest() {
    let outbox = Outbox::default();
    outbox.log(None, entry("rest"));
    outbox.close();
    outbox.log(None, entry("dropped"));
    assert_eq!(told(&outbox), ["1 lines"]);
    assert!(outbox.poll_next(&mut Context::from_waker(Waker::noop())) == Poll::Ready(None));
}

#[test]
fn the_timer_runs_while_something_is_collected() {
    let outbox = Outbox::default();
    assert!(!outbox.set_timed(false));
    outbox.log(None, entry(""));
    assert!(outbox.set_timed(false));
    outbox.flush();
    assert!(!outbox.set_timed(false));
}

#[test]
fn the_package_lists_every_file() {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("python").join(package::NAME);
    let files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
    let mut names: Vec<String> = files
        .filter(|file| file.file_type().unwrap().is_file())
        .map(|file| file.file_name().into_string().unwrap())
        .collect();
    names.sort();
    let mut listed: Vec<&str> = package::FILES.iter().map(|(name, _)| *name).collect();
    listed.sort_unstable();
    assert_eq!(names, listed);
}
