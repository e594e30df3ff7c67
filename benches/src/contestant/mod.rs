//! Who is measured.

pub(crate) mod arrival;
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
    /// The line with this sum, added up in any order.
    SumInAnyOrder(f64),
}

impl Work {
    /// Fails when the work was not done.
    fn check(self, body: Option<&[u8]>, lines: &[u8]) -> Result<(), Error> {
        let done = match self {
            Self::Answer => body == Some(NOOP_ANSWER),
            Self::Nothing => lines.is_empty(),
            Self::Sum(total) => sum_of(lines).is_some_and(|sum| sum.to_bits() == total.to_bits()),
            Self::SumInAnyOrder(total) => sum_of(lines).is_some_and(|sum| (sum / total - 1.0).abs() < SUM_TOLERANCE),
        };
        if done {
            Ok(())
        } else {
            Err(format!("{self:?} was expected, but it wrote {:?}", String::from_utf8_lossy(lines)).into())
        }
    }
}

/// Relative difference of two sums of the same positive numbers in different orders; 100,000 roundings make less.
const SUM_TOLERANCE: f64 = 1e-9;

/// The same additions in the same order give the same bits.
fn sum_of(lines: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(lines).unwrap_or_default().trim_end();
    text.strip_prefix(SUM_LINE).and_then(|sum| sum.parse().ok())
}
