//! What a feed keeps, for whom, and what it does when that is too much. Pure.

use super::backlog::{Backlog, Overflow, Retention, RetentionEvent, Totals};
use super::readers::Readers;

/// See the module.
#[derive(Debug, Default)]
pub(in crate::host) struct Keeping {
    pub(in crate::host) readers: Readers,
    /// Commits up to here were dropped although somebody had not read them.
    dropped: u64,
    /// Why new commits are held back, when they are.
    paused: Option<String>,
}

impl Keeping {
    /// The position up to which nothing is kept; `None` when nobody reads.
    pub(in crate::host) fn floor(&self) -> Option<u64> {
        self.readers.floor().map(|floor| floor.max(self.dropped))
    }

    /// The oldest commit that may still be read, when the one after `position` was dropped.
    pub(in crate::host) fn oldest_after(&self, position: u64) -> Option<u64> {
        (position < self.dropped).then_some(self.dropped + 1)
    }

    /// Why new commits are held back, when they are.
    pub(in crate::host) fn paused(&self) -> Option<&str> {
        self.paused.as_deref()
    }

    /// What is kept.
    pub(in crate::host) fn kept(&self, totals: &Totals) -> Backlog {
        self.floor().map(|floor| totals.behind(floor)).unwrap_or_default()
    }

    /// Looks whether more is kept than may be.
    pub(in crate::host) fn look(
        &mut self,
        totals: &Totals,
        retention: &Retention,
        now_ns: i64,
    ) -> Option<RetentionEvent> {
        let floor = self.floor();
        let backlog = self.kept(totals);
        let is_exceeded = floor.is_some() && retention.limits.are_exceeded(&backlog, now_ns);
        match (is_exceeded, retention.overflow, self.paused.is_some()) {
            (true, Overflow::Pause, false) => {
                let reason = reason(&backlog, retention, now_ns);
                self.paused = Some(reason.clone());
                Some(RetentionEvent::Paused(reason))
            }
            (true, Overflow::Drop, _) => {
                let (floor, cut) = (floor.unwrap_or_default(), totals.cut(&retention.limits, now_ns));
                let (kept, since_ns) = (totals.behind(cut), backlog.since_ns);
                self.dropped = cut.max(floor);
                (cut > floor).then(|| {
                    RetentionEvent::Dropped(Backlog {
                        commits: backlog.commits - kept.commits,
                        rows: backlog.rows - kept.rows,
                        bytes: backlog.bytes - kept.bytes,
                        since_ns,
                    })
                })
            }
            (false, _, true) => {
                self.paused = None;
                Some(RetentionEvent::Resumed)
            }
            (true, Overflow::Pause, true) | (false, _, false) => None,
        }
    }
}

fn reason(backlog: &Backlog, retention: &Retention, now_ns: i64) -> String {
    let since = backlog.since_ns.unwrap_or(now_ns);
    let age = std::time::Duration::from_nanos(u64::try_from(now_ns.saturating_sub(since)).unwrap_or_default());
    let limit = match (retention.limits.bytes_max, retention.limits.age_max) {
        (Some(bytes), _) if backlog.bytes > bytes => format!("`journal_bytes_max` is {bytes}"),
        (_, Some(age)) => format!("`journal_age_max` is {}", humantime::format_duration(age)),
        (bytes, None) => format!("`journal_bytes_max` is {}", bytes.unwrap_or_default()),
    };
    format!(
        "the journal holds {} commits with {} bytes for triggers that are behind, the oldest of {} ago; the limit {limit}",
        backlog.commits,
        backlog.bytes,
        humantime::format_duration(std::time::Duration::from_secs(age.as_secs()))
    )
}

#[cfg(test)]
mod tests {
    use super::super::backlog::{CommitSize, RetentionLimits};
    use super::*;

    fn totals(last: u64) -> Totals {
        let mut totals = Totals::default();
        (1..=last).for_each(|sequence| totals.push(CommitSize { sequence, rows: 1, bytes: 100, at_ns: 0 }));
        totals
    }

    fn retention(overflow: Overflow) -> Retention {
        Retention { limits: RetentionLimits { bytes_max: Some(500), age_max: None }, overflow }
    }

    #[test]
    fn a_pause_lasts_until_the_slowest_has_caught_up() {
        let (mut keeping, pause) = (Keeping::default(), retention(Overflow::Pause));
        assert_eq!(keeping.look(&totals(100), &pause, 0), None, "nobody reads, so nothing is kept");
        let slow = keeping.readers.join(1);
        assert_eq!(keeping.look(&totals(6), &pause, 0), None);
        assert!(matches!(keeping.look(&totals(7), &pause, 0), Some(RetentionEvent::Paused(_))));
        assert_eq!(keeping.look(&totals(7), &pause, 0), None);
        assert!(keeping.paused().unwrap().contains("600 bytes"), "{:?}", keeping.paused());
        keeping.readers.advance(slow, 2);
        assert_eq!(keeping.look(&totals(7), &pause, 0), Some(RetentionEvent::Resumed));
        assert_eq!(keeping.paused(), None);
        assert_eq!(keeping.floor(), Some(2));
    }

    #[test]
    fn what_is_dropped_is_counted_and_holds_nothing_any_more() {
        let (mut keeping, drop) = (Keeping::default(), retention(Overflow::Drop));
        let slow = keeping.readers.join(1);
        let dropped = keeping.look(&totals(8), &drop, 0);
        assert!(
            matches!(dropped, Some(RetentionEvent::Dropped(Backlog { commits: 2, bytes: 200, .. }))),
            "{dropped:?}"
        );
        assert_eq!((keeping.floor(), keeping.oldest_after(1), keeping.oldest_after(3)), (Some(3), Some(4), None));
        assert_eq!(keeping.look(&totals(8), &drop, 0), None);
        keeping.readers.advance(slow, 7);
        assert_eq!(keeping.floor(), Some(7));
    }

    /// Whatever readers do, a look leaves no more behind the floor than may be, and drops nothing that fits.
    #[test]
    fn looks_keep_the_limit() {
        let mut chance = fastrand::Rng::with_seed(11);
        for _ in 0..200 {
            let (mut keeping, mut sums, mut last) = (Keeping::default(), Totals::default(), 0_u64);
            let readers: Vec<_> = (0..chance.usize(1..4)).map(|_| keeping.readers.join(0)).collect();
            let policy = retention(if chance.bool() { Overflow::Drop } else { Overflow::Pause });
            for _ in 0..100 {
                if keeping.paused().is_none() {
                    last += 1;
                    sums.push(CommitSize { sequence: last, rows: 1, bytes: chance.u64(0..300), at_ns: 0 });
                }
                let before = sums.behind(keeping.floor().unwrap());
                let event = keeping.look(&sums, &policy, 0);
                let after = sums.behind(keeping.floor().unwrap());
                match policy.overflow {
                    Overflow::Drop => assert!(after.bytes <= 500, "{after:?}"),
                    Overflow::Pause => assert_eq!(keeping.paused().is_some(), after.bytes > 500),
                }
                if !matches!(event, Some(RetentionEvent::Dropped(_))) {
                    assert_eq!(before, after);
                }
                let reader = readers[chance.usize(0..readers.len())];
                keeping.readers.advance(reader, chance.u64(keeping.floor().unwrap()..=last));
            }
        }
    }
}
