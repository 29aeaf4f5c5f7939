//! External identifiers and scopes between Python and the core.

use aipl_core::base::IdValue;
use aipl_core::timeline::ScopeValue;
use pyo3::prelude::*;

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
