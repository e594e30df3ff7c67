//! What the catalog keeps of a trigger.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::delivery::Delivery;
use super::permissions::Permissions;
use super::policy::RetryPolicy;
use super::schedule::Schedule;
use super::spec::TriggerSpec;
use crate::limits;

/// Identity of a trigger: names are unique within a database.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TriggerId {
    /// Database the trigger belongs to.
    pub database: String,
    /// Name within the database.
    pub name: String,
}

impl TriggerId {
    /// An id.
    pub fn new(database: impl Into<String>, name: impl Into<String>) -> Self {
        Self { database: database.into(), name: name.into() }
    }

    /// The name on the wire, `databases/{database}/triggers/{trigger}`.
    #[must_use]
    pub fn resource_name(&self) -> String {
        format!("databases/{}/triggers/{}", self.database, self.name)
    }
}

impl std::fmt::Display for TriggerId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.database, self.name)
    }
}

/// What to do when an invocation fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorBehavior {
    /// Log and go on with the next event.
    #[default]
    Log,
    /// Try the event again, with growing waits, a bounded number of times.
    Retry,
    /// Stop the trigger.
    Disable,
}

impl ErrorBehavior {
    /// The word used in the API and in system tables.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Retry => "retry",
            Self::Disable => "disable",
        }
    }
}

/// Beginning of the name of a plugin that lies in the repository.
pub const REPOSITORY_PREFIX: &str = "gh:";

/// Where a plugin's code lies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PluginLocation {
    /// A path below the plugin directory.
    PluginDir(String),
    /// A path in the repository of published plugins.
    Repository(String),
    /// Files that came with the trigger, kept below the node's data directory.
    Uploaded {
        /// Directory of the files, relative to the node's directory of uploads.
        directory: String,
        /// Path of the plugin below it.
        entry: String,
    },
}

impl PluginLocation {
    /// The path as the person who made the trigger named it.
    #[must_use]
    pub fn filename(&self) -> Cow<'_, str> {
        match self {
            Self::PluginDir(path) => path.into(),
            Self::Repository(path) => format!("{REPOSITORY_PREFIX}{path}").into(),
            Self::Uploaded { entry, .. } => entry.into(),
        }
    }

    /// The place that a file name means: one that begins with `gh:` lies in the repository.
    #[must_use]
    pub fn named(filename: String) -> Self {
        match filename.strip_prefix(REPOSITORY_PREFIX) {
            Some(path) => Self::Repository(path.to_owned()),
            None => Self::PluginDir(filename),
        }
    }
}

/// A registered trigger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TriggerDefinition {
    /// Identity.
    #[serde(flatten)]
    pub id: TriggerId,
    /// Code to run.
    pub plugin: PluginLocation,
    /// What starts it.
    pub spec: TriggerSpec,
    /// Arguments handed to the plugin's `args`; `None` in Python when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments: Option<BTreeMap<String, String>>,
    /// Whether invocations may overlap.
    #[serde(default)]
    pub run_async: bool,
    /// What to do when an invocation fails.
    #[serde(default)]
    pub error_behavior: ErrorBehavior,
    /// Attempts in all when the error behavior is retry; the runner's default when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts_max: Option<u32>,
    /// Longest run of one invocation, milliseconds; the runner's default when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Packages that it asks for besides its plugin.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requirements: Vec<String>,
    /// What it may do beyond computing.
    #[serde(default)]
    pub permissions: Permissions,
    /// How its events are delivered, beyond InfluxDB 3's settings.
    #[serde(default, skip_serializing_if = "Delivery::is_default")]
    pub delivery: Delivery,
    /// Whether the trigger is registered without being run.
    #[serde(default)]
    pub disabled: bool,
    /// Why it is disabled, when the runner did it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled_reason: Option<String>,
    /// Whether a trigger of another database had its request path before. That one answers where no database is named.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shares_path: bool,
}

/// A name that a trigger cannot have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TriggerNameError {
    /// Too long.
    #[error("trigger name has {bytes} bytes; at most {} are allowed", limits::TRIGGER_NAME_BYTES_MAX)]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// Empty, or with characters that would break log lines and paths.
    #[error("trigger name must not be empty and must not contain control characters")]
    Unprintable,
}

impl TriggerDefinition {
    /// Checks the parts that have rules of their own.
    ///
    /// # Errors
    /// The rule that is broken.
    pub fn check_name(&self) -> Result<(), TriggerNameError> {
        let name = &self.id.name;
        if name.is_empty() || name.chars().any(char::is_control) {
            return Err(TriggerNameError::Unprintable);
        }
        if name.len() > limits::TRIGGER_NAME_BYTES_MAX {
            return Err(TriggerNameError::TooLong { bytes: name.len() });
        }
        Ok(())
    }

    /// The schedule of a scheduled trigger.
    #[must_use]
    pub fn schedule(&self) -> Option<Schedule> {
        // The zone was checked when the trigger was made.
        Some(self.spec.schedule()?.in_zone(self.delivery.zone().unwrap_or_default()))
    }

    /// Longest run of one invocation, given the runner's default.
    #[must_use]
    pub fn timeout(&self, default: Duration) -> Duration {
        self.timeout_ms.map_or(default, Duration::from_millis)
    }

    /// How often an event is tried.
    #[must_use]
    pub fn retry_policy(&self) -> RetryPolicy {
        RetryPolicy {
            behavior: self.error_behavior,
            attempts_max: self.attempts_max.unwrap_or(limits::RETRY_ATTEMPTS_MAX).max(1),
            backoff: self.delivery.backoff(),
            no_retry_on: self.delivery.no_retry_on.clone(),
        }
    }
}
