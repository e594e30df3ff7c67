//! The attacks, and how each ends.

use std::io::{IoSlice, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use bulkhead_proto::types::v1::{Outcome, WriteBatch};
use bulkhead_proto::worker::v1::session_request::Fact;
use bulkhead_proto::worker::v1::{Finished, ResponseBegun, ResponsePart, SessionRequest, TriggerLoaded, Written};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use prost::Message;

use super::fake_worker::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, FakeWorker, HEADERS, PING, PRIORITY, RST_STREAM, SESSION, SETTINGS,
    WINDOW_UPDATE, frame, header_bomb, headers,
};
use super::{CALL, survive};
use crate::limits;

/// Questions of a peer that never takes their answers: more than may be open at a time.
const STALLED: usize = 400;

/// Checks how an attack ends.
async fn ends(words: &str, attack: impl FnOnce(FakeWorker) + Send + 'static) {
    let end = survive(attack).await;
    assert!(end.contains(words), "{end:?} instead of {words:?}");
}

/// The same bytes again and again, for as long as the runner takes them.
fn flood(worker: &mut FakeWorker, bytes: &[u8]) {
    let many = bytes.repeat((1 << 16) / bytes.len());
    while worker.bytes(&many) {}
}

#[tokio::test]
async fn other_protocols() {
    ends("does not begin as HTTP/2", |mut worker| {
        worker.bytes(&[0xff; 1 << 16]);
    })
    .await;
}

#[tokio::test]
async fn a_connection_without_a_session() {
    ends("it never opened its session", |mut worker| {
        worker.connect();
        worker.socket.shutdown(std::net::Shutdown::Both).unwrap();
    })
    .await;
}

#[tokio::test]
async fn garbage_in_the_middle() {
    ends("which no worker sends", |mut worker| {
        worker.load();
        worker.bytes(b"\x00\x00\x08garbage garbage garbage");
    })
    .await;
}

#[tokio::test]
async fn a_frame_of_16_mib() {
    ends("16777215 bytes of kind DATA against the limit `session_frame_bytes_max`", |mut worker| {
        worker.load();
        worker.bytes(&[0xff, 0xff, 0xff, DATA, 0, 0, 0, 0, 1]);
    })
    .await;
}

#[tokio::test]
async fn frames_that_http2_forbids() {
    for forbidden in [
        frame(SETTINGS, 0, 0, &[0; 5]),
        frame(SETTINGS, 0, 1, &[]),
        frame(PING, 0, 0, &[0; 7]),
        frame(PING, 0, 1, &[0; 8]),
        frame(RST_STREAM, 0, 0, &[0; 4]),
        frame(WINDOW_UPDATE, 0, 0, &[0; 4]),
        frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]),
        frame(DATA, 0, 0, b"for no stream"),
        frame(DATA, 0, 77, b"for a stream that is not open"),
        frame(DATA, 8, SESSION, &[200, 1]),
        frame(HEADERS, END_HEADERS, 2, &headers("CacheGet")),
        frame(HEADERS, END_HEADERS, 3, &[0xff; 40]),
    ] {
        let said = format!("{:?}", &forbidden[..9]);
        let end = survive(move |mut worker| {
            worker.load();
            worker.bytes(&forbidden);
        })
        .await;
        assert!(end.starts_with("its session failed: ") && end.contains("protocol error"), "{said}: {end}");
    }
}

#[tokio::test]
async fn floods_of_frames_without_content() {
    for (kind, bytes) in [
        ("SETTINGS", frame(SETTINGS, 0, 0, &[])),
        ("PING", frame(PING, 0, 0, &[0; 8])),
        ("DATA", frame(DATA, 0, SESSION, &[])),
        ("WINDOW_UPDATE", frame(WINDOW_UPDATE, 0, SESSION, &[0, 0, 0, 1])),
    ] {
        let end = survive(move |mut worker| {
            worker.load();
            // Without somebody who reads the answers the runner would only wait.
            let mut socket = worker.socket.try_clone().unwrap();
            let reader = std::thread::spawn(move || while socket.read(&mut [0; 1 << 16]).is_ok_and(|read| read > 0) {});
            flood(&mut worker, &bytes);
            drop(worker);
            reader.join().unwrap();
        })
        .await;
        let is_named = end.contains("`session_idle_frames_max`") || end.contains("protocol error");
        assert!(is_named, "{kind}: {end}");
    }
}

#[tokio::test]
async fn streams_that_are_opened_and_reset() {
    let end = survive(|mut worker| {
        worker.load();
        let mut stream = SESSION;
        loop {
            stream += 2;
            let opened = frame(HEADERS, END_HEADERS, stream, &headers("Query"));
            if !worker.bytes(&[opened, frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat()) {
                break;
            }
        }
    })
    .await;
    assert!(end.contains("too_many_resets") || end.contains("`session_idle_frames_max`"), "{end}");
}

#[tokio::test]
async fn kinds_of_frames_that_no_worker_sends() {
    for (words, bytes) in [
        ("kind CONTINUATION", [frame(HEADERS, 0, 3, &headers("Query")), frame(CONTINUATION, 0, 3, &[])].concat()),
        ("kind PRIORITY", frame(PRIORITY, 0, SESSION, &[0; 5])),
        ("kind 200", frame(200, 0, 0, &[])),
    ] {
        ends(words, move |mut worker| {
            worker.load();
            flood(&mut worker, &bytes);
        })
        .await;
    }
}

#[tokio::test]
async fn headers_that_unfold() {
    for (words, times) in [
        ("of kind HEADERS against the limit `session_header_bytes_max`", 20_000),
        // Small on the wire, and thirty megabytes if somebody put them together.
        ("its session failed: h2 protocol error", 10_000),
    ] {
        let bomb = header_bomb(3000, times);
        ends(words, move |mut worker| {
            worker.load();
            worker.frame(HEADERS, END_HEADERS | END_STREAM, 3, &bomb);
        })
        .await;
    }
}

#[tokio::test]
async fn more_than_the_window() {
    ends("its session failed: ", |mut worker| {
        worker.load();
        let part = vec![0; 1 << 20];
        // The largest message there may be, at once.
        worker.frame(DATA, 0, SESSION, &[0, 4, 0, 0, 0]);
        while worker.frame(DATA, 0, SESSION, &part) {}
    })
    .await;
}

#[tokio::test]
async fn messages_that_are_none() {
    let half = SessionRequest { fact: Some(Fact::Written(Written::default())) }.encode_to_vec();
    for (words, flags, content) in [
        // Longer than any message, compressed, cut off, no protobuf, empty.
        ("message length too large", 0, vec![0, 0xff, 0xff, 0xff, 0xff]),
        ("compressed-flag", 0, vec![1, 0, 0, 0, 1, 0]),
        ("compression flag", 0, vec![99, 0, 0, 0, 1, 0]),
        ("Unexpected EOF", END_STREAM, vec![0, 0, 0, 0, 9, 1, 2]),
        ("failed to decode", 0, vec![0, 0, 0, 0, 4, 0xff, 0xff, 0xff, 0xff]),
        ("an empty message", 0, vec![0, 0, 0, 0, 0]),
        ("an empty message", 0, [vec![0, 0, 0, 0, u8::try_from(half.len()).unwrap()], half].concat()),
    ] {
        ends(words, move |mut worker| {
            worker.load();
            worker.frame(DATA, flags, SESSION, &content);
            // A worker that hears nothing goes on waiting.
            while worker.read().is_ok() {}
        })
        .await;
    }
}

#[tokio::test]
async fn results_of_other_calls() {
    ends("`finished` for invocation 8, which does not run", |mut worker| {
        worker.load();
        worker.finish(CALL + 1);
    })
    .await;
    ends("`written` for invocation ffffffffffffffff, which does not run", |mut worker| {
        worker.load();
        let batch = Some(WriteBatch::default());
        worker.fact(Fact::Written(Written { invocation_id: u64::MAX, batch }));
    })
    .await;
}

#[tokio::test]
async fn results_without_or_after_their_end() {
    ends("a result without an outcome", |mut worker| {
        worker.load();
        let outcome = Some(Outcome::default());
        worker.fact(Fact::Finished(Finished { invocation_id: CALL, outcome, ..Finished::default() }));
    })
    .await;
    ends("`finished` for invocation 7, which does not run", |mut worker| {
        worker.load();
        worker.finish(CALL);
        worker.finish(CALL);
    })
    .await;
}

#[tokio::test]
async fn responses_that_nobody_waits_for() {
    ends("`response_begun` while no response was due", |mut worker| {
        worker.load();
        worker.fact(Fact::ResponseBegun(ResponseBegun { invocation_id: CALL, ..ResponseBegun::default() }));
    })
    .await;
    ends("`response_part` while no response had begun", |mut worker| {
        worker.load();
        worker.fact(Fact::ResponsePart(ResponsePart { invocation_id: CALL, body: "part".into() }));
    })
    .await;
}

#[tokio::test]
async fn writes_beyond_their_limit() {
    ends("against the limit `write_buffer_bytes_max`", |mut worker| {
        worker.load();
        let line_protocol = vec![b'a'; (1 << 20) - 64].into();
        let batch = Some(WriteBatch { line_protocol, ..WriteBatch::default() });
        let said = SessionRequest { fact: Some(Fact::Written(Written { invocation_id: CALL, batch })) }.encode_to_vec();
        loop {
            while worker.window < i64::try_from(said.len()).unwrap() + 5 {
                if worker.read().is_err() {
                    return;
                }
            }
            worker.window -= i64::try_from(said.len()).unwrap() + 5;
            if !worker.message(SESSION, 0, &said) {
                return;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn questions_that_never_end_are_held_up_to_a_limit() {
    let (told, sent) = std::sync::mpsc::sync_channel(1);
    ends("it closed its session and went on", move |mut worker| {
        worker.load();
        let part = vec![0; 1 << 20];
        let mut sent = 0;
        'refused: for stream in (SESSION + 2..).step_by(2).take(60) {
            worker.call(stream, "WriteSync");
            worker.frame(DATA, 0, stream, &[0, 3, 0, 0, 0]);
            for _ in 0..4 {
                while worker.window < 2 << 20 {
                    let (kind, _, of, _) = worker.read().unwrap();
                    if matches!(kind, HEADERS | RST_STREAM) && of != SESSION {
                        break 'refused;
                    }
                }
                worker.window -= 1 << 20;
                worker.frame(DATA, 0, stream, &part);
                sent += part.len();
            }
        }
        told.send(sent).unwrap();
        worker.frame(DATA, END_STREAM, SESSION, &[]);
        while worker.read().is_ok() {}
    })
    .await;
    let sent = sent.recv().unwrap();
    let max = limits::SESSION_QUESTIONS_BYTES_MAX;
    assert!(sent >= max && sent < max + (64 << 20), "{sent} bytes were taken against {max}");
}

#[tokio::test]
async fn descriptors_that_are_passed_along() {
    let file = tempfile::tempfile().unwrap();
    let (fd, inode) = (file.as_raw_fd(), file.metadata().unwrap().ino());
    ends("`finished` for invocation 8", move |mut worker| {
        worker.load();
        let ping = frame(PING, 0, 0, &[0; 8]);
        for _ in 0..20 {
            let fds = [fd; 20];
            let rights = [ControlMessage::ScmRights(&fds)];
            let sent =
                sendmsg::<()>(worker.socket.as_raw_fd(), &[IoSlice::new(&ping)], &rights, MsgFlags::empty(), None);
            assert_eq!(sent.unwrap(), ping.len());
        }
        worker.finish(CALL + 1);
        // What comes with descriptors is read piece by piece, each when something else arrives: it has held itself up.
        worker.socket.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        while worker.bytes(&ping) {
            let _ = worker.read();
        }
    })
    .await;
    let all = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let open = all.filter(|entry| std::fs::metadata(entry.path()).is_ok_and(|file| file.ino() == inode)).count();
    assert_eq!(open, 1, "the runner has taken descriptors in");
    drop(file);
}

#[tokio::test]
async fn a_peer_that_never_reads_is_held_back() {
    ends("its session failed: ", |mut worker| {
        worker.load();
        worker.socket.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
        let ping = frame(PING, 0, 0, &[0; 8]);
        let answered = (0..limits::SESSION_IDLE_FRAMES_MAX / 2).filter(|_| worker.bytes(&ping)).count();
        // Without a reader the runner stops to listen, so that its memory does not grow.
        assert!(answered > 0);
        worker.socket.shutdown(std::net::Shutdown::Both).unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_peer_that_gives_no_window_gets_no_content_and_costs_no_more() {
    ends("it closed its session and went on", |mut worker| {
        worker.connect_without_window();
        worker.introduce();
        worker.fact(Fact::TriggerLoaded(TriggerLoaded { failure: None }));
        for stream in (SESSION + 2..).step_by(2).take(STALLED) {
            worker.call(stream, "CacheGet");
            worker.message(stream, END_STREAM, &[]);
        }
        // Its questions are answered as far as it lets them be.
        let (mut answered, mut refused) = (0, 0);
        while answered + refused < STALLED {
            match worker.read().unwrap() {
                (DATA, _, of, content) => assert!(content.is_empty(), "{} bytes for stream {of}", content.len()),
                (HEADERS, _, of, _) if of != SESSION => answered += 1,
                (RST_STREAM, ..) => refused += 1,
                _ => {}
            }
        }
        assert!(answered > 0 && refused > 0, "{answered} answered, {refused} refused");
        worker.finish(CALL);
        worker.frame(DATA, END_STREAM, SESSION, &[]);
        while worker.read().is_ok() {}
    })
    .await;
}
