//! Checked views of measure columns: amount, quantity, rating, cost and own numeric attributes.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::buffer::BooleanBuffer;
use arrow::compute::cast;
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type, Float64Type, Int64Type, UInt64Type,
};

use crate::base::Decimal6;
use crate::event::Reason;
use crate::event::bytes::{checked_text, is_bytes};

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
            other => other.is_integer() || other.is_floating() || is_bytes(other),
        }
    }

    /// Whether a value of this type can be unacceptable, so that a row must be checked even if no rule asks for the
    /// number.
    #[must_use]
    pub fn can_be_bad(data_type: &DataType) -> bool {
        !matches!(
            data_type,
            DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::UInt8 | DataType::UInt16 | DataType::UInt32 | DataType::Null
        )
    }

    /// Whether no value of this float column can be unacceptable, found without decoding; `false` where that is not
    /// known.
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
        Some(match column.data_type() {
            DataType::Dictionary(_, values) => return Self::decode(&cast(column, values).ok()?),
            DataType::Null => vec![Measure::Null; column.len()],
            DataType::UInt64 => column
                .as_primitive::<UInt64Type>()
                .iter()
                .map(|value| value.map_or(Measure::Null, |value| of(Decimal6::from_i128(i128::from(value)))))
                .collect(),
            DataType::Decimal32(_, scale) => decimals::<Decimal32Type>(column, |value| Decimal6::rescale(value.into(), *scale)),
            DataType::Decimal64(_, scale) => decimals::<Decimal64Type>(column, |value| Decimal6::rescale(value.into(), *scale)),
            DataType::Decimal128(_, scale) => decimals::<Decimal128Type>(column, |value| Decimal6::rescale(value, *scale)),
            DataType::Decimal256(_, scale) => decimals::<Decimal256Type>(column, |value| Decimal6::rescale_wide(value, *scale)),
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
            _ => return decode_bytes(column),
        })
    }
}

fn of(value: Option<Decimal6>) -> Measure {
    value.map_or(Measure::Bad(Reason::NumberOutOfRange), Measure::Value)
}

fn decimals<T: ArrowPrimitiveType>(column: &ArrayRef, rescale: impl Fn(T::Native) -> Option<Decimal6>) -> Vec<Measure> {
    let values = column.as_primitive::<T>().iter();
    values
        .map(|value| value.map_or(Measure::Null, |value| of(rescale(value))))
        .collect()
}

/// Numbers in text that is not marked as such.
fn decode_bytes(column: &ArrayRef) -> Option<Vec<Measure>> {
    let checked = checked_text(column)?;
    let mut measures = Measures::decode(&checked.text)?;
    for row in checked.bad.iter().flat_map(BooleanBuffer::set_indices) {
        measures[row] = Measure::Bad(Reason::NotUtf8);
    }
    Some(measures)
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
    use arrow::array::{Decimal128Array, Decimal256Array, Float32Array, Float64Array, Int64Array, PrimitiveArray, StringArray};
    use arrow::datatypes::i256;
    use proptest::prelude::*;
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

    /// What a value of so many decimals is in millionths, by shifting its digits as text: half to even, `None` beyond
    /// 64 bits.
    fn by_hand(digits: &str, scale: i32) -> Option<i64> {
        let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |digits| ("-", digits));
        let shift = 6 - scale;
        let (kept, cut) = if shift >= 0 {
            (format!("{digits}{}", "0".repeat(shift as usize)), String::new())
        } else {
            let padded = format!("{}{digits}", "0".repeat(shift.unsigned_abs() as usize + 1));
            let (kept, cut) = padded.split_at(padded.len() - shift.unsigned_abs() as usize);
            (kept.to_owned(), cut.to_owned())
        };
        let kept = kept.trim_start_matches('0');
        let whole: i128 = if kept.len() > 30 {
            return None;
        } else {
            format!("0{kept}").parse().expect("digits")
        };
        let half = format!("5{}", "0".repeat(cut.len().saturating_sub(1)));
        let up = !cut.is_empty() && (cut > half || (cut == half && whole % 2 == 1));
        format!("{sign}{}", whole + i128::from(up)).parse().ok()
    }

    fn decoded(array: ArrayRef) -> Vec<Measure> {
        Measures::decode(&array).expect("accepted")
    }

    fn decimal_of<T: arrow::datatypes::DecimalType>(value: T::Native, scale: i8) -> Measure {
        let data_type = T::TYPE_CONSTRUCTOR(T::MAX_PRECISION, scale);
        decoded(Arc::new(
            PrimitiveArray::<T>::new(vec![value].into(), None).with_data_type(data_type),
        ))[0]
    }

    fn expected(digits: &str, scale: i8) -> Measure {
        of(by_hand(digits, scale.into()).map(Decimal6))
    }

    #[test]
    fn wide_decimals_are_exact() {
        let wide = |text: &str, scale: i8| {
            let value = i256::from_string(text).expect("digits");
            decoded(Arc::new(
                Decimal256Array::from(vec![Some(value), None])
                    .with_precision_and_scale(76, scale)
                    .expect("fits"),
            ))
        };
        let half = Measure::Value(Decimal6(12_500_000));
        assert_eq!(wide(&format!("125{}", "0".repeat(37)), 38), [half, Measure::Null]);
        assert_eq!(wide(&format!("125{}", "0".repeat(73)), 74)[0], half);
        assert_eq!(wide("5", 76)[0], Measure::Value(Decimal6(0)));
        assert_eq!(wide("0", -100)[0], Measure::Value(Decimal6(0)));
        assert_eq!(wide("3", -2)[0], Measure::Value(Decimal6(300_000_000)));
        assert_eq!(wide("3", -13)[0], Measure::Bad(Reason::NumberOutOfRange));
        assert_eq!(wide(&"9".repeat(76), 38)[0], Measure::Bad(Reason::NumberOutOfRange));
    }

    proptest! {
        #[test]
        fn decimals_of_every_width_and_scale_are_what_their_digits_say(
            (low, high) in (any::<u128>(), any::<i128>()),
            bits in 0u32..255,
            scale in -40i8..=76,
        ) {
            let wide = i256::from_parts(low, high) >> bits as u8;
            prop_assert_eq!(decimal_of::<Decimal256Type>(wide, scale), expected(&wide.to_string(), scale));
            let value = (low as i128) >> (bits % 128);
            let scale = scale.min(38);
            prop_assert_eq!(decimal_of::<Decimal128Type>(value, scale), expected(&value.to_string(), scale));
            let scale = scale.min(18);
            prop_assert_eq!(decimal_of::<Decimal64Type>(value as i64, scale), expected(&(value as i64).to_string(), scale));
            let scale = scale.min(9);
            prop_assert_eq!(decimal_of::<Decimal32Type>(value as i32, scale), expected(&(value as i32).to_string(), scale));
        }

        #[test]
        fn texts_of_any_length_are_exact(whole in "[0-9]{0,15}", fraction in "[0-9]{1,60}", tail in "0{0,60}|50{0,60}") {
            let text = format!("{whole}.{fraction}{tail}");
            let scale = (fraction.len() + tail.len()) as i32;
            let digits = format!("{whole}{fraction}{tail}");
            prop_assert_eq!(Decimal6::from_text(&text).map(|value| value.0), by_hand(&digits, scale));
        }
    }
}
