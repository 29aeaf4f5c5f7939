//! Checked views of measure columns: amount, quantity, rating, cost and own numeric attributes.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Float64Type, Int64Type, UInt64Type};

use crate::base::Decimal6;
use crate::event::Reason;

/// Words for the accepted types, for error messages.
pub const ACCEPTED_MEASURES: &str = "any integer, float or decimal type, or text that holds numbers";

/// One measure of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// Null (or empty text).
    Null,
    /// A number.
    Value(Decimal6),
    /// Present but not acceptable.
    Bad(Reason),
}

/// Reading of measure columns.
#[derive(Debug)]
pub struct Measures;

impl Measures {
    /// Whether a column of this type can hold measures.
    #[must_use]
    pub fn accepts(data_type: &DataType) -> bool {
        match data_type {
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => true,
            DataType::Decimal32(..) | DataType::Decimal64(..) | DataType::Decimal128(..) | DataType::Decimal256(..) => true,
            DataType::Dictionary(_, values) => Self::accepts(values),
            other => other.is_integer() || other.is_floating(),
        }
    }

    /// Whether a value of this type can be unacceptable, so that a row must be checked even if no rule asks for the number.
    #[must_use]
    pub fn can_be_bad(data_type: &DataType) -> bool {
        !matches!(
            data_type,
            DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::UInt8 | DataType::UInt16 | DataType::UInt32 | DataType::Null
        )
    }

    /// Whether no value of this float column can be unacceptable, found without decoding; `false` where that is not known.
    #[must_use]
    pub fn all_good(column: &ArrayRef) -> bool {
        // Within this bound every finite float fits; values under nulls are zero or leftovers and only cost a decode.
        const SURE: f64 = 9e12;
        match column.data_type() {
            DataType::Float64 => column.as_primitive::<Float64Type>().values().iter().all(|value| value.abs() < SURE),
            DataType::Null => true,
            _ => false,
        }
    }

    /// One measure a row; `None` if the type is not accepted.
    #[must_use]
    pub fn decode(column: &ArrayRef) -> Option<Vec<Measure>> {
        let of = |value: Option<Decimal6>| value.map_or(Measure::Bad(Reason::NumberOutOfRange), Measure::Value);
        Some(match column.data_type() {
            DataType::Dictionary(_, values) => return Self::decode(&cast(column, values).ok()?),
            DataType::Null => vec![Measure::Null; column.len()],
            DataType::UInt64 => column
                .as_primitive::<UInt64Type>()
                .iter()
                .map(|value| value.map_or(Measure::Null, |value| of(Decimal6::from_i128(i128::from(value)))))
                .collect(),
            DataType::Decimal32(_, scale)
            | DataType::Decimal64(_, scale)
            | DataType::Decimal128(_, scale)
            | DataType::Decimal256(_, scale) => {
                let scale = *scale;
                let wide = cast(column, &DataType::Decimal128(38, scale)).ok()?;
                let read = |(row, value): (usize, Option<i128>)| match value {
                    Some(value) => of(Decimal6::rescale(value, scale)),
                    // Too large for 128 bits: the cast leaves a null where there was none.
                    None if column.is_valid(row) => of(None),
                    None => Measure::Null,
                };
                wide.as_primitive::<Decimal128Type>().iter().enumerate().map(read).collect()
            }
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
                let texts = cast(column, &DataType::LargeUtf8).ok()?;
                texts
                    .as_string::<i64>()
                    .iter()
                    .map(|text| text.map_or(Measure::Null, read_text))
                    .collect()
            }
            other if other.is_floating() => {
                let floats = cast(column, &DataType::Float64).ok()?;
                floats
                    .as_primitive::<Float64Type>()
                    .iter()
                    .map(|value| {
                        value.map_or(Measure::Null, |value| {
                            if value.is_finite() {
                                of(Decimal6::from_f64(value))
                            } else {
                                Measure::Bad(Reason::NotFinite)
                            }
                        })
                    })
                    .collect()
            }
            other if other.is_integer() => {
                let integers = cast(column, &DataType::Int64).ok()?;
                integers
                    .as_primitive::<Int64Type>()
                    .iter()
                    .map(|value| value.map_or(Measure::Null, |value| of(Decimal6::from_i128(i128::from(value)))))
                    .collect()
            }
            _ => return None,
        })
    }
}

fn read_text(text: &str) -> Measure {
    let text = text.trim();
    if text.is_empty() {
        return Measure::Null;
    }
    match (Decimal6::from_text(text), text.parse::<f64>()) {
        (Some(value), _) => Measure::Value(value),
        (None, Ok(float)) if !float.is_finite() => Measure::Bad(Reason::NotFinite),
        (None, Ok(_)) => Measure::Bad(Reason::NumberOutOfRange),
        (None, Err(_)) => Measure::Bad(Reason::UnreadableNumber),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Decimal128Array, Float32Array, Float64Array, Int64Array, StringArray};
    use std::sync::Arc;

    #[test]
    fn every_type_reads_the_same_number() {
        let value = Measure::Value(Decimal6(12_500_000));
        let arrays: [ArrayRef; 4] = [
            Arc::new(Float64Array::from(vec![12.5])),
            Arc::new(Float32Array::from(vec![12.5])),
            Arc::new(Decimal128Array::from(vec![1250]).with_precision_and_scale(10, 2).expect("fits")),
            Arc::new(StringArray::from(vec!["12.50"])),
        ];
        for array in arrays {
            assert_eq!(Measures::decode(&array), Some(vec![value]));
        }
    }

    #[test]
    fn bad_numbers_have_their_reason() {
        let floats: ArrayRef = Arc::new(Float64Array::from(vec![Some(f64::NAN), Some(f64::NEG_INFINITY), Some(1e300), None]));
        assert_eq!(
            Measures::decode(&floats),
            Some(vec![
                Measure::Bad(Reason::NotFinite),
                Measure::Bad(Reason::NotFinite),
                Measure::Bad(Reason::NumberOutOfRange),
                Measure::Null
            ])
        );
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["12 yuan", "NaN", "", "1e300", "99999999999999999999"]));
        assert_eq!(
            Measures::decode(&texts),
            Some(vec![
                Measure::Bad(Reason::UnreadableNumber),
                Measure::Bad(Reason::NotFinite),
                Measure::Null,
                Measure::Bad(Reason::NumberOutOfRange),
                Measure::Bad(Reason::NumberOutOfRange)
            ])
        );
        let integers: ArrayRef = Arc::new(Int64Array::from(vec![i64::MAX]));
        assert_eq!(Measures::decode(&integers), Some(vec![Measure::Bad(Reason::NumberOutOfRange)]));
    }
}
