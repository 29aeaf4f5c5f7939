//! Tables and audiences as texts, to be compared and read.

#![allow(dead_code, reason = "each test uses a part")]

use aipl_core::audience::Audience;
use aipl_core::base::Day;
use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use arrow::util::display::array_value_to_string;

/// The day with this number.
pub fn day(number: i32) -> Day {
    Day::from_number(i64::from(number)).expect("in range")
}

/// The rows of a table, every value as it is shown; nulls are empty, and times are those of UTC.
pub fn rows(table: &RecordBatch) -> Vec<Vec<String>> {
    let plain = |column: &ArrayRef| match column.data_type() {
        DataType::Timestamp(unit, _) => cast(column, &DataType::Timestamp(*unit, None)).expect("casts"),
        _ => column.clone(),
    };
    let columns: Vec<ArrayRef> = table.columns().iter().map(plain).collect();
    let shown = |row: usize| {
        let values = columns.iter();
        values.map(|column| array_value_to_string(column, row).expect("shows")).collect()
    };
    (0..table.num_rows()).map(shown).collect()
}

/// The names of a table's columns.
pub fn columns(table: &RecordBatch) -> Vec<String> {
    table.schema().fields().iter().map(|field| field.name().clone()).collect()
}

/// The consumers of an audience.
pub fn members(audience: &Audience) -> Vec<String> {
    audience.ids().expect("ids").iter().map(ToString::to_string).collect()
}
