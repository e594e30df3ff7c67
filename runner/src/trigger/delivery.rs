//! Settings of how a trigger's events are delivered, beyond InfluxDB 3's. The same names stand in the catalog and in the API.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::policy::Backoff;
use super::schedule::MissedTicks;
use super::spec::{TriggerKind, TriggerSpec};

/// A duration, written as people do: `500ms`, `30s`, `5m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(self.0))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        humantime::parse_duration(&text)
            .map(Self)
            .map_err(|error| serde::de::Error::custom(format!("duration `{text}`: {error}")))
    }
}

/// See the module. What is not set has the runner's default.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Delivery {
    /// Wait before the second attempt of an event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backoff_initial: Option<Span>,
    /// Factor from one wait to the next, 1 or more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backoff_factor: Option<f64>,
    /// Longest wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backoff_cap: Option<Span>,
    /// Share of a wait, from 0 to 1, that chance may take away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backoff_jitter: Option<f64>,
    /// Causes after which no further attempt is made: kinds of failures such as `deadline`, or classes of exceptions such as
    /// `ValueError`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub no_retry_on: Vec<String>,
    /// Whether a batch that was given up is cut into halves until the rows are found that fail.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub isolate_poison: bool,
    /// Rows up to which the batches of a trigger that lags are given to it together; one by one when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub coalesce_rows: Option<usize>,
    /// What becomes of ticks whose time passed while the trigger could not run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missed_ticks: Option<MissedTicks>,
    /// The zone of a cron expression's times, such as `Europe/Berlin`; UTC when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// Ticks run later by a part of this, always the same for one trigger, so that many triggers do not start in one moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tick_jitter: Option<Span>,
}

/// Rows that a trigger may be given together at the most.
const COALESCE_ROWS_MAX: usize = 1_000_000;

/// Causes that one trigger may name.
const CAUSES_MAX: usize = 64;

impl Delivery {
    /// Whether nothing is set.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Checks the parts that have rules of their own, for a trigger of this specification. `is_kind` knows the kinds of failures.
    ///
    /// # Errors
    /// The rule that is broken, for a person.
    pub fn check(&self, spec: &TriggerSpec, is_kind: fn(&str) -> bool) -> Result<(), String> {
        if spec.kind() != TriggerKind::Schedule {
            let set = [
                (self.missed_ticks.is_some(), "missed_ticks"),
                (self.time_zone.is_some(), "time_zone"),
                (self.tick_jitter.is_some(), "tick_jitter"),
            ];
            if let Some((_, name)) = set.iter().find(|(is_set, _)| *is_set) {
                return Err(format!("`{name}` is for schedules"));
            }
        }
        if let Some(rows) = self.coalesce_rows {
            if spec.kind() != TriggerKind::Wal {
                return Err("`coalesce_rows` is for triggers on writes".to_owned());
            }
            if !(1..=COALESCE_ROWS_MAX).contains(&rows) {
                return Err(format!("`coalesce_rows` must be a number from 1 to {COALESCE_ROWS_MAX}"));
            }
        }
        if self.time_zone.is_some() && !matches!(spec, TriggerSpec::Cron(_)) {
            return Err("`time_zone` is for cron expressions".to_owned());
        }
        self.zone()?;
        if self.backoff_factor.is_some_and(|factor| !(1.0..=1_000.0).contains(&factor)) {
            return Err("`backoff_factor` must be a number from 1 to 1000".to_owned());
        }
        if self.backoff_jitter.is_some_and(|jitter| !(0.0..=1.0).contains(&jitter)) {
            return Err("`backoff_jitter` must be a number from 0 to 1".to_owned());
        }
        let backoff = self.backoff();
        if backoff.cap < backoff.initial {
            return Err("`backoff_cap` must not be shorter than `backoff_initial`".to_owned());
        }
        if self.no_retry_on.len() > CAUSES_MAX {
            return Err(format!("`no_retry_on` names more than {CAUSES_MAX} causes"));
        }
        let is_class = |text: &str| text.starts_with(|c: char| c.is_uppercase() || c == '_');
        if let Some(unknown) = self.no_retry_on.iter().find(|cause| !is_kind(cause) && !is_class(cause)) {
            return Err(format!(
                "`no_retry_on` names `{unknown}`, which is neither a kind of failure such as `deadline` nor an exception \
                 such as `ValueError`"
            ));
        }
        Ok(())
    }

    /// The zone of a cron expression's times.
    ///
    /// # Errors
    /// When there is no zone of this name.
    pub fn zone(&self) -> Result<chrono_tz::Tz, String> {
        let Some(name) = &self.time_zone else { return Ok(chrono_tz::Tz::UTC) };
        name.parse().map_err(|_| format!("time zone `{name}` is unknown; write it as Europe/Berlin"))
    }

    /// The waits between attempts.
    #[must_use]
    pub fn backoff(&self) -> Backoff {
        let default = Backoff::RETRY;
        let initial = self.backoff_initial.map_or(default.initial, |span| span.0);
        Backoff {
            initial,
            factor: self.backoff_factor.unwrap_or(default.factor),
            // A longer first wait alone moves the cap along.
            cap: self.backoff_cap.map_or(default.cap.max(initial), |span| span.0),
            jitter: self.backoff_jitter.unwrap_or(default.jitter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(json: &str) -> Delivery {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn settings_are_written_as_people_write_them() {
        let text = r#"{"backoff_initial":"1s 500ms","backoff_factor":3.0,"no_retry_on":["load","ValueError"]}"#;
        assert_eq!(serde_json::to_string(&delivery(text)).unwrap(), text);
        assert_eq!(serde_json::to_string(&Delivery::default()).unwrap(), "{}");
        let backoff = delivery(r#"{"backoff_initial":"2m"}"#).backoff();
        assert_eq!((backoff.initial, backoff.cap), (Duration::from_secs(120), Duration::from_secs(120)));
        assert!(serde_json::from_str::<Delivery>(r#"{"backoff_cap":"soon"}"#).is_err());
    }

    #[test]
    fn rules_are_named() {
        let check_for = |json, spec: &str| delivery(json).check(&spec.parse().unwrap(), |kind| kind == "load");
        let check = |json| check_for(json, "all_tables");
        assert_eq!(check_for(r#"{"time_zone":"Asia/Tokyo","tick_jitter":"5s"}"#, "cron:0 * * * * *"), Ok(()));
        assert!(check_for(r#"{"time_zone":"Mars"}"#, "cron:0 * * * * *").unwrap_err().contains("`Mars` is unknown"));
        assert_eq!(check_for(r#"{"time_zone":"UTC"}"#, "every:1s").unwrap_err(), "`time_zone` is for cron expressions");
        assert_eq!(check(r#"{"missed_ticks":"skip"}"#).unwrap_err(), "`missed_ticks` is for schedules");
        assert_eq!(check(r#"{"no_retry_on":["load","KeyError"],"backoff_factor":1}"#), Ok(()));
        for (json, name) in [
            (r#"{"backoff_factor":0.5}"#, "backoff_factor"),
            (r#"{"backoff_jitter":2}"#, "backoff_jitter"),
            (r#"{"backoff_initial":"1m","backoff_cap":"1s"}"#, "backoff_cap"),
            (r#"{"no_retry_on":["lode"]}"#, "no_retry_on"),
            (r#"{"coalesce_rows":0}"#, "coalesce_rows"),
        ] {
            assert!(check(json).unwrap_err().contains(name), "{json}");
        }
    }
}
