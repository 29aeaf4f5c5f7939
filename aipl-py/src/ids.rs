//! External identifiers and scopes between Python and the core.

use aipl_core::base::IdValue;
use aipl_core::timeline::ScopeValue;
use pyo3::exceptions::PyMemoryError;
use pyo3::prelude::*;
use pyo3::types::PyList;

/// Values that are converted between two looks for a signal.
const STEP: usize = 1 << 16;

/// An identifier: `int` or `str`.
#[derive(FromPyObject)]
pub enum PyId {
    /// An integer.
    Int(i64),
    /// A text.
    Text(String),
}

impl From<PyId> for IdValue {
    fn from(id: PyId) -> Self {
        match id {
            PyId::Int(value) => IdValue::Int(value),
            PyId::Text(text) => IdValue::Text(text),
        }
    }
}

/// A scope: brand or store, and the category in brand × category scopes.
pub type PyScope = (PyId, Option<PyId>);

/// A scope of the core.
pub fn scope_value((main, category): PyScope) -> ScopeValue {
    ScopeValue {
        main: main.into(),
        category: category.map(Into::into),
    }
}

/// An identifier as a Python object.
pub fn id_object<'py>(py: Python<'py>, id: &IdValue) -> PyResult<Bound<'py, PyAny>> {
    Ok(match id {
        IdValue::Int(value) => value.into_pyobject(py)?.into_any(),
        IdValue::Text(text) => text.into_pyobject(py)?.into_any(),
    })
}

/// A scope as a Python object: an identifier, or a tuple of brand and category.
pub fn scope_object<'py>(py: Python<'py>, scope: &ScopeValue) -> PyResult<Bound<'py, PyAny>> {
    let main = id_object(py, &scope.main)?;
    match &scope.category {
        None => Ok(main),
        Some(category) => Ok((main, id_object(py, category)?).into_pyobject(py)?.into_any()),
    }
}

/// A Python list, made so that a signal is heard.
pub fn list_of<'py, T>(
    py: Python<'py>,
    values: impl IntoIterator<Item = T>,
    object: impl Fn(T) -> PyResult<Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyList>> {
    let list = PyList::empty(py);
    for (at, value) in values.into_iter().enumerate() {
        if at % STEP == 0 {
            py.check_signals()?;
        }
        list.append(object(value)?)?;
    }
    Ok(list)
}

/// The values of a Python list, read so that a signal is heard.
pub fn values_of<T>(list: &Bound<'_, PyList>, value: impl Fn(Bound<'_, PyAny>) -> PyResult<T>) -> PyResult<Vec<T>> {
    let mut values = Vec::new();
    values.try_reserve_exact(list.len()).map_err(|_| PyMemoryError::new_err(()))?;
    for (at, item) in list.iter().enumerate() {
        if at % STEP == 0 {
            list.py().check_signals()?;
        }
        values.push(value(item)?);
    }
    Ok(values)
}
