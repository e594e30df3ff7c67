//! The values of a query's named parameters.

use std::collections::{BTreeMap, HashMap};

use datafusion::common::ParamValues;
use datafusion::scalar::ScalarValue;

/// A value for `$name` in a query.
#[derive(Debug, Clone, PartialEq)]
pub enum ParameterValue {
    /// No value.
    Null,
    /// A truth value.
    Bool(bool),
    /// A signed integer.
    I64(i64),
    /// An unsigned integer.
    U64(u64),
    /// A floating-point number.
    F64(f64),
    /// A text.
    String(String),
    /// A point in time, nanoseconds since the epoch.
    Timestamp(i64),
}

impl From<ParameterValue> for ScalarValue {
    fn from(value: ParameterValue) -> Self {
        match value {
            ParameterValue::Null => Self::Null,
            ParameterValue::Bool(value) => Self::Boolean(Some(value)),
            ParameterValue::I64(value) => Self::Int64(Some(value)),
            ParameterValue::U64(value) => Self::UInt64(Some(value)),
            ParameterValue::F64(value) => Self::Float64(Some(value)),
            ParameterValue::String(value) => Self::Utf8(Some(value)),
            ParameterValue::Timestamp(nanoseconds) => Self::TimestampNanosecond(Some(nanoseconds), None),
        }
    }
}

/// The parameters as DataFusion takes them.
pub(super) fn param_values(parameters: BTreeMap<String, ParameterValue>) -> ParamValues {
    let values: HashMap<String, ScalarValue> =
        parameters.into_iter().map(|(name, value)| (name, value.into())).collect();
    values.into()
}
