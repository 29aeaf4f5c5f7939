//! `Audience` and `Universe` of the core.

use std::sync::Arc;

use aipl_core::Error;
use aipl_core::audience::{Audience, AudienceError};
use aipl_core::base::{IdKind, IdValue, stop};
use aipl_core::timeline::Universe;
use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString};

use crate::guard::guard;
use crate::ids::{PyId, id_object, list_of, values_of};
use crate::runtime::{guarded, quick};
use crate::table::PyTable;

/// The consumers of one answer.
#[pyclass(frozen, module = "aipl._core", name = "Universe")]
pub struct PyUniverse {
    inner: Arc<Universe>,
}

impl PyUniverse {
    pub fn new(inner: Arc<Universe>) -> Self {
        PyUniverse { inner }
    }
}

#[pymethods]
impl PyUniverse {
    fn to_bytes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        guard(py, || {
            let bytes = guarded(py, || Ok::<_, Error>(self.inner.to_bytes()))?;
            Ok(PyBytes::new(py, &bytes))
        })
    }

    #[staticmethod]
    fn from_bytes(py: Python<'_>, data: &[u8]) -> PyResult<Self> {
        guard(py, || {
            guarded(py, || Universe::from_bytes(data)).map(|universe| PyUniverse::new(Arc::new(universe)))
        })
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        guard(py, || Ok(self.inner.len()))
    }

    fn contains(&self, py: Python<'_>, id: PyId) -> PyResult<bool> {
        guard(py, || Ok(self.inner.find(&id.into()).is_some()))
    }

    #[getter]
    fn fingerprint(&self, py: Python<'_>) -> PyResult<String> {
        guard(py, || Ok(format!("{:032x}", self.inner.fingerprint())))
    }

    /// Consumers whose identifiers are lost.
    #[getter]
    fn lost_ids(&self, py: Python<'_>) -> PyResult<u64> {
        guard(py, || Ok(self.inner.lost().len()))
    }

    /// `int64` or `text`.
    #[getter]
    fn id_type(&self, py: Python<'_>) -> PyResult<String> {
        guard(py, || Ok(self.inner.id_kind().to_string()))
    }

    #[getter]
    fn nbytes(&self, py: Python<'_>) -> PyResult<usize> {
        guard(py, || Ok(self.inner.nbytes()))
    }
}

/// A set of consumers.
#[pyclass(frozen, module = "aipl._core", name = "Audience")]
pub struct PyAudience {
    pub inner: Audience,
}

impl PyAudience {
    pub fn new(inner: Audience) -> Self {
        PyAudience { inner }
    }

    fn combine(
        &self,
        py: Python<'_>,
        other: &PyAudience,
        combine: impl FnOnce(&Audience, &Audience) -> Result<Audience, AudienceError> + Send,
    ) -> PyResult<Self> {
        guarded(py, || combine(&self.inner, &other.inner)).map(PyAudience::new)
    }
}

#[pymethods]
impl PyAudience {
    /// The universe, if the audience came with one.
    #[getter]
    fn universe(&self, py: Python<'_>) -> PyResult<Option<PyUniverse>> {
        guard(py, || {
            Ok(self.inner.universe().ok().map(|universe| PyUniverse::new(universe.clone())))
        })
    }

    #[staticmethod]
    #[pyo3(signature = (data, universe=None, made=None))]
    fn from_bytes(py: Python<'_>, data: &[u8], universe: Option<&PyUniverse>, made: Option<&str>) -> PyResult<Self> {
        guard(py, || {
            let universe = universe.map(|universe| universe.inner.clone());
            let read = guarded(py, || {
                let audience = Audience::from_bytes(data, universe)?;
                Ok::<_, AudienceError>(match (made, audience.universe().cloned()) {
                    (Some(made), Ok(universe)) => Audience::new(audience.bits().clone(), universe, made),
                    _ => audience,
                })
            })?;
            Ok(PyAudience::new(read))
        })
    }

    #[staticmethod]
    fn from_ids(py: Python<'_>, ids: &Bound<'_, PyList>, universe: &PyUniverse, made: &str) -> PyResult<Self> {
        guard(py, || {
            let ids = values_of(ids, |id| id.extract::<PyId>())?;
            guarded(py, || {
                let ids = ids.into_iter().take_while(|_| !stop::requested()).map(IdValue::from);
                let audience = Audience::of_ids(&universe.inner, ids, made);
                stop::checkpoint().map(|()| audience)
            })
            .map(PyAudience::new)
        })
    }

    fn to_bytes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        guard(py, || {
            let bytes = guarded(py, || Ok::<_, Error>(self.inner.to_bytes()))?;
            Ok(PyBytes::new(py, &bytes))
        })
    }

    fn union(&self, py: Python<'_>, other: &PyAudience) -> PyResult<Self> {
        guard(py, || self.combine(py, other, Audience::or))
    }

    fn intersection(&self, py: Python<'_>, other: &PyAudience) -> PyResult<Self> {
        guard(py, || self.combine(py, other, Audience::and))
    }

    fn difference(&self, py: Python<'_>, other: &PyAudience) -> PyResult<Self> {
        guard(py, || self.combine(py, other, Audience::minus))
    }

    fn symmetric_difference(&self, py: Python<'_>, other: &PyAudience) -> PyResult<Self> {
        guard(py, || self.combine(py, other, Audience::xor))
    }

    fn overlap(&self, py: Python<'_>, other: &PyAudience) -> PyResult<u64> {
        guarded(py, || self.inner.overlap(&other.inner))
    }

    fn is_subset(&self, py: Python<'_>, other: &PyAudience) -> PyResult<bool> {
        guarded(py, || self.inner.is_subset(&other.inner))
    }

    fn equals(&self, py: Python<'_>, other: &PyAudience) -> PyResult<bool> {
        guard(py, || Ok(self.inner == other.inner))
    }

    fn sample(&self, py: Python<'_>, count: u64, seed: u64) -> PyResult<Self> {
        guarded(py, || self.inner.sample(count, seed)).map(PyAudience::new)
    }

    fn contains(&self, py: Python<'_>, id: PyId) -> PyResult<bool> {
        guard(py, || quick(py, || self.inner.contains(&id.into())))
    }

    fn ids<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        guard(py, || {
            let ids = guarded(py, || self.inner.ids())?;
            list_of(py, &ids, |id| id_object(py, id))
        })
    }

    /// Consumers without an identifier; 0 where there is no universe that could tell.
    #[getter]
    fn lost_ids(&self, py: Python<'_>) -> PyResult<u64> {
        guard(py, || Ok(self.inner.lost_ids().unwrap_or(0)))
    }

    /// All values of an id type behind the persons, in order.
    fn ids_of_type<'py>(&self, py: Python<'py>, id_type: &str) -> PyResult<Bound<'py, PyList>> {
        guard(py, || {
            let ids = guarded(py, || self.inner.ids_of_type(id_type))?;
            list_of(py, &ids, |id| Ok(PyString::new(py, id).into_any()))
        })
    }

    /// The consumers of values of an id type, and what became of the values as JSON.
    #[staticmethod]
    fn of_type(py: Python<'_>, values: &Bound<'_, PyList>, universe: &PyUniverse, id_type: &str, made: &str) -> PyResult<(Self, String)> {
        guard(py, || {
            let values = values_of(values, |value| value.extract::<Option<PyId>>())?;
            let text = |value: PyId| IdValue::from(value).to_string();
            let (audience, found) = guarded(py, || {
                let values: Vec<Option<String>> = values.into_iter().map(|value| value.map(text)).collect();
                Audience::of_type(&universe.inner, id_type, values.iter().map(Option::as_deref), made)
            })?;
            let matched = &found.found;
            let report = serde_json::json!({
                "values": matched.values, "blank": matched.blank, "malformed": matched.malformed, "distinct": matched.distinct,
                "matched": matched.matched, "unmatched": matched.unmatched, "persons": matched.persons.len(), "outside": found.outside,
            });
            Ok((PyAudience::new(audience), report.to_string()))
        })
    }

    /// One column `consumer`, in order.
    fn table(&self, py: Python<'_>) -> PyResult<PyTable> {
        guarded(py, || {
            let universe = self.inner.universe()?;
            let ordered = self.inner.ordered()?;
            let column: ArrayRef = match universe.id_kind() {
                IdKind::Int64 => Arc::new(Int64Array::from_iter_values(ordered.iter().map(|idx| universe.int(*idx)))),
                IdKind::Text => Arc::new(StringArray::from_iter_values(ordered.iter().map(|idx| universe.text(*idx)))),
            };
            RecordBatch::try_from_iter_with_nullable([("consumer", column, false)]).map_err(|error| Error::Parameter(error.to_string()))
        })
        .map(PyTable::of_batch)
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        guard(py, || Ok(usize::try_from(self.inner.len()).unwrap_or(usize::MAX)))
    }

    #[getter]
    fn fingerprint(&self, py: Python<'_>) -> PyResult<String> {
        guard(py, || Ok(format!("{:032x}", self.inner.fingerprint())))
    }

    #[getter]
    fn made(&self, py: Python<'_>) -> PyResult<&str> {
        guard(py, || Ok(self.inner.made()))
    }

    #[getter]
    fn nbytes(&self, py: Python<'_>) -> PyResult<usize> {
        guard(py, || Ok(self.inner.nbytes()))
    }
}
