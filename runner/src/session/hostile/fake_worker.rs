//! A worker that is not one: raw HTTP/2 frames on one end of a session's socket, with nothing between it and the wire that
//! would keep it from saying what it must not.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use bulkhead_proto::types::v1::{Outcome, Success, outcome};
use bulkhead_proto::worker::v1::session_request::Fact;
use bulkhead_proto::worker::v1::{Finished, Hello, SessionRequest, TriggerLoaded};
use prost::Message;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const ACK: u8 = 1;
pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;

/// The stream of the session; a worker's client opens it first.
pub(super) const SESSION: u32 = 1;

/// A peer that has been given up reads no more; nothing here waits for longer.
const PATIENCE: Duration = Duration::from_secs(20);

/// One end of a session's socket. What is written to a runner that has given up is lost, which is no concern of an attacker.
pub(super) struct FakeWorker {
    pub(super) socket: UnixStream,
    /// Bytes that the runner lets it send on the whole connection.
    pub(super) window: i64,
}

impl FakeWorker {
    pub(super) fn new(socket: UnixStream) -> Self {
        socket.set_write_timeout(Some(PATIENCE)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, window: 65_535 }
    }

    /// Any bytes; whether the runner still listens.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> bool {
        self.socket.write_all(bytes).is_ok()
    }

    /// A frame; whether the runner still listens.
    pub(super) fn frame(&mut self, kind: u8, flags: u8, stream: u32, content: &[u8]) -> bool {
        let frame = frame(kind, flags, stream, content);
        self.bytes(&frame)
    }

    /// Begins as HTTP/2 does.
    pub(super) fn connect(&mut self) {
        self.bytes(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        self.frame(SETTINGS, 0, 0, &[]);
    }

    /// Begins, and lets the runner send no content of any stream.
    pub(super) fn connect_without_window(&mut self) {
        /// `SETTINGS_INITIAL_WINDOW_SIZE` and its value.
        const NO_WINDOW: [u8; 6] = [0, 4, 0, 0, 0, 0];
        self.bytes(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        self.frame(SETTINGS, 0, 0, &NO_WINDOW);
    }

    /// Begins, opens the session and introduces itself.
    pub(super) fn greet(&mut self) {
        self.connect();
        self.introduce();
    }

    /// Is ready for calls.
    pub(super) fn introduce(&mut self) {
        self.call(SESSION, "Session");
        self.fact(Fact::Hello(Hello { protocol_version: bulkhead_proto::WORKER_PROTOCOL_VERSION, ..Hello::default() }));
    }

    /// Is ready for calls, and knows that the runner has opened the session, too.
    pub(super) fn load(&mut self) {
        self.greet();
        self.fact(Fact::TriggerLoaded(TriggerLoaded { failure: None }));
        while !matches!(self.read(), Ok((HEADERS, _, SESSION, _))) {}
    }

    /// Opens a stream for a method.
    pub(super) fn call(&mut self, stream: u32, method: &str) -> bool {
        self.frame(HEADERS, END_HEADERS, stream, &headers(method))
    }

    /// Says a fact as a message of its own.
    pub(super) fn fact(&mut self, fact: Fact) -> bool {
        let said = SessionRequest { fact: Some(fact) }.encode_to_vec();
        self.message(SESSION, 0, &said)
    }

    /// A message of gRPC in one frame.
    pub(super) fn message(&mut self, stream: u32, flags: u8, content: &[u8]) -> bool {
        let mut message = vec![0];
        message.extend(u32::try_from(content.len()).unwrap().to_be_bytes());
        message.extend(content);
        self.frame(DATA, flags, stream, &message)
    }

    /// The end of a call, as it is when all is well.
    pub(super) fn finish(&mut self, invocation_id: u64) -> bool {
        let outcome = Some(Outcome { kind: Some(outcome::Kind::Success(Success::default())), elapsed: None });
        self.fact(Fact::Finished(Finished { invocation_id, outcome, ..Finished::default() }))
    }

    /// The next frame of the runner: kind, flags, stream, content.
    pub(super) fn read(&mut self) -> std::io::Result<(u8, u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        self.socket.read_exact(&mut head)?;
        let [high, middle, low, kind, flags, stream @ ..] = head;
        let mut content = vec![0; u32::from_be_bytes([0, high, middle, low]) as usize];
        self.socket.read_exact(&mut content)?;
        let stream = u32::from_be_bytes(stream);
        if kind == SETTINGS && flags & ACK == 0 {
            // From here on the runner's sizes hold.
            self.frame(SETTINGS, ACK, 0, &[]);
        }
        if let (WINDOW_UPDATE, 0, Ok(more)) = (kind, stream, <[u8; 4]>::try_from(content.as_slice())) {
            self.window += i64::from(u32::from_be_bytes(more));
        }
        Ok((kind, flags, stream, content))
    }

    /// Waits for the runner to be done with a stream.
    pub(super) fn answered(&mut self, stream: u32) -> std::io::Result<()> {
        loop {
            let (kind, flags, of, _) = self.read()?;
            if of == stream && (kind == RST_STREAM || (matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0)) {
                return Ok(());
            }
        }
    }
}

/// A frame as it is on the wire.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, content: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(content.len()).unwrap().to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(content);
    frame
}

/// The headers of a call, none of them compressed by more than HTTP/2's own table.
pub(super) fn headers(method: &str) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    let path = format!("/bulkhead.worker.v1.WorkerService/{method}");
    [
        // `:method: POST`, `:scheme: http`, then names of the table with values of their own.
        vec![0x83, 0x86, 0x04],
        text(&path),
        vec![0x01],
        text("worker"),
        vec![0x0f, 0x10],
        text("application/grpc"),
        vec![0x00],
        text("te"),
        text("trailers"),
    ]
    .concat()
}

/// A header that is said once and then meant `times` more, each time by one byte.
pub(super) fn header_bomb(value_bytes: usize, times: usize) -> Vec<u8> {
    let mut bomb = headers("CacheGet");
    // A name and a value that are to be remembered; lengths above 126 go on in groups of seven bits.
    bomb.extend([0x40, 1, b'a', 0x7f]);
    let mut rest = value_bytes - 127;
    while rest >= 128 {
        bomb.push(u8::try_from(rest % 128).unwrap() | 0x80);
        rest /= 128;
    }
    bomb.push(u8::try_from(rest).unwrap());
    bomb.resize(bomb.len() + value_bytes, b'b');
    bomb.resize(bomb.len() + times, 0x80 | 62);
    bomb
}
