//! Rows on their way into a segment: columns of one unit of buckets, put in order.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Date32Array, DictionaryArray, Int32Array, RecordBatch, StringArray, TimestampMicrosecondArray,
    TimestampMillisecondArray, UInt32Array,
};
use arrow::compute::{cast, concat, take};
use arrow::datatypes::{DataType, Field, Int32Type, Int64Type, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use crate::base::IdKind;
use crate::event::BehaviorCode;
use crate::timeline::log::fields::Kind;

type Result<T> = std::result::Result<T, ArrowError>;

/// Microseconds in a millisecond.
pub(crate) const MICROS_PER_MILLI: i64 = 1000;

/// Names of the columns that every segment begins with.
pub(crate) const LEAD: [&str; 5] = ["consumer_idx", "brand", "day", "time", "behavior"];

/// Events as columns, every optional field among them.
#[derive(Debug, Clone)]
pub(crate) struct Rows {
    /// Dense numbers of consumers.
    pub consumers: Vec<u32>,
    pub brands: ArrayRef,
    pub days: Vec<i32>,
    /// UTC µs.
    pub instants: Vec<i64>,
    pub codes: Vec<BehaviorCode>,
    /// The optional fields, in the order of the shape.
    pub fields: Vec<ArrayRef>,
}

/// What columns rows have.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    pub brand: IdKind,
    /// Optional fields with their kinds, in order of name.
    pub fields: Vec<(String, Kind)>,
    /// All behaviors, by code.
    pub vocabulary: Arc<Vec<String>>,
    /// Whether all instants are whole milliseconds, so that they stand as such.
    pub millis: bool,
}

/// Texts that are mostly different from row to row stand as they are, others in a dictionary.
fn text_type(field: &str) -> DataType {
    if ["order_id", "event_id"].contains(&field) {
        DataType::Utf8
    } else {
        DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
    }
}

/// The Arrow type of a column of a segment.
pub(crate) fn column_type(field: &str, kind: Kind) -> DataType {
    if kind == Kind::Text { text_type(field) } else { kind.data_type() }
}

impl Shape {
    /// The columns of a segment.
    pub fn arrow(&self) -> SchemaRef {
        let brand = if self.brand == IdKind::Int64 { Kind::Int } else { Kind::Text };
        let mut columns = vec![
            Field::new("consumer_idx", DataType::UInt32, false),
            Field::new("brand", column_type("brand", brand), false),
            Field::new("day", DataType::Date32, false),
            Field::new("time", DataType::Timestamp(self.time_unit(), Some("UTC".into())), false),
            Field::new("behavior", text_type("behavior"), false),
        ];
        let more = self.fields.iter();
        columns.extend(more.map(|(name, kind)| Field::new(name, column_type(name, *kind), true)));
        Arc::new(Schema::new(columns))
    }

    fn time_unit(&self) -> TimeUnit {
        if self.millis {
            TimeUnit::Millisecond
        } else {
            TimeUnit::Microsecond
        }
    }

    /// Where an optional field stands.
    fn place(&self, field: &str) -> Option<usize> {
        self.fields.iter().position(|(name, _)| name == field)
    }
}

impl Rows {
    /// How many.
    pub fn len(&self) -> usize {
        self.consumers.len()
    }

    /// Rows of several parts, one part after the other, in the types of a shape.
    pub fn concat(parts: &[Rows], shape: &Shape) -> Result<Rows> {
        let arrow = shape.arrow();
        let column = |place: usize, of: &dyn Fn(&Rows) -> ArrayRef| -> Result<ArrayRef> {
            let data_type = arrow.field(place).data_type();
            let same = parts.iter().map(|part| cast(&of(part), data_type)).collect::<Result<Vec<_>>>()?;
            match &same[..] {
                [] => Ok(arrow::array::new_empty_array(data_type)),
                [only] => Ok(only.clone()),
                several => concat(&several.iter().map(AsRef::as_ref).collect::<Vec<_>>()),
            }
        };
        let fields = (0..shape.fields.len()).map(|field| column(LEAD.len() + field, &|part| part.fields[field].clone()));
        Ok(Rows {
            brands: column(1, &|part| part.brands.clone())?,
            fields: fields.collect::<Result<_>>()?,
            consumers: parts.iter().flat_map(|part| part.consumers.iter().copied()).collect(),
            days: parts.iter().flat_map(|part| part.days.iter().copied()).collect(),
            instants: parts.iter().flat_map(|part| part.instants.iter().copied()).collect(),
            codes: parts.iter().flat_map(|part| part.codes.iter().copied()).collect(),
        })
    }

    /// The rows in order of consumer, brand, day, instant and behavior; rows that agree in all of these stay as they stand.
    pub fn order(&self) -> Vec<u32> {
        let brands = sort_keys(&self.brands);
        let mut order: Vec<(u64, u64, u128, u32)> = (0..self.len())
            .map(|row| {
                let time =
                    (self.days[row] as u128) << 80 | ((self.instants[row] ^ i64::MIN) as u64 as u128) << 8 | u128::from(self.codes[row]);
                (u64::from(self.consumers[row]), brands[row], time, row as u32)
            })
            .collect();
        order.sort();
        order.into_iter().map(|(.., row)| row).collect()
    }

    /// Some of the rows, in this order.
    pub fn take(&self, rows: &[u32]) -> Result<Rows> {
        let indices = UInt32Array::from(rows.to_vec());
        let pick = |array: &ArrayRef| take(array, &indices, None);
        Ok(Rows {
            consumers: rows.iter().map(|&row| self.consumers[row as usize]).collect(),
            brands: pick(&self.brands)?,
            days: rows.iter().map(|&row| self.days[row as usize]).collect(),
            instants: rows.iter().map(|&row| self.instants[row as usize]).collect(),
            codes: rows.iter().map(|&row| self.codes[row as usize]).collect(),
            fields: self.fields.iter().map(pick).collect::<Result<_>>()?,
        })
    }

    /// The consumer, brand and event identity of every row that has one.
    pub fn event_identities(&self, shape: &Shape) -> Option<Vec<Option<EventIdentity>>> {
        let ids = &self.fields[shape.place("event_id")?];
        let (events, brands) = (value_hashes(ids), value_hashes(&self.brands));
        let identity = |row: usize| (events[row].0 == 1).then(|| (self.consumers[row], brands[row].1, events[row].1));
        Some((0..self.len()).map(identity).collect())
    }

    /// The rows whose event identity is neither among `known` nor that of an earlier row; all where none has one.
    pub fn without_duplicates(&self, order: Vec<u32>, shape: &Shape, known: &HashSet<EventIdentity>) -> Vec<u32> {
        let Some(identities) = self.event_identities(shape) else {
            return order;
        };
        let mut seen: HashSet<EventIdentity> = HashSet::with_capacity(order.len());
        let mut kept = order;
        kept.retain(|&row| identities[row as usize].is_none_or(|identity| !known.contains(&identity) && seen.insert(identity)));
        kept
    }

    /// What the rows hold, whatever their order: `FORMAT.md`, "Content of a batch". `keys` are the consumers' keys.
    pub fn content(&self, keys: impl Iterator<Item = u64>) -> u128 {
        let brands = value_hashes(&self.brands);
        let fields: Vec<Vec<(u8, u64)>> = self.fields.iter().map(value_hashes).collect();
        let mut bytes = Vec::new();
        let mut content = 0u128;
        for (row, key) in keys.enumerate() {
            bytes.clear();
            bytes.extend_from_slice(&key.to_le_bytes());
            bytes.extend_from_slice(&brands[row].1.to_le_bytes());
            bytes.extend_from_slice(&self.days[row].to_le_bytes());
            bytes.extend_from_slice(&self.instants[row].to_le_bytes());
            bytes.push(self.codes[row]);
            for field in &fields {
                let (there, value) = field[row];
                bytes.push(there);
                bytes.extend_from_slice(&value.to_le_bytes());
            }
            content = content.wrapping_add(xxh3_128(&bytes));
        }
        content
    }

    /// The same rows with numbers that came as texts as numbers.
    pub fn with_numbers(mut self, shape: &Shape) -> Rows {
        for (field, (_, kind)) in self.fields.iter_mut().zip(&shape.fields) {
            let texts = Kind::of(field.data_type()) == Kind::Text && !matches!(field.data_type(), DataType::Null);
            if texts && *kind != Kind::Text {
                // What is no number was rejected, or is found out when the rows are written.
                *field = cast(field, &Kind::Decimal.data_type()).unwrap_or_else(|_| field.clone());
            }
        }
        self
    }

    /// The rows as a batch of a segment.
    pub fn into_batch(self, shape: &Shape) -> Result<RecordBatch> {
        let behaviors = DictionaryArray::<Int32Type>::try_new(
            Int32Array::from_iter_values(self.codes.iter().map(|&code| i32::from(code))),
            Arc::new(StringArray::from_iter_values(shape.vocabulary.iter())),
        )?;
        let times: ArrayRef = if shape.millis {
            let millis = self.instants.iter().map(|instant| instant / MICROS_PER_MILLI);
            Arc::new(TimestampMillisecondArray::from_iter_values(millis).with_timezone("UTC"))
        } else {
            Arc::new(TimestampMicrosecondArray::from(self.instants).with_timezone("UTC"))
        };
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(UInt32Array::from(self.consumers)),
            self.brands,
            Arc::new(Date32Array::from(self.days)),
            times,
            Arc::new(behaviors),
        ];
        columns.extend(self.fields);
        RecordBatch::try_new(shape.arrow(), columns)
    }
}

/// Consumer, brand and event, as numbers and hashes.
pub(crate) type EventIdentity = (u32, u64, u64);

/// Numbers that sort as the brands do.
fn sort_keys(brands: &ArrayRef) -> Vec<u64> {
    if let Some(ints) = brands.as_primitive_opt::<Int64Type>() {
        return ints.values().iter().map(|&value| (value ^ i64::MIN) as u64).collect();
    }
    let Some(dictionary) = brands.as_any_dictionary_opt().filter(|dictionary| !dictionary.values().is_empty()) else {
        return vec![0; brands.len()];
    };
    let texts = dictionary.values().as_string::<i32>();
    let mut places: Vec<usize> = (0..texts.len()).collect();
    places.sort_by_key(|&place| texts.value(place));
    let mut ranks = vec![0u64; texts.len()];
    for pair in places.windows(2) {
        // A text can stand in a dictionary twice, where dictionaries were joined.
        ranks[pair[1]] = ranks[pair[0]] + u64::from(texts.value(pair[0]) != texts.value(pair[1]));
    }
    dictionary.normalized_keys().into_iter().map(|key| ranks[key]).collect()
}

/// One of a decimal: six digits.
const DECIMAL_ONE: f64 = 1e6;
/// Integers below are floats without loss.
const EXACT: i128 = 1 << 53;

/// Eight bytes of a number, the same whatever type it comes in.
fn number(value: f64) -> u64 {
    // Zero has two signs.
    (value + 0.0).to_bits()
}

fn integer(value: i128, bits: u64) -> u64 {
    if value.abs() < EXACT { number(value as f64) } else { bits }
}

/// Whether each row has a value (0 or 1), and eight bytes of it: numbers as floats, texts by their hash.
fn value_hashes(array: &ArrayRef) -> Vec<(u8, u64)> {
    let row_hashes = |bits: &dyn Fn(usize) -> u64| -> Vec<(u8, u64)> {
        let value = |row: usize| if array.is_null(row) { (0, 0) } else { (1, bits(row)) };
        (0..array.len()).map(value).collect()
    };
    if let Some(dictionary) = array.as_any_dictionary_opt() {
        if dictionary.values().is_empty() {
            return vec![(0, 0); array.len()];
        }
        let (values, keys) = (value_hashes(dictionary.values()), dictionary.normalized_keys());
        return row_hashes(&|row| values[keys[row]].1);
    }
    match array.data_type() {
        DataType::Utf8 => {
            let texts = array.as_string::<i32>();
            row_hashes(&|row| xxh3_64(texts.value(row).as_bytes()))
        }
        DataType::LargeUtf8 => {
            let texts = array.as_string::<i64>();
            row_hashes(&|row| xxh3_64(texts.value(row).as_bytes()))
        }
        DataType::Boolean => {
            let flags = array.as_boolean();
            row_hashes(&|row| u64::from(flags.value(row)))
        }
        DataType::Float64 => {
            let values = array.as_primitive::<arrow::datatypes::Float64Type>();
            row_hashes(&|row| number(values.value(row)))
        }
        DataType::UInt64 => {
            let values = array.as_primitive::<arrow::datatypes::UInt64Type>();
            row_hashes(&|row| integer(values.value(row) as i128, values.value(row)))
        }
        DataType::Decimal64(..) => {
            let values = array.as_primitive::<arrow::datatypes::Decimal64Type>();
            row_hashes(&|row| number(values.value(row) as f64 / DECIMAL_ONE))
        }
        DataType::Decimal128(..) => {
            let values = array.as_primitive::<arrow::datatypes::Decimal128Type>();
            row_hashes(&|row| number(values.value(row) as f64 / DECIMAL_ONE))
        }
        _ => match array.as_primitive_opt::<Int64Type>() {
            Some(values) => row_hashes(&|row| integer(i128::from(values.value(row)), values.value(row) as u64)),
            None => vec![(0, 0); array.len()],
        },
    }
}
