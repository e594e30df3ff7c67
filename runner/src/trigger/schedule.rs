//! When a scheduled trigger is due: functions of (schedule, last tick, now).

use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, TimeZone, Utc};

/// When a trigger runs.
#[derive(Debug, Clone, PartialEq)]
pub enum Schedule {
    /// On multiples of a period since the Unix epoch.
    Every(Duration),
    /// By a cron expression with seconds, in UTC.
    Cron(Box<cron::Schedule>),
}

impl Schedule {
    /// Reads a cron expression of six or seven fields.
    ///
    /// # Errors
    /// The reason, on one line.
    pub fn cron(expression: &str) -> Result<Self, String> {
        if expression.is_empty() {
            return Err("the expression is empty".to_owned());
        }
        cron::Schedule::from_str(expression).map(|schedule| Self::Cron(Box::new(schedule))).map_err(|error| {
            // The parser draws a caret under the expression; on one line only its last line says something.
            let text = error.to_string();
            text.lines().last().unwrap_or_default().trim().to_owned()
        })
    }

    /// The first tick after `after`, or `None` when there is none left.
    #[must_use]
    pub fn next_after(&self, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        match self {
            Self::Every(period) => multiple_after(*period, after),
            Self::Cron(schedule) => schedule.after(&after).next(),
        }
    }

    /// The last tick at or before `now` that is later than `after`, if there is one.
    fn last_in(&self, after: DateTime<Utc>, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        match self {
            Self::Every(period) => {
                let next = multiple_after(*period, now)?;
                let last = next.checked_sub_signed(chrono::Duration::from_std(*period).ok()?)?;
                (last > after).then_some(last)
            }
            Self::Cron(schedule) => {
                schedule.after(&after).take(CRON_TICKS_COALESCED_MAX).take_while(|tick| *tick <= now).last()
            }
        }
    }
}

/// Missed ticks of a cron schedule that are stepped over at once; the rest follows in the next step.
const CRON_TICKS_COALESCED_MAX: usize = 100_000;

fn multiple_after(period: Duration, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let period = i128::try_from(period.as_nanos()).ok().filter(|nanos| *nanos > 0)?;
    let after = i128::from(after.timestamp()) * 1_000_000_000 + i128::from(after.timestamp_subsec_nanos());
    let next = (after.div_euclid(period) + 1) * period;
    let seconds = i64::try_from(next.div_euclid(1_000_000_000)).ok()?;
    let nanos = u32::try_from(next.rem_euclid(1_000_000_000)).ok()?;
    Utc.timestamp_opt(seconds, nanos).single()
}

/// What a scheduled trigger has to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Run for this tick. Ticks missed before it are one run: the trigger falls behind no further than one.
    Run(DateTime<Utc>),
    /// Wait for this tick.
    Wait(DateTime<Utc>),
    /// There is no further tick.
    Never,
}

/// What to do at `now` when `last` is the tick that ran last, or the time at which the trigger started.
#[must_use]
pub fn due(schedule: &Schedule, last: DateTime<Utc>, now: DateTime<Utc>) -> Due {
    if let Some(tick) = schedule.last_in(last, now) {
        return Due::Run(tick);
    }
    // A clock that was set back must not repeat ticks, so the later of the two counts.
    match schedule.next_after(last.max(now)) {
        Some(tick) => Due::Wait(tick),
        None => Due::Never,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64, millis: u32) -> DateTime<Utc> {
        Utc.timestamp_opt(seconds, millis * 1_000_000).unwrap()
    }

    #[test]
    fn every_is_aligned_to_the_epoch() {
        let schedule = Schedule::Every(Duration::from_secs(10));
        assert_eq!(due(&schedule, at(101, 0), at(101, 0)), Due::Wait(at(110, 0)));
        assert_eq!(due(&schedule, at(101, 0), at(110, 3)), Due::Run(at(110, 0)));
        assert_eq!(due(&schedule, at(110, 0), at(110, 3)), Due::Wait(at(120, 0)));
        let half = Schedule::Every(Duration::from_millis(500));
        assert_eq!(due(&half, at(3, 0), at(3, 100)), Due::Wait(at(3, 500)));
    }

    #[test]
    fn missed_ticks_are_one_run() {
        let schedule = Schedule::Every(Duration::from_secs(1));
        assert_eq!(due(&schedule, at(100, 0), at(107, 500)), Due::Run(at(107, 0)));
        let cron = Schedule::cron("*/10 * * * * *").unwrap();
        assert_eq!(due(&cron, at(100, 0), at(135, 0)), Due::Run(at(130, 0)));
        assert_eq!(due(&cron, at(130, 0), at(135, 0)), Due::Wait(at(140, 0)));
    }

    #[test]
    fn a_clock_set_back_repeats_no_tick() {
        let schedule = Schedule::Every(Duration::from_secs(10));
        assert_eq!(due(&schedule, at(120, 0), at(60, 0)), Due::Wait(at(130, 0)));
    }

    #[test]
    fn a_schedule_can_end() {
        let cron = Schedule::cron("0 0 0 1 1 * 2001").unwrap();
        assert_eq!(due(&cron, at(1_700_000_000, 0), at(1_700_000_000, 0)), Due::Never);
    }
}
