//! Cells of the types that InfluxDB's own columns do not have: what SQL makes of them, as the Python object that means the same.
//!
//! Points in time and spans are whole nanoseconds, as `time` is: Python's `datetime` and `timedelta` end at microseconds.

use arrow::array::{
    Array, ArrayRef, AsArray, Decimal32Array, Decimal64Array, FixedSizeListArray, GenericListArray, MapArray,
    PrimitiveArray, StructArray, UnionArray,
};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Date64Type, DurationMicrosecondType, DurationMillisecondType,
    DurationNanosecondType, DurationSecondType, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, IntervalDayTimeType, IntervalMonthDayNanoType, IntervalUnit, IntervalYearMonthType, RunEndIndexType,
    Time32MillisecondType, Time32SecondType, Time64MicrosecondType, Time64NanosecondType, TimeUnit,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type,
    UInt16Type, UInt32Type, UInt64Type,
};
use pyo3::IntoPyObjectExt;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyBytes, PyDict, PyList, PyString, PyType};

const NANOSECONDS_PER_SECOND: i64 = 1_000_000_000;
const MILLISECONDS_PER_DAY: i64 = 86_400_000;
const SECONDS_PER_DAY: i64 = 86_400;

/// Deepest nesting of lists, structs and maps that is built; SQL does not nest deeper, malformed data may.
const DEPTH_MAX: usize = 64;

/// The cell of `row`; `None` when it has no value.
pub(super) fn object<'py>(py: Python<'py>, array: &ArrayRef, row: usize) -> PyResult<Bound<'py, PyAny>> {
    nested(py, array, row, 0)
}

fn nested<'py>(py: Python<'py>, array: &ArrayRef, row: usize, depth: usize) -> PyResult<Bound<'py, PyAny>> {
    if row >= array.len() {
        return Err(super::column::outside());
    }
    if depth > DEPTH_MAX {
        return Err(PyValueError::new_err(format!("a value is nested deeper than {DEPTH_MAX} levels")));
    }
    if array.is_null(row) {
        return Ok(py.None().into_bound(py));
    }
    match array.data_type() {
        DataType::Null => Ok(py.None().into_bound(py)),
        DataType::Boolean => Ok(PyBool::new(py, array.as_boolean().value(row)).to_owned().into_any()),
        DataType::Int8 => number::<Int8Type>(py, array, row),
        DataType::Int16 => number::<Int16Type>(py, array, row),
        DataType::Int32 => number::<Int32Type>(py, array, row),
        DataType::Int64 => number::<Int64Type>(py, array, row),
        DataType::UInt8 => number::<UInt8Type>(py, array, row),
        DataType::UInt16 => number::<UInt16Type>(py, array, row),
        DataType::UInt32 => number::<UInt32Type>(py, array, row),
        DataType::UInt64 => number::<UInt64Type>(py, array, row),
        DataType::Float16 => any(py, array.as_primitive::<Float16Type>().value(row).to_f64()),
        DataType::Float32 => any(py, f64::from(primitive::<Float32Type>(array, row))),
        DataType::Float64 => number::<Float64Type>(py, array, row),
        DataType::Utf8 => Ok(PyString::new(py, array.as_string::<i32>().value(row)).into_any()),
        DataType::LargeUtf8 => Ok(PyString::new(py, array.as_string::<i64>().value(row)).into_any()),
        DataType::Utf8View => Ok(PyString::new(py, array.as_string_view().value(row)).into_any()),
        DataType::Binary => Ok(PyBytes::new(py, array.as_binary::<i32>().value(row)).into_any()),
        DataType::LargeBinary => Ok(PyBytes::new(py, array.as_binary::<i64>().value(row)).into_any()),
        DataType::BinaryView => Ok(PyBytes::new(py, array.as_binary_view().value(row)).into_any()),
        DataType::FixedSizeBinary(_) => Ok(PyBytes::new(py, array.as_fixed_size_binary().value(row)).into_any()),
        DataType::Timestamp(unit, _) => nanoseconds(py, timestamp(array, row, *unit), nanoseconds_of(*unit)),
        DataType::Duration(unit) => nanoseconds(py, duration(array, row, *unit), nanoseconds_of(*unit)),
        DataType::Date32 => date(py, i64::from(primitive::<Date32Type>(array, row))),
        DataType::Date64 => date(py, primitive::<Date64Type>(array, row).div_euclid(MILLISECONDS_PER_DAY)),
        DataType::Time32(unit) | DataType::Time64(unit) => time(py, time_of_day(array, row, *unit)?),
        DataType::Interval(unit) => interval(py, array, row, *unit),
        DataType::Decimal32(..) => decimal(py, &array_of::<Decimal32Array>(array)?.value_as_string(row)),
        DataType::Decimal64(..) => decimal(py, &array_of::<Decimal64Array>(array)?.value_as_string(row)),
        DataType::Decimal128(..) => {
            decimal(py, &array.as_primitive::<arrow::datatypes::Decimal128Type>().value_as_string(row))
        }
        DataType::Decimal256(..) => {
            decimal(py, &array.as_primitive::<arrow::datatypes::Decimal256Type>().value_as_string(row))
        }
        DataType::List(_) => list(py, &array_of::<GenericListArray<i32>>(array)?.value(row), depth),
        DataType::LargeList(_) => list(py, &array_of::<GenericListArray<i64>>(array)?.value(row), depth),
        DataType::FixedSizeList(..) => list(py, &array_of::<FixedSizeListArray>(array)?.value(row), depth),
        DataType::ListView(_) => list(py, &array.as_list_view::<i32>().value(row), depth),
        DataType::LargeListView(_) => list(py, &array.as_list_view::<i64>().value(row), depth),
        DataType::Struct(_) => structure(py, array_of::<StructArray>(array)?, row, depth),
        DataType::Map(..) => map(py, array_of::<MapArray>(array)?, row, depth),
        DataType::Dictionary(..) => {
            let dictionary = array.as_any_dictionary();
            nested(py, dictionary.values(), key(dictionary.keys(), row)?, depth + 1)
        }
        DataType::RunEndEncoded(ends, _) => {
            let (values, run) = match ends.data_type() {
                DataType::Int16 => run::<Int16Type>(array, row),
                DataType::Int32 => run::<Int32Type>(array, row),
                DataType::Int64 => run::<Int64Type>(array, row),
                _ => None,
            }
            .ok_or_else(super::column::outside)?;
            nested(py, values, run, depth + 1)
        }
        DataType::Union(..) => {
            let union = array_of::<UnionArray>(array)?;
            nested(py, union.child(union.type_id(row)), union.value_offset(row), depth + 1)
        }
    }
}

/// The values of a run-end encoded array, and which of them the row has.
fn run<T: RunEndIndexType>(array: &ArrayRef, row: usize) -> Option<(&ArrayRef, usize)> {
    let runs = array.as_run_opt::<T>()?;
    Some((runs.values(), runs.get_physical_index(row)))
}

/// Where in its values a dictionary's row has its value.
fn key(keys: &dyn Array, row: usize) -> PyResult<usize> {
    let key = match keys.data_type() {
        DataType::Int8 => usize::try_from(keys.as_primitive::<Int8Type>().value(row)).ok(),
        DataType::Int16 => usize::try_from(keys.as_primitive::<Int16Type>().value(row)).ok(),
        DataType::Int32 => usize::try_from(keys.as_primitive::<Int32Type>().value(row)).ok(),
        DataType::Int64 => usize::try_from(keys.as_primitive::<Int64Type>().value(row)).ok(),
        DataType::UInt8 => Some(usize::from(keys.as_primitive::<UInt8Type>().value(row))),
        DataType::UInt16 => Some(usize::from(keys.as_primitive::<UInt16Type>().value(row))),
        DataType::UInt32 => usize::try_from(keys.as_primitive::<UInt32Type>().value(row)).ok(),
        DataType::UInt64 => usize::try_from(keys.as_primitive::<UInt64Type>().value(row)).ok(),
        _ => None,
    };
    key.ok_or_else(super::column::outside)
}

fn array_of<T: 'static>(array: &ArrayRef) -> PyResult<&T> {
    array.as_any().downcast_ref::<T>().ok_or_else(super::column::outside)
}

fn primitive<T: ArrowPrimitiveType>(array: &ArrayRef, row: usize) -> T::Native {
    let array: &PrimitiveArray<T> = array.as_primitive();
    array.value(row)
}

fn number<'py, T>(py: Python<'py>, array: &ArrayRef, row: usize) -> PyResult<Bound<'py, PyAny>>
where
    T: ArrowPrimitiveType,
    T::Native: IntoPyObject<'py>,
{
    any(py, primitive::<T>(array, row))
}

fn any<'py, T: IntoPyObject<'py>>(py: Python<'py>, value: T) -> PyResult<Bound<'py, PyAny>> {
    value.into_bound_py_any(py)
}

pub(super) fn nanoseconds_of(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => NANOSECONDS_PER_SECOND,
        TimeUnit::Millisecond => 1_000_000,
        TimeUnit::Microsecond => 1_000,
        TimeUnit::Nanosecond => 1,
    }
}

/// A Python integer holds what 64 bits do not.
pub(super) fn nanoseconds(py: Python<'_>, units: i64, unit_ns: i64) -> PyResult<Bound<'_, PyAny>> {
    match units.checked_mul(unit_ns) {
        Some(nanoseconds) => any(py, nanoseconds),
        None => any(py, i128::from(units) * i128::from(unit_ns)),
    }
}

fn timestamp(array: &ArrayRef, row: usize, unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => primitive::<TimestampSecondType>(array, row),
        TimeUnit::Millisecond => primitive::<TimestampMillisecondType>(array, row),
        TimeUnit::Microsecond => primitive::<TimestampMicrosecondType>(array, row),
        TimeUnit::Nanosecond => primitive::<TimestampNanosecondType>(array, row),
    }
}

fn duration(array: &ArrayRef, row: usize, unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => primitive::<DurationSecondType>(array, row),
        TimeUnit::Millisecond => primitive::<DurationMillisecondType>(array, row),
        TimeUnit::Microsecond => primitive::<DurationMicrosecondType>(array, row),
        TimeUnit::Nanosecond => primitive::<DurationNanosecondType>(array, row),
    }
}

/// Nanoseconds since midnight.
fn time_of_day(array: &ArrayRef, row: usize, unit: TimeUnit) -> PyResult<i64> {
    let units = match unit {
        TimeUnit::Second => i64::from(primitive::<Time32SecondType>(array, row)),
        TimeUnit::Millisecond => i64::from(primitive::<Time32MillisecondType>(array, row)),
        TimeUnit::Microsecond => primitive::<Time64MicrosecondType>(array, row),
        TimeUnit::Nanosecond => primitive::<Time64NanosecondType>(array, row),
    };
    let nanoseconds = units.checked_mul(nanoseconds_of(unit));
    nanoseconds
        .filter(|nanoseconds| (0..SECONDS_PER_DAY * NANOSECONDS_PER_SECOND).contains(nanoseconds))
        .ok_or_else(|| PyValueError::new_err("a time of day lies outside of the day"))
}

/// `datetime.date`, by way of the proleptic ordinal, whose day 719163 is the epoch.
fn date(py: Python<'_>, days: i64) -> PyResult<Bound<'_, PyAny>> {
    static DATE: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    const EPOCH_ORDINAL: i64 = 719_163;
    let class = DATE.import(py, "datetime", "date")?;
    class.call_method1(pyo3::intern!(py, "fromordinal"), (days.saturating_add(EPOCH_ORDINAL),))
}

/// `datetime.time`; what is finer than a microsecond is cut, because the class holds no more.
fn time(py: Python<'_>, nanoseconds: i64) -> PyResult<Bound<'_, PyAny>> {
    static TIME: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let seconds = nanoseconds / NANOSECONDS_PER_SECOND;
    let microseconds = nanoseconds % NANOSECONDS_PER_SECOND / 1_000;
    TIME.import(py, "datetime", "time")?.call1((seconds / 3600, seconds / 60 % 60, seconds % 60, microseconds))
}

fn decimal<'py>(py: Python<'py>, text: &str) -> PyResult<Bound<'py, PyAny>> {
    static DECIMAL: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    DECIMAL.import(py, "decimal", "Decimal")?.call1((text,))
}

/// Months, days and nanoseconds do not add up to one number, so they stand side by side.
fn interval<'py>(py: Python<'py>, array: &ArrayRef, row: usize, unit: IntervalUnit) -> PyResult<Bound<'py, PyAny>> {
    let (months, days, nanoseconds) = match unit {
        IntervalUnit::YearMonth => (primitive::<IntervalYearMonthType>(array, row), 0, 0),
        IntervalUnit::DayTime => {
            let value = primitive::<IntervalDayTimeType>(array, row);
            (0, value.days, i64::from(value.milliseconds) * 1_000_000)
        }
        IntervalUnit::MonthDayNano => {
            let value = primitive::<IntervalMonthDayNanoType>(array, row);
            (value.months, value.days, value.nanoseconds)
        }
    };
    let dict = PyDict::new(py);
    dict.set_item(pyo3::intern!(py, "months"), months)?;
    dict.set_item(pyo3::intern!(py, "days"), days)?;
    dict.set_item(pyo3::intern!(py, "nanoseconds"), nanoseconds)?;
    Ok(dict.into_any())
}

fn list<'py>(py: Python<'py>, values: &ArrayRef, depth: usize) -> PyResult<Bound<'py, PyAny>> {
    let list = PyList::empty(py);
    for row in 0..values.len() {
        list.append(nested(py, values, row, depth + 1)?)?;
    }
    Ok(list.into_any())
}

fn structure<'py>(py: Python<'py>, array: &StructArray, row: usize, depth: usize) -> PyResult<Bound<'py, PyAny>> {
    let dict = PyDict::new(py);
    for (field, column) in array.fields().iter().zip(array.columns()) {
        dict.set_item(field.name(), nested(py, column, row, depth + 1)?)?;
    }
    Ok(dict.into_any())
}

fn map<'py>(py: Python<'py>, array: &MapArray, row: usize, depth: usize) -> PyResult<Bound<'py, PyAny>> {
    let entries = array.value(row);
    let (Some(keys), Some(values)) = (entries.columns().first(), entries.columns().get(1)) else {
        return Err(super::column::outside());
    };
    let dict = PyDict::new(py);
    for entry in 0..entries.len() {
        dict.set_item(nested(py, keys, entry, depth + 1)?, nested(py, values, entry, depth + 1)?)?;
    }
    Ok(dict.into_any())
}
