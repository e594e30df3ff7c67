//! Bulkhead's runner: it executes Python plugins for database servers out of process.
//!
//! The way of an event, and with it the layers: `cli`/`api` → `dispatch` → `supervisor` → `session` → the wire. `trigger` is
//! pure and known to all; `host` is the server that owns the data.

pub mod api;
pub mod cache;
pub mod catalog;
pub mod cli;
pub mod clock;
pub mod config;
pub mod dispatch;
pub mod environment;
pub mod failure;
pub mod host;
pub mod hostile_input;
pub mod invocations;
pub mod journal;
pub mod limits;
pub mod line_protocol;
pub mod logs;
pub mod metrics;
mod plugin_edits;
pub mod plugin_files;
pub mod plugin_repository;
pub mod server;
pub mod session;
pub mod supervisor;
pub mod system_tables;
pub mod tree;
pub mod trigger;

pub use cli::main;
