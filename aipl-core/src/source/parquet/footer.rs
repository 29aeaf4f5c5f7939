//! A look at a Parquet footer before a decoder builds a schema and column chunks from it: depth, columns and counts are
//! bounded by the file, whatever the footer declares.

use crate::source::SourceError;
use crate::source::limits::{OverLimit, ReadOptions, within};
use crate::source::positioned::PositionedFile;

use super::FORMAT;
use super::thrift::{Cursor, ThriftError, kind};
use parquet::file::metadata::ParquetMetaData;
use parquet::file::reader::ChunkReader;

/// Length of the footer (4 bytes) and the mark that ends a file.
const TAIL: u64 = 8;
/// No column chunk is described in fewer bytes than this.
const LEAST_CHUNK_BYTES: u64 = 8;

/// What is wrong with a footer.
#[derive(Debug, thiserror::Error)]
enum FooterError {
    #[error("its footer: {0}")]
    Thrift(#[from] ThriftError),
    #[error("{0}")]
    Over(#[from] OverLimit),
    #[error("{0}")]
    Broken(&'static str),
}

/// Refuses a file whose footer asks for more than the file has or the options allow.
pub(super) fn check(file: &PositionedFile, name: &str, options: &ReadOptions) -> Result<(), SourceError> {
    let checked = read(file, options).and_then(|bytes| look_at(&bytes, file.length(), options));
    checked.map_err(|error| match error {
        FooterError::Over(over) => SourceError::over(name, over),
        other => SourceError::Malformed {
            path: name.to_owned(),
            format: FORMAT,
            problem: other.to_string(),
        },
    })
}

/// Refuses a page index that declares more than it holds.
pub(super) fn check_indexes(file: &PositionedFile, name: &str, metadata: &ParquetMetaData) -> Result<(), SourceError> {
    let malformed = |problem: String| SourceError::Malformed {
        path: name.to_owned(),
        format: FORMAT,
        problem: format!("its page index: {problem}"),
    };
    let place = |at: Option<i64>, length: Option<i32>| Some((u64::try_from(at?).ok()?, u64::try_from(length?).ok()?));
    let chunks = metadata.row_groups().iter().flat_map(|group| group.columns());
    let places: Vec<(u64, u64)> = chunks
        .flat_map(|chunk| {
            [
                place(chunk.offset_index_offset(), chunk.offset_index_length()),
                place(chunk.column_index_offset(), chunk.column_index_length()),
            ]
        })
        .flatten()
        .collect();
    let total: u64 = places.iter().fold(0, |sum, place| sum.saturating_add(place.1));
    let start = places.iter().map(|place| place.0).min().unwrap_or(0);
    let end = places.iter().map(|place| place.0.saturating_add(place.1)).max().unwrap_or(0);
    // Writers put all of it in one place, where one read gets it.
    let together = (end - start <= 2 * total && end <= file.length()).then(|| file.get_bytes(start, (end - start) as usize));
    let together = together.transpose().map_err(|error| malformed(error.to_string()))?;
    for (at, length) in places {
        let bytes = match &together {
            Some(bytes) => bytes.slice((at - start) as usize..(at - start + length) as usize),
            None => file.get_bytes(at, length as usize).map_err(|error| malformed(error.to_string()))?,
        };
        Cursor::new(&bytes)
            .skip(kind::STRUCT)
            .map_err(|error| malformed(error.to_string()))?;
    }
    Ok(())
}

fn read(file: &PositionedFile, options: &ReadOptions) -> Result<bytes::Bytes, FooterError> {
    let broken = FooterError::Broken;
    let start = file.length().checked_sub(TAIL).ok_or(broken("it is too short to have a footer"))?;
    let tail = file.get_bytes(start, TAIL as usize).map_err(|_| broken("its end cannot be read"))?;
    match &tail[4..] {
        b"PAR1" => {}
        b"PARE" => return Err(broken("it is encrypted; encrypted files are not read")),
        _ => return Err(broken("it does not end with the mark of Parquet, PAR1")),
    }
    let size = u64::from(u32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]]));
    within("bytes of footer", size, options.max_metadata_bytes, "max_metadata_bytes")?;
    let at = start.checked_sub(size).ok_or(broken("its footer is longer than the file"))?;
    file.get_bytes(at, size as usize).map_err(|_| broken("its footer cannot be read"))
}

fn look_at(footer: &[u8], length: u64, options: &ReadOptions) -> Result<(), FooterError> {
    let mut cursor = Cursor::new(footer);
    let (mut before, mut leaves, mut groups, mut rows) = (0, 0u64, 0u64, 0i64);
    while let Some((number, found)) = cursor.field(before)? {
        match (number, found) {
            (2, kind::LIST) => leaves = look_at_schema(&mut cursor, options)?,
            (3, kind::I64) => rows = cursor.integer()?,
            (4, kind::LIST) => {
                let (count, found) = cursor.list()?;
                groups = count as u64;
                for _ in 0..count {
                    cursor.skip(found)?;
                }
            }
            _ => cursor.skip(found)?,
        }
        before = number;
    }
    let rows = u64::try_from(rows).map_err(|_| FooterError::Broken("its row count is negative"))?;
    within("rows", rows, options.rows_of(length), "max_rows")?;
    if groups.saturating_mul(leaves.max(1)).saturating_mul(LEAST_CHUNK_BYTES) > footer.len() as u64 {
        return Err(FooterError::Broken("its footer declares more column chunks than it describes"));
    }
    Ok(())
}

/// Counts the leaves of the schema, a tree written in depth-first order.
fn look_at_schema(cursor: &mut Cursor<'_>, options: &ReadOptions) -> Result<u64, FooterError> {
    let (count, found) = cursor.list()?;
    if found != kind::STRUCT {
        return Err(FooterError::Broken("its schema is no list of columns"));
    }
    let (mut leaves, mut open) = (0u64, Vec::new());
    for element in 0..count {
        let children = children(cursor)?;
        if element > 0 {
            // The parent of this element is the innermost that still waits for children.
            let outside = || FooterError::Broken("its schema has columns outside its root");
            let parent: &mut u64 = open.last_mut().ok_or_else(outside)?;
            *parent = parent.checked_sub(1).ok_or_else(outside)?;
        }
        if children > 0 || element == 0 {
            open.push(children);
            within(
                "levels of nested columns",
                open.len() as u64 - 1,
                options.max_depth as u64,
                "max_depth",
            )?;
        } else {
            leaves += 1;
            within("columns", leaves, options.max_columns as u64, "max_columns")?;
        }
        while open.len() > 1 && open.last() == Some(&0) {
            open.pop();
        }
        if element > 0 && open.len() == 1 && open[0] == 0 && element + 1 < count {
            return Err(FooterError::Broken("its schema has columns outside its root"));
        }
    }
    if open.iter().any(|left| *left > 0) {
        return Err(FooterError::Broken("its schema is cut short"));
    }
    Ok(leaves)
}

fn children(cursor: &mut Cursor<'_>) -> Result<u64, FooterError> {
    let (mut before, mut children) = (0, 0);
    while let Some((number, found)) = cursor.field(before)? {
        if (number, found) == (5, kind::I32) {
            children = cursor.integer()?;
        } else {
            cursor.skip(found)?;
        }
        before = number;
    }
    u64::try_from(children).map_err(|_| FooterError::Broken("its schema has a negative number of columns"))
}
