//! When a scheduled trigger is due: functions of (schedule, last tick, now).

use std::collections::VecDeque;
use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, LocalResult, Offset, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;
use cron::TimeUnitSpec;
use serde::{Deserialize, Serialize};

/// When a trigger runs.
#[derive(Debug, Clone, PartialEq)]
pub enum Schedule {
    /// On multiples of a period since the Unix epoch.
    Every(Duration),
    /// By a cron expression with seconds, in a time zone.
    Cron(Box<cron::Schedule>, Tz),
}

/// What becomes of ticks whose time passed while the trigger could not run: it was still at work, or the runner was away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum MissedTicks {
    /// They are left out. A tick that is late by no more than a second is not missed.
    Skip,
    /// One run, for the last of them.
    #[default]
    Coalesce,
    /// A run for each of the last ones, up to this number.
    CatchUp(u32),
}

/// Ticks that may be made up for, at the most.
const CATCH_UP_MAX: u32 = 10_000;

impl FromStr for MissedTicks {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "skip" => return Ok(Self::Skip),
            "coalesce" => return Ok(Self::Coalesce),
            _ => {}
        }
        let number = text.strip_prefix("catch-up").and_then(|rest| rest.trim_matches([' ', '=', ':']).parse().ok());
        match number {
            Some(number) if (1..=CATCH_UP_MAX).contains(&number) => Ok(Self::CatchUp(number)),
            _ => Err(format!(
                "missed ticks `{text}`: expected `skip`, `coalesce` or `catch-up N` with N from 1 to {CATCH_UP_MAX}"
            )),
        }
    }
}

impl TryFrom<String> for MissedTicks {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<MissedTicks> for String {
    fn from(policy: MissedTicks) -> Self {
        match policy {
            MissedTicks::Skip => "skip".to_owned(),
            MissedTicks::Coalesce => "coalesce".to_owned(),
            MissedTicks::CatchUp(number) => format!("catch-up {number}"),
        }
    }
}

/// How late a tick may be without being missed: a busy machine and a garbage collector are no outage.
const ON_TIME: TimeDelta = TimeDelta::seconds(1);

/// How far a clock may be set back until it is believed. Below it ticks are waited for, so that none is repeated; above it the
/// clock was wrong before, and waiting for its return could take years.
const STEP_BACK_MAX: TimeDelta = TimeDelta::hours(1);

/// Missed ticks of a cron schedule that are stepped over at once; the rest follows in the next step.
const CRON_TICKS_MAX: usize = 100_000;

impl Schedule {
    /// Reads a cron expression of six or seven fields, whose times are those of UTC.
    ///
    /// # Errors
    /// The reason, on one line.
    pub fn cron(expression: &str) -> Result<Self, String> {
        if expression.is_empty() {
            return Err("the expression is empty".to_owned());
        }
        cron::Schedule::from_str(expression).map(|schedule| Self::Cron(Box::new(schedule), Tz::UTC)).map_err(|error| {
            // The parser draws a caret under the expression; on one line only its last line says something.
            let text = error.to_string();
            text.lines().last().unwrap_or_default().trim().to_owned()
        })
    }

    /// The same with the times of a zone.
    #[must_use]
    pub fn in_zone(self, zone: Tz) -> Self {
        match self {
            Self::Cron(schedule, _) => Self::Cron(schedule, zone),
            every => every,
        }
    }

    /// The first tick after `after`, or `None` when there is none left.
    #[must_use]
    pub fn next_after(&self, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        match self {
            Self::Every(period) => multiple_after(*period, after),
            Self::Cron(schedule, zone) => cron_after(schedule, *zone, after).next(),
        }
    }

    /// The earliest of the last `count` ticks in `after` (exclusive) to `now` (inclusive).
    fn last_in(&self, after: DateTime<Utc>, now: DateTime<Utc>, count: u32) -> Option<DateTime<Utc>> {
        if now <= after {
            return None;
        }
        match self {
            Self::Every(period) => {
                let next = multiple_after(*period, now)?;
                let back = period.checked_mul(count).and_then(|back| TimeDelta::from_std(back).ok());
                let first = back.and_then(|back| next.checked_sub_signed(back)).unwrap_or(after);
                let first = if first > after { first } else { multiple_after(*period, after)? };
                (first <= now).then_some(first)
            }
            Self::Cron(schedule, zone) => {
                let mut last = VecDeque::new();
                let ticks = cron_after(schedule, *zone, after).take(CRON_TICKS_MAX);
                for tick in ticks.take_while(|tick| *tick <= now) {
                    if last.len() >= count as usize {
                        last.pop_front();
                    }
                    last.push_back(tick);
                }
                last.pop_front()
            }
        }
    }
}

/// The ticks of a cron expression. One for every hour goes by real time, through hours that a zone's clocks leave out or repeat.
/// Another one has no tick at a time that is left out, and one, the first, at a time that comes twice.
fn cron_after(
    schedule: &cron::Schedule,
    zone: Tz,
    after: DateTime<Utc>,
) -> Box<dyn Iterator<Item = DateTime<Utc>> + '_> {
    let local = after.with_timezone(&zone);
    if schedule.hours().is_all() {
        let fixed = local.with_timezone(&local.offset().fix());
        return Box::new(schedule.after(&fixed).map(|tick| tick.with_timezone(&Utc)));
    }
    let ticks = schedule.after(&local);
    let is_first = move |tick: &DateTime<Tz>| match zone.from_local_datetime(&tick.naive_local()) {
        LocalResult::Ambiguous(first, _) => *tick == first,
        LocalResult::Single(_) | LocalResult::None => true,
    };
    Box::new(ticks.filter(is_first).map(|tick| tick.with_timezone(&Utc)).filter(move |tick| *tick > after))
}

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
    /// Run for this tick.
    Run(DateTime<Utc>),
    /// Wait for this tick.
    Wait(DateTime<Utc>),
    /// There is no further tick.
    Never,
}

/// What to do at `now` when `last` is the tick that ran last, or the time at which the trigger was made.
#[must_use]
pub fn due(schedule: &Schedule, missed: MissedTicks, last: DateTime<Utc>, now: DateTime<Utc>) -> Due {
    let wait = |after| schedule.next_after(after).map_or(Due::Never, Due::Wait);
    if last.signed_duration_since(now) > STEP_BACK_MAX {
        return wait(now);
    }
    let count = match missed {
        MissedTicks::Skip | MissedTicks::Coalesce => 1,
        MissedTicks::CatchUp(count) => count.max(1),
    };
    match schedule.last_in(last, now, count) {
        Some(tick) if missed == MissedTicks::Skip && now.signed_duration_since(tick) > ON_TIME => wait(now),
        Some(tick) => Due::Run(tick),
        // A clock that was set back must not repeat ticks, so the later of the two counts.
        None => wait(last.max(now)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64, millis: u32) -> DateTime<Utc> {
        Utc.timestamp_opt(seconds, millis * 1_000_000).unwrap()
    }

    fn coalesced(schedule: &Schedule, last: DateTime<Utc>, now: DateTime<Utc>) -> Due {
        due(schedule, MissedTicks::Coalesce, last, now)
    }

    #[test]
    fn every_is_aligned_to_the_epoch() {
        let schedule = Schedule::Every(Duration::from_secs(10));
        assert_eq!(coalesced(&schedule, at(101, 0), at(101, 0)), Due::Wait(at(110, 0)));
        assert_eq!(coalesced(&schedule, at(101, 0), at(110, 3)), Due::Run(at(110, 0)));
        assert_eq!(coalesced(&schedule, at(110, 0), at(110, 3)), Due::Wait(at(120, 0)));
        let half = Schedule::Every(Duration::from_millis(500));
        assert_eq!(coalesced(&half, at(3, 0), at(3, 100)), Due::Wait(at(3, 500)));
    }

    #[test]
    fn missed_ticks_follow_the_policy() {
        let every = Schedule::Every(Duration::from_secs(10));
        let cron = Schedule::cron("*/10 * * * * *").unwrap();
        for schedule in [&every, &cron] {
            let due = |missed, last, now| due(schedule, missed, last, now);
            assert_eq!(due(MissedTicks::Coalesce, at(100, 0), at(135, 0)), Due::Run(at(130, 0)));
            assert_eq!(due(MissedTicks::Coalesce, at(130, 0), at(135, 0)), Due::Wait(at(140, 0)));
            assert_eq!(due(MissedTicks::Skip, at(100, 0), at(135, 0)), Due::Wait(at(140, 0)));
            assert_eq!(due(MissedTicks::Skip, at(100, 0), at(140, 900)), Due::Run(at(140, 0)));
            assert_eq!(due(MissedTicks::CatchUp(2), at(100, 0), at(135, 0)), Due::Run(at(120, 0)));
            assert_eq!(due(MissedTicks::CatchUp(2), at(120, 0), at(135, 0)), Due::Run(at(130, 0)));
            assert_eq!(due(MissedTicks::CatchUp(9), at(100, 0), at(135, 0)), Due::Run(at(110, 0)));
        }
    }

    #[test]
    fn a_clock_that_is_set_back_repeats_no_tick_and_is_believed_when_it_was_far_off() {
        let schedule = Schedule::Every(Duration::from_secs(10));
        assert_eq!(coalesced(&schedule, at(120, 0), at(60, 0)), Due::Wait(at(130, 0)));
        assert_eq!(coalesced(&schedule, at(1_000_000, 0), at(60, 0)), Due::Wait(at(70, 0)));
    }

    #[test]
    fn a_clock_that_jumps_forward_costs_one_run() {
        let schedule = Schedule::Every(Duration::from_millis(1));
        assert_eq!(coalesced(&schedule, at(100, 0), at(4_000_000_000, 5)), Due::Run(at(4_000_000_000, 5)));
    }

    #[test]
    fn a_schedule_can_end() {
        let cron = Schedule::cron("0 0 0 1 1 * 2001").unwrap();
        assert_eq!(coalesced(&cron, at(1_700_000_000, 0), at(1_700_000_000, 0)), Due::Never);
    }

    #[test]
    fn policies_are_words() {
        for text in ["skip", "coalesce", "catch-up 3"] {
            assert_eq!(String::from(text.parse::<MissedTicks>().unwrap()), text);
        }
        assert_eq!("catch-up=7".parse(), Ok(MissedTicks::CatchUp(7)));
        for text in ["", "catch-up", "catch-up 0", "catch-up 10001", "all"] {
            assert!(text.parse::<MissedTicks>().is_err(), "{text}");
        }
    }

    fn ticks(schedule: &Schedule, from: &str, count: usize) -> Vec<String> {
        let mut last: DateTime<Utc> = from.parse().unwrap();
        let mut ticks = Vec::new();
        for _ in 0..count {
            last = schedule.next_after(last).unwrap();
            ticks.push(last.format("%m-%dT%H:%M").to_string());
        }
        ticks
    }

    #[test]
    fn a_zones_days_have_one_tick_each_whatever_its_clocks_do() {
        let berlin: Tz = "Europe/Berlin".parse().unwrap();
        let noon = Schedule::cron("0 0 12 * * *").unwrap().in_zone(berlin);
        let around_march = ["03-28T11:00", "03-29T10:00", "03-30T10:00"];
        assert_eq!(ticks(&noon, "2026-03-28T00:00:00Z", 3), around_march);
        assert_eq!(ticks(&noon, "2026-10-24T00:00:00Z", 2), ["10-24T10:00", "10-25T11:00"]);
        // 02:30 does not exist on the first of these days, and comes twice on the second.
        let night = Schedule::cron("0 30 2 * * *").unwrap().in_zone(berlin);
        let in_march = ticks(&night, "2026-03-28T12:00:00Z", 1);
        assert_eq!(in_march, ["03-30T00:30"]);
        assert_eq!(ticks(&night, "2026-10-24T12:00:00Z", 2), ["10-25T00:30", "10-26T01:30"]);
        // Every hour goes on through both.
        let hourly = Schedule::cron("0 0 * * * *").unwrap().in_zone(berlin);
        assert_eq!(ticks(&hourly, "2026-03-29T00:00:00Z", 3), ["03-29T01:00", "03-29T02:00", "03-29T03:00"]);
        assert_eq!(ticks(&hourly, "2026-10-24T23:00:00Z", 3), ["10-25T00:00", "10-25T01:00", "10-25T02:00"]);
    }

    /// A week of ticks on a clock that is looked at late and irregularly: none is early, none is repeated, none drifts.
    #[test]
    fn ticks_do_not_drift_over_days() {
        let mut chance = fastrand::Rng::with_seed(3);
        for period_ms in [1_000_u64, 7_000, 60_000, 3_333_333] {
            let schedule = Schedule::Every(Duration::from_millis(period_ms));
            let (start, mut now) = (at(1_800_000_000, 0), at(1_800_000_000, 0));
            let (mut last, mut runs) = (start, 0_u64);
            while now - start < TimeDelta::days(7) && runs < 20_000 {
                match coalesced(&schedule, last, now) {
                    Due::Run(tick) => {
                        assert!(tick > last && tick <= now);
                        assert_eq!(u64::try_from(tick.timestamp_millis()).unwrap() % period_ms, 0);
                        last = tick;
                        runs += 1;
                        // The call takes less than a period.
                        now += TimeDelta::milliseconds(i64::try_from(chance.u64(0..period_ms / 2)).unwrap());
                    }
                    Due::Wait(tick) => now = tick + TimeDelta::microseconds(chance.i64(0..2_000)),
                    Due::Never => panic!("it never ends"),
                }
            }
            let elapsed = u64::try_from((last - start).num_milliseconds()).unwrap();
            assert!(runs.abs_diff(elapsed / period_ms) <= 1, "{period_ms}: {runs} runs in {elapsed} ms");
        }
    }

    /// Against a model that counts every tick: whatever the policy, the outages and the jumps of the clock, the ticks that run are
    /// those that the policy names, each once and in order.
    #[test]
    fn what_runs_agrees_with_counting_ticks() {
        let mut chance = fastrand::Rng::with_seed(21);
        for _ in 0..400 {
            let (schedule, period) = if chance.bool() {
                let period = chance.i64(1..90);
                (Schedule::Every(Duration::from_secs(period.unsigned_abs())), period)
            } else {
                let period = [1, 2, 5, 10, 15, 30][chance.usize(0..6)];
                (Schedule::cron(&format!("*/{period} * * * * *")).unwrap(), period)
            };
            let missed = match chance.u8(0..3) {
                0 => MissedTicks::Skip,
                1 => MissedTicks::Coalesce,
                _ => MissedTicks::CatchUp(chance.u32(1..6)),
            };
            let start = 1_800_000_000 + chance.i64(0..1_000);
            let (mut last, mut now) = (at(start, 0), at(start, 0));
            for _ in 0..60 {
                // A look on time, an outage, or a clock that is set back a little.
                now = match chance.u8(0..10) {
                    0 => now + TimeDelta::seconds(chance.i64(0..10 * period + 10)),
                    1 => now - TimeDelta::seconds(chance.i64(0..120)),
                    _ => now + TimeDelta::milliseconds(chance.i64(0..1_500)),
                };
                let pending: Vec<_> = ((last.timestamp() + 1)..=now.timestamp())
                    .filter(|second| second % period == 0)
                    .map(|second| at(second, 0))
                    .collect();
                let allowed = match missed {
                    MissedTicks::CatchUp(count) => pending.len().saturating_sub(count as usize),
                    MissedTicks::Skip | MissedTicks::Coalesce => pending.len().saturating_sub(1),
                };
                let expected = pending.get(allowed).copied();
                match due(&schedule, missed, last, now) {
                    Due::Run(tick) => {
                        assert_eq!(Some(tick), expected, "{missed:?} every {period} s, {last} {now}");
                        last = tick;
                    }
                    Due::Wait(tick) => {
                        assert!(tick > now && tick > last && tick.timestamp() % period == 0);
                        let is_late = expected.is_some_and(|expected| now - expected > ON_TIME);
                        assert!(expected.is_none() || (missed == MissedTicks::Skip && is_late));
                        if expected.is_some() {
                            // What was skipped is over.
                            last = now;
                        }
                    }
                    Due::Never => panic!("it never ends"),
                }
            }
        }
    }
}
