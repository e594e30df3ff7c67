//! The wall clock, read in one place.

use std::time::SystemTime;

use prost_types::Timestamp;

/// The current time as it stands in a log line.
#[expect(
    clippy::disallowed_methods,
    reason = "the worker's one reader of the wall clock; log lines carry the time of their process"
)]
pub(crate) fn now() -> Timestamp {
    Timestamp::from(SystemTime::now())
}
