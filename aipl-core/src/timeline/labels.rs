//! Labels that analyses see beside each row: values of a field, numbered as they are met and put in order at the end.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use arrow::array::ArrayRef;
use arrow::compute::cast;
use arrow::datatypes::DataType;

use crate::base::IdValue;
use crate::event::IdColumn;
use crate::timeline::numbers::{NO_VALUE, Numbers};
use crate::timeline::rows::PayloadLayout;

/// The values of some fields, numbered for all workers of a scan.
#[derive(Debug, Default)]
pub(crate) struct LabelNumbers {
    fields: Vec<Mutex<HashMap<IdValue, u32>>>,
}

/// Values in order, and for each number that was given out its place in that order.
pub(crate) type SettledLabels = (Vec<Vec<IdValue>>, Vec<Vec<u32>>);

impl LabelNumbers {
    pub fn new(fields: usize) -> Self {
        LabelNumbers {
            fields: std::iter::repeat_with(Mutex::default).take(fields).collect(),
        }
    }

    fn number(&self, field: usize, value: &IdValue) -> u32 {
        let mut known = self.fields[field].lock().unwrap_or_else(PoisonError::into_inner);
        let next = known.len() as u32;
        *known.entry(value.clone()).or_insert(next)
    }

    pub fn settle(&self) -> SettledLabels {
        let settled = |field: &Mutex<HashMap<IdValue, u32>>| {
            let known = field.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let mut values: Vec<(IdValue, u32)> = known.into_iter().collect();
            values.sort();
            let mut places = vec![0; values.len()];
            values
                .iter()
                .zip(0..)
                .for_each(|((_, number), place)| places[*number as usize] = place);
            (values.into_iter().map(|(value, _)| value).collect(), places)
        };
        self.fields.iter().map(settled).unzip()
    }
}

/// One worker's labels of one field.
#[derive(Debug, Default)]
pub(crate) struct WorkerLabels {
    numbers: Numbers,
    /// The shared number of each number of this worker, or [`NO_VALUE`] as long as no row that counts has it.
    shared: Vec<u32>,
}

impl WorkerLabels {
    /// Writes one more than the shared number of each row's value into payloads of a width, or 0 where there is none. Values are known
    /// from rows that count alone, whatever else a column or its dictionary holds.
    pub fn write(
        &mut self,
        (column, counts): (&IdColumn, impl Fn(usize) -> bool),
        (all, field): (&LabelNumbers, usize),
        payloads: &mut [u64],
        (at, width): (usize, usize),
    ) {
        let own = self.numbers.of_column(column);
        self.shared.resize(self.numbers.values.len(), NO_VALUE);
        for (row, number) in own.into_iter().enumerate() {
            // Rows whose value is no acceptable identifier are rejected elsewhere.
            if number >= NO_VALUE - 1 || !counts(row) {
                continue;
            }
            let shared = &mut self.shared[number as usize];
            if *shared == NO_VALUE {
                *shared = all.number(field, &self.numbers.values[number as usize]);
            }
            payloads[row * width + at] = u64::from(*shared) + 1;
        }
    }
}

/// Puts places in the stead of the numbers of labels in payloads.
pub(crate) fn settle_payloads(payloads: &mut [u64], layout: PayloadLayout, places: &[Vec<u32>]) {
    if layout.labels == 0 {
        return;
    }
    for row in payloads.chunks_exact_mut(layout.width()) {
        for (label, places) in row[layout.labels_at()..].iter_mut().zip(places) {
            if *label > 0 {
                *label = u64::from(places[*label as usize - 1]) + 1;
            }
        }
    }
}

/// A label column as identifiers: days and truth values by their text.
pub(crate) fn label_column(array: &ArrayRef) -> Option<IdColumn> {
    let texts = match array.data_type() {
        DataType::Boolean | DataType::Date32 | DataType::Date64 => cast(array, &DataType::Utf8).ok()?,
        _ => array.clone(),
    };
    IdColumn::new(&texts)
}
