//! `Flow` of the core.

use aipl_core::Error;
use aipl_core::analyses::{Flow, FlowClass, FlowMode, FlowParams, flow};
use aipl_core::base::Day;
use arrow::array::RecordBatch;
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::audience::{PyAudience, PyUniverse};
use crate::guard::guard;
use crate::ids::{PyScope, scope_object, scope_value};
use crate::log::PySource;
use crate::model::PyModel;
use crate::runtime::{detached, guarded};
use crate::table::PyTable;

/// The movement of all consumers between two days.
#[pyclass(frozen, module = "aipl._core", name = "Flow")]
pub struct PyFlow {
    inner: Flow,
    /// Whether one scope was asked for, so that tables need no column for it.
    single: bool,
}

/// A table without its scope column.
pub fn without_scope(batch: &RecordBatch) -> RecordBatch {
    let mut batch = batch.clone();
    if let Ok(place) = batch.schema().index_of("scope") {
        batch.remove_column(place);
    }
    batch
}

impl PyFlow {
    fn table<E: Into<Error>>(&self, py: Python<'_>, make: impl FnOnce() -> Result<RecordBatch, E> + Send) -> PyResult<PyTable> {
        let batch = guarded(py, make)?;
        Ok(PyTable::of_batch(if self.single { without_scope(&batch) } else { batch }))
    }
}

#[pymethods]
impl PyFlow {
    #[staticmethod]
    #[pyo3(signature = (source, model, start, end, scopes, single, within=None, mode="endpoint", progress=None))]
    #[allow(clippy::too_many_arguments, reason = "the Python signature, where each has a name")]
    fn follow(
        py: Python<'_>,
        source: PySource<'_>,
        model: &PyModel,
        start: &str,
        end: &str,
        scopes: Option<Vec<PyScope>>,
        single: bool,
        within: Option<&PyAudience>,
        mode: &str,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        guard(py, || {
            let source = source.timelines();
            let scopes = scopes.map(|scopes| scopes.into_iter().map(scope_value).collect());
            let within = within.map(|audience| audience.inner.clone());
            let inner = detached(py, progress.as_ref(), |runtime| {
                let params = FlowParams {
                    scopes,
                    within,
                    mode: FlowMode::parse(mode)?,
                };
                Ok::<_, Error>(flow(
                    &*source,
                    &model.inner,
                    start.parse::<Day>()?,
                    end.parse::<Day>()?,
                    &params,
                    runtime,
                )?)
            })?;
            Ok(PyFlow { inner, single })
        })
    }

    fn matrix(&self, py: Python<'_>) -> PyResult<PyTable> {
        guard(py, || self.table(py, || self.inner.matrix()))
    }

    fn rates(&self, py: Python<'_>) -> PyResult<PyTable> {
        guard(py, || self.table(py, || self.inner.rates()))
    }

    fn classes(&self, py: Python<'_>) -> PyResult<PyTable> {
        guard(py, || self.table(py, || self.inner.classes()))
    }

    #[pyo3(signature = (benchmark=None, scope=None))]
    fn scenes(&self, py: Python<'_>, benchmark: Option<&PyFlow>, scope: Option<PyScope>) -> PyResult<PyTable> {
        guard(py, || {
            let scope = scope.map(scope_value);
            self.table(py, || {
                let other = match (benchmark, &scope) {
                    (None, _) => None,
                    (Some(other), Some(scope)) => Some((&other.inner, other.inner.scope_index(scope)?)),
                    (Some(other), None) => Some((&other.inner, 0)),
                };
                self.inner.scenes(other)
            })
        })
    }

    fn audience(&self, py: Python<'_>, scope: PyScope, from_stages: Vec<String>, to_stages: Vec<String>) -> PyResult<PyAudience> {
        guard(py, || {
            let scope = scope_value(scope);
            guarded(py, || {
                let from: Vec<&str> = from_stages.iter().map(String::as_str).collect();
                let to: Vec<&str> = to_stages.iter().map(String::as_str).collect();
                self.inner.audience(&scope, &from, &to)
            })
            .map(PyAudience::new)
        })
    }

    #[pyo3(signature = (scope, name, from_stage=None))]
    fn class_audience(&self, py: Python<'_>, scope: PyScope, name: &str, from_stage: Option<&str>) -> PyResult<PyAudience> {
        guard(py, || {
            let scope = scope_value(scope);
            guarded(py, || self.inner.class_audience(&scope, FlowClass::parse(name)?, from_stage)).map(PyAudience::new)
        })
    }

    #[getter]
    fn scopes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        guard(py, || {
            let scopes = PyList::empty(py);
            for scope in self.inner.scopes() {
                scopes.append(scope_object(py, scope)?)?;
            }
            Ok(scopes)
        })
    }

    #[getter]
    fn universe(&self, py: Python<'_>) -> PyResult<PyUniverse> {
        guard(py, || Ok(PyUniverse::new(self.inner.universe().clone())))
    }

    /// The report as JSON.
    fn report(&self, py: Python<'_>) -> PyResult<String> {
        guard(py, || Ok(self.inner.report().to_json().to_string()))
    }

    /// The recipe as JSON.
    fn recipe(&self, py: Python<'_>) -> PyResult<String> {
        guard(py, || Ok(self.inner.recipe().to_string()))
    }
}
