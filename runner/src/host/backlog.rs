//! What lies in a feed, summed up, so that what is behind a place can be told without reading it. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use crate::limits;

/// The size of one commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommitSize {
    /// Its place in the feed.
    pub sequence: u64,
    /// Its rows, of all databases.
    pub rows: u64,
    /// Its bytes as they lie on disk.
    pub bytes: u64,
    /// When it was recorded, nanoseconds since the epoch.
    pub at_ns: i64,
}

/// What a reader has before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Backlog {
    /// Commits.
    pub commits: u64,
    /// Their rows, of all databases.
    pub rows: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When the oldest of them was recorded, nanoseconds since the epoch.
    pub since_ns: Option<i64>,
}

/// Sums up to and including one commit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Point {
    sequence: u64,
    rows: u64,
    bytes: u64,
    at_ns: i64,
}

/// Running sums over the commits of a feed. Of a long feed the older places are remembered one in two, four, eight and so on, so
/// that memory is bounded; a backlog is then counted from the last place that is remembered, which is a little too much.
#[derive(Debug, Default)]
pub struct Totals {
    /// What lies before the first point.
    base: Point,
    points: VecDeque<Point>,
}

impl Totals {
    /// Takes in the next commit.
    pub fn push(&mut self, size: CommitSize) {
        let last = self.last();
        if size.sequence <= last.sequence {
            return;
        }
        self.points.push_back(Point {
            sequence: size.sequence,
            rows: last.rows + size.rows,
            bytes: last.bytes + size.bytes,
            at_ns: size.at_ns,
        });
        if self.points.len() > limits::FEED_POINTS_MAX {
            let half = self.points.len() / 2;
            let mut place = 0;
            self.points.retain(|_| {
                place += 1;
                place > half || place % 2 == 0
            });
        }
    }

    /// Nobody asks any more for what lies up to `sequence`.
    pub fn forget(&mut self, sequence: u64) {
        while let Some(point) = self.points.pop_front_if(|point| point.sequence <= sequence) {
            self.base = point;
        }
    }

    /// What lies behind `position`.
    #[must_use]
    pub fn behind(&self, position: u64) -> Backlog {
        let place = self.points.partition_point(|point| point.sequence <= position);
        let from = place.checked_sub(1).map_or(self.base, |place| self.points[place]);
        let (last, next) = (self.last(), self.points.get(place));
        Backlog {
            commits: last.sequence.saturating_sub(position.max(self.base.sequence)),
            rows: last.rows - from.rows,
            bytes: last.bytes - from.bytes,
            since_ns: next.map(|point| point.at_ns),
        }
    }

    /// The first place behind which there is no more than the limits allow at `now_ns`.
    #[must_use]
    pub fn cut(&self, limits: &RetentionLimits, now_ns: i64) -> u64 {
        let last = self.last();
        let fits = |from: &Point, next: Option<&Point>| {
            let bytes_fit = limits.bytes_max.is_none_or(|max| last.bytes - from.bytes <= max);
            bytes_fit && next.is_none_or(|next| !limits.is_too_old(next.at_ns, now_ns))
        };
        if fits(&self.base, self.points.front()) {
            return self.base.sequence;
        }
        let place = (0..self.points.len()).find(|place| fits(&self.points[*place], self.points.get(place + 1)));
        place.map_or(last.sequence, |place| self.points[place].sequence)
    }

    fn last(&self) -> Point {
        self.points.back().copied().unwrap_or(self.base)
    }
}

/// How much is kept for triggers that are behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RetentionLimits {
    /// Most bytes.
    pub bytes_max: Option<u64>,
    /// Greatest age.
    pub age_max: Option<Duration>,
}

impl RetentionLimits {
    /// Whether a backlog is more than may be kept.
    #[must_use]
    pub fn are_exceeded(&self, backlog: &Backlog, now_ns: i64) -> bool {
        let is_old = backlog.since_ns.is_some_and(|since| self.is_too_old(since, now_ns));
        is_old || self.bytes_max.is_some_and(|max| backlog.bytes > max)
    }

    fn is_too_old(&self, at_ns: i64, now_ns: i64) -> bool {
        self.age_max.is_some_and(|max| i128::from(now_ns) - i128::from(at_ns) > max.as_nanos().cast_signed())
    }
}

/// What happens when a trigger is so far behind that the limits are exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overflow {
    /// Clients' writes, or the host's batches, are held back until the trigger has caught up. Nothing is lost.
    Pause,
    /// The oldest commits are dropped, loudly and counted; everything else goes on.
    Drop,
}

/// How much is kept, and what happens beyond it. The default keeps everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// How much.
    pub limits: RetentionLimits,
    /// What happens.
    pub overflow: Overflow,
}

/// What a look at the backlog changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RetentionEvent {
    /// New commits are held back, for this reason.
    Paused(String),
    /// They are taken in again.
    Resumed,
    /// Commits were dropped.
    Dropped(Backlog),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(sequence: u64, bytes: u64) -> CommitSize {
        CommitSize { sequence, rows: bytes / 10, bytes, at_ns: i64::try_from(sequence).unwrap() * 1_000 }
    }

    #[test]
    fn a_backlog_counts_what_is_behind() {
        let mut totals = Totals::default();
        (5..10).for_each(|sequence| totals.push(size(sequence, 100)));
        assert_eq!(totals.behind(4), Backlog { commits: 9 - 4, rows: 50, bytes: 500, since_ns: Some(5_000) });
        assert_eq!(totals.behind(7), Backlog { commits: 2, rows: 20, bytes: 200, since_ns: Some(8_000) });
        assert_eq!(totals.behind(9), Backlog::default());
        totals.forget(7);
        assert_eq!(totals.behind(7).bytes, 200);
        assert_eq!(totals.behind(1).bytes, 200, "what was forgotten is no backlog");
    }

    #[test]
    fn a_cut_leaves_no_more_than_the_limits() {
        let mut totals = Totals::default();
        (1..=10).for_each(|sequence| totals.push(size(sequence, 100)));
        let bytes = |max| RetentionLimits { bytes_max: Some(max), age_max: None };
        assert_eq!(totals.cut(&bytes(5_000), 0), 0);
        assert_eq!(totals.cut(&bytes(350), 0), 7);
        assert_eq!(totals.cut(&bytes(0), 0), 10);
        let age = RetentionLimits { bytes_max: None, age_max: Some(Duration::from_nanos(2_500)) };
        assert_eq!(totals.cut(&age, 10_000), 7);
        assert!(age.are_exceeded(&totals.behind(6), 10_000) && !age.are_exceeded(&totals.behind(7), 10_000));
        assert_eq!(totals.cut(&age, i64::MIN), 0, "a clock that went back drops nothing");
    }

    /// Against plain sums, over feeds longer than what is remembered of them.
    #[test]
    fn sums_agree_with_counting() {
        let mut chance = fastrand::Rng::with_seed(3);
        for _ in 0..8 {
            let (mut totals, mut all, mut sequence) = (Totals::default(), Vec::new(), 0);
            for _ in 0..chance.usize(1..30_000) {
                sequence += chance.u64(1..3);
                let commit = size(sequence, chance.u64(0..1_000));
                totals.push(commit);
                all.push(commit);
            }
            assert!(totals.points.len() <= limits::FEED_POINTS_MAX);
            for _ in 0..50 {
                let position = chance.u64(0..=sequence);
                let exact: u64 =
                    all.iter().filter(|commit| commit.sequence > position).map(|commit| commit.bytes).sum();
                let told = totals.behind(position).bytes;
                assert!(told >= exact, "{told} {exact}");
                let max = chance.u64(0..2 * exact.max(1));
                let cut = totals.cut(&RetentionLimits { bytes_max: Some(max), age_max: None }, 0);
                let left: u64 = all.iter().filter(|commit| commit.sequence > cut).map(|commit| commit.bytes).sum();
                assert!(left <= max);
            }
            // The recent half is remembered exactly.
            let recent = all[all.len() - all.len().min(limits::FEED_POINTS_MAX / 2)].sequence;
            let exact: u64 = all.iter().filter(|commit| commit.sequence > recent).map(|commit| commit.bytes).sum();
            assert_eq!(totals.behind(recent).bytes, exact);
        }
    }
}
