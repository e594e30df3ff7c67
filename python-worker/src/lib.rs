//! Bulkhead's worker: the extension module `bulkhead_worker._native`, and the files of the Python package
//! around it.
//!
//! The plugin runs on Python's main thread, which also drives the session with the runner while it has nothing to do. A
//! native thread drives it meanwhile; it never needs the GIL ([`outbox`] and the inbox lie between them).
//!
//! The runner links this crate for [`package`] alone. Whatever uses Python is private to the extension,
//! so that the linker leaves it out of the runner.

pub mod capture;
pub mod gather;
pub mod invocation;
pub mod limits;
pub mod outbox;
pub mod package;
pub mod split;

mod api;
mod argument;
mod arrow_rows;
mod asker;
mod cache;
mod call;
mod clock;
mod driver;
mod errors;
mod exit;
mod handshake;
mod inbox;
mod life;
mod line_builder;
mod parameters;
mod question;
mod rows;
mod session;
mod shared;
mod transport;
mod usage;
mod zygote;

/// The extension module.
#[pyo3::pymodule]
mod _native {
    #[pymodule_export]
    use super::api::PluginApi;
    #[pymodule_export]
    use super::arrow_rows::ArrowRows;
    #[pymodule_export]
    use super::cache::PyCache;
    #[pymodule_export]
    use super::call::Call;
    #[pymodule_export]
    use super::errors::{Cancelled, LimitExceeded, QueryError};
    #[pymodule_export]
    use super::line_builder::{InfluxDBError, InvalidKeyError, InvalidLineError, InvalidMeasurementError, LineBuilder};
    #[pymodule_export]
    use super::session::{Session, Trigger, connect};
    #[pymodule_export]
    use super::zygote::Zygote;
}
