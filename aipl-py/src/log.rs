//! `EventLog` of the core, and what questions can be asked of: events or a log.

use aipl_core::Error;
use aipl_core::analyses::{IdentityCounts, Report};
use aipl_core::timeline::{EventLog, Timelines};
use pyo3::prelude::*;

use crate::audience::PyUniverse;
use crate::bank::PyDataBank;
use crate::events::PyEvents;
use crate::guard::guard;
use crate::runtime::{detached, guarded};

/// Events in memory.
#[pyclass(frozen, module = "aipl._core", name = "EventLog")]
pub struct PyEventLog {
    pub inner: EventLog,
}

/// What a question is asked of.
#[derive(FromPyObject)]
pub enum PySource<'py> {
    /// Lazy events.
    Events(PyRef<'py, PyEvents>),
    /// A log.
    Log(PyRef<'py, PyEventLog>),
    /// A bank.
    Bank(PyRef<'py, PyDataBank>),
}

impl PySource<'_> {
    /// The same in the core; cheap, since both are shared.
    pub fn timelines(&self) -> Box<dyn Timelines> {
        match self {
            PySource::Events(events) => Box::new(events.inner.clone()),
            PySource::Log(log) => Box::new(log.inner.clone()),
            PySource::Bank(bank) => Box::new(bank.inner.clone()),
        }
    }
}

#[pymethods]
impl PyEventLog {
    #[staticmethod]
    #[pyo3(signature = (events, columns=None, progress=None))]
    fn load(py: Python<'_>, events: &PyEvents, columns: Option<Vec<String>>, progress: Option<Py<PyAny>>) -> PyResult<Self> {
        guard(py, || {
            let inner = detached(py, progress.as_ref(), |runtime| {
                events.inner.log(columns.as_deref(), None, runtime).map_err(Error::from)
            })?;
            Ok(PyEventLog { inner })
        })
    }

    /// What the log holds, as JSON.
    fn info(&self, py: Python<'_>) -> PyResult<String> {
        guarded(py, || Ok::<_, Error>(self.inner.info().to_string()))
    }

    /// The account of the rows that were read to make it, as JSON.
    fn report(&self, py: Python<'_>) -> PyResult<String> {
        guard(py, || {
            let (elapsed, threads) = self.inner.effort();
            let report = Report {
                tally: self.inner.tally().clone(),
                notes: Vec::new(),
                elapsed,
                threads,
                identity: IdentityCounts::of(self.inner.universe()),
            };
            Ok(report.to_json().to_string())
        })
    }

    #[getter]
    fn universe(&self, py: Python<'_>) -> PyResult<PyUniverse> {
        guard(py, || Ok(PyUniverse::new(self.inner.universe().clone())))
    }

    #[getter]
    fn tz(&self, py: Python<'_>) -> PyResult<String> {
        guard(py, || Ok(self.inner.zone().name().to_owned()))
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        guard(py, || Ok(self.inner.rows()))
    }
}
