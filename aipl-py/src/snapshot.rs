//! `Snapshot` of the core.

use aipl_core::Error;
use aipl_core::analyses::{Snapshot, SnapshotParams, snapshot};
use aipl_core::base::Day;
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::audience::{PyAudience, PyUniverse};
use crate::guard::guard;
use crate::ids::{PyScope, scope_object, scope_value};
use crate::log::PySource;
use crate::model::PyModel;
use crate::runtime::{detached, guarded};
use crate::table::PyTable;

/// The stages of all consumers at the close of a day.
#[pyclass(frozen, module = "aipl._core", name = "Snapshot")]
pub struct PySnapshot {
    inner: Snapshot,
}

#[pymethods]
impl PySnapshot {
    #[staticmethod]
    #[pyo3(signature = (source, model, as_of, scopes=None, progress=None))]
    fn take(
        py: Python<'_>,
        source: PySource<'_>,
        model: &PyModel,
        as_of: &str,
        scopes: Option<Vec<PyScope>>,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        guard(py, || {
            let source = source.timelines();
            let scopes = scopes.map(|scopes| scopes.into_iter().map(scope_value).collect());
            let inner = detached(py, progress.as_ref(), |runtime| {
                let day: Day = as_of.parse()?;
                Ok::<_, Error>(snapshot(&*source, &model.inner, day, &SnapshotParams { scopes }, runtime)?)
            })?;
            Ok(PySnapshot { inner })
        })
    }

    fn counts(&self, py: Python<'_>) -> PyResult<PyTable> {
        guarded(py, || Ok::<_, Error>(self.inner.counts())).map(PyTable::of_batch)
    }

    #[pyo3(signature = (scope=None))]
    fn labels(&self, py: Python<'_>, scope: Option<PyScope>) -> PyResult<PyTable> {
        guard(py, || PyTable::of_labels(py, &self.inner, scope.map(scope_value)))
    }

    fn audience(&self, py: Python<'_>, scope: PyScope, stage: &str) -> PyResult<PyAudience> {
        guard(py, || {
            let scope = scope_value(scope);
            guarded(py, || self.inner.audience(&scope, stage)).map(PyAudience::new)
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

    /// The number of labels of all scopes.
    fn label_count(&self, py: Python<'_>) -> PyResult<i64> {
        guarded(py, || self.inner.label_count(None))
    }

    fn universe(&self, py: Python<'_>) -> PyResult<PyUniverse> {
        guarded(py, || self.inner.universe()).map(PyUniverse::new)
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
