//! What starts a trigger, as people write it: `table:cpu`, `all_tables`, `every:10s`, `cron:0 * * * * *`,
//! `request:hello`.

use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::schedule::Schedule;

/// What starts a trigger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum TriggerSpec {
    /// Rows written to one table.
    Table(String),
    /// Rows written to any table of the database.
    AllTables,
    /// A fixed period, on multiples of it since the Unix epoch.
    Every(Duration),
    /// A cron expression with seconds, in UTC; the text is normalised to six or seven fields.
    Cron(String),
    /// An HTTP path below `/api/v3/engine/`.
    Request(String),
}

/// The three shapes of a trigger, by what its plugin is called with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TriggerKind {
    /// Called with rows.
    Wal,
    /// Called with a time.
    Schedule,
    /// Called with an HTTP request.
    Request,
}

impl TriggerKind {
    /// The word in log lines such as `error executing wal plugin`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Wal => "wal",
            Self::Schedule => "schedule",
            Self::Request => "request",
        }
    }
}

/// A specification that cannot be used. The text starts as InfluxDB 3's does and then says why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("failed to parse trigger from {spec}{}{reason}", if reason.is_empty() { "" } else { ": " })]
pub struct SpecError {
    spec: String,
    reason: String,
}

/// The forms that are understood, worded as by InfluxDB 3.
const FORMS: &str = "expect one of the following forms: 'table:<TABLE_NAME>', 'all_tables', 'cron:<CRON_EXPRESSION>', \
                     'every:<DURATION>', or 'request:<PATH>'";

/// Shortest period of `every:`. InfluxDB 3 accepts shorter ones and never starts again.
const PERIOD_MIN: Duration = Duration::from_millis(1);
/// Longest period of `every:`, as in InfluxDB 3.
const PERIOD_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60 + 6 * 60 * 60);

impl TriggerSpec {
    /// The shape of the trigger.
    #[must_use]
    pub fn kind(&self) -> TriggerKind {
        match self {
            Self::Table(_) | Self::AllTables => TriggerKind::Wal,
            Self::Every(_) | Self::Cron(_) => TriggerKind::Schedule,
            Self::Request(_) => TriggerKind::Request,
        }
    }

    /// The schedule of a scheduled trigger.
    #[must_use]
    pub fn schedule(&self) -> Option<Schedule> {
        match self {
            Self::Every(period) => Some(Schedule::Every(*period)),
            Self::Cron(expression) => Schedule::cron(expression).ok(),
            _ => None,
        }
    }

    /// The path of a request trigger without leading slashes, by which requests are routed.
    #[must_use]
    pub fn request_path(&self) -> Option<&str> {
        match self {
            Self::Request(path) => Some(path.trim_start_matches('/')),
            _ => None,
        }
    }

    /// Whether a WAL trigger wants the rows of `table`.
    #[must_use]
    pub fn wants_table(&self, table: &str) -> bool {
        match self {
            Self::Table(wanted) => wanted == table,
            Self::AllTables => true,
            _ => false,
        }
    }

    /// The JSON text in `system.processing_engine_triggers`, as InfluxDB 3 has it.
    #[must_use]
    pub fn system_table_json(&self) -> String {
        use serde_json::json;
        match self {
            Self::AllTables => json!("all_tables_wal_write"),
            Self::Table(table) => json!({"single_table_wal_write": {"table_name": table}}),
            Self::Cron(expression) => json!({"schedule": {"schedule": expression}}),
            Self::Every(period) => {
                json!({"every": {"duration": {"secs": period.as_secs(), "nanos": period.subsec_nanos()}}})
            }
            Self::Request(path) => json!({"request_path": {"path": path}}),
        }
        .to_string()
    }
}

impl FromStr for TriggerSpec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let spec = text.trim();
        let error = |reason: &str| SpecError { spec: spec.to_owned(), reason: reason.to_owned() };
        if spec == "all_tables" {
            return Ok(Self::AllTables);
        }
        let (form, value) = spec.split_once(':').ok_or_else(|| error(FORMS))?;
        let value = value.trim();
        match form {
            "table" if value.is_empty() => Err(error("table name is empty")),
            "table" => Ok(Self::Table(value.to_owned())),
            "every" => parse_period(value).map(Self::Every).map_err(|reason| error(&reason)),
            "cron" => {
                let expression = normalised_cron(value);
                Schedule::cron(&expression).map_err(|reason| error(&reason))?;
                Ok(Self::Cron(expression))
            }
            // The first generation of the documentation writes `path:`.
            "request" | "path" if value.trim_matches('/').is_empty() => Err(error("the path is empty")),
            "request" | "path" => Ok(Self::Request(value.to_owned())),
            _ => Err(error(FORMS)),
        }
    }
}

fn parse_period(value: &str) -> Result<Duration, String> {
    let period = humantime::parse_duration(value).map_err(|_| "couldn't parse to duration".to_owned())?;
    if period > PERIOD_MAX {
        return Err("don't support every schedules of over 1 year".to_owned());
    }
    if period < PERIOD_MIN {
        return Err("the period must be at least 1ms".to_owned());
    }
    Ok(period)
}

/// A five-field expression, as in crontab, runs at second 0.
#[must_use]
pub fn normalised_cron(expression: &str) -> String {
    let fields: Vec<&str> = expression.split_whitespace().collect();
    if fields.len() == 5 { format!("0 {}", fields.join(" ")) } else { fields.join(" ") }
}

impl std::fmt::Display for TriggerSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Table(table) => write!(f, "table:{table}"),
            Self::AllTables => f.write_str("all_tables"),
            Self::Every(period) => {
                write!(f, "every:{}", humantime::format_duration(*period).to_string().replace(' ', ""))
            }
            Self::Cron(expression) => write!(f, "cron:{expression}"),
            Self::Request(path) => write!(f, "request:{path}"),
        }
    }
}

impl TryFrom<String> for TriggerSpec {
    type Error = SpecError;

    fn try_from(text: String) -> Result<Self, SpecError> {
        text.parse()
    }
}

impl From<TriggerSpec> for String {
    fn from(spec: TriggerSpec) -> Self {
        spec.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let actual = match text.parse::<TriggerSpec>() {
            Ok(spec) => format!("{spec:?}"),
            Err(error) => error.to_string(),
        };
        assert_eq!(actual, expected, "for {text:?}");
    }

    #[test]
    fn specs_are_read_as_people_write_them() {
        check("table:cpu", r#"Table("cpu")"#);
        check("  all_tables  ", "AllTables");
        check("every:500ms", "Every(500ms)");
        check("every:1h 30m", "Every(5400s)");
        check("cron:0 * * * * *", r#"Cron("0 * * * * *")"#);
        check("cron:*/5 * * * *", r#"Cron("0 */5 * * * *")"#);
        check("cron:0 0 0 1 1 * 2099", r#"Cron("0 0 0 1 1 * 2099")"#);
        check("request:a/b/c", r#"Request("a/b/c")"#);
        check("request:/lead", r#"Request("/lead")"#);
        check("path:hello", r#"Request("hello")"#);
    }

    #[test]
    fn bad_specs_say_why() {
        for text in ["", "foo", "ALL_TABLES", "Table:cpu", "all_tables:x"] {
            check(text, &format!("failed to parse trigger from {text}: {FORMS}"));
        }
        check("table: ", "failed to parse trigger from table:: table name is empty");
        for text in ["every:", "every:abc", "every:-5s", "every:5"] {
            check(text, &format!("failed to parse trigger from {text}: couldn't parse to duration"));
        }
        check("every:2y", "failed to parse trigger from every:2y: don't support every schedules of over 1 year");
        check("every:0s", "failed to parse trigger from every:0s: the period must be at least 1ms");
        check("every:500us", "failed to parse trigger from every:500us: the period must be at least 1ms");
        check("request:", "failed to parse trigger from request:: the path is empty");
        for text in ["cron:", "cron:a b c", "cron:61 * * * * *"] {
            let message = text.parse::<TriggerSpec>().unwrap_err().to_string();
            assert!(message.starts_with(&format!("failed to parse trigger from {text}: ")), "{message}");
        }
    }

    #[test]
    fn the_text_form_reads_back() {
        for text in
            ["table:cpu", "all_tables", "every:1h30m", "every:1ms", "every:1y", "cron:0 */5 * * * *", "request:/lead"]
        {
            let spec: TriggerSpec = text.parse().unwrap();
            assert_eq!(spec.to_string().parse::<TriggerSpec>().unwrap(), spec);
        }
    }
}
