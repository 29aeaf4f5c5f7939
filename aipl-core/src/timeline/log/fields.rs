//! Columns of a log: values collected row by row, then kept in as few bytes as they need.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Decimal64Array, Decimal128Array, DictionaryArray, Float64Array, Int64Array, LargeStringArray,
    PrimitiveArray, StringArray, UInt64Array,
};
use arrow::buffer::NullBuffer;
use arrow::compute::cast;
use arrow::datatypes::{ArrowDictionaryKeyType, DataType, Float64Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type};

use crate::base::IdValue;
use crate::event::Measures;
use crate::event::bytes::{checked_text, is_bytes};
use crate::event::measure::Measure;

/// The code of a row without a text.
const NO_TEXT: u32 = u32::MAX;
/// Numbers of a bucket are kept as keys into their distinct values up to this many of those.
const MOST_KEYS: usize = 1 << 16;

/// Stands for a decimal that does not fit six decimals in 64 bits; whoever sums it refuses the row.
const TOO_LARGE: u64 = i64::MIN as u64;
/// What such a decimal is in an array: it does not fit there either.
pub(crate) const BEYOND: i128 = 10i128.pow(38) - 1;
/// Decimals below this have 18 digits.
const NARROW: u64 = 10u64.pow(18);

/// How the values of a column are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Codes into the texts of the log.
    Text,
    Int,
    /// Integers of which the greatest do not fit 64 signed bits.
    Unsigned,
    Float,
    /// Fixed-point with six decimals; [`TOO_LARGE`] where a number does not fit.
    Decimal,
    Bool,
}

impl Kind {
    pub fn of(data_type: &DataType) -> Kind {
        match data_type {
            DataType::Dictionary(_, values) => Kind::of(values),
            DataType::Boolean => Kind::Bool,
            DataType::Decimal32(..) | DataType::Decimal64(..) | DataType::Decimal128(..) | DataType::Decimal256(..) => Kind::Decimal,
            DataType::UInt64 => Kind::Unsigned,
            other if other.is_integer() => Kind::Int,
            other if other.is_floating() => Kind::Float,
            _ => Kind::Text,
        }
    }

    /// The kind as a bank writes it down.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Text => "utf8",
            Kind::Int => "int64",
            Kind::Unsigned => "uint64",
            Kind::Float => "float64",
            Kind::Decimal => "decimal",
            Kind::Bool => "bool",
        }
    }

    /// Reads a kind as a bank writes it down.
    pub fn parse(name: &str) -> Option<Kind> {
        let all = [Kind::Text, Kind::Int, Kind::Unsigned, Kind::Float, Kind::Decimal, Kind::Bool];
        all.into_iter().find(|kind| kind.name() == name)
    }

    /// The kind that holds values of both: integers are decimals, and numbers are floats.
    pub fn join(self, other: Kind) -> Option<Kind> {
        match (self, other) {
            (left, right) if left == right => Some(left),
            (Kind::Int, Kind::Decimal) | (Kind::Decimal, Kind::Int) => Some(Kind::Decimal),
            (Kind::Int | Kind::Decimal, Kind::Float) | (Kind::Float, Kind::Int | Kind::Decimal) => Some(Kind::Float),
            _ => None,
        }
    }

    /// The Arrow type that rows are shown in.
    pub fn data_type(self) -> DataType {
        match self {
            Kind::Text => DataType::Utf8,
            Kind::Int => DataType::Int64,
            Kind::Unsigned => DataType::UInt64,
            Kind::Float => DataType::Float64,
            Kind::Decimal => DataType::Decimal128(38, 6),
            Kind::Bool => DataType::Boolean,
        }
    }

    fn array(self, bits: &[u64], nulls: Option<NullBuffer>) -> ArrayRef {
        match self {
            Kind::Text | Kind::Int => Arc::new(Int64Array::new(bits.iter().map(|&bits| bits as i64).collect(), nulls)),
            Kind::Float => Arc::new(Float64Array::new(bits.iter().map(|&bits| f64::from_bits(bits)).collect(), nulls)),
            Kind::Unsigned => Arc::new(UInt64Array::new(bits.to_vec().into(), nulls)),
            Kind::Decimal if bits.iter().all(|&bits| (bits as i64).unsigned_abs() < NARROW) => {
                let values = Decimal64Array::new(bits.iter().map(|&bits| bits as i64).collect(), nulls);
                Arc::new(values.with_data_type(DataType::Decimal64(18, 6)))
            }
            Kind::Decimal => {
                let wide = |&bits: &u64| if bits == TOO_LARGE { BEYOND } else { i128::from(bits as i64) };
                let values = Decimal128Array::new(bits.iter().map(wide).collect(), nulls);
                Arc::new(values.with_data_type(DataType::Decimal128(38, 6)))
            }
            Kind::Bool => Arc::new(BooleanArray::new(bits.iter().map(|&bits| bits == 1).collect(), nulls)),
        }
    }
}

/// What a text and its number take in a table besides its bytes.
const ENTRY_BYTES: usize = 48;

/// One worker's texts of a column, numbered as they are met.
#[derive(Debug, Default)]
pub(crate) struct Texts {
    numbers: HashMap<String, u32>,
    /// About how many bytes those take.
    bytes: usize,
    /// The numbers of the last dictionary met: batches of a row group share one.
    dictionary: Option<(ArrayRef, Vec<u32>)>,
}

impl Texts {
    fn number(&mut self, text: &str) -> u32 {
        if let Some(&number) = self.numbers.get(text) {
            return number;
        }
        let number = self.numbers.len() as u32;
        self.numbers.insert(text.to_owned(), number);
        self.bytes += text.len() + ENTRY_BYTES;
        number
    }

    /// About how many bytes are held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    fn read(&mut self, column: &ArrayRef) -> Option<Vec<u32>> {
        let mut codes = Vec::with_capacity(column.len());
        if let Some(dictionary) = column.as_any_dictionary_opt() {
            if dictionary.values().is_empty() {
                return Some(vec![NO_TEXT; column.len()]);
            }
            let known = self
                .dictionary
                .take()
                .filter(|(known, _)| known.to_data().ptr_eq(&dictionary.values().to_data()));
            let (values, numbers) = match known {
                Some(known) => known,
                None => (dictionary.values().clone(), self.read(dictionary.values())?),
            };
            let keys = dictionary.normalized_keys();
            codes.extend((0..column.len()).map(|row| if column.is_null(row) { NO_TEXT } else { numbers[keys[row]] }));
            self.dictionary = Some((values, numbers));
            return Some(codes);
        }
        let mut push = |text: Option<&str>| codes.push(text.map_or(NO_TEXT, |text| self.number(text)));
        match column.data_type() {
            DataType::Utf8 => column.as_string::<i32>().iter().for_each(&mut push),
            DataType::LargeUtf8 => column.as_string::<i64>().iter().for_each(&mut push),
            DataType::Utf8View => column.as_string_view().iter().for_each(&mut push),
            DataType::Null => (0..column.len()).for_each(|_| push(None)),
            bytes if is_bytes(bytes) => return self.read(&checked_text(column)?.text),
            _ => {
                let texts = cast(column, &DataType::LargeUtf8).ok()?;
                texts.as_string::<i64>().iter().for_each(&mut push);
            }
        }
        Some(codes)
    }
}

/// The values of a batch, one a row.
pub(crate) enum Decoded {
    Codes(Vec<u32>),
    Numbers(Vec<u64>, Option<NullBuffer>),
}

/// Reads a batch of a column; `None` if it cannot be read as its kind.
pub(crate) fn decode(kind: Kind, texts: &mut Texts, column: &ArrayRef) -> Option<Decoded> {
    Some(match kind {
        Kind::Text => Decoded::Codes(texts.read(column)?),
        Kind::Int => {
            let values = cast(column, &DataType::Int64).ok()?;
            let values = values.as_primitive::<Int64Type>();
            Decoded::Numbers(values.values().iter().map(|&value| value as u64).collect(), values.nulls().cloned())
        }
        Kind::Float => {
            let values = cast(column, &DataType::Float64).ok()?;
            let values = values.as_primitive::<Float64Type>();
            Decoded::Numbers(
                values.values().iter().map(|value| value.to_bits()).collect(),
                values.nulls().cloned(),
            )
        }
        Kind::Unsigned => {
            let values = cast(column, &DataType::UInt64).ok()?;
            let values = values.as_primitive::<UInt64Type>();
            Decoded::Numbers(values.values().to_vec(), values.nulls().cloned())
        }
        Kind::Decimal => {
            let number = |measure: Measure| match measure {
                Measure::Null => None,
                Measure::Value(value) => Some(value.0 as u64),
                Measure::Bad(_) => Some(TOO_LARGE),
            };
            let values: Vec<Option<u64>> = Measures::decode(column)?.into_iter().map(number).collect();
            let nulls = NullBuffer::from_iter(values.iter().map(Option::is_some));
            Decoded::Numbers(values.into_iter().map(Option::unwrap_or_default).collect(), Some(nulls))
        }
        Kind::Bool => {
            let flat = cast(column, &DataType::Boolean).ok()?;
            let values = flat.as_boolean();
            Decoded::Numbers(values.values().iter().map(u64::from).collect(), values.nulls().cloned())
        }
    })
}

/// One worker's values of a column in one bucket. Numbers are mostly of few rows, so only those that are there are
/// held.
#[derive(Debug, Clone)]
pub(crate) enum Collected {
    Codes(Vec<u32>),
    Numbers { rows: Vec<u32>, bits: Vec<u64> },
}

impl Collected {
    pub fn new(kind: Kind) -> Self {
        match kind {
            Kind::Text => Collected::Codes(Vec::new()),
            _ => Collected::Numbers {
                rows: Vec::new(),
                bits: Vec::new(),
            },
        }
    }

    /// Takes the value of one row of a batch as that of row `at` of the bucket.
    #[inline]
    pub fn push(&mut self, decoded: &Decoded, row: usize, at: u32) {
        match (self, decoded) {
            (Collected::Codes(codes), Decoded::Codes(values)) => codes.push(values[row]),
            (Collected::Numbers { rows, bits }, Decoded::Numbers(values, nulls))
                if nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row)) =>
            {
                rows.push(at);
                bits.push(values[row]);
            }
            _ => {}
        }
    }
}

/// All texts of a column in order, and for each worker the place of each of its numbers.
#[derive(Debug)]
pub(crate) struct Dictionary {
    pub values: ArrayRef,
    pub places: Vec<Vec<u32>>,
}

impl Dictionary {
    pub fn merge(workers: Vec<Texts>) -> Dictionary {
        let mut places: Vec<Vec<u32>> = workers.iter().map(|texts| vec![0; texts.numbers.len()]).collect();
        let mut all: Vec<(String, usize, u32)> = Vec::new();
        for (worker, texts) in workers.into_iter().enumerate() {
            all.extend(texts.numbers.into_iter().map(|(text, number)| (text, worker, number)));
        }
        all.sort_unstable();
        let mut last: Option<String> = None;
        let mut values: Vec<String> = Vec::new();
        for (text, worker, number) in all {
            if last.as_ref() != Some(&text) {
                values.push(text.clone());
                last = Some(text);
            }
            places[worker][number as usize] = values.len() as u32 - 1;
        }
        Dictionary {
            values: text_array(&values),
            places,
        }
    }
}

/// Texts as an array; with 64-bit offsets only if they need them.
fn text_array(values: &[String]) -> ArrayRef {
    let bytes: usize = values.iter().map(String::len).sum();
    if i32::try_from(bytes).is_ok() {
        Arc::new(StringArray::from_iter_values(values))
    } else {
        Arc::new(LargeStringArray::from_iter_values(values))
    }
}

/// Identifiers as an array.
pub(crate) fn id_array<'a>(ids: impl Iterator<Item = &'a IdValue> + Clone) -> ArrayRef {
    let int = |id: &IdValue| if let IdValue::Int(value) = id { Some(*value) } else { None };
    if ids.clone().all(|id| int(id).is_some()) && ids.clone().next().is_some() {
        return Arc::new(Int64Array::from_iter(ids.map(int)));
    }
    text_array(&ids.map(ToString::to_string).collect::<Vec<_>>())
}

/// The values of a bucket's rows as they were collected: a code or number for each row, absent where null.
#[derive(Debug)]
pub(crate) struct Column {
    pub bits: Vec<u64>,
    pub valid: Vec<bool>,
}

impl Column {
    /// Joins what all workers collected, one after the other.
    pub fn join<'a>(parts: impl Iterator<Item = (&'a Collected, usize, Option<&'a [u32]>)>) -> Column {
        let mut column = Column {
            bits: Vec::new(),
            valid: Vec::new(),
        };
        for (collected, rows, places) in parts {
            let start = column.bits.len();
            column.bits.resize(start + rows, 0);
            column.valid.resize(start + rows, false);
            match (collected, places) {
                (Collected::Codes(codes), Some(places)) => {
                    for (row, &code) in codes.iter().enumerate().filter(|(_, code)| **code != NO_TEXT) {
                        column.bits[start + row] = u64::from(places[code as usize]);
                        column.valid[start + row] = true;
                    }
                }
                (Collected::Numbers { rows, bits }, _) => {
                    for (&row, &bits) in rows.iter().zip(bits) {
                        column.bits[start + row as usize] = bits;
                        column.valid[start + row as usize] = true;
                    }
                }
                (Collected::Codes(_), None) => {}
            }
        }
        column
    }

    /// An order of rows by value that depends on the data alone; null first.
    pub fn compare(&self, left: u32, right: u32) -> Ordering {
        let (left, right) = (left as usize, right as usize);
        (self.valid[left], self.bits[left]).cmp(&(self.valid[right], self.bits[right]))
    }

    /// The rows in another order, as an array of the least width.
    pub fn finish(&self, order: &[u32], kind: Kind, dictionary: Option<&ArrayRef>) -> ArrayRef {
        let bits: Vec<u64> = order.iter().map(|&row| self.bits[row as usize]).collect();
        let all_valid = self.valid.iter().all(|valid| *valid);
        let nulls = (!all_valid).then(|| NullBuffer::from_iter(order.iter().map(|&row| self.valid[row as usize])));
        match dictionary {
            Some(values) => keyed(bits.into_iter(), nulls, values.clone()),
            None => compact(bits, nulls, kind),
        }
    }
}

/// Numbers as keys into their distinct values where those are few, else as they are.
fn compact(bits: Vec<u64>, nulls: Option<NullBuffer>, kind: Kind) -> ArrayRef {
    let mut numbers: HashMap<u64, u64> = HashMap::new();
    let mut distinct = Vec::new();
    let mut keys = Vec::with_capacity(bits.len());
    for (row, &value) in bits.iter().enumerate() {
        if nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            keys.push(0);
            continue;
        }
        let next = distinct.len() as u64;
        let key = *numbers.entry(value).or_insert(next);
        if key == next {
            distinct.push(value);
            if distinct.len() > MOST_KEYS || distinct.len() * 2 > bits.len() {
                return kind.array(&bits, nulls);
            }
        }
        keys.push(key);
    }
    keyed(keys.into_iter(), nulls, kind.array(&distinct, None))
}

/// Keys of the least width into values.
pub(crate) fn keyed(keys: impl Iterator<Item = u64>, nulls: Option<NullBuffer>, values: ArrayRef) -> ArrayRef {
    match values.len() {
        0..=0x100 => dictionary::<UInt8Type>(keys.map(|key| key as u8), nulls, values),
        0x101..=0x1_0000 => dictionary::<UInt16Type>(keys.map(|key| key as u16), nulls, values),
        _ => dictionary::<UInt32Type>(keys.map(|key| key as u32), nulls, values),
    }
}

fn dictionary<K: ArrowDictionaryKeyType>(keys: impl Iterator<Item = K::Native>, nulls: Option<NullBuffer>, values: ArrayRef) -> ArrayRef {
    let keys = PrimitiveArray::<K>::new(keys.collect(), nulls);
    let (rows, data_type) = (keys.len(), values.data_type().clone());
    match DictionaryArray::try_new(keys, values) {
        Ok(array) => Arc::new(array),
        // Keys are places of values, so this is never reached.
        Err(_) => arrow::array::new_null_array(&data_type, rows),
    }
}

#[cfg(test)]
#[allow(clippy::expect_used, reason = "a test says what it expects")]
mod tests {
    use super::*;

    fn round(kind: Kind, column: ArrayRef) -> ArrayRef {
        let mut texts = Texts::default();
        let decoded = decode(kind, &mut texts, &column).expect("decodes");
        let mut collected = Collected::new(kind);
        (0..column.len()).for_each(|row| collected.push(&decoded, row, row as u32));
        let dictionary = (kind == Kind::Text).then(|| Dictionary::merge(vec![texts]));
        let places = dictionary.as_ref().map(|dictionary| dictionary.places[0].as_slice());
        let joined = Column::join(std::iter::once((&collected, column.len(), places)));
        let order: Vec<u32> = (0..column.len() as u32).rev().collect();
        let kept = joined.finish(&order, kind, dictionary.as_ref().map(|dictionary| &dictionary.values));
        cast(&kept, &kind.data_type()).expect("casts")
    }

    #[test]
    fn values_come_back_in_the_new_order() {
        let floats: ArrayRef = Arc::new(Float64Array::from(vec![Some(1.5), None, Some(-0.25), Some(1.5), None, None]));
        let turned: ArrayRef = Arc::new(Float64Array::from(vec![None, None, Some(1.5), Some(-0.25), None, Some(1.5)]));
        assert_eq!(&round(Kind::Float, floats), &turned);
        let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("b"), Some(""), None, Some("a")]));
        let turned: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None, Some(""), Some("b")]));
        assert_eq!(&round(Kind::Text, texts), &turned);
        let flags: ArrayRef = Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)]));
        let turned: ArrayRef = Arc::new(BooleanArray::from(vec![Some(false), None, Some(true)]));
        assert_eq!(&round(Kind::Bool, flags), &turned);
        let none: ArrayRef = Arc::new(Int64Array::from(vec![None::<i64>, None]));
        assert_eq!(&round(Kind::Int, none.clone()), &none);
    }

    #[test]
    fn few_values_are_kept_as_keys_and_many_as_they_are() {
        let few = compact((0..1000).map(|row| row % 5).collect(), None, Kind::Int);
        assert!(matches!(few.data_type(), DataType::Dictionary(key, _) if **key == DataType::UInt8));
        let many = compact((0..1000).collect(), None, Kind::Int);
        assert_eq!(many.data_type(), &DataType::Int64);
    }
}
