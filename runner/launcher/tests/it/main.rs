//! The launcher with real processes.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics, also in its helpers")]

mod ends;
mod groups;
mod isolation;
mod orphans;
mod sandbox;
mod start;
mod support;
