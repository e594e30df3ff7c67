//! What a trigger is doing, for people.

use crate::trigger::TriggerDefinition;

/// State of a trigger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TriggerState {
    /// It runs on events.
    Active,
    /// Its environment is being built; what comes waits for it.
    Building,
    /// Its worker keeps dying; the next start is delayed.
    Backoff,
    /// Its workers died so often in a row that it waits for the time of a probe.
    Open,
    /// One call is tried, and decides for the others.
    HalfOpen,
    /// Its plugin or environment is unusable; it is tried again on events.
    Failed,
    /// It was stopped, by a person or by its error behavior.
    Disabled,
}

impl TriggerState {
    /// The word in system tables.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Building => "building",
            Self::Backoff => "backoff",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
            Self::Failed => "failed",
            Self::Disabled => "disabled",
        }
    }
}

/// A trigger with its state.
#[derive(Debug, Clone)]
pub struct TriggerInfo {
    /// What was registered.
    pub definition: TriggerDefinition,
    /// What it is doing.
    pub state: TriggerState,
    /// Why, when there is something to say.
    pub reason: Option<String>,
}
