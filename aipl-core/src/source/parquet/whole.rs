//! One Parquet file read whole, in order, with the limits that files of events have.

use std::cell::RefCell;
use std::path::Path;

use arrow::datatypes::Schema;
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;

use super::group::Group;
use super::{BATCH_ROWS, FORMAT, open_file};
use crate::source::SourceError;
use crate::source::error::guard;
use crate::source::expected::Expected;
use crate::source::files::DataFile;
use crate::source::limits::ReadOptions;
use crate::source::positioned::PositionedFile;

/// Calls `take` with the schema of a file and all of its rows.
///
/// # Errors
/// No such file; one that is no Parquet, is damaged, changes meanwhile or asks for more than the options allow; what
/// `take` refuses.
pub(crate) fn read_whole<T, E: Into<SourceError>>(
    path: &Path,
    options: &ReadOptions,
    take: impl FnOnce(&Schema, &mut dyn Iterator<Item = Result<RecordBatch, ArrowError>>) -> Result<T, E>,
) -> Result<T, SourceError> {
    let data = DataFile {
        path: path.to_owned(),
        name: path.display().to_string().into(),
        constants: Vec::new(),
    };
    let open = open_file(&data, Expected::Identifiers(&[]), options)?;
    let file = PositionedFile::open_again(path, &open.stamp)?;
    let group = |number| Group {
        data: &data,
        open: &open,
        file: file.clone(),
        number,
        options: *options,
    };
    let groups: Vec<Group<'_>> = (0..open.first_rows.len()).map(group).collect();
    let schema = open.metadata.schema();
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    // A refusal of ours goes through the reader of rows as text; it is told as it was.
    let refused = RefCell::new(None);
    let refuse = |error: SourceError| {
        let text = error.to_string();
        refused.replace(Some(error));
        ArrowError::ParquetError(text)
    };
    let taken = guard(&data.name, FORMAT, || {
        let mut batches = groups.iter().flat_map(|group| {
            let (batches, refusal) = match group.columns(&names, None, BATCH_ROWS) {
                Ok(batches) => (Some(batches), None),
                Err(error) => (None, Some(Err(error))),
            };
            let counted = batches.into_iter().flat_map(|batches| group.counted(batches));
            refusal.into_iter().chain(counted).map(|batch| batch.map_err(refuse))
        });
        take(schema, &mut batches).map_err(Into::into)
    });
    file.check_unchanged()?;
    match refused.into_inner() {
        Some(error) => Err(error),
        None => taken,
    }
}
