//! Columns of bytes as columns of text. Writers that do not mark their text leave only bytes, and nobody has checked
//! those.

use arrow::array::{Array, ArrayRef, AsArray, LargeStringArray, StringArray, StringViewBuilder};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::DataType;
use std::sync::Arc;

/// A column of bytes as text.
#[derive(Debug, Clone)]
pub struct CheckedText {
    /// The text; null where the bytes are none.
    pub text: ArrayRef,
    /// The rows whose bytes are not UTF-8, if there are any. Of a dictionary: the rows that name such a value.
    pub bad: Option<BooleanBuffer>,
}

/// Whether a column of this type holds bytes that may be text: any binary type, or a dictionary of one.
///
/// ```
/// use aipl_core::event::bytes::is_bytes;
/// use arrow::datatypes::DataType;
/// assert!(is_bytes(&DataType::BinaryView) && !is_bytes(&DataType::Utf8View));
/// ```
#[must_use]
pub fn is_bytes(data_type: &DataType) -> bool {
    match data_type {
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => true,
        DataType::Dictionary(_, values) => is_bytes(values),
        _ => false,
    }
}

/// A column of bytes as text, every value checked; `None` if it is no column of bytes.
///
/// ```
/// use std::sync::Arc;
/// use aipl_core::event::bytes::checked_text;
/// use arrow::array::{Array, ArrayRef, BinaryArray};
///
/// let column: ArrayRef = Arc::new(BinaryArray::from_vec(vec![b"brand", b"\xe4\xaf\xc0\xc0"]));
/// let checked = checked_text(&column).expect("a column of bytes");
/// assert!(checked.text.is_valid(0) && checked.text.is_null(1));
/// assert_eq!(checked.bad.map(|bad| bad.value(1)), Some(true));
/// ```
#[must_use]
pub fn checked_text(column: &ArrayRef) -> Option<CheckedText> {
    // Arrow checks a whole array of text at once, and takes the buffers as they are.
    let whole: Option<ArrayRef> = match column.data_type() {
        DataType::Binary => {
            let bytes = column.as_binary::<i32>();
            let text = StringArray::try_new(bytes.offsets().clone(), bytes.values().clone(), bytes.nulls().cloned());
            text.ok().map(|text| Arc::new(text) as ArrayRef)
        }
        DataType::LargeBinary => {
            let bytes = column.as_binary::<i64>();
            let text = LargeStringArray::try_new(bytes.offsets().clone(), bytes.values().clone(), bytes.nulls().cloned());
            text.ok().map(|text| Arc::new(text) as ArrayRef)
        }
        DataType::BinaryView => {
            let text = column.as_binary_view().clone().to_string_view();
            text.ok().map(|text| Arc::new(text) as ArrayRef)
        }
        DataType::FixedSizeBinary(_) => None,
        DataType::Dictionary(_, values) if is_bytes(values) => return checked_dictionary(column),
        _ => return None,
    };
    Some(match whole {
        Some(text) => CheckedText { text, bad: None },
        None => one_by_one(column),
    })
}

/// The values of a dictionary are checked, each once.
fn checked_dictionary(column: &ArrayRef) -> Option<CheckedText> {
    let dictionary = column.as_any_dictionary();
    let values = checked_text(dictionary.values())?;
    let text = dictionary.with_values(values.text);
    let bad = values.bad.map(|bad| {
        let keys = dictionary.normalized_keys();
        BooleanBuffer::collect_bool(column.len(), |row| column.is_valid(row) && bad.value(keys[row]))
    });
    let bad = bad.filter(|bad| bad.count_set_bits() > 0);
    Some(CheckedText { text, bad })
}

/// Tells good values from bad ones: needed where some are bad, or bytes between or under the values are.
fn one_by_one(column: &ArrayRef) -> CheckedText {
    let mut text = StringViewBuilder::with_capacity(column.len());
    let mut bad = vec![false; column.len()];
    let mut take = |(row, value): (usize, Option<&[u8]>)| match value.map(std::str::from_utf8) {
        Some(Ok(value)) => text.append_value(value),
        Some(Err(_)) => {
            bad[row] = true;
            text.append_null();
        }
        None => text.append_null(),
    };
    match column.data_type() {
        DataType::Binary => column.as_binary::<i32>().iter().enumerate().for_each(&mut take),
        DataType::LargeBinary => column.as_binary::<i64>().iter().enumerate().for_each(&mut take),
        DataType::BinaryView => column.as_binary_view().iter().enumerate().for_each(&mut take),
        _ => column.as_fixed_size_binary().iter().enumerate().for_each(&mut take),
    }
    let any = bad.contains(&true);
    CheckedText {
        text: Arc::new(text.finish()),
        bad: any.then(|| BooleanBuffer::from(bad)),
    }
}

#[cfg(test)]
#[allow(clippy::expect_used, reason = "a test says what it expects")]
mod tests {
    use super::*;
    use arrow::array::{
        BinaryArray, BinaryViewArray, DictionaryArray, FixedSizeBinaryArray, Int32Array, LargeBinaryArray, StringViewArray, UInt64Array,
    };
    use arrow::compute::cast;
    use arrow::datatypes::Int32Type;

    use crate::base::Zone;
    use crate::event::columns::IdRef;
    use crate::event::measure::Measure;
    use crate::event::{BehaviorCodes, BehaviorDecoder, EventSchema, IdColumn, Measures, Reason, TimeColumn};

    /// The same values in every form of bytes.
    fn forms(values: &[Option<&[u8]>]) -> Vec<ArrayRef> {
        let view: ArrayRef = Arc::new(BinaryViewArray::from_iter(values.iter().copied()));
        let binary: ArrayRef = Arc::new(BinaryArray::from_iter(values.iter().copied()));
        let keys = Int32Array::from_iter((0i32..).zip(values).map(|(key, value)| value.map(|_| key)));
        let keyed = |values: &ArrayRef| Arc::new(DictionaryArray::<Int32Type>::try_new(keys.clone(), values.clone()).expect("keys")) as _;
        let padded = [values, &[Some(b"more".as_slice())]].concat();
        let sliced = BinaryArray::from_iter(padded).slice(0, values.len());
        vec![
            Arc::new(LargeBinaryArray::from_iter(values.iter().copied())),
            keyed(&binary),
            keyed(&view),
            Arc::new(sliced),
            view,
            binary,
        ]
    }

    const GBK: &[u8] = b"\xe4\xaf\xc0\xc0";

    #[test]
    fn good_bytes_are_text_and_bad_ones_are_known() {
        for column in forms(&[Some(b"view"), None, Some("浏览".as_bytes()), Some(b"")]) {
            let checked = checked_text(&column).expect("bytes");
            let text = cast(&checked.text, &DataType::Utf8View).expect("text");
            let expected: ArrayRef = Arc::new(StringViewArray::from(vec![Some("view"), None, Some("浏览"), Some("")]));
            assert_eq!((&text, checked.bad), (&expected, None), "{}", column.data_type());
        }
        for column in forms(&[Some(GBK), None, Some(b"view")]) {
            let checked = checked_text(&column).expect("bytes");
            let bad: Vec<bool> = checked.bad.expect("one is bad").iter().collect();
            assert_eq!(bad, [true, false, false], "{}", column.data_type());
        }
        let fixed: ArrayRef = Arc::new(FixedSizeBinaryArray::try_from_iter([b"ab", b"\xff\xfe"].into_iter()).expect("one width"));
        assert_eq!(checked_text(&fixed).expect("bytes").bad.map(|bad| bad.value(1)), Some(true));
        assert!(checked_text(&(Arc::new(UInt64Array::from(vec![1])) as ArrayRef)).is_none());
    }

    #[test]
    fn two_halves_of_a_character_are_two_bad_values() {
        // Side by side the bytes are good text, which each of them is not.
        for column in forms(&[Some(b"\xe6\xb5"), Some(b"\x8f")]) {
            let bad: Vec<bool> = checked_text(&column).and_then(|checked| checked.bad).expect("bad").iter().collect();
            assert_eq!(bad, [true, true], "{}", column.data_type());
        }
    }

    #[test]
    fn bad_values_that_no_row_names_are_nobodys() {
        let values: ArrayRef = Arc::new(BinaryArray::from_vec(vec![b"ok", GBK]));
        let keys = Int32Array::from(vec![Some(0), None]);
        let column: ArrayRef = Arc::new(DictionaryArray::try_new(keys, values).expect("keys"));
        assert!(checked_text(&column).expect("bytes").bad.is_none());
    }

    #[test]
    fn every_reader_names_the_reason() {
        let decoder = BehaviorDecoder::new(&EventSchema::new("c", "b", "a", "t"));
        let special = decoder.special();
        for column in forms(&[Some(b"view"), Some(GBK), None]) {
            let ids = IdColumn::new(&column).expect("accepted");
            let expected = [IdRef::Text("view"), IdRef::Bad(Reason::NotUtf8), IdRef::Null];
            ids.for_each(|row, id| assert_eq!((id, ids.get(row)), (expected[row], expected[row])));
            assert!(ids.can_be_bad() && ids.len() == 3);
            let mut codes = BehaviorCodes::default();
            decoder.read(&column, &mut codes);
            assert_eq!(codes.codes, [2, special.not_utf8, special.null]);
            assert!(codes.unknown.is_empty());
        }
        let zone = Zone::named("UTC").expect("zone");
        for column in forms(&[Some(b"2024-06-30"), Some(GBK), None, Some(b"soon")]) {
            let times = TimeColumn::new(&column, None, &zone).expect("accepted");
            let wrong: Vec<Option<Reason>> = times.raw().iter().map(|&raw| times.kind().wrong(raw)).collect();
            assert_eq!(wrong[..2], [None, Some(Reason::NotUtf8)]);
            assert_eq!(wrong[3], Some(Reason::UnreadableTime));
            assert!(times.nulls().expect("a null").is_null(2) && times.nulls().expect("a null").is_valid(1));
        }
        for column in forms(&[Some(b"12.5"), Some(GBK), None]) {
            let read = Measures::decode(&column).expect("accepted");
            assert_eq!(
                (read[1], read[2], matches!(read[0], Measure::Value(_))),
                (Measure::Bad(Reason::NotUtf8), Measure::Null, true)
            );
        }
    }
}
