//! What a trigger is, when it runs and what follows a failure. Pure: no I/O, no clock, no async.

mod ceiling;
mod cpu_limit;
mod definition;
mod delivery;
mod host_pattern;
mod permissions;
mod policy;
mod schedule;
mod spec;

pub use ceiling::{BeyondCeiling, Ceiling, Limits, PermissionPolicy};
pub use cpu_limit::{cpu_number, parse_cpu};
pub use definition::{
    ErrorBehavior, PluginLocation, REPOSITORY_PREFIX, TriggerDefinition, TriggerId, TriggerNameError,
};
pub use delivery::{Delivery, Span};
pub use host_pattern::HostPattern;
pub use permissions::{NetPermission, PermissionError, Permissions, parse_size};
pub use policy::{AfterFailure, Backoff, Cause, RetryPolicy, after_failure};
pub use schedule::{Due, MissedTicks, Schedule, due};
pub use spec::{SpecError, TriggerKind, TriggerSpec, normalised_cron};
