//! What is promised, as in the design: ratios within one run.

use serde::Serialize;

/// An upper bound.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Budget {
    /// At most this many times the baseline.
    pub(crate) times: f64,
    /// Plus this, microseconds.
    pub(crate) plus_us: f64,
}

/// A no-op call, against the incumbent's.
pub(crate) const NOOP_TO_INCUMBENT: Budget = Budget::ratio(0.15);
/// A no-op call, against the raw socketpair.
pub(crate) const NOOP_TO_RAW: Budget = Budget { times: 2.0, plus_us: 40.0 };
/// A no-op request over HTTP on eight connections, against the server's own `/ping`: at least 0.12 of its rate.
pub(crate) const HTTP_TO_PING: Budget = Budget::ratio(1.0 / 0.12);
/// Rows in the batch for which the budgets of batches hold.
pub(crate) const BATCH_ROWS: usize = 10_000;
/// A batch of which one field is summed, against the incumbent.
pub(crate) const SUM_TO_INCUMBENT: Budget = Budget::ratio(0.5);
/// A batch that is not looked at, against the incumbent.
pub(crate) const UNTOUCHED_TO_INCUMBENT: Budget = Budget::ratio(0.1);

/// A batch that is worked on through Arrow, against the incumbent, which has rows only.
pub(crate) const ARROW_TO_INCUMBENT: Budget = Budget::ratio(0.05);
/// Building lines, against the incumbent's `LineBuilder`.
pub(crate) const LINES_TO_PYTHON: Budget = Budget::ratio(0.33);

impl Budget {
    const fn ratio(times: f64) -> Self {
        Self { times, plus_us: 0.0 }
    }

    /// The bound, given what the baseline took.
    pub(crate) fn bound_us(&self, baseline_us: f64) -> f64 {
        self.times * baseline_us + self.plus_us
    }
}

impl std::fmt::Display for Budget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}x", (self.times * 100.0).round() / 100.0)?;
        if self.plus_us > 0.0 { write!(f, " + {} us", self.plus_us) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_a_multiple_and_a_constant() {
        assert_eq!(NOOP_TO_RAW.bound_us(50.0), 140.0);
        assert_eq!((NOOP_TO_RAW.to_string(), SUM_TO_INCUMBENT.to_string()), ("2x + 40 us".into(), "0.5x".into()));
    }
}
