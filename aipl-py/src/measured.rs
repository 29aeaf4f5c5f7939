//! Answers with people behind their cells: tables, and a way to ask who stands in a cell.

use std::sync::Arc;

use aipl_core::Error;
use aipl_core::analyses::{AnalysisError, Answer, CellValue, Report};
use aipl_core::audience::Audience;
use aipl_core::base::Day;
use aipl_core::timeline::{Attributes, Runtime, ScopeValue, Timelines};
use arrow::array::RecordBatch;
use pyo3::prelude::*;

use crate::audience::PyAudience;
use crate::guard::guard;
use crate::identity::{PyIdentityMap, people};
use crate::ids::{PyScope, scope_value};
use crate::runtime::{detached, guarded};
use crate::stream;
use crate::table::PyTable;

/// Names of a cell, as its analysis understands them; a null is a value that is none.
pub type Cell = Vec<Option<String>>;

/// Who stands in a cell, by its scope and names.
pub type Ask = Box<dyn Fn(Option<&ScopeValue>, &[Option<String>], &Runtime<'_>) -> Result<Audience, AnalysisError> + Send + Sync>;

/// A way to ask who stands in a cell.
pub fn asking(
    ask: impl Fn(Option<&ScopeValue>, &[Option<String>], &Runtime<'_>) -> Result<Audience, AnalysisError> + Send + Sync + 'static,
) -> Ask {
    Box::new(ask)
}

/// Tables of an answer, and who stands in a cell of them.
#[pyclass(frozen, module = "aipl._core", name = "Measured")]
pub struct PyMeasured {
    tables: Vec<RecordBatch>,
    report: Report,
    recipe: serde_json::Value,
    ask: Ask,
}

impl PyMeasured {
    /// An answer of one table.
    pub fn of(answer: Answer, ask: Ask) -> Self {
        Self::of_tables(vec![answer.table], answer.report, answer.recipe, ask)
    }

    /// An answer of several tables.
    pub fn of_tables(tables: Vec<RecordBatch>, report: Report, recipe: serde_json::Value, ask: Ask) -> Self {
        PyMeasured {
            tables,
            report,
            recipe,
            ask,
        }
    }
}

#[pymethods]
impl PyMeasured {
    fn table(&self, py: Python<'_>, number: usize) -> PyResult<PyTable> {
        guard(py, || {
            let table = self.tables.get(number).cloned();
            table
                .map(PyTable::of_batch)
                .ok_or_else(|| crate::errors::exception(py, "InternalError", &format!("an answer without table {number}")))
        })
    }

    /// The report as JSON.
    fn report(&self, py: Python<'_>) -> PyResult<String> {
        guard(py, || Ok(self.report.to_json().to_string()))
    }

    /// The recipe as JSON.
    fn recipe(&self, py: Python<'_>) -> PyResult<String> {
        guard(py, || Ok(self.recipe.to_string()))
    }

    /// Who stands in a cell; asked of the source again.
    fn audience(&self, py: Python<'_>, scope: Option<PyScope>, cell: Cell) -> PyResult<PyAudience> {
        guard(py, || {
            let scope = scope.map(scope_value);
            detached(py, None, |runtime| (self.ask)(scope.as_ref(), &cell, runtime).map_err(Error::from)).map(PyAudience::new)
        })
    }
}

/// The source of an answer, as it was when it was asked.
pub type Shared = Arc<Box<dyn Timelines>>;

/// A required name of a cell.
pub fn name(cell: &[Option<String>], place: usize) -> Result<&str, AnalysisError> {
    cell.get(place).and_then(Option::as_deref).ok_or_else(|| missing("cell", "a name"))
}

/// A value of a cell: whether one is asked for at all (`value`), and then which, if any.
pub fn value(cell: &[Option<String>], place: usize) -> CellValue<'_> {
    match cell.get(place) {
        Some(Some(asked)) if asked == "value" => cell.get(place + 1).and_then(Option::as_deref).into(),
        _ => CellValue::Any,
    }
}

/// A required day of a cell.
pub fn day(cell: &[Option<String>], place: usize) -> Result<Day, AnalysisError> {
    let text = name(cell, place)?;
    text.parse().map_err(|_| missing("cell", "a day"))
}

/// The scope of a cell.
pub fn scope(scope: Option<&ScopeValue>) -> Result<&ScopeValue, AnalysisError> {
    scope.ok_or_else(|| missing("scope", "a scope"))
}

fn missing(parameter: &'static str, what: &str) -> AnalysisError {
    AnalysisError::Parameter {
        parameter,
        problem: format!("{what} is missing"),
    }
}

/// Two days of text.
pub fn days((start, end): &(String, String)) -> Result<(Day, Day), Error> {
    Ok((start.parse()?, end.parse()?))
}

/// Tags of consumers.
#[pyclass(frozen, module = "aipl._core", name = "Attributes")]
pub struct PyAttributes {
    pub inner: Attributes,
}

#[pymethods]
impl PyAttributes {
    #[staticmethod]
    #[pyo3(signature = (table, consumer, tags=None))]
    fn read(py: Python<'_>, table: &Bound<'_, PyAny>, consumer: &str, tags: Option<Vec<String>>) -> PyResult<Self> {
        guard(py, || {
            let batches = stream::all(py, stream::open(table)?, "attributes")?;
            let inner = guarded(py, || {
                stream::check(&batches, "attributes")?;
                Attributes::read(batches, consumer, tags.as_deref()).map_err(Error::from)
            })?;
            Ok(PyAttributes { inner })
        })
    }

    /// The same tags of persons.
    fn with_identity(&self, py: Python<'_>, map: &PyIdentityMap, id_type: String, reject: bool) -> PyResult<Self> {
        guarded(py, || {
            let seen = people(map, Some(id_type), None, reject)?;
            self.inner.seen_through(&seen).map_err(Error::from)
        })
        .map(|inner| PyAttributes { inner })
    }

    #[getter]
    fn tags(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        guard(py, || Ok(self.inner.tags().into_iter().map(str::to_owned).collect()))
    }

    /// Consumers; those whose rows disagree; rows that were rejected, as JSON.
    fn account(&self, py: Python<'_>) -> PyResult<(usize, u64, String)> {
        guard(py, || {
            let rejected = self.inner.tally().rejected_json().to_string();
            Ok((self.inner.consumers(), self.inner.disagreeing(), rejected))
        })
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        guard(py, || Ok(self.inner.consumers()))
    }
}
