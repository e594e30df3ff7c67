//! SQL over the tables, by DataFusion.

mod catalog;
mod engine;
mod merge_exec;
mod parameters;
mod scan;
mod stream;
mod table;
mod time_range;

pub(crate) use self::engine::QueryEngine;
pub use self::parameters::ParameterValue;
pub use self::stream::{BatchStream, QueryResult};

use datafusion::error::DataFusionError;

use crate::error::QueryError;

/// Sorts DataFusion's error into ours. `planning` says that it came up while the text was made a plan.
fn query_error(error: &DataFusionError, planning: bool) -> QueryError {
    let root = error.find_root();
    let mut message = error.to_string();
    if matches!(root, DataFusionError::SchemaError(_, _)) {
        // InfluxDB 3's DataFusion has a blank before the list of valid fields, the newer one a newline.
        message = message.replace('\n', " ");
    }
    match root {
        DataFusionError::ResourcesExhausted(_) => QueryError::Limit(message),
        DataFusionError::Plan(_)
        | DataFusionError::SQL(_, _)
        | DataFusionError::SchemaError(_, _)
        | DataFusionError::NotImplemented(_)
        | DataFusionError::Configuration(_) => QueryError::Planning(message),
        _ if planning => QueryError::Planning(message),
        _ => QueryError::Execution(message),
    }
}
