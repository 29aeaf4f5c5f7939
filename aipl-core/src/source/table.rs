//! Files of plain tables: identifiers, with no event in sight.

use std::sync::Arc;

use crate::source::csv::{CsvOptions, CsvSource};
use crate::source::expected::Expected;
use crate::source::ipc::IpcSource;
use crate::source::parquet::ParquetSource;
use crate::source::{ReadOptions, Source, SourceError};

/// Opens files of identifiers by the ending of the first path: `.csv`, `.tsv` and `.txt` are CSV (tabs in `.tsv`),
/// `.arrow`, `.ipc`,
/// `.feather` and `.arrows` Arrow IPC, everything else (folders too) Parquet. `columns` are those that are wanted.
///
/// # Errors
/// No such file; a file that is not of the format, or asks for more than the options allow.
pub fn open_table(paths: &[String], columns: &[String], options: ReadOptions) -> Result<Arc<dyn Source>, SourceError> {
    let first = paths.first().map(String::as_str).unwrap_or_default().to_ascii_lowercase();
    let ends = |endings: &[&str]| endings.iter().any(|ending| first.ends_with(ending));
    let expected = Expected::Identifiers(columns);
    Ok(if ends(&[".csv", ".tsv", ".txt"]) {
        let delimiter = if ends(&[".tsv"]) { b'\t' } else { b',' };
        let csv = CsvOptions {
            delimiter,
            ..CsvOptions::default()
        };
        Arc::new(CsvSource::open(paths, expected, csv, options)?)
    } else if ends(&[".arrow", ".ipc", ".feather", ".arrows"]) {
        Arc::new(IpcSource::open(paths, expected, options)?)
    } else {
        Arc::new(ParquetSource::open(paths, expected, options)?)
    })
}
