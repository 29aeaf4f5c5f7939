//! The last look at text before it is written. Text is checked where it enters; this does not believe it.

use arrow::array::{Array, AsArray, GenericStringArray, OffsetSizeTrait};
use arrow::datatypes::DataType;

use crate::bank::error::BankError;
use crate::timeline::log::load::OrderedRows;

/// Whether the values of a column are UTF-8, if it is one of text at all.
pub(crate) fn is_text(array: &dyn Array) -> bool {
    match array.data_type() {
        DataType::Utf8 => are_texts(array.as_string::<i32>()),
        DataType::LargeUtf8 => are_texts(array.as_string::<i64>()),
        DataType::Utf8View => {
            let bytes = array.as_string_view().clone().to_binary_view();
            bytes.iter().flatten().all(|value| std::str::from_utf8(value).is_ok())
        }
        DataType::Dictionary(..) => array.as_any_dictionary_opt().is_none_or(|dictionary| is_text(dictionary.values())),
        _ => true,
    }
}

fn are_texts<O: OffsetSizeTrait>(texts: &GenericStringArray<O>) -> bool {
    let (offsets, bytes) = (texts.value_offsets(), texts.value_data());
    let at = |row: usize| offsets[row].as_usize();
    let all = std::str::from_utf8(&bytes[at(0)..at(offsets.len() - 1)]);
    if all.is_ok_and(|all| offsets.iter().all(|offset| all.is_char_boundary(offset.as_usize() - at(0)))) {
        return true;
    }
    // Behind a null may stand anything.
    (0..texts.len()).all(|row| texts.is_null(row) || std::str::from_utf8(&bytes[at(row)..at(row + 1)]).is_ok())
}

/// Refuses a column with text that is none.
pub(crate) fn check_text(column: &str, array: &dyn Array) -> Result<(), BankError> {
    if is_text(array) {
        return Ok(());
    }
    Err(BankError::NotText { column: column.to_owned() })
}

/// The same of all that was gathered of a batch.
pub(crate) fn check_rows(rows: &OrderedRows) -> Result<(), BankError> {
    if !rows.stores.iter().all(crate::timeline::universe::IdStore::is_text) {
        return Err(BankError::NotText {
            column: "consumer".to_owned(),
        });
    }
    for bucket in &rows.buckets {
        check_text("brand", &bucket.brands)?;
        for (field, array) in rows.fields.iter().zip(&bucket.fields) {
            check_text(&field.column, array)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, BinaryArray, RecordBatch, StringArray, StringViewArray};
    use arrow::compute::cast;
    use arrow::datatypes::{Field, Schema};
    use bytes::Bytes;
    use parquet::arrow::ArrowWriter;
    use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};

    use super::*;

    /// Bytes under a type of text: what a reader gives that is told to take unmarked bytes for text.
    fn unchecked(values: &[&[u8]], data_type: &DataType) -> ArrayRef {
        let column: ArrayRef = Arc::new(BinaryArray::from_vec(values.to_vec()));
        let batch = RecordBatch::try_from_iter([("text", column)]).expect("a batch");
        let mut file = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut file, batch.schema(), None).expect("a writer");
        writer.write(&batch).expect("writes");
        writer.close().expect("closes");
        let schema = Arc::new(Schema::new(vec![Field::new("text", DataType::Utf8View, false)]));
        let options = ArrowReaderOptions::new().with_schema(schema).with_skip_arrow_metadata(true);
        let reader = ParquetRecordBatchReaderBuilder::try_new_with_options(Bytes::from(file), options).expect("a reader");
        let mut reader = reader.build().expect("a reader");
        let view = reader.next().expect("a batch").expect("reads").column(0).clone();
        cast(&view, data_type).expect("casts")
    }

    #[test]
    fn text_that_is_none_is_seen_in_every_type() {
        let whole: Vec<&[u8]> = vec!["浏览".as_bytes(), b"", "购买".as_bytes()];
        // 浏览 in GBK, and a character that is cut in two by the border between two values.
        let bad: [Vec<&[u8]>; 2] = [vec![b"view", &[0xe4, 0xaf, 0xc0, 0xc0]], vec![&[0xe6, 0xb5], &[0x8f, b'x']]];
        for data_type in [DataType::Utf8View, DataType::Utf8, DataType::LargeUtf8] {
            assert!(is_text(&unchecked(&whole, &data_type)), "{data_type}");
            for values in &bad {
                assert!(!is_text(&unchecked(values, &data_type)), "{data_type} {values:?}");
            }
        }
        let view = StringViewArray::from_iter_values(["a longer text than twelve bytes", "b"]);
        assert!(is_text(&view) && is_text(&StringArray::from(vec![Some("x"), None])));
        let dictionary = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
        assert!(is_text(&cast(&view, &dictionary).expect("casts")));
        assert!(
            matches!(check_text("brand", &unchecked(&bad[0], &DataType::Utf8)), Err(BankError::NotText { column }) if column == "brand")
        );
    }
}
