//! Results as Arrow streams: tables in memory, and labels that are made while they are read.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use aipl_core::Error;
use aipl_core::analyses::Snapshot;
use aipl_core::base::{private, stop};
use aipl_core::source::SourceError;
use aipl_core::timeline::ScopeValue;
use arrow::array::{ArrayRef, RecordBatch, RecordBatchIterator, RecordBatchReader, StringArray, StructArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyDict, PyList};
use pyo3_arrow::ffi::{ArrayIterator, to_schema_pycapsule, to_stream_pycapsule};

use crate::errors::exception;
use crate::guard::{caught, guard};
use crate::runtime::{detached, guarded};
use crate::values::append;

type Reader = Box<dyn RecordBatchReader + Send>;

/// A table that can be streamed any number of times.
#[pyclass(frozen, module = "aipl._core", name = "Table")]
pub struct PyTable {
    rows: Rows,
}

/// Opens a stream from its start.
type Open = Box<dyn Fn(Python<'_>) -> PyResult<Reader> + Send + Sync>;

enum Rows {
    Batch(RecordBatch),
    /// Made batch by batch while it is read.
    Stream {
        schema: SchemaRef,
        count: usize,
        open: Open,
    },
}

impl PyTable {
    /// A table in memory.
    pub fn of_batch(batch: RecordBatch) -> Self {
        PyTable { rows: Rows::Batch(batch) }
    }

    /// A table that is made while it is read, with the number of its rows.
    pub fn of_stream(schema: SchemaRef, count: usize, open: Open) -> Self {
        PyTable {
            rows: Rows::Stream { schema, count, open },
        }
    }

    /// The labels of a snapshot, of all scopes or one.
    pub fn of_labels(py: Python<'_>, snapshot: &Snapshot, scope: Option<ScopeValue>) -> PyResult<Self> {
        let (count, schema) = detached(py, None, |runtime| {
            let count = snapshot.label_count(scope.as_ref())?;
            let schema = snapshot.labels(scope.as_ref(), runtime)?.schema();
            Ok::<_, Error>((count, schema))
        })?;
        let snapshot = snapshot.clone();
        let open = move |py: Python<'_>| {
            let labels = detached(py, None, |runtime| snapshot.labels(scope.as_ref(), runtime).map_err(Error::from))?;
            Ok(Box::new(labels) as Reader)
        };
        Ok(PyTable::of_stream(
            schema,
            usize::try_from(count).unwrap_or_default(),
            Box::new(open),
        ))
    }

    fn schema(&self) -> SchemaRef {
        match &self.rows {
            Rows::Batch(batch) => batch.schema(),
            Rows::Stream { schema, .. } => schema.clone(),
        }
    }

    fn names(&self) -> Vec<String> {
        self.schema().fields().iter().map(|field| field.name().clone()).collect()
    }

    fn reader(&self, py: Python<'_>) -> PyResult<Reader> {
        match &self.rows {
            Rows::Batch(batch) => Ok(Box::new(RecordBatchIterator::new([Ok(batch.clone())], batch.schema()))),
            Rows::Stream { open, .. } => open(py),
        }
    }
}

#[pymethods]
impl PyTable {
    /// A table of text columns.
    #[staticmethod]
    fn of_texts(py: Python<'_>, columns: Vec<String>, rows: Vec<Vec<Option<String>>>) -> PyResult<Self> {
        guard(py, || {
            let column = |at: usize| -> ArrayRef {
                let texts = rows.iter().map(|row| row.get(at).and_then(Option::as_deref));
                Arc::new(StringArray::from_iter(texts))
            };
            let fields: Vec<Field> = columns.iter().map(|name| Field::new(name, DataType::Utf8, true)).collect();
            let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), (0..columns.len()).map(column).collect());
            let batch = batch.map_err(|error| exception(py, "ParameterError", &error.to_string()))?;
            Ok(PyTable::of_batch(batch))
        })
    }

    /// Writes the table as a Parquet file.
    fn write_parquet(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        guard(py, || {
            let reader = self.reader(py)?;
            guarded(py, || write_parquet(reader, &path))
        })
    }

    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_stream__<'py>(&self, py: Python<'py>, requested_schema: Option<Bound<'py, PyCapsule>>) -> PyResult<Bound<'py, PyCapsule>> {
        guard(py, || {
            let reader = self.reader(py)?;
            let schema = self.schema();
            let field = Field::new_struct("", schema.fields().clone(), false).with_metadata(schema.metadata().clone());
            let arrays = Caught(reader).map(|batch| batch.map(|batch| Arc::new(StructArray::from(batch)) as ArrayRef));
            let stream = to_stream_pycapsule(py, Box::new(ArrayIterator::new(arrays, Arc::new(field))), requested_schema);
            Ok(stream?)
        })
    }

    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        guard(py, || Ok(to_schema_pycapsule(py, self.schema().as_ref())?))
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        guard(py, || {
            Ok(match &self.rows {
                Rows::Batch(batch) => batch.num_rows(),
                Rows::Stream { count, .. } => *count,
            })
        })
    }

    #[getter]
    fn columns(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        guard(py, || Ok(self.names()))
    }

    /// The first rows (or all) as lists by column.
    #[pyo3(signature = (limit=None))]
    fn to_pydict<'py>(&self, py: Python<'py>, limit: Option<usize>) -> PyResult<Bound<'py, PyDict>> {
        guard(py, || {
            let (lists, mut left) = (PyDict::new(py), limit.unwrap_or(usize::MAX));
            let names = self.names();
            for name in &names {
                lists.set_item(name, PyList::empty(py))?;
            }
            let mut batches = self.reader(py)?;
            while let Some(batch) = py.detach(|| batches.next()).filter(|_| left > 0) {
                let batch = batch.map_err(|error| exception(py, "InternalError", &error.to_string()))?;
                for slice in slices(&batch.slice(0, left.min(batch.num_rows()))) {
                    for (name, column) in names.iter().zip(slice.columns()) {
                        if let Some(list) = lists.get_item(name)? {
                            append(&list.cast_into::<PyList>()?, column)?;
                        }
                    }
                    py.check_signals()?;
                    left -= slice.num_rows();
                }
            }
            Ok(lists)
        })
    }
}

/// Rows that are converted or written between two looks for a signal.
const STEP: usize = 1 << 16;

/// A batch in slices of at most [`STEP`] rows.
fn slices(batch: &RecordBatch) -> impl Iterator<Item = RecordBatch> {
    let starts = (0..batch.num_rows()).step_by(STEP);
    starts.map(|at| batch.slice(at, STEP.min(batch.num_rows() - at)))
}

/// Writes a file that appears whole or not at all, and that only its owner may read.
fn write_parquet(reader: Reader, path: &Path) -> Result<(), Error> {
    let failed = |problem: String| SourceError::Io {
        path: path.display().to_string(),
        problem,
    };
    // What is no regular file, such as a pipe, is written as it is.
    let target = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let beside = (target.is_file() || !target.exists()).then(|| beside(&target));
    let unfinished = beside.as_deref().unwrap_or(&target);
    let written = write_rows(reader, unfinished).and_then(|()| match &beside {
        Some(beside) => std::fs::rename(beside, &target).map_err(|error| Unwritten::Problem(error.to_string())),
        None => Ok(()),
    });
    if let (Err(_), Some(beside)) = (&written, &beside) {
        let _ = std::fs::remove_file(beside);
    }
    written.map_err(|error| match error {
        Unwritten::Stopped => Error::Canceled,
        Unwritten::Problem(problem) => failed(problem).into(),
    })
}

/// Where a file stands until it is whole.
fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let name: String = name.chars().take(100).collect();
    path.with_file_name(format!(".{name}.{}", std::process::id()))
}

/// Why a file was not written.
enum Unwritten {
    Stopped,
    Problem(String),
}

impl<E: std::error::Error> From<E> for Unwritten {
    fn from(error: E) -> Self {
        Unwritten::Problem(error.to_string())
    }
}

fn write_rows(reader: Reader, path: &Path) -> Result<(), Unwritten> {
    // Encoding a row group cannot be stopped, so none is large.
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_max_row_group_row_count(Some(1 << 17));
    let mut writer = ArrowWriter::try_new(private::create(path)?, reader.schema(), Some(properties.build()))?;
    for batch in reader {
        for slice in slices(&batch?) {
            if stop::requested() {
                return Err(Unwritten::Stopped);
            }
            writer.write(&slice)?;
        }
    }
    Ok(writer.into_inner()?.sync_all()?)
}

/// A stream that foreign code pulls: a panic must not unwind into it.
struct Caught(Reader);

impl Iterator for Caught {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        match caught(|| self.0.next()) {
            (Ok(next), false) => next,
            (_, true) => Some(Err(ArrowError::MemoryError(
                "the memory that this process may use did not suffice".to_owned(),
            ))),
            (Err(_), false) => Some(Err(ArrowError::CDataInterface(
                "a fault in aipl itself, please report it".to_owned(),
            ))),
        }
    }
}
