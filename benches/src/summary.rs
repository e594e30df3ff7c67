//! From single times to the few numbers that are reported.

use std::time::Duration;

use serde::Serialize;

/// Times of one contestant, by round.
pub(crate) type Rounds = Vec<Vec<Duration>>;

/// What is reported of many times, in microseconds.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Summary {
    /// Calls that were timed.
    pub(crate) calls: usize,
    /// Median of all calls.
    pub(crate) p50_us: f64,
    /// 99th percentile of all calls; absent when there are too few to have one.
    pub(crate) p99_us: Option<f64>,
    /// Median of the best round.
    pub(crate) best_round_us: f64,
    /// Median of the worst round.
    pub(crate) worst_round_us: f64,
    /// Medians of the rounds, in order.
    pub(crate) rounds_us: Vec<f64>,
}

/// Calls below which a 99th percentile says nothing.
const P99_CALLS_MIN: usize = 100;

impl Summary {
    /// Summarises; `None` when nothing was measured.
    pub(crate) fn of(rounds: &Rounds) -> Option<Self> {
        let rounds_us: Vec<f64> = rounds.iter().filter_map(|round| percentile(&sorted(round), 0.5)).collect();
        let all: Vec<Duration> = rounds.iter().flatten().copied().collect();
        let all = sorted(&all);
        Some(Self {
            calls: all.len(),
            p50_us: percentile(&all, 0.5)?,
            p99_us: if all.len() < P99_CALLS_MIN { None } else { percentile(&all, 0.99) },
            best_round_us: rounds_us.iter().copied().reduce(f64::min)?,
            worst_round_us: rounds_us.iter().copied().reduce(f64::max)?,
            rounds_us,
        })
    }
}

fn sorted(times: &[Duration]) -> Vec<f64> {
    let mut micros: Vec<f64> = times.iter().map(|time| time.as_secs_f64() * 1e6).collect();
    micros.sort_by(f64::total_cmp);
    micros
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "an index into a few thousand times"
)]
fn percentile(sorted: &[f64], share: f64) -> Option<f64> {
    let index = (sorted.len() as f64 * share) as usize;
    sorted.get(index.min(sorted.len().saturating_sub(1))).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(times: impl IntoIterator<Item = u64>) -> Vec<Duration> {
        times.into_iter().map(Duration::from_micros).collect()
    }

    #[test]
    fn medians_are_taken_over_all_calls_and_over_each_round() {
        let summary = Summary::of(&vec![micros(1..=100), micros(101..=200)]).unwrap();
        assert_eq!((summary.calls, summary.p50_us, summary.p99_us), (200, 101.0, Some(199.0)));
        assert_eq!((summary.best_round_us, summary.worst_round_us), (51.0, 151.0));
    }

    #[test]
    fn few_calls_have_no_p99() {
        assert_eq!(Summary::of(&vec![micros([1, 2, 3])]).unwrap().p99_us, None);
        assert!(Summary::of(&Vec::new()).is_none());
    }
}
