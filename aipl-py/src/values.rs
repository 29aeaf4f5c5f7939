//! Columns of results as Python objects.

use aipl_core::base::Zone;
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Date32Type, Decimal128Type, Float64Type, Int64Type, TimestampMicrosecondType, UInt32Type, UInt64Type};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyList;

/// Days from 0001-01-01 (ordinal 1) to 1970-01-01.
const EPOCH_ORDINAL: i32 = 719_163;

/// Appends the values of a column: `int`, `float`, `bool`, `str`, `datetime.date`, aware `datetime.datetime`, `decimal.Decimal`;
/// `None` where null.
pub fn append(list: &Bound<'_, PyList>, column: &ArrayRef) -> PyResult<()> {
    let py = list.py();
    match column.data_type() {
        DataType::Int64 => push(list, column.as_primitive::<Int64Type>().iter()),
        DataType::Float64 => push(list, column.as_primitive::<Float64Type>().iter()),
        DataType::Boolean => push(list, column.as_boolean().iter()),
        DataType::Date32 => {
            let date = py.import("datetime")?.getattr("date")?;
            let day = |day| date.call_method1("fromordinal", (EPOCH_ORDINAL + day,));
            push_made(list, column.as_primitive::<Date32Type>().iter(), day)
        }
        DataType::Timestamp(_, zone) => {
            let instant = instants(py, zone.as_deref().unwrap_or("UTC"))?;
            push_made(list, column.as_primitive::<TimestampMicrosecondType>().iter(), instant)
        }
        DataType::Decimal128(_, _) => {
            let decimal = py.import("decimal")?.getattr("Decimal")?;
            let values = column.as_primitive::<Decimal128Type>();
            let text = (0..values.len()).map(|row| values.is_valid(row).then(|| values.value_as_string(row)));
            push_made(list, text, |text| decimal.call1((text,)))
        }
        DataType::UInt64 => push(list, column.as_primitive::<UInt64Type>().iter()),
        DataType::UInt32 => push(list, column.as_primitive::<UInt32Type>().iter()),
        other => match column.as_string_opt::<i32>() {
            Some(texts) => push(list, texts.iter()),
            None => Err(PyTypeError::new_err(format!(
                "a column of type {other} has no Python form here; use to_arrow()"
            ))),
        },
    }
}

fn push<'py, T: IntoPyObject<'py>>(list: &Bound<'py, PyList>, mut values: impl Iterator<Item = Option<T>>) -> PyResult<()> {
    values.try_for_each(|value| list.append(value))
}

fn push_made<'py, T>(
    list: &Bound<'py, PyList>,
    mut values: impl Iterator<Item = Option<T>>,
    make: impl Fn(T) -> PyResult<Bound<'py, PyAny>>,
) -> PyResult<()> {
    values.try_for_each(|value| match value {
        Some(value) => list.append(make(value)?),
        None => list.append(list.py().None()),
    })
}

/// Makes aware times of instants; offsets come from the library's own zones, so that no time-zone package is needed.
fn instants<'py>(py: Python<'py>, zone: &str) -> PyResult<impl Fn(i64) -> PyResult<Bound<'py, PyAny>>> {
    let datetime = py.import("datetime")?;
    let (delta, timezone) = (datetime.getattr("timedelta")?, datetime.getattr("timezone")?);
    let epoch = datetime
        .getattr("datetime")?
        .call1((1970, 1, 1, 0, 0, 0, 0, timezone.getattr("utc")?))?;
    let zone = Zone::named(zone).ok();
    let micros = move |count: i64| delta.call1((0, 0, count));
    Ok(move |instant: i64| {
        let offset = zone.as_ref().map_or(0, |zone| zone.offset_at(instant));
        let here = timezone.call1((micros(offset)?,))?;
        epoch
            .call_method1("__add__", (micros(instant)?,))?
            .call_method1("astimezone", (here,))
    })
}
