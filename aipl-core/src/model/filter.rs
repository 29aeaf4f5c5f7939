//! Conditions on columns (`where`), evaluated a batch at a time.

use std::cmp::Ordering;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};

use crate::base::Decimal6;
use crate::event::Measures;
use crate::event::bytes::{checked_text, is_bytes};
use crate::event::measure::Measure;
use crate::model::data::{Condition, Operand};

/// Words for the accepted types, for error messages.
pub const ACCEPTED_CONDITIONS: &str = "text, integers, floats, decimals, booleans, days, or a dictionary of these";

/// Whether conditions can look at a column of this type.
#[must_use]
pub fn accepts(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(_, values) => accepts(values),
        DataType::Boolean | DataType::Date32 => true,
        other => Measures::accepts(other),
    }
}

/// One value of a column.
#[derive(Clone, Copy)]
enum Cell<'a> {
    Int(i64),
    Number(Decimal6),
    Text(&'a str),
    Bool(bool),
}

/// Clears `keep` on the rows whose value does not satisfy the condition; nulls never do.
pub fn retain(condition: &Condition, column: &ArrayRef, keep: &mut [bool]) {
    let mut visit = |row: usize, cell: Option<Cell<'_>>| keep[row] = keep[row] && cell.is_some_and(|cell| holds(condition, cell));
    match column.data_type() {
        DataType::Dictionary(_, _) => {
            let dictionary = column.as_any_dictionary();
            let mut values = vec![true; dictionary.values().len()];
            retain(condition, dictionary.values(), &mut values);
            if values.is_empty() {
                return keep.fill(false);
            }
            let keys = dictionary.normalized_keys();
            keep.iter_mut()
                .enumerate()
                .for_each(|(row, keep)| *keep = *keep && column.is_valid(row) && values[keys[row]]);
        }
        DataType::Boolean => column
            .as_boolean()
            .iter()
            .enumerate()
            .for_each(|(row, value)| visit(row, value.map(Cell::Bool))),
        // Days are texts such as "2024-06-30", which stand in order of time.
        DataType::Date32 => match cast(column, &DataType::Utf8) {
            Ok(texts) => retain(condition, &texts, keep),
            Err(_) => keep.fill(false),
        },
        DataType::Utf8 => column
            .as_string::<i32>()
            .iter()
            .enumerate()
            .for_each(|(row, value)| visit(row, value.map(Cell::Text))),
        DataType::LargeUtf8 => column
            .as_string::<i64>()
            .iter()
            .enumerate()
            .for_each(|(row, value)| visit(row, value.map(Cell::Text))),
        DataType::Utf8View => column
            .as_string_view()
            .iter()
            .enumerate()
            .for_each(|(row, value)| visit(row, value.map(Cell::Text))),
        other if other.is_integer() => match cast(column, &DataType::Int64) {
            Ok(values) => values
                .as_primitive::<Int64Type>()
                .iter()
                .enumerate()
                .for_each(|(row, value)| visit(row, value.map(Cell::Int))),
            Err(_) => keep.fill(false),
        },
        bytes if is_bytes(bytes) => match checked_text(column) {
            Some(checked) => retain(condition, &checked.text, keep),
            None => keep.fill(false),
        },
        _ => match Measures::decode(column) {
            Some(values) => values.iter().enumerate().for_each(|(row, value)| {
                visit(
                    row,
                    if let Measure::Value(number) = value {
                        Some(Cell::Number(*number))
                    } else {
                        None
                    },
                )
            }),
            None => keep.fill(false),
        },
    }
}

fn holds(condition: &Condition, cell: Cell<'_>) -> bool {
    match condition {
        Condition::In(values) => values.iter().any(|value| compare(cell, value) == Some(Ordering::Equal)),
        Condition::Bounds(bounds) => bounds.iter().all(|(word, bound)| {
            let order = compare(cell, bound);
            match word {
                "ge" => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
                "gt" => order == Some(Ordering::Greater),
                "le" => matches!(order, Some(Ordering::Less | Ordering::Equal)),
                "lt" => order == Some(Ordering::Less),
                _ => order != Some(Ordering::Equal),
            }
        }),
    }
}

/// Numbers compare as numbers even where one side is text; what cannot be compared is unequal and unordered.
fn compare(cell: Cell<'_>, operand: &Operand) -> Option<Ordering> {
    match (cell, operand) {
        (Cell::Text(cell), Operand::Text(value)) => Some(cell.cmp(value.as_str())),
        (Cell::Text(cell), Operand::Bool(value)) => cell
            .eq_ignore_ascii_case(if *value { "true" } else { "false" })
            .then_some(Ordering::Equal),
        (Cell::Text(cell), _) => match cell.trim().parse() {
            Ok(cell) => compare(Cell::Int(cell), operand),
            Err(_) => compare(Cell::Number(Decimal6::from_text(cell)?), operand),
        },
        (Cell::Int(cell), Operand::Int(value)) => Some(cell.cmp(value)),
        (Cell::Int(cell), Operand::Float(value)) => {
            Some((i128::from(cell) * i128::from(Decimal6::ONE)).cmp(&i128::from(Decimal6::from_f64(*value)?.0)))
        }
        (Cell::Int(cell), Operand::Text(value)) => (cell.to_string() == *value).then_some(Ordering::Equal),
        (Cell::Int(cell), Operand::Bool(value)) => Some(cell.cmp(&i64::from(*value))),
        (Cell::Number(cell), Operand::Int(value)) => Some(i128::from(cell.0).cmp(&(i128::from(*value) * i128::from(Decimal6::ONE)))),
        (Cell::Number(cell), Operand::Float(value)) => Some(cell.cmp(&Decimal6::from_f64(*value)?)),
        (Cell::Number(cell), Operand::Text(value)) => Some(cell.cmp(&Decimal6::from_text(value)?)),
        (Cell::Number(_), Operand::Bool(_)) => None,
        (Cell::Bool(cell), Operand::Bool(value)) => Some(cell.cmp(value)),
        (Cell::Bool(cell), Operand::Text(value)) => compare(Cell::Text(value), &Operand::Bool(cell)),
        (Cell::Bool(cell), Operand::Int(value)) => Some(i64::from(cell).cmp(value)),
        (Cell::Bool(_), Operand::Float(_)) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::data::Bounds;
    use arrow::array::{BooleanArray, Date32Array, DictionaryArray, Float64Array, Int64Array, StringArray, StringViewArray};
    use arrow::datatypes::Int32Type;
    use std::sync::Arc;

    fn rows(condition: &Condition, column: ArrayRef) -> Vec<usize> {
        let mut keep = vec![true; column.len()];
        retain(condition, &column, &mut keep);
        (0..keep.len()).filter(|&row| keep[row]).collect()
    }

    #[test]
    fn numbers_compare_whatever_the_column_type() {
        let at_least_four = Condition::Bounds(Bounds {
            ge: Some(Operand::Int(4)),
            ..Bounds::default()
        });
        assert_eq!(
            rows(&at_least_four, Arc::new(Int64Array::from(vec![Some(3), Some(4), None, Some(5)]))),
            [1, 3]
        );
        assert_eq!(
            rows(&at_least_four, Arc::new(Float64Array::from(vec![3.9, 4.0, f64::NAN, 4.5]))),
            [1, 3]
        );
        assert_eq!(
            rows(&at_least_four, Arc::new(StringArray::from(vec!["3", "4", "many", "4.5"]))),
            [1, 3]
        );
        let near = Condition::Bounds(Bounds {
            gt: Some(Operand::Float(0.1)),
            lt: Some(Operand::Float(0.3)),
            ..Bounds::default()
        });
        assert_eq!(rows(&near, Arc::new(Float64Array::from(vec![0.1, 0.2, 0.3]))), [1]);
    }

    #[test]
    fn lists_inequality_and_nulls() {
        let texts = [Some("app"), None, Some("store"), Some("web")];
        let one_of = Condition::In(vec![Operand::Text("app".into()), Operand::Text("web".into())]);
        let other = Condition::Bounds(Bounds {
            ne: Some(Operand::Text("app".into())),
            ..Bounds::default()
        });
        let arrays: [ArrayRef; 3] = [
            Arc::new(StringArray::from_iter(texts)),
            Arc::new(StringViewArray::from_iter(texts)),
            Arc::new(texts.into_iter().collect::<DictionaryArray<Int32Type>>()),
        ];
        for array in arrays {
            assert_eq!(rows(&one_of, array.clone()), [0, 3]);
            assert_eq!(rows(&other, array), [2, 3]);
        }
        let big = 9_007_199_254_740_993;
        assert_eq!(
            rows(
                &Condition::In(vec![Operand::Int(big)]),
                Arc::new(Int64Array::from(vec![big, big - 1]))
            ),
            [0]
        );
        assert_eq!(
            rows(
                &Condition::In(vec![Operand::Text("7".into())]),
                Arc::new(Int64Array::from(vec![7, 70]))
            ),
            [0]
        );
        assert_eq!(
            rows(
                &Condition::In(vec![Operand::Bool(true)]),
                Arc::new(BooleanArray::from(vec![true, false]))
            ),
            [0]
        );
    }

    #[test]
    fn days_compare_as_their_texts() {
        let days: ArrayRef = Arc::new(Date32Array::from(vec![Some(19_904), None, Some(19_905), Some(2)]));
        let since = Condition::Bounds(Bounds {
            ge: Some(Operand::Text("2024-06-30".into())),
            ..Bounds::default()
        });
        assert!(accepts(days.data_type()));
        assert_eq!(rows(&since, days.clone()), [0, 2]);
        assert_eq!(rows(&Condition::In(vec![Operand::Text("1970-01-03".into())]), days), [3]);
    }
}
