//! How wide the values of a column chunk are, where its encodings let few bytes stand for many: texts that repeat the
//! one before, and dictionaries that a decoder may have to write out.

use std::sync::Arc;

use parquet::basic::{Encoding, Type};
use parquet::column::page::{Page, PageReader};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::serialized_reader::SerializedPageReader;

use super::delta;
use super::pages::PageFile;
use crate::source::SourceError;
use crate::source::limits::{ReadOptions, within};

/// Values of which a batch can always be written out.
const SHORT: u64 = 4 << 10;

/// Whether the chunk has to be looked at before it is decoded, as a dictionary or not.
pub(super) fn is_needed(chunk: &ColumnChunkMetaData, as_dictionary: bool) -> bool {
    let has_dictionary = || {
        chunk
            .encodings()
            .any(|encoding| matches!(encoding, Encoding::PLAIN_DICTIONARY | Encoding::RLE_DICTIONARY))
    };
    has_repeats(chunk) || (as_dictionary && chunk.column_type() == Type::BYTE_ARRAY && has_dictionary())
}

fn has_repeats(chunk: &ColumnChunkMetaData) -> bool {
    chunk
        .encodings()
        .any(|encoding| matches!(encoding, Encoding::DELTA_LENGTH_BYTE_ARRAY | Encoding::DELTA_BYTE_ARRAY))
}

/// The bytes that a value can take when it is written out, at most, where they are more than in the file.
///
/// # Errors
/// Pages whose texts are longer together than one reader may hold; what reading them refuses.
pub(super) fn widest(
    pages: &PageFile,
    chunk: &ColumnChunkMetaData,
    rows: usize,
    as_dictionary: bool,
    options: &ReadOptions,
) -> Result<u64> {
    let mut reader = SerializedPageReader::new(Arc::new(pages.clone()), chunk, rows, None)?;
    let mut widest = 0;
    while let Some(page) = reader.get_next_page()? {
        pages.end_batch();
        if let Page::DictionaryPage { buf, .. } = &page
            && as_dictionary
            && longest_plain(buf) > SHORT
            && pages.leaves_dictionary()?
        {
            widest = longest_plain(buf);
        }
        if !has_repeats(chunk) {
            break;
        }
        check_repeats(&page, chunk, pages, options)?;
    }
    Ok(widest)
}

/// The longest of texts that are written one after the other, each after its length.
fn longest_plain(mut bytes: &[u8]) -> u64 {
    let mut longest = 0;
    while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
        let length = u64::from(u32::from_le_bytes(*length));
        longest = longest.max(length.min(rest.len() as u64));
        bytes = rest.get(length as usize..).unwrap_or_default();
    }
    longest
}

fn check_repeats(page: &Page, chunk: &ColumnChunkMetaData, pages: &PageFile, options: &ReadOptions) -> Result<()> {
    let with_prefixes = match page.encoding() {
        Encoding::DELTA_BYTE_ARRAY => true,
        Encoding::DELTA_LENGTH_BYTE_ARRAY => false,
        _ => return Ok(()),
    };
    let values = values_of(page, chunk).ok_or_else(|| broken("a page is shorter than its levels"))?;
    let (count, bytes) = delta::text_bytes(values, with_prefixes).ok_or_else(|| broken("the lengths of a page cannot be read"))?;
    if count > u64::from(page.num_values()) {
        return Err(broken("a page has more lengths than values"));
    }
    within("decoded bytes", bytes, options.decoded_of(values.len() as u64), "max_decoded_bytes")
        .map_err(|over| pages.refuse(SourceError::over(pages.name(), over)))
}

fn broken(problem: &str) -> ParquetError {
    ParquetError::General(problem.to_owned())
}

/// The bytes of a data page behind its levels.
fn values_of<'a>(page: &'a Page, chunk: &ColumnChunkMetaData) -> Option<&'a [u8]> {
    match page {
        Page::DataPage { buf, .. } => {
            let column = chunk.column_descr();
            let mut rest = &buf[..];
            for _ in 0..u8::from(column.max_rep_level() > 0) + u8::from(column.max_def_level() > 0) {
                let (length, after) = rest.split_first_chunk::<4>()?;
                rest = after.get(u32::from_le_bytes(*length) as usize..)?;
            }
            Some(rest)
        }
        Page::DataPageV2 {
            buf,
            def_levels_byte_len,
            rep_levels_byte_len,
            ..
        } => buf.get(*def_levels_byte_len as usize + *rep_levels_byte_len as usize..),
        Page::DictionaryPage { .. } => None,
    }
}
