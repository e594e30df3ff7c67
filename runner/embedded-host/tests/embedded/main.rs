//! The embedded host from outside: what a front end relies on.

#![expect(clippy::unwrap_used, reason = "clippy takes the helpers of an integration test for code that is no test")]

mod feed;
mod queries;
mod records;
mod recovery;
mod snapshots;
mod world;
mod writes;
