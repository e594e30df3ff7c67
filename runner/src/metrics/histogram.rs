//! Counts of durations by their length.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the buckets, seconds: from less than a call over the socket takes to the longest call that is usual.
pub(super) const BOUNDS: [f64; 14] =
    [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 5.0, 30.0, 300.0];

/// See the module.
#[derive(Debug, Default)]
pub struct Histogram {
    /// By bucket, the last for what is longer than all bounds.
    counts: [AtomicU64; BOUNDS.len() + 1],
    nanos: AtomicU64,
}

impl Histogram {
    /// Counts one duration.
    pub fn observe(&self, duration: Duration) {
        let bucket = BOUNDS.partition_point(|bound| *bound < duration.as_secs_f64());
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// How many durations are at most as long as each bound, and how many there are in all.
    #[must_use]
    pub fn cumulative(&self) -> ([u64; BOUNDS.len()], u64) {
        let mut sum = 0;
        let buckets = std::array::from_fn(|bucket| {
            sum += self.counts[bucket].load(Ordering::Relaxed);
            sum
        });
        (buckets, sum + self.counts[BOUNDS.len()].load(Ordering::Relaxed))
    }

    /// The sum of the durations, seconds.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        Duration::from_nanos(self.nanos.load(Ordering::Relaxed)).as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_counts_in_every_bucket_that_is_long_enough() {
        let histogram = Histogram::default();
        for millis in [1, 3, 1_000_000] {
            histogram.observe(Duration::from_millis(millis));
        }
        let (buckets, count) = histogram.cumulative();
        assert_eq!((buckets[2], buckets[3], buckets[5], buckets[13], count), (0, 1, 2, 2, 3));
        assert!((histogram.seconds() - 1_000.004).abs() < 1e-6);
    }
}
