//! `StageModel` of the core.

use aipl_core::model::{ModelError, StageModel};
use pyo3::prelude::*;

use crate::runtime::guarded;

/// A checked stage model.
#[pyclass(frozen, eq, module = "aipl._core", name = "StageModel")]
#[derive(PartialEq)]
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
    fn presets() -> Vec<&'static str> {
        StageModel::presets().collect()
    }

    #[staticmethod]
    fn preset(py: Python<'_>, name: &str) -> PyResult<Self> {
        Self::read(py, || StageModel::preset(name))
    }

    #[staticmethod]
    fn from_toml(py: Python<'_>, text: &str) -> PyResult<Self> {
        Self::read(py, || StageModel::from_toml(text))
    }

    #[staticmethod]
    fn from_json(py: Python<'_>, text: &str) -> PyResult<Self> {
        Self::read(py, || StageModel::from_json(text))
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

    #[getter]
    fn id(&self) -> &str {
        &self.inner.id
    }

    #[getter]
    fn version(&self) -> i64 {
        self.inner.version
    }

    #[getter]
    fn scope(&self) -> &'static str {
        self.inner.scope.name()
    }

    /// Codes and names, lowest first.
    #[getter]
    fn stages(&self) -> Vec<(&str, &str)> {
        self.inner
            .stages
            .iter()
            .map(|stage| (stage.code.as_str(), stage.name.as_str()))
            .collect()
    }
}
