//! What a worker's connection carries, frame by frame, before HTTP/2 takes it in.
//!
//! HTTP/2 allows a peer much that costs the other end work and carries nothing. A worker's own client uses little of it, so
//! that what it never sends is refused here by name, and what it sends rarely is counted. What a frame holds is not looked at.

use std::time::Duration;

use bulkhead_proto::transport;
use tokio::time::Instant;

use crate::limits;

/// What a client says first.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Bytes of the head of each frame: length, kind, flags, stream.
const HEAD_BYTES: usize = 9;
/// The time in which frames without content are counted.
const WINDOW: Duration = Duration::from_secs(1);

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;

/// A connection that no worker's client makes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireViolation {
    /// It is not HTTP/2.
    #[error("its connection does not begin as HTTP/2 does")]
    Preface,
    /// A frame is longer than it may be.
    #[error("a frame of {bytes} bytes of kind {} against the limit `{limit}` of {max}", name(*kind))]
    TooLarge {
        /// Its kind.
        kind: u8,
        /// Its length, bytes.
        bytes: u32,
        /// The limit.
        limit: &'static str,
        /// Its value, bytes.
        max: u32,
    },
    /// A frame of a kind that a worker has no use for.
    #[error("a frame of kind {}, which no worker sends", name(*kind))]
    Kind {
        /// The kind.
        kind: u8,
    },
    /// Too many frames that carry nothing.
    #[error(
        "more than {} frames without content in a second against the limit `session_idle_frames_max`, the last of kind {}",
        limits::SESSION_IDLE_FRAMES_MAX,
        name(*kind)
    )]
    Flood {
        /// Kind of the last one.
        kind: u8,
    },
}

fn name(kind: u8) -> String {
    const NAMES: [&str; 10] = [
        "DATA",
        "HEADERS",
        "PRIORITY",
        "RST_STREAM",
        "SETTINGS",
        "PUSH_PROMISE",
        "PING",
        "GOAWAY",
        "WINDOW_UPDATE",
        "CONTINUATION",
    ];
    NAMES.get(usize::from(kind)).map_or_else(|| kind.to_string(), |name| (*name).to_owned())
}

/// Follows one direction of a connection.
#[derive(Debug, Default)]
pub struct FrameMeter {
    /// Bytes of the preface that were seen.
    preface: usize,
    head: [u8; HEAD_BYTES],
    /// Bytes of the head that were seen.
    filled: usize,
    /// Bytes of the frame's content that are still to come.
    content: usize,
    /// When the second began in which is counted.
    since: Option<Instant>,
    /// Frames without content since then.
    idle: u32,
}

impl FrameMeter {
    /// Takes in the next bytes.
    ///
    /// # Errors
    /// When no worker's client sends them. Nothing that follows means anything then.
    pub fn take_in(&mut self, mut bytes: &[u8], now: Instant) -> Result<(), WireViolation> {
        while let Some(first) = bytes.first() {
            if let Some(expected) = PREFACE.get(self.preface) {
                if first != expected {
                    return Err(WireViolation::Preface);
                }
                self.preface += 1;
                bytes = bytes.get(1..).unwrap_or_default();
            } else if self.content > 0 {
                let here = self.content.min(bytes.len());
                self.content -= here;
                bytes = bytes.get(here..).unwrap_or_default();
            } else {
                let here = (HEAD_BYTES - self.filled).min(bytes.len());
                let (begun, rest) = bytes.split_at(here);
                if let Some(place) = self.head.get_mut(self.filled..self.filled + here) {
                    place.copy_from_slice(begun);
                }
                self.filled += here;
                bytes = rest;
                if self.filled == HEAD_BYTES {
                    self.filled = 0;
                    self.frame(now)?;
                }
            }
        }
        Ok(())
    }

    fn frame(&mut self, now: Instant) -> Result<(), WireViolation> {
        let [high, middle, low, kind, ..] = self.head;
        let bytes = u32::from_be_bytes([0, high, middle, low]);
        let (limit, max) = match kind {
            DATA => ("session_frame_bytes_max", transport::FRAME_BYTES_MAX),
            HEADERS => ("session_header_bytes_max", limits::SESSION_HEADER_BYTES_MAX),
            RST_STREAM | SETTINGS | PING | GOAWAY | WINDOW_UPDATE => {
                ("session_control_frame_bytes_max", limits::SESSION_CONTROL_FRAME_BYTES_MAX)
            }
            kind => return Err(WireViolation::Kind { kind }),
        };
        if bytes > max {
            return Err(WireViolation::TooLarge { kind, bytes, limit, max });
        }
        let is_idle = !matches!(kind, DATA | HEADERS) || bytes == 0;
        if is_idle {
            if self.since.is_none_or(|since| now.saturating_duration_since(since) >= WINDOW) {
                (self.since, self.idle) = (Some(now), 0);
            }
            self.idle += 1;
            if self.idle > limits::SESSION_IDLE_FRAMES_MAX {
                return Err(WireViolation::Flood { kind });
            }
        }
        self.content = bytes as usize;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, content: usize) -> Vec<u8> {
        let mut frame = u32::try_from(content).unwrap().to_be_bytes()[1..].to_vec();
        frame.extend([kind, 0, 0, 0, 0, 1]);
        frame.resize(HEAD_BYTES + content, 0);
        frame
    }

    fn begun() -> (FrameMeter, Instant) {
        let (mut meter, now) = (FrameMeter::default(), Instant::now());
        meter.take_in(PREFACE, now).unwrap();
        (meter, now)
    }

    #[test]
    fn frames_are_found_however_they_are_cut() {
        let stream: Vec<u8> = [PREFACE.to_vec(), frame(SETTINGS, 6), frame(DATA, 300), frame(9, 0)].concat();
        for size in [1, 2, 7, 100, stream.len()] {
            let (mut meter, now) = (FrameMeter::default(), Instant::now());
            let ends: Vec<_> = stream.chunks(size).filter_map(|part| meter.take_in(part, now).err()).collect();
            assert_eq!(ends, [WireViolation::Kind { kind: 9 }], "in parts of {size}");
        }
    }

    #[test]
    fn frames_without_content_are_counted_by_the_second() {
        let (mut meter, now) = begun();
        for round in 0..3 {
            for _ in 0..limits::SESSION_IDLE_FRAMES_MAX {
                meter.take_in(&frame(PING, 8), now + WINDOW * round).unwrap();
            }
        }
        let flood = meter.take_in(&frame(DATA, 0), now + WINDOW * 2);
        assert_eq!(flood, Err(WireViolation::Flood { kind: DATA }));
    }

    #[test]
    fn frames_with_content_are_not() {
        let (mut meter, now) = begun();
        for _ in 0..limits::SESSION_IDLE_FRAMES_MAX * 2 {
            meter.take_in(&frame(DATA, 1), now).unwrap();
        }
    }

    #[test]
    fn lengths_have_limits_by_kind() {
        let (mut meter, now) = begun();
        meter.take_in(&frame(DATA, transport::FRAME_BYTES_MAX as usize), now).unwrap();
        let violation = meter.take_in(&[0, 0x40, 1, HEADERS, 0, 0, 0, 0, 1], now).unwrap_err();
        assert!(violation.to_string().contains("16385 bytes of kind HEADERS"), "{violation}");
    }

    #[test]
    fn other_protocols_are_refused_at_their_first_byte() {
        let (mut meter, now) = (FrameMeter::default(), Instant::now());
        assert_eq!(meter.take_in(b"GET / HTTP/1.1", now), Err(WireViolation::Preface));
    }
}
