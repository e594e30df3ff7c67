//! From events to effects: the registered triggers, each with the task that feeds it.

mod beginnings;
mod cache_saver;
mod coalesce;
mod dry_run;
mod effects;
mod engine;
mod environments;
mod error;
mod gauges;
mod hint;
mod letters;
mod poison;
mod positions;
mod questions;
mod replay;
mod requests;
mod retention;
mod runner;
mod running;
mod schedule;
mod status;
mod table_parameters;
mod updates;
mod wal;
mod warnings;

pub use dry_run::{DryEvent, DryRun, DryRunReport};
pub use engine::{Engine, EngineParts, EngineSettings, PluginCheck};
pub use error::EngineError;
pub use letters::DeadLetters;
pub use replay::Replayed;
pub use requests::{RequestEnd, RequestFailure, ResponseBody};
pub use status::{TriggerInfo, TriggerState};
