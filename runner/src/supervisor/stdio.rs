//! Standard output and error of a worker process, line by line into the log.
//!
//! What Python code prints travels in the session; what arrives here was written to the descriptors
//! themselves, by C code, by subprocesses, or by an interpreter that is dying.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

use crate::limits;
use crate::logs::{Level, LogWriter, Source};

/// The last bytes of a stream.
#[derive(Debug, Default)]
pub(super) struct Tail(Mutex<VecDeque<u8>>);

impl Tail {
    fn push(&self, bytes: &[u8]) {
        let mut tail = self.0.lock();
        tail.extend(bytes);
        let excess = tail.len().saturating_sub(limits::STDERR_TAIL_BYTES);
        tail.drain(..excess);
    }

    /// The text, with bytes that are no UTF-8 replaced.
    pub(super) fn text(&self) -> String {
        let mut tail = self.0.lock();
        String::from_utf8_lossy(tail.make_contiguous()).into_owned()
    }
}

/// Reads `stream` to its end. A flood is read and dropped by the log's budget, so that a plugin neither blocks on
/// a full pipe nor fills the runner's memory.
pub(super) async fn drain(stream: OwnedFd, source: Source, log: LogWriter, tail: Option<Arc<Tail>>) {
    let mut receiver = match pipe::Receiver::from_owned_fd(stream) {
        Ok(receiver) => receiver,
        Err(error) => {
            log.runner(Level::Warn, None, format!("{} of the worker cannot be read: {error}", source.word()));
            return;
        }
    };
    let level = if source == Source::Stderr { Level::Warn } else { Level::Info };
    let mut lines = Lines::default();
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(read) = receiver.read(&mut buffer).await {
        let bytes = buffer.get(..read).unwrap_or_default();
        if bytes.is_empty() {
            break;
        }
        if let Some(tail) = &tail {
            tail.push(bytes);
        }
        lines.push(bytes, |line| log.plugin(level, source, None, line));
    }
    lines.finish(|line| log.plugin(level, source, None, line));
}

/// Cuts bytes into lines of bounded length.
#[derive(Debug, Default)]
struct Lines(Vec<u8>);

impl Lines {
    fn push(&mut self, bytes: &[u8], mut emit: impl FnMut(String)) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.0.extend_from_slice(piece);
            if piece.ends_with(b"\n") || self.0.len() >= limits::LOG_LINE_BYTES_MAX as usize {
                self.finish(&mut emit);
            }
        }
    }

    fn finish(&mut self, mut emit: impl FnMut(String)) {
        let line = std::mem::take(&mut self.0);
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end_matches(['\n', '\r']);
        if !text.is_empty() {
            emit(text.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_at_newlines_and_at_the_limit() {
        let mut lines = Lines::default();
        let mut seen = Vec::new();
        lines.push(b"one\ntw", |line| seen.push(line));
        lines.push(b"o\r\n\nthree", |line| seen.push(line));
        lines.push(&vec![b'x'; limits::LOG_LINE_BYTES_MAX as usize], |line| seen.push(line));
        lines.finish(|line| seen.push(line));
        assert_eq!(seen.len(), 3);
        assert_eq!(seen[..2], ["one", "two"]);
        assert!(seen[2].starts_with("threexxx"));
    }

    #[test]
    fn the_tail_keeps_the_end() {
        let tail = Tail::default();
        tail.push(&vec![b'a'; limits::STDERR_TAIL_BYTES]);
        tail.push(b"the end");
        assert_eq!(tail.text().len(), limits::STDERR_TAIL_BYTES);
        assert!(tail.text().ends_with("the end"));
    }
}
