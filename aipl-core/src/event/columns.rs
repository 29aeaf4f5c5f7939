//! Checked views of identifier columns.

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, LargeStringArray, StringArray, StringViewArray};
use arrow::buffer::BooleanBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, UInt64Type};

use crate::base::id::MAX_ID_BYTES;
use crate::base::{IdKind, IdValue};
use crate::event::Reason;
use crate::event::bytes::{checked_text, is_bytes};

/// Words for the accepted types, for error messages.
pub const ACCEPTED_IDS: &str = "any integer type, utf8, large_utf8, utf8_view, bytes that are UTF-8, or a dictionary of these";

/// One identifier of a row, or why there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdRef<'a> {
    /// An integer.
    Int(i64),
    /// Text of 1 to 256 bytes.
    Text(&'a str),
    /// Null or empty text.
    Null,
    /// Present but not acceptable.
    Bad(Reason),
}

impl IdRef<'_> {
    /// Whether this is the identifier wanted, if one is.
    #[must_use]
    pub fn is(self, wanted: Option<&IdValue>) -> bool {
        match (self, wanted) {
            (IdRef::Int(value), Some(IdValue::Int(wanted))) => value == *wanted,
            (IdRef::Text(text), Some(IdValue::Text(wanted))) => text == wanted,
            _ => false,
        }
    }

    /// The identifier as an owned value.
    #[must_use]
    pub fn to_value(self) -> Option<IdValue> {
        match self {
            IdRef::Int(value) => Some(IdValue::Int(value)),
            IdRef::Text(text) => Some(IdValue::Text(text.to_owned())),
            IdRef::Null | IdRef::Bad(_) => None,
        }
    }
}

/// A column of identifiers.
#[derive(Debug, Clone)]
pub enum IdColumn {
    /// Any integer type, widened.
    Int(Int64Array),
    /// Unsigned integers, of which the greatest do not fit.
    Unsigned(ArrayRef),
    /// 32-bit offsets.
    Utf8(StringArray),
    /// 64-bit offsets.
    LargeUtf8(LargeStringArray),
    /// Views.
    View(StringViewArray),
    /// Keys into distinct values.
    Dictionary {
        /// One key a row; arbitrary where null.
        keys: Vec<usize>,
        /// The column itself, for its nulls.
        array: ArrayRef,
        /// The distinct values.
        values: Box<IdColumn>,
    },
    /// Bytes, some of which are no text.
    Bytes {
        /// Those that are.
        texts: Box<IdColumn>,
        /// The rows of the others.
        bad: BooleanBuffer,
    },
    /// Identifiers that stand in the place of others, such as persons for accounts.
    Resolved(Vec<IdRef<'static>>),
}

impl IdColumn {
    /// What identifiers a column of this type holds; `None` if it is not accepted.
    #[must_use]
    pub fn id_kind(data_type: &DataType) -> Option<IdKind> {
        match data_type {
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Some(IdKind::Text),
            DataType::Dictionary(_, values) if !matches!(**values, DataType::Dictionary(_, _)) => Self::id_kind(values),
            other if other.is_integer() => Some(IdKind::Int64),
            other if is_bytes(other) => Some(IdKind::Text),
            _ => None,
        }
    }

    /// Views a column; `None` if its type is not accepted. A column of the null type is text without a value.
    #[must_use]
    pub fn new(column: &ArrayRef) -> Option<IdColumn> {
        if column.data_type() == &DataType::Null
            || matches!(column.data_type(), DataType::Dictionary(_, values) if **values == DataType::Null)
        {
            return Some(IdColumn::Utf8(StringArray::new_null(column.len())));
        }
        Self::id_kind(column.data_type())?;
        Some(match column.data_type() {
            DataType::Utf8 => IdColumn::Utf8(column.as_string().clone()),
            DataType::LargeUtf8 => IdColumn::LargeUtf8(column.as_string().clone()),
            DataType::Utf8View => IdColumn::View(column.as_string_view().clone()),
            DataType::UInt64 => IdColumn::Unsigned(column.clone()),
            DataType::Dictionary(_, _) => {
                let dictionary = column.as_any_dictionary();
                let values = Box::new(IdColumn::new(dictionary.values())?);
                let keys = if dictionary.values().is_empty() {
                    vec![0; column.len()]
                } else {
                    dictionary.normalized_keys()
                };
                IdColumn::Dictionary {
                    keys,
                    array: column.clone(),
                    values,
                }
            }
            bytes if is_bytes(bytes) => {
                let checked = checked_text(column)?;
                let texts = IdColumn::new(&checked.text)?;
                match checked.bad {
                    Some(bad) => IdColumn::Bytes {
                        texts: Box::new(texts),
                        bad,
                    },
                    None => texts,
                }
            }
            _ => IdColumn::Int(cast(column, &DataType::Int64).ok()?.as_primitive().clone()),
        })
    }

    /// The number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            IdColumn::Int(array) => array.len(),
            IdColumn::Utf8(array) => array.len(),
            IdColumn::LargeUtf8(array) => array.len(),
            IdColumn::View(array) => array.len(),
            IdColumn::Unsigned(array) | IdColumn::Dictionary { array, .. } => array.len(),
            IdColumn::Bytes { bad, .. } => bad.len(),
            IdColumn::Resolved(ids) => ids.len(),
        }
    }

    /// Whether there are no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The identifier of one row.
    #[must_use]
    pub fn get(&self, row: usize) -> IdRef<'_> {
        match self {
            IdColumn::Int(array) if array.is_null(row) => IdRef::Null,
            IdColumn::Int(array) => IdRef::Int(array.value(row)),
            IdColumn::Unsigned(array) if array.is_null(row) => IdRef::Null,
            IdColumn::Unsigned(array) => {
                i64::try_from(array.as_primitive::<UInt64Type>().value(row)).map_or(IdRef::Bad(Reason::IdOutOfRange), IdRef::Int)
            }
            IdColumn::Utf8(array) if array.is_null(row) => IdRef::Null,
            IdColumn::Utf8(array) => check_text(array.value(row)),
            IdColumn::LargeUtf8(array) if array.is_null(row) => IdRef::Null,
            IdColumn::LargeUtf8(array) => check_text(array.value(row)),
            IdColumn::View(array) if array.is_null(row) => IdRef::Null,
            IdColumn::View(array) => check_text(array.value(row)),
            IdColumn::Dictionary { array, .. } if array.is_null(row) => IdRef::Null,
            IdColumn::Dictionary { keys, values, .. } => values.get(keys[row]),
            IdColumn::Bytes { bad, .. } if bad.value(row) => IdRef::Bad(Reason::NotUtf8),
            IdColumn::Bytes { texts, .. } => texts.get(row),
            IdColumn::Resolved(ids) => ids[row],
        }
    }

    /// Whether a value may be present and not acceptable.
    #[must_use]
    pub fn can_be_bad(&self) -> bool {
        match self {
            IdColumn::Int(_) => false,
            IdColumn::Dictionary { values, .. } => {
                values.can_be_bad() && (0..values.len()).any(|place| matches!(values.get(place), IdRef::Bad(_)))
            }
            _ => true,
        }
    }

    /// Calls `visit` with every row's identifier, in order.
    #[inline]
    pub fn for_each(&self, mut visit: impl FnMut(usize, IdRef<'_>)) {
        // One loop a representation, so that the choice is made once a batch and not once a row.
        match self {
            IdColumn::Int(array) if array.null_count() == 0 => {
                array
                    .values()
                    .iter()
                    .enumerate()
                    .for_each(|(row, &value)| visit(row, IdRef::Int(value)));
            }
            IdColumn::Int(array) => array
                .iter()
                .enumerate()
                .for_each(|(row, value)| visit(row, value.map_or(IdRef::Null, IdRef::Int))),
            IdColumn::Utf8(array) => array
                .iter()
                .enumerate()
                .for_each(|(row, text)| visit(row, text.map_or(IdRef::Null, check_text))),
            IdColumn::LargeUtf8(array) => array
                .iter()
                .enumerate()
                .for_each(|(row, text)| visit(row, text.map_or(IdRef::Null, check_text))),
            IdColumn::View(array) => array
                .iter()
                .enumerate()
                .for_each(|(row, text)| visit(row, text.map_or(IdRef::Null, check_text))),
            IdColumn::Dictionary { keys, array, values } => {
                let valid = array.nulls().map(|nulls| nulls.iter());
                let valid = valid.into_iter().flatten().chain(std::iter::repeat(true));
                for ((row, &key), valid) in keys.iter().enumerate().zip(valid) {
                    visit(row, if valid { values.get(key) } else { IdRef::Null });
                }
            }
            _ => (0..self.len()).for_each(|row| visit(row, self.get(row))),
        }
    }
}

#[inline]
fn check_text(text: &str) -> IdRef<'_> {
    match text.len() {
        0 => IdRef::Null,
        1..=MAX_ID_BYTES => IdRef::Text(text),
        _ => IdRef::Bad(Reason::IdTooLong),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{DictionaryArray, Float64Array, UInt64Array};
    use arrow::datatypes::Int32Type;
    use std::sync::Arc;

    #[test]
    fn nulls_and_bad_values_are_told_apart() {
        let long = "x".repeat(257);
        let texts = [Some("a"), None, Some(""), Some(long.as_str())];
        let expected = [IdRef::Text("a"), IdRef::Null, IdRef::Null, IdRef::Bad(Reason::IdTooLong)];
        let arrays: [ArrayRef; 4] = [
            Arc::new(StringArray::from_iter(texts)),
            Arc::new(LargeStringArray::from_iter(texts)),
            Arc::new(StringViewArray::from_iter(texts)),
            Arc::new(texts.into_iter().collect::<DictionaryArray<Int32Type>>()),
        ];
        for array in arrays {
            let column = IdColumn::new(&array).expect("accepted");
            let mut seen = 0;
            column.for_each(|row, id| {
                assert_eq!(id, expected[row]);
                assert_eq!(column.get(row), id);
                seen += 1;
            });
            assert_eq!(seen, 4);
        }
        let unsigned: ArrayRef = Arc::new(UInt64Array::from(vec![Some(7), Some(u64::MAX), None]));
        let column = IdColumn::new(&unsigned).expect("accepted");
        assert_eq!(
            [column.get(0), column.get(1), column.get(2)],
            [IdRef::Int(7), IdRef::Bad(Reason::IdOutOfRange), IdRef::Null]
        );
        assert!(IdColumn::new(&(Arc::new(Float64Array::from(vec![1.0])) as ArrayRef)).is_none());
    }
}
