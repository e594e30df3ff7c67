//! Who is measured.

#[cfg(libpython)]
pub(crate) mod embedded;
pub(crate) mod http;
pub(crate) mod raw;
pub(crate) mod worker;

use crate::Error;
use crate::python::{NOOP_ANSWER, SUM_LINE};

/// What a call has to bring about.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Work {
    /// The answer of the no-op plugin.
    Answer,
    /// Nothing.
    Nothing,
    /// The line with this sum.
    Sum(f64),
}

impl Work {
    /// Fails when the work was not done.
    fn check(self, body: Option<&[u8]>, lines: &[u8]) -> Result<(), Error> {
        let done = match self {
            Self::Answer => body == Some(NOOP_ANSWER),
            Self::Nothing => lines.is_empty(),
            Self::Sum(total) => is_sum(lines, total),
        };
        if done {
            Ok(())
        } else {
            Err(format!("{self:?} was expected, but it wrote {:?}", String::from_utf8_lossy(lines)).into())
        }
    }
}

fn is_sum(lines: &[u8], total: f64) -> bool {
    let text = std::str::from_utf8(lines).unwrap_or_default().trim_end();
    // The same additions in the same order give the same bits.
    text.strip_prefix(SUM_LINE)
        .and_then(|sum| sum.parse::<f64>().ok())
        .is_some_and(|sum| sum.to_bits() == total.to_bits())
}
