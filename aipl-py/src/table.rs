//! Results as Arrow streams: tables in memory, and labels that are made while they are read.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aipl_core::Error;
use aipl_core::analyses::Snapshot;
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
use pyo3_arrow::error::PyArrowResult;
use pyo3_arrow::ffi::{ArrayIterator, to_schema_pycapsule, to_stream_pycapsule};

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
        let column = |at: usize| -> ArrayRef {
            let texts = rows.iter().map(|row| row.get(at).and_then(Option::as_deref));
            Arc::new(StringArray::from_iter(texts))
        };
        let fields: Vec<Field> = columns.iter().map(|name| Field::new(name, DataType::Utf8, true)).collect();
        let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), (0..columns.len()).map(column).collect());
        let batch = batch.map_err(|error| crate::errors::exception(py, "ParameterError", &error.to_string()))?;
        Ok(PyTable::of_batch(batch))
    }

    /// Writes the table as a Parquet file.
    fn write_parquet(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        let reader = self.reader(py)?;
        guarded(py, || write_parquet(reader, &path))
    }

    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyCapsule>>,
    ) -> PyArrowResult<Bound<'py, PyCapsule>> {
        let reader = self.reader(py)?;
        let schema = self.schema();
        let field = Field::new_struct("", schema.fields().clone(), false).with_metadata(schema.metadata().clone());
        let arrays = Caught(reader).map(|batch| batch.map(|batch| Arc::new(StructArray::from(batch)) as ArrayRef));
        to_stream_pycapsule(py, Box::new(ArrayIterator::new(arrays, Arc::new(field))), requested_schema)
    }

    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyArrowResult<Bound<'py, PyCapsule>> {
        to_schema_pycapsule(py, self.schema().as_ref())
    }

    fn __len__(&self) -> usize {
        match &self.rows {
            Rows::Batch(batch) => batch.num_rows(),
            Rows::Stream { count, .. } => *count,
        }
    }

    #[getter]
    fn columns(&self) -> Vec<String> {
        self.schema().fields().iter().map(|field| field.name().clone()).collect()
    }

    /// The first rows (or all) as lists by column.
    #[pyo3(signature = (limit=None))]
    fn to_pydict<'py>(&self, py: Python<'py>, limit: Option<usize>) -> PyResult<Bound<'py, PyDict>> {
        let (lists, mut left) = (PyDict::new(py), limit.unwrap_or(usize::MAX));
        for name in self.columns() {
            lists.set_item(name, PyList::empty(py))?;
        }
        for batch in Caught(self.reader(py)?) {
            let batch = batch.map_err(|error| crate::errors::exception(py, "InternalError", &error.to_string()))?;
            let rows = left.min(batch.num_rows());
            for (name, column) in self.columns().iter().zip(batch.columns()) {
                if let Some(list) = lists.get_item(name)? {
                    append(&list.cast_into::<PyList>()?, &column.slice(0, rows))?;
                }
            }
            left -= rows;
            if left == 0 {
                break;
            }
        }
        Ok(lists)
    }
}

fn write_parquet(reader: Reader, path: &Path) -> Result<(), SourceError> {
    let failed = |problem: String| SourceError::Io {
        path: path.display().to_string(),
        problem,
    };
    let file = File::create(path).map_err(|error| failed(error.to_string()))?;
    let properties = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default()));
    let mut writer = ArrowWriter::try_new(file, reader.schema(), Some(properties.build())).map_err(|error| failed(error.to_string()))?;
    for batch in reader {
        let batch = batch.map_err(|error| failed(error.to_string()))?;
        writer.write(&batch).map_err(|error| failed(error.to_string()))?;
    }
    let file = writer.into_inner().map_err(|error| failed(error.to_string()))?;
    file.sync_all().map_err(|error| failed(error.to_string()))
}

/// A panic must not unwind into the foreign code that pulls a stream.
struct Caught(Reader);

impl Iterator for Caught {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        catch_unwind(AssertUnwindSafe(|| self.0.next())).unwrap_or_else(|_| {
            Some(Err(ArrowError::CDataInterface(
                "a fault in aipl itself, please report it".to_owned(),
            )))
        })
    }
}
