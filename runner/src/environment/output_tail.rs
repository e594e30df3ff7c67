//! The end of a stream, in bounded memory.

use tokio::io::{AsyncRead, AsyncReadExt};

use super::limits::{LINE_BYTES_MAX, OUTPUT_TAIL_BYTES, READ_BYTES};

/// What is kept of a stream.
#[derive(Default)]
pub(crate) struct Tail {
    bytes: Vec<u8>,
    is_cut: bool,
}

impl Tail {
    /// Reads the stream to its end, and says each line of it on the way.
    pub(crate) async fn fill(&mut self, stream: Option<impl AsyncRead + Unpin>, say: impl Fn(&str)) {
        let Some(mut stream) = stream else { return };
        // Not in the future: those of a build lie in each other, and all of them on the stack of whoever polls.
        let mut buffer = vec![0; READ_BYTES];
        let mut line = Vec::new();
        while let Ok(count @ 1..) = stream.read(&mut buffer).await {
            self.push(&buffer[..count]);
            for byte in &buffer[..count] {
                match byte {
                    b'\n' => {
                        say(&String::from_utf8_lossy(&line));
                        line.clear();
                    }
                    // The rest of a line without end is of no interest.
                    byte if line.len() < LINE_BYTES_MAX => line.push(*byte),
                    _ => {}
                }
            }
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        // Cut rarely and not at every read, so that a flood costs linear time.
        if self.bytes.len() > 2 * OUTPUT_TAIL_BYTES {
            self.cut();
        }
    }

    fn cut(&mut self) {
        let excess = self.bytes.len().saturating_sub(OUTPUT_TAIL_BYTES);
        self.is_cut |= excess > 0;
        self.bytes.drain(..excess);
    }

    /// The text; where the beginning is missing it starts with a whole line.
    pub(crate) fn text(mut self) -> String {
        self.cut();
        let text = String::from_utf8_lossy(&self.bytes);
        match text.split_once('\n') {
            Some((_, rest)) if self.is_cut => format!("[...]\n{rest}"),
            _ => text.into_owned(),
        }
    }
}
