//! One column, ready to hand out its cells as Python objects.

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, PrimitiveArray, StringArray, StringViewArray,
};
use arrow::buffer::ScalarBuffer;
use arrow::datatypes::{
    DataType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type,
    UInt64Type,
};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::ffi::DictRow;
use super::object;

/// Cells of one type. Small types are widened once, so that a row has few cases to tell apart.
pub(super) enum Column<'py> {
    Signed(ScalarBuffer<i64>),
    Unsigned(ScalarBuffer<u64>),
    Float(ScalarBuffer<f64>),
    Boolean(BooleanArray),
    Utf8(StringArray),
    Utf8View(StringViewArray),
    /// Whole units since the epoch, and the nanoseconds of a unit.
    Timestamp(ScalarBuffer<i64>, i64),
    /// Values that repeat: each becomes a Python object once.
    Dictionary(Dictionary<'py>),
    /// Types that come from SQL only.
    Other(ArrayRef),
}

/// A dictionary column.
pub(super) struct Dictionary<'py> {
    keys: Vec<usize>,
    values: ArrayRef,
    objects: Vec<Option<Bound<'py, PyAny>>>,
}

impl<'py> Column<'py> {
    /// Prepares a column.
    pub(super) fn new(array: &ArrayRef) -> Self {
        match array.data_type() {
            DataType::Int64 => Self::Signed(array.as_primitive::<Int64Type>().values().clone()),
            DataType::UInt64 => Self::Unsigned(array.as_primitive::<UInt64Type>().values().clone()),
            DataType::Float64 => Self::Float(array.as_primitive::<Float64Type>().values().clone()),
            DataType::Boolean => Self::Boolean(array.as_boolean().clone()),
            DataType::Utf8 => Self::Utf8(array.as_string().clone()),
            DataType::Timestamp(unit, _) => timestamps(array, *unit),
            DataType::Dictionary(..) => Self::Dictionary(Dictionary::new(array)),
            DataType::Utf8View => Self::Utf8View(array.as_string_view().clone()),
            DataType::Int8 => Self::Signed(widen::<Int8Type, _>(array)),
            DataType::Int16 => Self::Signed(widen::<Int16Type, _>(array)),
            DataType::Int32 => Self::Signed(widen::<Int32Type, _>(array)),
            DataType::UInt8 => Self::Unsigned(widen::<UInt8Type, _>(array)),
            DataType::UInt16 => Self::Unsigned(widen::<UInt16Type, _>(array)),
            DataType::UInt32 => Self::Unsigned(widen::<UInt32Type, _>(array)),
            DataType::Float32 => Self::Float(widen::<Float32Type, _>(array)),
            _ => Self::Other(ArrayRef::clone(array)),
        }
    }

    /// Puts the cell of `row`, which has a value, into `dict`.
    #[inline]
    pub(super) fn set(&mut self, dict: &DictRow<'py>, name: &Bound<'py, PyString>, row: usize) -> PyResult<()> {
        match self {
            Self::Float(values) => dict.set_float(name, cell(values, row)?),
            Self::Signed(values) => dict.set_signed(name, cell(values, row)?),
            Self::Dictionary(dictionary) => dictionary.set(dict, name, row),
            Self::Timestamp(values, unit) => set_timestamp(dict, name, cell(values, row)?, *unit),
            Self::Unsigned(values) => dict.set_unsigned(name, cell(values, row)?),
            Self::Boolean(values) => dict.set_boolean(name, values.value(row)),
            Self::Utf8(values) => dict.set_str(name, values.value(row)),
            Self::Utf8View(values) => dict.set_str(name, values.value(row)),
            Self::Other(array) => dict.set_object(name, &object::object(dict.py(), array, row)?),
        }
    }
}

impl<'py> Dictionary<'py> {
    fn new(array: &ArrayRef) -> Self {
        let dictionary = array.as_any_dictionary();
        let values = dictionary.values();
        // There are no keys to normalise without values.
        let keys = if values.is_empty() { Vec::new() } else { dictionary.normalized_keys() };
        Self { keys, values: ArrayRef::clone(values), objects: vec![None; values.len()] }
    }

    #[inline]
    fn set(&mut self, dict: &DictRow<'py>, name: &Bound<'py, PyString>, row: usize) -> PyResult<()> {
        let key = self.keys.get(row).copied().ok_or_else(outside)?;
        let slot = self.objects.get_mut(key).ok_or_else(outside)?;
        if let Some(object) = slot {
            return dict.set_object(name, object);
        }
        let made = object::object(dict.py(), &self.values, key)?;
        dict.set_object(name, slot.insert(made))
    }
}

fn widen<T, W>(array: &ArrayRef) -> ScalarBuffer<W>
where
    T: ArrowPrimitiveType<Native: Into<W>>,
    W: arrow::datatypes::ArrowNativeType,
{
    let array: &PrimitiveArray<T> = array.as_primitive();
    array.values().iter().map(|&value| value.into()).collect()
}

fn timestamps<'py>(array: &ArrayRef, unit: TimeUnit) -> Column<'py> {
    let values = match unit {
        TimeUnit::Nanosecond => {
            return Column::Signed(array.as_primitive::<TimestampNanosecondType>().values().clone());
        }
        TimeUnit::Microsecond => array.as_primitive::<TimestampMicrosecondType>().values().clone(),
        TimeUnit::Millisecond => array.as_primitive::<TimestampMillisecondType>().values().clone(),
        TimeUnit::Second => array.as_primitive::<TimestampSecondType>().values().clone(),
    };
    Column::Timestamp(values, object::nanoseconds_of(unit))
}

#[inline]
fn cell<T: arrow::datatypes::ArrowNativeType>(values: &ScalarBuffer<T>, row: usize) -> PyResult<T> {
    values.get(row).copied().ok_or_else(outside)
}

fn set_timestamp<'py>(dict: &DictRow<'py>, name: &Bound<'py, PyString>, units: i64, unit_ns: i64) -> PyResult<()> {
    match units.checked_mul(unit_ns) {
        Some(nanoseconds) => dict.set_signed(name, nanoseconds),
        None => dict.set_object(name, &object::nanoseconds(dict.py(), units, unit_ns)?),
    }
}

pub(super) fn outside() -> PyErr {
    PyValueError::new_err("malformed Arrow data: a cell lies outside its column")
}
