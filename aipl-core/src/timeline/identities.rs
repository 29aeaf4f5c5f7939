//! Resolving identities: rows of a source read on all threads into a map, and maps kept as files.

use std::path::Path;

use arrow::record_batch::RecordBatchReader;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use crate::base::private;
use crate::event::Tally;
use crate::identity::reader::Reader;
use crate::identity::{Guards, IdType, IdentityError, IdentityMap, Intake, Reading};
use crate::source::parquet::read_whole;
use crate::source::{OnError, Piece, ReadOptions, Source, SourceError};
use crate::timeline::read::{Taker, read_table};
use crate::timeline::runtime::Runtime;
use crate::timeline::scan::{ScanError, refuse_rejected};

/// Resolves the identities that rows show: rows that share a value of a joining type belong to one person.
///
/// Rows are tables with a column for each identifier type (others may be missing), one row an account or login, or
/// links with the columns
/// `id_type_a`, `id_a`, `id_type_b`, `id_b`. Nulls and blank values are absent.
///
/// ```
/// use std::sync::Arc;
/// use aipl_core::base::Zone;
/// use aipl_core::identity::{Guards, IdType, Reading};
/// use aipl_core::source::OnError;
/// use aipl_core::source::memory::StreamSource;
/// use aipl_core::timeline::{Runtime, resolve_identities};
/// use arrow::array::{RecordBatch, StringArray};
///
/// let column = |values: [Option<&str>; 3]| Arc::new(StringArray::from(values.to_vec())) as _;
/// let rows = RecordBatch::try_from_iter([
///     ("phone", column([Some("139-1234-5679"), Some("+86 13912345679"), None])),
///     ("device", column([Some("d1"), Some("d2"), Some("d3")])),
/// ])?;
/// let source = StreamSource::from_batches("logins", rows.schema(), vec![rows]);
/// let reading = Reading { seen_at: None, source: None, zone: Arc::new(Zone::named("UTC")?) };
/// let types = vec![IdType::named("phone"), IdType::named("device")];
/// let people = resolve_identities(&source, types, Guards::default(), &reading, OnError::Reject, &Runtime::default())?;
/// assert_eq!(people.len(), 2);
/// assert_eq!(people.lookup("device", "d1")?, people.lookup("device", "d2")?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// Types or guards that cannot be; rows without a column of identifiers; what the source refuses; a value that cannot
/// be used under
/// `on_error = "raise"`; cancellation.
pub fn resolve_identities(
    rows: &dyn Source,
    types: Vec<IdType>,
    guards: Guards,
    reading: &Reading,
    on_error: OnError,
    runtime: &Runtime<'_>,
) -> Result<IdentityMap, ScanError> {
    let map = IdentityMap::new(types, guards).map_err(SourceError::from)?;
    add_identities(&map, rows, reading, on_error, runtime)
}

/// The map with one more batch of rows. Persons are those of all rows together; a person that comes of several keeps
/// the number of the oldest.
///
/// # Errors
/// As [`resolve_identities`]; values hashed in another way than the map's.
pub fn add_identities(
    map: &IdentityMap,
    rows: &dyn Source,
    reading: &Reading,
    on_error: OnError,
    runtime: &Runtime<'_>,
) -> Result<IdentityMap, ScanError> {
    let intake = Intake::new(map, &rows.name(), &rows.columns(), reading).map_err(SourceError::from)?;
    runtime.progress().begin(rows.rows().unwrap_or(0));
    let columns = intake.columns();
    let (takers, tally) = read_table(rows, &columns, runtime, || RowTaker(Reader::new(&intake)))?;
    refuse_rejected(on_error, &tally)?;
    let read = takers.into_iter().map(|taker| taker.0.into_read()).collect();
    finished(runtime, |stop| intake.finish(read, tally, stop))
}

/// The map without a link; see [`IdentityMap::unlink`].
///
/// # Errors
/// As there; cancellation.
pub fn unlink_identities(
    map: &IdentityMap,
    left: (&str, &str),
    right: (&str, &str),
    runtime: &Runtime<'_>,
) -> Result<IdentityMap, ScanError> {
    runtime.progress().begin(0);
    finished(runtime, |stop| map.unlink(left, right, stop))
}

/// The map with a blocked identifier; see [`IdentityMap::block`].
///
/// # Errors
/// As there; cancellation.
pub fn block_identity(map: &IdentityMap, id_type: &str, id: &str, runtime: &Runtime<'_>) -> Result<IdentityMap, ScanError> {
    runtime.progress().begin(0);
    finished(runtime, |stop| map.block(id_type, id, stop))
}

/// Works on the pool until it is done or the caller cancels.
fn finished<T: Send>(
    runtime: &Runtime<'_>,
    work: impl FnOnce(&(dyn Fn() -> bool + Sync)) -> Result<T, IdentityError> + Send,
) -> Result<T, ScanError> {
    let progress = runtime.progress();
    let done = runtime.run(|| work(&|| progress.is_canceled()));
    if progress.is_canceled() {
        return Err(ScanError::Canceled);
    }
    Ok(done.map_err(SourceError::from)?)
}

struct RowTaker<'a>(Reader<'a>);

impl Taker for RowTaker<'_> {
    fn take(&mut self, piece: &Piece, tally: &mut Tally) -> Result<(), SourceError> {
        Ok(self.0.take(&piece.place, piece.first_row, &piece.batch, tally)?)
    }

    fn end(&mut self) -> Result<(), SourceError> {
        Ok(self.0.intern()?)
    }
}

/// Stores a map as Parquet: its observations, with its rules in the metadata. The file appears whole or not at all, and
/// only its owner may read it, since it holds identifiers.
///
/// # Errors
/// What the file system refuses.
pub fn write_identities(map: &IdentityMap, path: &Path, runtime: &Runtime<'_>) -> Result<(), ScanError> {
    runtime.progress().begin(0);
    let progress = runtime.progress();
    let failed = |problem: String| IdentityError::File {
        path: path.display().to_string(),
        problem,
    };
    let (_, rows) = map.observations().map_err(SourceError::from)?;
    let unfinished = path.with_extension(format!("unfinished-{}", std::process::id()));
    let write = || -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let level = ZstdLevel::try_new(3)?;
        let properties = WriterProperties::builder().set_compression(Compression::ZSTD(level)).build();
        let mut writer = ArrowWriter::try_new(private::create(&unfinished)?, rows.schema(), Some(properties))?;
        for batch in rows {
            if progress.is_canceled() {
                return Err(Box::new(SourceError::Canceled));
            }
            writer.write(&batch?)?;
        }
        writer.into_inner()?.sync_all()?;
        Ok(std::fs::rename(&unfinished, path)?)
    };
    runtime.run(write).map_err(|error| {
        let _ = std::fs::remove_file(&unfinished);
        if progress.is_canceled() {
            return ScanError::Canceled;
        }
        SourceError::from(failed(error.to_string())).into()
    })
}

/// Reads a map that [`write_identities`] stored.
///
/// # Errors
/// No such file; a file that no map was stored as; cancellation.
pub fn read_identities(path: &Path, runtime: &Runtime<'_>) -> Result<IdentityMap, ScanError> {
    runtime.progress().begin(0);
    let progress = runtime.progress();
    let map = runtime.run(|| {
        read_whole(path, &ReadOptions::default(), |schema, rows| {
            IdentityMap::from_observations(schema, rows, &|| progress.is_canceled())
        })
    });
    if progress.is_canceled() {
        return Err(ScanError::Canceled);
    }
    Ok(map?)
}
