//! The behavior vocabulary and the decoding of a raw behavior column into its codes.

use std::collections::HashMap;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int32Type};
use arrow::util::display::array_value_to_string;

use crate::base::suggest::{MOST_CHOICES, hint, shown, start};
use crate::event::bytes::{CheckedText, checked_text, is_bytes};
use crate::event::report::EXAMPLES_PER_REASON;
use crate::event::{BehaviorCode, EventSchema};

/// The standard behaviors, in code order.
pub const STANDARD_BEHAVIORS: [&str; 21] = [
    "impression",
    "click",
    "view",
    "store_view",
    "content_view",
    "category_search",
    "search",
    "favorite",
    "add_to_cart",
    "sample_claim",
    "share",
    "comment",
    "like",
    "follow",
    "unfollow",
    "member_join",
    "member_leave",
    "reserve",
    "purchase",
    "refund",
    "review",
];

/// What a raw value of the behavior column stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    Known(BehaviorCode),
    Ignored,
}

/// Codes beyond the vocabulary that a decoded column can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpecialCodes {
    /// The value is null.
    pub null: BehaviorCode,
    /// The value is not in the vocabulary or the mapping.
    pub unknown: BehaviorCode,
    /// The value is mapped to nothing.
    pub ignored: BehaviorCode,
    /// The value is bytes that are no text.
    pub not_utf8: BehaviorCode,
}

/// The codes of consecutive rows, and the first values that stand for none.
#[derive(Debug, Default)]
pub struct BehaviorCodes {
    /// One code a row.
    pub codes: Vec<BehaviorCode>,
    /// Rows (from the first of these) of the first unknown values, with what those begin with.
    pub unknown: Vec<(usize, String)>,
}

/// Turns raw behavior columns into vocabulary codes.
#[derive(Debug, Clone)]
pub struct BehaviorDecoder {
    vocabulary: Vec<String>,
    meanings: HashMap<String, Meaning>,
}

impl BehaviorDecoder {
    /// The decoder of a schema: its `behaviors` mapping, or the standard and own names as they are.
    #[must_use]
    pub fn new(schema: &EventSchema) -> Self {
        let vocabulary = schema.vocabulary();
        let code = |name: &str| {
            vocabulary
                .iter()
                .position(|known| known == name)
                .map(|at| Meaning::Known(at as BehaviorCode))
        };
        let meanings = match schema.behaviors() {
            Some(mapping) => mapping
                .iter()
                .filter_map(|(raw, name)| Some((raw.clone(), name.as_deref().map_or(Some(Meaning::Ignored), code)?)))
                .collect(),
            None => vocabulary.iter().filter_map(|name| Some((name.clone(), code(name)?))).collect(),
        };
        BehaviorDecoder { vocabulary, meanings }
    }

    /// The names behind the codes.
    #[must_use]
    pub fn vocabulary(&self) -> &[String] {
        &self.vocabulary
    }

    /// The codes that say why a row has no behavior.
    #[must_use]
    pub fn special(&self) -> SpecialCodes {
        let size = self.vocabulary.len() as BehaviorCode;
        SpecialCodes {
            null: size,
            unknown: size + 1,
            ignored: size + 2,
            not_utf8: size + 3,
        }
    }

    /// How many different codes [`Self::decode`] can give.
    #[must_use]
    pub fn code_count(&self) -> usize {
        self.vocabulary.len() + 4
    }

    fn code_of(&self, raw: &str) -> BehaviorCode {
        match self.meanings.get(raw) {
            Some(Meaning::Known(code)) => *code,
            Some(Meaning::Ignored) => self.special().ignored,
            None => self.special().unknown,
        }
    }

    /// Appends the codes of a batch, and notes its first unknown values. The column must be of an accepted type.
    pub fn read(&self, column: &ArrayRef, out: &mut BehaviorCodes) {
        let start = out.codes.len();
        self.decode(column, &mut out.codes);
        let unknown = self.special().unknown;
        if !out.codes[start..].contains(&unknown) {
            return;
        }
        let rows = (start..out.codes.len()).filter(|&row| out.codes[row] == unknown);
        for row in rows.take(EXAMPLES_PER_REASON.saturating_sub(out.unknown.len())) {
            out.unknown.push((row, beginning(column, row - start)));
        }
    }

    /// What is wrong with a value that is not known, in words. It looks at all known values, so it is asked for few.
    #[must_use]
    pub fn complaint(&self, raw: &str) -> String {
        let mut choices: Vec<&str> = self.meanings.keys().map(String::as_str).collect();
        // Which of too many are compared must not depend on the order of a table.
        if choices.len() > MOST_CHOICES {
            choices.select_nth_unstable(MOST_CHOICES);
        }
        format!("{:?} is not a known behavior value{}", shown(raw), hint(raw, choices))
    }

    /// Whether a column of this type can hold behaviors.
    #[must_use]
    pub fn accepts(data_type: &DataType) -> bool {
        match data_type {
            DataType::Dictionary(_, values) => Self::accepts(values),
            other => {
                other.is_integer() || {
                    matches!(other, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null) || is_bytes(other)
                }
            }
        }
    }

    /// Appends one code a row. The column must be of an accepted type.
    pub fn decode(&self, column: &ArrayRef, codes: &mut Vec<BehaviorCode>) {
        let null = self.special().null;
        if let DataType::Dictionary(_, _) = column.data_type() {
            let dictionary = column.as_any_dictionary();
            if dictionary.values().is_empty() {
                return codes.extend(std::iter::repeat_n(null, column.len()));
            }
            let mut values = Vec::with_capacity(dictionary.values().len());
            self.decode(dictionary.values(), &mut values);
            if let Some(typed) = column.as_dictionary_opt::<Int32Type>().filter(|typed| typed.null_count() == 0) {
                codes.extend(typed.keys().values().iter().map(|&key| values[key as usize]));
            } else {
                let keys = dictionary.normalized_keys();
                codes.extend(
                    keys.iter()
                        .enumerate()
                        .map(|(row, &key)| if column.is_null(row) { null } else { values[key] }),
                );
            }
        } else if column.data_type().is_integer() {
            self.decode_integers(column, codes);
        } else if let Some(checked) = checked_text(column) {
            self.decode_checked(&checked, codes);
        } else {
            self.decode_text(column, codes);
        }
    }

    fn decode_checked(&self, checked: &CheckedText, codes: &mut Vec<BehaviorCode>) {
        let (start, not_utf8) = (codes.len(), self.special().not_utf8);
        self.decode_text(&checked.text, codes);
        for row in checked.bad.iter().flat_map(BooleanBuffer::set_indices) {
            codes[start + row] = not_utf8;
        }
    }

    fn decode_integers(&self, column: &ArrayRef, codes: &mut Vec<BehaviorCode>) {
        let Ok(widened) = cast(column, &DataType::Int64) else {
            return codes.extend(std::iter::repeat_n(self.special().unknown, column.len()));
        };
        let values: &Int64Array = widened.as_primitive();
        let mut seen: HashMap<i64, BehaviorCode> = HashMap::new();
        codes.extend(values.iter().enumerate().map(|(row, value)| match value {
            Some(value) => *seen.entry(value).or_insert_with(|| self.code_of(&value.to_string())),
            None if column.is_null(row) => self.special().null,
            None => self.special().unknown,
        }));
    }

    fn decode_text(&self, column: &ArrayRef, codes: &mut Vec<BehaviorCode>) {
        let null = self.special().null;
        let mut code = |value: Option<&str>| codes.push(value.map_or(null, |raw| self.code_of(raw)));
        match column.data_type() {
            DataType::Utf8 => column.as_string::<i32>().iter().for_each(&mut code),
            DataType::LargeUtf8 => column.as_string::<i64>().iter().for_each(&mut code),
            DataType::Null => codes.extend(std::iter::repeat_n(null, column.len())),
            _ => column.as_string_view().iter().for_each(&mut code),
        }
    }
}

/// More bytes than a message shows, and than are compared with known values.
const BEGINNING_BYTES: usize = 128;

/// What a value begins with: a stray one can be long, and is not copied whole.
fn beginning(column: &ArrayRef, row: usize) -> String {
    let text = match column.data_type() {
        DataType::Dictionary(_, _) => {
            let dictionary = column.as_any_dictionary();
            return beginning(dictionary.values(), dictionary.normalized_keys()[row]);
        }
        DataType::Utf8 => column.as_string::<i32>().value(row),
        DataType::LargeUtf8 => column.as_string::<i64>().value(row),
        DataType::Utf8View => column.as_string_view().value(row),
        bytes if is_bytes(bytes) => {
            let checked = checked_text(&column.slice(row, 1));
            return checked.map_or_else(String::new, |checked| beginning(&checked.text, 0));
        }
        _ => return array_value_to_string(column, row).unwrap_or_default(),
    };
    start(text, BEGINNING_BYTES).to_owned()
}

#[cfg(test)]
#[allow(clippy::expect_used, reason = "a test says what it expects")]
mod tests {
    use super::*;
    use arrow::array::{DictionaryArray, Int8Array, StringArray, StringViewArray, UInt64Array};
    use std::sync::Arc;

    fn decode(decoder: &BehaviorDecoder, column: ArrayRef) -> Vec<BehaviorCode> {
        let mut codes = Vec::new();
        decoder.decode(&column, &mut codes);
        codes
    }

    #[test]
    fn every_accepted_type_gives_the_same_codes() {
        let decoder = BehaviorDecoder::new(&EventSchema::new("c", "b", "a", "t"));
        let special = decoder.special();
        let raw = [Some("view"), None, Some("purchase"), Some("purchas")];
        let expected = vec![2, special.null, 18, special.unknown];
        assert_eq!(decode(&decoder, Arc::new(StringArray::from_iter(raw))), expected);
        assert_eq!(decode(&decoder, Arc::new(StringViewArray::from_iter(raw))), expected);
        assert_eq!(
            decode(&decoder, Arc::new(raw.into_iter().collect::<DictionaryArray<Int32Type>>())),
            expected
        );
    }

    #[test]
    fn long_unknown_values_are_told_by_what_they_begin_with() {
        let decoder = BehaviorDecoder::new(&EventSchema::new("c", "b", "a", "t"));
        let long = format!("purchas{}", "浏".repeat(1 << 20));
        let arrays: [ArrayRef; 3] = [
            Arc::new(StringArray::from(vec!["view", &long])),
            Arc::new(DictionaryArray::<Int32Type>::from_iter(["view", &long])),
            Arc::new(arrow::array::BinaryArray::from_vec(vec![b"view", long.as_bytes()])),
        ];
        for array in arrays {
            let mut codes = BehaviorCodes::default();
            decoder.read(&array, &mut codes);
            let (row, raw) = codes.unknown.first().expect("one is unknown");
            assert!((*row, raw.len()) <= (1, BEGINNING_BYTES) && raw.starts_with("purchas"));
            let complaint = decoder.complaint(raw);
            assert!(complaint.len() < 200 && complaint.starts_with("\"purchas浏"), "{complaint}");
        }
    }

    #[test]
    fn integers_go_through_the_mapping() {
        let schema = EventSchema::new("c", "b", "a", "t").with_behaviors([("0", Some("view")), ("1", Some("purchase")), ("9", None)]);
        let decoder = BehaviorDecoder::new(&schema);
        let special = decoder.special();
        assert_eq!(
            decode(&decoder, Arc::new(Int8Array::from(vec![Some(0), Some(1), Some(9), Some(7), None]))),
            vec![2, 18, special.ignored, special.unknown, special.null]
        );
        assert_eq!(decode(&decoder, Arc::new(UInt64Array::from(vec![u64::MAX]))), vec![special.unknown]);
    }
}
