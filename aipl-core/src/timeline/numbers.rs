//! One worker's numbering of the values of a label column.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};

use crate::base::IdValue;
use crate::event::columns::{IdColumn, IdRef};

/// The row counts for no scope that is wanted.
pub(crate) const NOT_WANTED: u32 = u32::MAX;
/// The value is null or empty.
pub(crate) const NO_VALUE: u32 = u32::MAX - 1;
/// The value is no acceptable identifier.
pub(crate) const BAD_VALUE: u32 = u32::MAX - 2;

/// One worker's numbering of the values of a label column.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    pub values: Vec<IdValue>,
    texts: HashMap<String, u32>,
    ints: HashMap<i64, u32>,
    /// The numbers of the last dictionary met: batches of a row group share one.
    dictionary: Option<(ArrayRef, Arc<Vec<u32>>)>,
}

impl Numbers {
    fn number(&mut self, id: IdRef<'_>) -> u32 {
        let next = self.values.len() as u32;
        let number = match id {
            IdRef::Null => return NO_VALUE,
            IdRef::Bad(_) => return BAD_VALUE,
            IdRef::Int(value) => *self.ints.entry(value).or_insert(next),
            IdRef::Text(text) => match self.texts.get(text) {
                Some(number) => *number,
                None => {
                    self.texts.insert(text.to_owned(), next);
                    next
                }
            },
        };
        if number == next {
            self.values.extend(id.to_value());
        }
        number
    }

    /// One number a row, or one of the marks.
    pub fn of_column(&mut self, column: &IdColumn) -> Vec<u32> {
        let mut numbers = Vec::with_capacity(column.len());
        if let IdColumn::Dictionary { keys, array, values } = column {
            let of_value = self.of_dictionary(array, values);
            let number = |row: usize| {
                if array.is_null(row) || of_value.is_empty() {
                    NO_VALUE
                } else {
                    of_value[keys[row]]
                }
            };
            if array.null_count() == 0 && !of_value.is_empty() {
                numbers.extend(keys.iter().map(|&key| of_value[key]));
            } else {
                numbers.extend((0..array.len()).map(number));
            }
        } else {
            column.for_each(|_, id| numbers.push(self.number(id)));
        }
        numbers
    }

    fn of_dictionary(&mut self, array: &ArrayRef, values: &IdColumn) -> Arc<Vec<u32>> {
        let dictionary = array.as_any_dictionary_opt().map(|dictionary| dictionary.values().clone());
        if let (Some(now), Some((known, numbers))) = (&dictionary, &self.dictionary)
            && now.to_data().ptr_eq(&known.to_data())
        {
            return numbers.clone();
        }
        let mut numbers = Vec::with_capacity(values.len());
        values.for_each(|_, id| numbers.push(self.number(id)));
        let numbers = Arc::new(numbers);
        self.dictionary = dictionary.map(|values| (values, numbers.clone()));
        numbers
    }
}
