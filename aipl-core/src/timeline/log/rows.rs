//! Rows of a log as they came: one consumer's events, and the values of a field.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, RecordBatch, StringArray, TimestampMicrosecondArray, UInt32Array};
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, Decimal128Type, Field, Int64Type, Schema};
use arrow::error::ArrowError;

use crate::base::{IdKind, IdValue};
use crate::event::BehaviorCode;
use crate::source::SourceError;
use crate::timeline::log::fields::BEYOND;
use crate::timeline::log::{EventLog, LogBucket};
use crate::timeline::scan::ScanError;
use crate::timeline::timelines::Timelines;

impl EventLog {
    /// The events of one consumer in order of time, of all brands or one: `time` (timestamp in µs with the events' zone), `brand`,
    /// `behavior`, then every other loaded field by its name; and how many events there are of all brands.
    ///
    /// An unknown consumer has none.
    ///
    /// # Errors
    /// None but faults of Arrow itself.
    pub fn timeline(&self, consumer: &IdValue, brand: Option<&IdValue>) -> Result<(RecordBatch, usize), ArrowError> {
        let idx = self.inner.universe.find(consumer);
        let bucket = &self.inner.buckets[idx.map_or(0, |idx| idx.bucket())];
        let range = idx.map_or(0..0, |idx| {
            let local = idx.local() as usize;
            bucket.starts[local] as usize..bucket.starts[local + 1] as usize
        });
        let total = range.len();
        let brands = cast(&bucket.brands.slice(range.start, range.len()), &self.brand_type())?;
        let wanted = brand.map(|brand| brand.to_type(self.id_kind("brand")));
        let mut rows: Vec<u32> = range
            .clone()
            .filter(|row| wanted.as_ref().is_none_or(|wanted| id_at(&brands, row - range.start) == *wanted))
            .map(|row| row as u32)
            .collect();
        rows.sort_by_key(|&row| bucket.instants[row as usize]);
        Ok((self.table(bucket, &rows)?, total))
    }

    fn brand_type(&self) -> DataType {
        match self.id_kind("brand") {
            IdKind::Int64 => DataType::Int64,
            IdKind::Text => DataType::Utf8,
        }
    }

    fn table(&self, bucket: &LogBucket, rows: &[u32]) -> Result<RecordBatch, ArrowError> {
        let indices = UInt32Array::from(rows.to_vec());
        let times = TimestampMicrosecondArray::from_iter_values(rows.iter().map(|&row| bucket.instants[row as usize]));
        let vocabulary = self.vocabulary();
        let behaviors = rows.iter().map(|&row| vocabulary[usize::from(bucket.codes[row as usize])].as_str());
        let mut columns: Vec<(String, ArrayRef)> = vec![
            ("time".to_owned(), Arc::new(times.with_timezone(self.inner.zone.name()))),
            (
                "brand".to_owned(),
                cast(&take(&bucket.brands, &indices, None)?, &self.brand_type())?,
            ),
            ("behavior".to_owned(), Arc::new(StringArray::from_iter_values(behaviors))),
        ];
        for (role, column) in self.inner.schema.mapped().skip(4) {
            let Some(values) = self.column(bucket, column) else { continue };
            let place = self.inner.fields.iter().find(|field| field.column == column);
            let shown = place.map_or(self.brand_type(), |field| field.kind.data_type());
            let shown = cast(&take(&values, &indices, None)?, &shown)?;
            columns.push((role.to_owned(), without_beyond(shown)?));
        }
        let fields: Vec<Field> = columns
            .iter()
            .map(|(name, array)| {
                Field::new(
                    name,
                    array.data_type().clone(),
                    !["time", "brand", "behavior"].contains(&name.as_str()),
                )
            })
            .collect();
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns.into_iter().map(|(_, array)| array).collect())
    }

    /// The events of a bucket, as parallel slices.
    #[must_use]
    pub fn events_of(&self, bucket: usize) -> LogEvents<'_> {
        let bucket = &self.inner.buckets[bucket];
        LogEvents {
            days: &bucket.days,
            instants: &bucket.instants,
            codes: &bucket.codes,
        }
    }

    /// The values of a field (or `behavior`) as texts: all there are, and for each row of the bucket a place among them, or
    /// `u32::MAX` where there is none.
    ///
    /// # Errors
    /// [`ScanError::NotLoaded`].
    pub fn labels_of(&self, bucket: usize, field: &str) -> Result<(StringArray, Vec<u32>), ScanError> {
        let bucket = &self.inner.buckets[bucket];
        if field == "behavior" {
            let names = StringArray::from_iter_values(self.vocabulary());
            return Ok((names, bucket.codes.iter().map(|&code| u32::from(code)).collect()));
        }
        self.check_loaded(field)?;
        let column = self.inner.schema.column(field).and_then(|column| self.column(bucket, column));
        let Some(column) = column else {
            return Ok((StringArray::new_null(0), vec![NO_LABEL; bucket.days.len()]));
        };
        let failed = |error: ArrowError| ScanError::Source(SourceError::Sink(error.to_string()));
        let column = match column.as_any_dictionary_opt() {
            Some(_) => column,
            // Numbers of many values stand as they are; equal ones get one place here.
            None => {
                let texts = cast(&column, &DataType::Utf8).map_err(failed)?;
                cast(&texts, &DataType::Dictionary(Box::new(DataType::UInt32), Box::new(DataType::Utf8))).map_err(failed)?
            }
        };
        let dictionary = column.as_any_dictionary();
        let values = dictionary.values();
        let keys = if values.is_empty() {
            vec![0; column.len()]
        } else {
            dictionary.normalized_keys()
        };
        let texts = cast(values, &DataType::Utf8).map_err(failed)?.as_string::<i32>().clone();
        let empty: Vec<bool> = texts.iter().map(|text| text.is_none_or(str::is_empty)).collect();
        let place = |(row, key): (usize, usize)| {
            let absent = column.is_null(row) || empty.get(key).copied().unwrap_or(true);
            if absent { NO_LABEL } else { key as u32 }
        };
        Ok((texts, keys.into_iter().enumerate().map(place).collect()))
    }
}

/// The row has no value.
pub const NO_LABEL: u32 = u32::MAX;

/// Parallel slices of a bucket's events, in order of consumer, brand and time.
#[derive(Debug, Clone, Copy)]
pub struct LogEvents<'a> {
    /// Day numbers.
    pub days: &'a [i32],
    /// UTC µs.
    pub instants: &'a [i64],
    /// Behavior codes.
    pub codes: &'a [BehaviorCode],
}

/// Decimals that did not fit are shown as null.
fn without_beyond(column: ArrayRef) -> Result<ArrayRef, ArrowError> {
    let Some(decimals) = column.as_primitive_opt::<Decimal128Type>() else {
        return Ok(column);
    };
    let kept = decimals.iter().map(|value| value.filter(|value| *value != BEYOND));
    Ok(Arc::new(
        Decimal128Array::from_iter(kept).with_data_type(column.data_type().clone()),
    ))
}

fn id_at(brands: &ArrayRef, row: usize) -> Option<IdValue> {
    Some(match brands.data_type() {
        DataType::Int64 => IdValue::Int(brands.as_primitive::<Int64Type>().value(row)),
        _ => IdValue::Text(brands.as_string::<i32>().value(row).to_owned()),
    })
}
