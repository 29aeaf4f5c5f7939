//! `Events` of the core.

use std::sync::Arc;

use aipl_core::Error;
use aipl_core::analyses::validate;
use aipl_core::base::Zone;
use aipl_core::source::csv::CsvOptions;
use aipl_core::source::{Events, OnError, SourceError, StateColumns, StateTable};
use pyo3::prelude::*;

use crate::guard::guard;
use crate::identity::{PyIdentityMap, with_identity};
use crate::options::PyReadOptions;
use crate::runtime::{detached, guarded, quick};
use crate::schema::PySchema;
use crate::stream;

/// Lazy events.
#[pyclass(frozen, module = "aipl._core", name = "Events")]
pub struct PyEvents {
    pub inner: Events,
}

fn on_error(raise_rejected: bool) -> OnError {
    if raise_rejected { OnError::Raise } else { OnError::Reject }
}

fn scan(py: Python<'_>, raise_rejected: bool, open: impl FnOnce() -> Result<Events, SourceError> + Send) -> PyResult<PyEvents> {
    let events = guarded(py, open)?;
    Ok(PyEvents {
        inner: events.with_on_error(on_error(raise_rejected)),
    })
}

#[pymethods]
impl PyEvents {
    #[staticmethod]
    fn scan_parquet(
        py: Python<'_>,
        paths: Vec<String>,
        schema: &PySchema,
        tz: &str,
        raise_rejected: bool,
        options: &PyReadOptions,
    ) -> PyResult<Self> {
        guard(py, || {
            scan(py, raise_rejected, || {
                Events::scan_parquet_with(&paths, schema.inner.clone(), tz, options.inner)
            })
        })
    }

    #[staticmethod]
    fn scan_ipc(
        py: Python<'_>,
        paths: Vec<String>,
        schema: &PySchema,
        tz: &str,
        raise_rejected: bool,
        options: &PyReadOptions,
    ) -> PyResult<Self> {
        guard(py, || {
            scan(py, raise_rejected, || {
                Events::scan_ipc_with(&paths, schema.inner.clone(), tz, options.inner)
            })
        })
    }

    #[staticmethod]
    #[allow(clippy::too_many_arguments, reason = "one argument an option; the Python function has their names")]
    fn scan_csv(
        py: Python<'_>,
        paths: Vec<String>,
        schema: &PySchema,
        tz: &str,
        raise_rejected: bool,
        delimiter: u8,
        quote: u8,
        options: &PyReadOptions,
    ) -> PyResult<Self> {
        guard(py, || {
            let csv = CsvOptions { delimiter, quote };
            scan(py, raise_rejected, || {
                Events::scan_csv_with(&paths, schema.inner.clone(), tz, csv, options.inner)
            })
        })
    }

    #[staticmethod]
    #[allow(clippy::too_many_arguments, reason = "one argument an option; the Python function has their names")]
    fn from_arrow(
        py: Python<'_>,
        data: &Bound<'_, PyAny>,
        place: &str,
        rows: Option<u64>,
        again: bool,
        schema: &PySchema,
        tz: &str,
        raise_rejected: bool,
    ) -> PyResult<Self> {
        guard(py, || {
            let zone = quick(py, || Zone::named(tz))
                .map_err(|error| crate::errors::exception(py, "ParameterError", &format!("tz: {}", error.value(py))))?;
            let source = stream::source(data, place, rows, again)?;
            scan(py, raise_rejected, || Events::new(Arc::new(source), schema.inner.clone(), zone))
        })
    }

    #[allow(clippy::too_many_arguments, reason = "the Python signature, where each has a name")]
    fn with_states(
        &self,
        py: Python<'_>,
        table: &Bound<'_, PyAny>,
        consumer: String,
        scope: Vec<String>,
        state: String,
        start: String,
        end: String,
    ) -> PyResult<Self> {
        guard(py, || {
            let reader = stream::open(table)?;
            let batches = stream::all(py, reader, "state table")?;
            let columns = StateColumns {
                consumer,
                scope,
                state,
                from: start,
                to: end,
            };
            let inner = guarded(py, || {
                stream::check(&batches, "state table")?;
                let table = StateTable::read(&batches, &columns, self.inner.zone())?;
                Ok::<_, Error>(self.inner.clone().with_states(table)?)
            })?;
            Ok(PyEvents { inner })
        })
    }

    #[pyo3(signature = (people, id_type, column, reject))]
    fn with_identity(
        &self,
        py: Python<'_>,
        people: &PyIdentityMap,
        id_type: Option<String>,
        column: Option<String>,
        reject: bool,
    ) -> PyResult<Self> {
        guarded(py, || with_identity(self, people, id_type, column, reject))
    }

    /// Checks every row; the report as JSON.
    #[pyo3(signature = (progress=None))]
    fn validate(&self, py: Python<'_>, progress: Option<Py<PyAny>>) -> PyResult<String> {
        detached(py, progress.as_ref(), |runtime| {
            validate(&self.inner, runtime)
                .map(|report| report.to_json().to_string())
                .map_err(Error::from)
        })
    }

    #[getter]
    fn columns(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        guard(py, || {
            Ok(self
                .inner
                .source()
                .columns()
                .fields()
                .iter()
                .map(|field| field.name().clone())
                .collect())
        })
    }

    #[getter]
    fn source(&self, py: Python<'_>) -> PyResult<String> {
        guard(py, || Ok(self.inner.source().name()))
    }

    #[getter]
    fn rows(&self, py: Python<'_>) -> PyResult<Option<u64>> {
        guard(py, || Ok(self.inner.source().rows()))
    }

    #[getter]
    fn tz(&self, py: Python<'_>) -> PyResult<String> {
        guard(py, || Ok(self.inner.zone().name().to_owned()))
    }

    /// How consumers are seen, in words, if through a map.
    #[getter]
    fn identity(&self, py: Python<'_>) -> PyResult<Option<String>> {
        guard(py, || Ok(self.inner.people().map(|people| people.recipe())))
    }

    #[getter]
    fn state_periods(&self, py: Python<'_>) -> PyResult<usize> {
        guard(py, || Ok(self.inner.states().iter().map(|table| table.periods.len()).sum()))
    }
}
