//! Printed text becomes log lines: whole lines, of bounded length, in bounded memory.

use crate::limits::CUT_NOTE_BYTES;

/// Cuts a line at `max` bytes and says how much is missing. A line that fits comes back as it is.
#[must_use]
pub fn cut_line(line: String, max: usize) -> String {
    if line.len() <= max {
        return line;
    }
    let total = line.len();
    cut_with_total(line, total, max)
}

fn cut_with_total(mut line: String, total: usize, max: usize) -> String {
    let mut end = max.saturating_sub(CUT_NOTE_BYTES).min(line.len());
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    line.truncate(end);
    let note = format!(" ... ({} bytes cut)", total - end);
    if max > CUT_NOTE_BYTES {
        line.push_str(&note);
    }
    line
}

/// Collects the text of one stream up to the end of a line.
#[derive(Debug, Default)]
pub struct LineAssembler {
    partial: String,
    /// Bytes of the line so far, those that were not kept included.
    partial_bytes: usize,
}

impl LineAssembler {
    /// Takes text and hands out the lines that it completes, each at most `max` bytes long.
    pub fn push(&mut self, text: &str, max: usize, mut emit: impl FnMut(String)) {
        let mut rest = text;
        while let Some((line, tail)) = rest.split_once('\n') {
            self.keep(line, max);
            emit(self.take(max));
            rest = tail;
        }
        self.keep(rest, max);
    }

    /// Hands out the line that has no end yet.
    pub fn finish(&mut self, max: usize) -> Option<String> {
        (self.partial_bytes > 0).then(|| self.take(max))
    }

    fn keep(&mut self, text: &str, max: usize) {
        // Nothing is kept behind a gap.
        let whole = self.partial_bytes == self.partial.len();
        self.partial_bytes += text.len();
        if !whole {
            return;
        }
        let mut room = max.saturating_sub(self.partial.len()).min(text.len());
        while !text.is_char_boundary(room) {
            room -= 1;
        }
        self.partial.push_str(text.get(..room).unwrap_or_default());
    }

    fn take(&mut self, max: usize) -> String {
        let line = std::mem::take(&mut self.partial);
        let total = std::mem::take(&mut self.partial_bytes);
        let mut line = if total > line.len() { cut_with_total(line, total, max) } else { line };
        if line.ends_with('\r') {
            line.pop();
        }
        line
    }
}
