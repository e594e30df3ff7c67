//! From events to effects: the registered triggers, each with the task that feeds it.

mod beginnings;
mod effects;
mod engine;
mod error;
mod positions;
mod questions;
mod requests;
mod runner;
mod running;
mod schedule;
mod status;
mod table_parameters;
mod wal;

pub use engine::{Engine, EngineParts, EngineSettings, PluginCheck};
pub use error::EngineError;
pub use requests::{RequestEnd, RequestFailure, ResponseBody};
pub use status::{TriggerInfo, TriggerState};
