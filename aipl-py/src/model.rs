//! `StageModel` of the core.

use aipl_core::model::{ModelError, StageModel};
use pyo3::prelude::*;

use crate::guard::guard;
use crate::runtime::guarded;

/// A checked stage model.
#[pyclass(frozen, module = "aipl._core", name = "StageModel")]
pub struct PyModel {
    pub inner: StageModel,
}

impl PyModel {
    fn read(py: Python<'_>, read: impl FnOnce() -> Result<StageModel, ModelError> + Send) -> PyResult<Self> {
        guarded(py, read).map(|inner| PyModel { inner })
    }
}

#[pymethods]
impl PyModel {
    #[staticmethod]
    fn presets(py: Python<'_>) -> PyResult<Vec<&'static str>> {
        guard(py, || Ok(StageModel::presets().collect()))
    }

    #[staticmethod]
    fn preset(py: Python<'_>, name: &str) -> PyResult<Self> {
        guard(py, || Self::read(py, || StageModel::preset(name)))
    }

    #[staticmethod]
    fn from_toml(py: Python<'_>, text: &str) -> PyResult<Self> {
        guard(py, || Self::read(py, || StageModel::from_toml(text)))
    }

    #[staticmethod]
    fn from_json(py: Python<'_>, text: &str) -> PyResult<Self> {
        guard(py, || Self::read(py, || StageModel::from_json(text)))
    }

    fn to_toml(&self, py: Python<'_>) -> PyResult<String> {
        guarded(py, || Ok::<_, ModelError>(self.inner.to_toml()))
    }

    fn to_json(&self, py: Python<'_>) -> PyResult<String> {
        guarded(py, || Ok::<_, ModelError>(self.inner.to_json()))
    }

    fn describe(&self, py: Python<'_>) -> PyResult<String> {
        guarded(py, || Ok::<_, ModelError>(self.inner.describe()))
    }

    fn __eq__(&self, py: Python<'_>, other: &PyModel) -> PyResult<bool> {
        guard(py, || Ok(self.inner == other.inner))
    }

    #[getter]
    fn id(&self, py: Python<'_>) -> PyResult<&str> {
        guard(py, || Ok(self.inner.id.as_str()))
    }

    #[getter]
    fn version(&self, py: Python<'_>) -> PyResult<i64> {
        guard(py, || Ok(self.inner.version))
    }

    #[getter]
    fn scope(&self, py: Python<'_>) -> PyResult<&'static str> {
        guard(py, || Ok(self.inner.scope.name()))
    }

    /// Codes and names, lowest first.
    #[getter]
    fn stages(&self, py: Python<'_>) -> PyResult<Vec<(&str, &str)>> {
        guard(py, || {
            Ok(self
                .inner
                .stages
                .iter()
                .map(|stage| (stage.code.as_str(), stage.name.as_str()))
                .collect())
        })
    }
}
