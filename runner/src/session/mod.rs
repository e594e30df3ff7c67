//! The session between the runner and one worker: the machine that judges what the worker says, and the
//! gRPC server that carries it over the inherited socket.

pub mod arrow_ipc;
mod cached;
mod held;
#[cfg(test)]
mod hostile;
mod machine;
mod meter;
mod metered;
pub mod nursery;
mod server;

pub use cached::{LiveOnly, namespace};
pub use machine::{Line, Session, Step, Violation};
pub use meter::{FrameMeter, WireViolation};
pub use metered::Verdict;
pub use server::{Endpoint, Questions, ResponseStream, SessionChannel, open};
