//! Arrow data of other libraries as a source of the core.
//!
//! An object that can export its stream again is asked for it at each question. A one-shot stream is kept as it is
//! read, so that a second question finds the same rows.

use std::sync::{Arc, Mutex, PoisonError};

use aipl_core::Error;
use aipl_core::base::stop;
use aipl_core::source::SourceError;
use aipl_core::source::memory::StreamSource;
use arrow::array::{RecordBatch, RecordBatchReader};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyCapsule;
use pyo3_arrow::input::AnyRecordBatch;
use pyo3_arrow::{PyRecordBatch, PyRecordBatchReader};

use crate::c_schema;
use crate::runtime::quick;

type Reader = Box<dyn RecordBatchReader + Send>;

/// Opens an object's stream of record batches.
pub fn open(data: &Bound<'_, PyAny>) -> PyResult<Reader> {
    let place = data.get_type().name()?.to_string();
    if data.hasattr("__arrow_c_array__")? {
        let (schema, array) = data
            .call_method0("__arrow_c_array__")?
            .extract::<(Bound<'_, PyCapsule>, Bound<'_, PyCapsule>)>()?;
        c_schema::check_batch(&schema, &place)?;
        AnyRecordBatch::RecordBatch(PyRecordBatch::from_arrow_pycapsule(&schema, &array)?).into_reader()
    } else if data.hasattr("__arrow_c_stream__")? {
        let stream = data.call_method0("__arrow_c_stream__")?.cast_into::<PyCapsule>()?;
        c_schema::check_stream(&stream, &place)?;
        PyRecordBatchReader::from_arrow_pycapsule(&stream)?.into_reader()
    } else {
        Err(PyTypeError::new_err("it has neither __arrow_c_stream__ nor __arrow_c_array__"))
    }
}

/// All batches of a table; one without rows, if there are none, so that its columns are known.
///
/// They are drawn on the calling thread, where the producer's own code may run, and a signal is heard between two of
/// them.
pub fn all(py: Python<'_>, mut reader: Reader, place: &str) -> PyResult<Vec<RecordBatch>> {
    let mut batches = Vec::new();
    while let Some(batch) = py.detach(|| reader.next()) {
        py.check_signals()?;
        batches.push(quick(py, || batch.map_err(|error| failed(place, &error)))?);
    }
    if batches.is_empty() {
        batches.push(RecordBatch::new_empty(reader.schema()));
    }
    Ok(batches)
}

/// Whether every column is what it claims to be.
pub fn check(batches: &[RecordBatch], place: &str) -> Result<(), Error> {
    for column in batches.iter().flat_map(RecordBatch::columns) {
        stop::checkpoint()?;
        column.to_data().validate_full().map_err(|error| failed(place, &error))?;
    }
    Ok(())
}

fn failed(place: &str, error: &ArrowError) -> SourceError {
    SourceError::Stream {
        place: place.to_owned(),
        problem: error.to_string(),
    }
}

/// A source over an object that exports an Arrow stream.
pub fn source(data: &Bound<'_, PyAny>, place: &str, rows: Option<u64>, again: bool) -> PyResult<StreamSource> {
    let reader = open(data).map_err(|error| {
        let py = data.py();
        // What the object itself raises is kept; what says that it is no table becomes a plain type error.
        if error.is_instance_of::<pyo3::exceptions::PyValueError>(py) || error.is_instance_of::<PyTypeError>(py) {
            PyTypeError::new_err(format!("data: {place} exports no Arrow table: {}", error.value(py)))
        } else {
            error
        }
    })?;
    let schema = reader.schema();
    let open: Box<dyn Fn() -> Result<Reader, SourceError> + Send + Sync> = if again {
        drop(reader);
        let (data, place, schema) = (data.clone().unbind(), place.to_owned(), schema.clone());
        Box::new(move || reopen(&data, &place, &schema))
    } else {
        let kept = Arc::new(Kept {
            schema: schema.clone(),
            state: Mutex::new(State {
                batches: Vec::new(),
                rest: Rest::Reader(reader),
            }),
        });
        Box::new(move || {
            Ok(Box::new(Replay {
                kept: kept.clone(),
                next: 0,
            }))
        })
    };
    Ok(StreamSource::new(place, schema, rows, open))
}

fn reopen(data: &Py<PyAny>, place: &str, schema: &SchemaRef) -> Result<Reader, SourceError> {
    let failed = |problem: String| SourceError::Stream {
        place: place.to_owned(),
        problem,
    };
    let opened = Python::try_attach(|py| open(data.bind(py)).map_err(|error| error.to_string()));
    let reader = opened
        .unwrap_or_else(|| Err("the interpreter has ended".to_owned()))
        .map_err(failed)?;
    if reader.schema().fields() == schema.fields() {
        Ok(reader)
    } else {
        Err(failed(
            "its columns are not those that it had when from_arrow was called".to_owned(),
        ))
    }
}

/// A one-shot stream with what has been read of it so far.
struct Kept {
    schema: SchemaRef,
    state: Mutex<State>,
}

struct State {
    batches: Vec<RecordBatch>,
    rest: Rest,
}

enum Rest {
    Reader(Reader),
    End,
    /// The stream failed; what was read of it must not pass for the whole.
    Failed(String),
}

/// Reads a kept stream from its start.
struct Replay {
    kept: Arc<Kept>,
    next: usize,
}

impl Iterator for Replay {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut state = self.kept.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(batch) = state.batches.get(self.next) {
            self.next += 1;
            return Some(Ok(batch.clone()));
        }
        let read = match &mut state.rest {
            Rest::Reader(reader) => reader.next(),
            Rest::End => None,
            Rest::Failed(problem) => Some(Err(ArrowError::CDataInterface(problem.clone()))),
        };
        match &read {
            Some(Ok(batch)) => {
                state.batches.push(batch.clone());
                self.next += 1;
            }
            Some(Err(error)) => state.rest = Rest::Failed(error.to_string()),
            None => state.rest = Rest::End,
        }
        read
    }
}

impl RecordBatchReader for Replay {
    fn schema(&self) -> SchemaRef {
        self.kept.schema.clone()
    }
}
