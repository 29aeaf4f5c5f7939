//! `DataBank` of the core.

use std::path::PathBuf;
use std::time::Duration;

use aipl_core::Error;
use aipl_core::bank::{BankError, CreateParams, DataBank, IngestParams, LinkParams, LinkRules, Mode};
use aipl_core::base::Day;
use aipl_core::identity::Unknown;
use aipl_core::timeline::Timelines;
use pyo3::prelude::*;
use serde_json::Value;

use crate::audience::{PyAudience, PyUniverse};
use crate::events::PyEvents;
use crate::guard::guard;
use crate::identity::{How, PyIdentityMap, PyRows, guards, reading};
use crate::model::PyModel;
use crate::runtime::{detached, guarded};
use crate::schema::PySchema;

/// A bank that is open. Plain data goes out as JSON.
#[pyclass(frozen, module = "aipl._core", name = "DataBank")]
pub struct PyDataBank {
    pub inner: DataBank,
}

/// Id types as JSON, the guards, the id type of consumers, and whether unknown ones are rejected.
type Rules = (String, Option<u32>, Option<u32>, String, bool);

fn link_rules((types, max_people_per_id, max_component, id_type, reject): Rules) -> Result<LinkRules, Error> {
    let types = serde_json::from_str(&types).map_err(|error| Error::Parameter(format!("id_types: {error}")))?;
    Ok(LinkRules {
        types,
        guards: guards(max_people_per_id, max_component),
        id_type,
        unknown: if reject { Unknown::Reject } else { Unknown::Keep },
    })
}

fn json(values: impl IntoIterator<Item = Value>) -> String {
    Value::Array(values.into_iter().collect()).to_string()
}

#[pymethods]
impl PyDataBank {
    #[staticmethod]
    #[pyo3(signature = (path, schema, tz, model=None))]
    fn create(py: Python<'_>, path: PathBuf, schema: &PySchema, tz: &str, model: Option<&PyModel>) -> PyResult<Self> {
        guard(py, || {
            let params = CreateParams {
                model: model.map(|model| model.inner.clone()),
            };
            let inner = guarded(py, || DataBank::create(&path, schema.inner.clone(), tz, params))?;
            Ok(PyDataBank { inner })
        })
    }

    #[staticmethod]
    fn open(py: Python<'_>, path: PathBuf, mode: &str, timeout: f64) -> PyResult<Self> {
        guard(py, || {
            let inner = guarded(py, || {
                let timeout = Duration::try_from_secs_f64(timeout).unwrap_or(Duration::MAX);
                Mode::parse(mode, timeout).and_then(|mode| DataBank::open(&path, mode))
            })?;
            Ok(PyDataBank { inner })
        })
    }

    #[pyo3(signature = (events, batch_id, memory_limit, compact, progress=None))]
    fn ingest(
        &self,
        py: Python<'_>,
        events: &PyEvents,
        batch_id: &str,
        memory_limit: u64,
        compact: bool,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<String> {
        guard(py, || {
            let params = IngestParams { memory_limit, compact };
            detached(py, progress.as_ref(), |runtime| {
                let report = self.inner.ingest(&events.inner, batch_id, &params, runtime)?;
                Ok::<_, BankError>(report.to_json().to_string())
            })
        })
    }

    #[pyo3(signature = (progress=None))]
    fn compact(&self, py: Python<'_>, progress: Option<Py<PyAny>>) -> PyResult<String> {
        detached(py, progress.as_ref(), |runtime| {
            self.inner.compact(runtime).map(|report| report.to_json().to_string())
        })
    }

    fn vacuum(&self, py: Python<'_>) -> PyResult<String> {
        guarded(py, || self.inner.vacuum().map(|report| report.to_json().to_string()))
    }

    fn expire(&self, py: Python<'_>, before: &str) -> PyResult<String> {
        detached(py, None, |runtime| {
            let before: Day = before.parse()?;
            Ok::<_, Error>(self.inner.expire(before, runtime)?.to_json().to_string())
        })
    }

    #[pyo3(signature = (day, model=None))]
    fn materialize(&self, py: Python<'_>, day: &str, model: Option<&PyModel>) -> PyResult<String> {
        guard(py, || {
            let model = model.map(|model| &model.inner);
            detached(py, None, |runtime| {
                let day: Day = day.parse()?;
                Ok::<_, Error>(self.inner.materialize(day, model, runtime)?.to_json().to_string())
            })
        })
    }

    #[pyo3(signature = (day, model=None))]
    fn drop_day(&self, py: Python<'_>, day: &str, model: Option<&PyModel>) -> PyResult<u64> {
        guard(py, || {
            let model = model.map(|model| &model.inner);
            guarded(py, || {
                let day: Day = day.parse()?;
                Ok::<_, Error>(self.inner.drop_day(day, model)?)
            })
        })
    }

    fn drop_batches(&self, py: Python<'_>, batch_ids: Vec<String>) -> PyResult<String> {
        detached(py, None, |runtime| {
            let ids: Vec<&str> = batch_ids.iter().map(String::as_str).collect();
            self.inner.drop_batches(&ids, runtime).map(|report| report.to_json().to_string())
        })
    }

    fn kept_days(&self, py: Python<'_>) -> PyResult<Vec<(String, String, bool)>> {
        guard(py, || {
            let days = self.inner.kept_days().into_iter();
            Ok(days.map(|kept| (kept.day.to_string(), kept.model, kept.whole)).collect())
        })
    }

    fn as_of_commit(&self, py: Python<'_>, seq: u64) -> PyResult<Self> {
        guard(py, || {
            let inner = guarded(py, || self.inner.as_of_commit(seq))?;
            Ok(PyDataBank { inner })
        })
    }

    fn refresh(&self, py: Python<'_>) -> PyResult<u64> {
        guarded(py, || self.inner.refresh())
    }

    fn save_audience(&self, py: Python<'_>, name: &str, audience: &PyAudience, note: &str) -> PyResult<String> {
        detached(py, None, |runtime| {
            let saved = self.inner.save_audience(name, &audience.inner, note, runtime);
            saved.map(|saved| saved.to_json().to_string())
        })
    }

    #[pyo3(signature = (name, version=None))]
    fn audience(&self, py: Python<'_>, name: &str, version: Option<u32>) -> PyResult<PyAudience> {
        detached(py, None, |runtime| self.inner.audience(name, version, runtime)).map(PyAudience::new)
    }

    fn audiences(&self, py: Python<'_>) -> PyResult<String> {
        guard(py, || Ok(json(self.inner.audiences().iter().map(|audience| audience.to_json()))))
    }

    fn drop_audience(&self, py: Python<'_>, name: &str) -> PyResult<u64> {
        guarded(py, || self.inner.drop_audience(name))
    }

    fn files(&self, py: Python<'_>, folder: &str) -> PyResult<Vec<PathBuf>> {
        guarded(py, || self.inner.files(folder))
    }

    /// `rules` are the id types as JSON, two guards, the id type of consumers, and whether unknown ones are rejected.
    #[pyo3(signature = (rows, batch_id, rules, how, progress=None))]
    fn ingest_links(
        &self,
        py: Python<'_>,
        rows: &PyRows,
        batch_id: &str,
        rules: Option<Rules>,
        how: (How, bool),
        progress: Option<Py<PyAny>>,
    ) -> PyResult<String> {
        detached(py, progress.as_ref(), |runtime| {
            let rules = rules.map(link_rules).transpose()?;
            let (how, forget_expired) = how;
            let (reading, on_error) = reading(how)?;
            let params = LinkParams { on_error, forget_expired };
            let report = self
                .inner
                .ingest_links(&*rows.source, batch_id, rules.as_ref(), &reading, &params, runtime)?;
            Ok::<_, Error>(report.to_json().to_string())
        })
    }

    fn identity(&self, py: Python<'_>) -> PyResult<Option<PyIdentityMap>> {
        guard(py, || {
            let people = detached(py, None, |runtime| self.inner.identity(runtime))?;
            Ok(people.map(|people| PyIdentityMap {
                inner: people.map().clone(),
            }))
        })
    }

    fn commits(&self, py: Python<'_>) -> PyResult<String> {
        guard(py, || Ok(json(self.inner.commits())))
    }

    fn info(&self, py: Python<'_>) -> PyResult<String> {
        guard(py, || Ok(self.inner.info().to_string()))
    }

    fn verify(&self, py: Python<'_>) -> PyResult<String> {
        detached(py, None, |runtime| {
            self.inner.verify(runtime).map(|report| report.to_json().to_string())
        })
    }

    fn backup(&self, py: Python<'_>, path: PathBuf) -> PyResult<u64> {
        detached(py, None, |runtime| self.inner.backup(&path, runtime))
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        guarded(py, || self.inner.close())
    }

    fn events(&self, py: Python<'_>) -> PyResult<PyEvents> {
        guard(py, || {
            let inner = guarded(py, || self.inner.events())?;
            Ok(PyEvents { inner })
        })
    }

    fn universe(&self, py: Python<'_>) -> PyResult<PyUniverse> {
        detached(py, None, |runtime| self.inner.consumers(runtime)).map(PyUniverse::new)
    }

    /// The mapping of columns that the bank was created with, as JSON.
    fn source_schema(&self, py: Python<'_>) -> PyResult<String> {
        guard(py, || Ok(self.inner.source_schema().to_json().to_string()))
    }

    /// The mapping of the bank's own columns, as JSON.
    fn schema(&self, py: Python<'_>) -> PyResult<String> {
        guard(py, || Ok(Timelines::schema(&self.inner).to_json().to_string()))
    }

    /// The stage model of kept days, as JSON.
    fn model(&self, py: Python<'_>) -> PyResult<Option<String>> {
        guard(py, || Ok(self.inner.model().map(|model| model.to_json())))
    }

    #[getter]
    fn tz(&self, py: Python<'_>) -> PyResult<String> {
        guard(py, || Ok(self.inner.zone().name().to_owned()))
    }

    #[getter]
    fn commit(&self, py: Python<'_>) -> PyResult<u64> {
        guard(py, || Ok(self.inner.commit_seq()))
    }

    #[getter]
    fn writes(&self, py: Python<'_>) -> PyResult<bool> {
        guard(py, || Ok(self.inner.is_writer()))
    }
}
