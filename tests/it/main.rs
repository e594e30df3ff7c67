//! Integration tests: a real runner, real workers, and what users see of them.
#![expect(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "helpers of tests start processes and fail by panicking, with the runner's words"
)]

mod authors;
mod chaos;
mod cli;
mod conformance;
mod dry_runs;
mod environments;
mod evil;
mod faults;
mod grpc;
mod http_api;
mod inside;
mod install;
mod lifecycle;
mod plugin_files;
mod sandbox;
mod triggers;
mod world;
mod zygote;
