//! Analyses over time: trend, flow triangle, history, timeline and drivers. Each gives a table, its report and its
//! recipe.

use aipl_core::Error;
use aipl_core::analyses::{
    Answer, DriverParams, Measure, Step, TrendParams, TriangleParams, flow_triangle, history, timeline, transition_drivers, trend,
};
use aipl_core::base::{Day, IdValue};
use pyo3::prelude::*;

use crate::audience::PyAudience;
use crate::flow::without_scope;
use crate::guard::guard;
use crate::ids::{PyId, PyScope, scope_value};
use crate::log::PySource;
use crate::model::PyModel;
use crate::runtime::detached;
use crate::table::PyTable;

/// A table with its report and recipe as JSON.
pub type Answered = (PyTable, String, String);

/// An answer, without the scope column if only one scope was asked for.
pub fn answered(answer: Answer, single: bool) -> Answered {
    let table = if single { without_scope(&answer.table) } else { answer.table };
    (
        PyTable::of_batch(table),
        answer.report.to_json().to_string(),
        answer.recipe.to_string(),
    )
}

/// Named scopes of the core.
pub fn scopes(scopes: Option<Vec<PyScope>>) -> Option<Vec<aipl_core::timeline::ScopeValue>> {
    scopes.map(|scopes| scopes.into_iter().map(scope_value).collect())
}

#[pyfunction]
#[pyo3(signature = (source, model, start, end, scopes, step, measure, progress=None), name = "trend")]
#[allow(clippy::too_many_arguments, reason = "the Python signature, where each has a name")]
pub fn py_trend(
    py: Python<'_>,
    source: PySource<'_>,
    model: &PyModel,
    start: &str,
    end: &str,
    scopes: Option<Vec<PyScope>>,
    step: &str,
    measure: &str,
    progress: Option<Py<PyAny>>,
) -> PyResult<Answered> {
    guard(py, || {
        let (source, scopes) = (source.timelines(), self::scopes(scopes));
        let answer = detached(py, progress.as_ref(), |runtime| {
            let params = TrendParams {
                scopes,
                step: Step::parse(step)?,
                measure: Measure::parse(measure)?,
            };
            Ok::<_, Error>(trend(
                &*source,
                &model.inner,
                start.parse::<Day>()?,
                end.parse::<Day>()?,
                &params,
                runtime,
            )?)
        })?;
        Ok(answered(answer, false))
    })
}

#[pyfunction]
#[pyo3(signature = (source, model, days, scopes, single, within=None, progress=None), name = "flow_triangle")]
#[allow(clippy::too_many_arguments, reason = "the Python signature, where each has a name")]
pub fn py_flow_triangle(
    py: Python<'_>,
    source: PySource<'_>,
    model: &PyModel,
    days: Vec<String>,
    scopes: Option<Vec<PyScope>>,
    single: bool,
    within: Option<&PyAudience>,
    progress: Option<Py<PyAny>>,
) -> PyResult<Answered> {
    guard(py, || {
        let params = TriangleParams {
            scopes: self::scopes(scopes),
            within: within.map(|audience| audience.inner.clone()),
        };
        let source = source.timelines();
        let answer = detached(py, progress.as_ref(), |runtime| {
            let days = days.iter().map(|day| day.parse::<Day>()).collect::<Result<Vec<_>, _>>()?;
            Ok::<_, Error>(flow_triangle(&*source, &model.inner, &days, &params, runtime)?)
        })?;
        Ok(answered(answer, single))
    })
}

#[pyfunction]
#[pyo3(signature = (source, model, consumer, scopes, single, progress=None), name = "history")]
pub fn py_history(
    py: Python<'_>,
    source: PySource<'_>,
    model: &PyModel,
    consumer: PyId,
    scopes: Option<Vec<PyScope>>,
    single: bool,
    progress: Option<Py<PyAny>>,
) -> PyResult<Answered> {
    guard(py, || {
        let (source, consumer, scopes) = (source.timelines(), IdValue::from(consumer), self::scopes(scopes));
        let answer = detached(py, progress.as_ref(), |runtime| {
            history(&*source, &model.inner, &consumer, scopes.as_deref(), runtime).map_err(Error::from)
        })?;
        Ok(answered(answer, single))
    })
}

/// The table, its report and recipe, and how many events there are of all brands.
#[pyfunction]
#[pyo3(signature = (source, consumer, brand=None, progress=None), name = "timeline")]
pub fn py_timeline(
    py: Python<'_>,
    source: PySource<'_>,
    consumer: PyId,
    brand: Option<PyId>,
    progress: Option<Py<PyAny>>,
) -> PyResult<(PyTable, String, String, usize)> {
    guard(py, || {
        let (source, consumer, brand) = (source.timelines(), IdValue::from(consumer), brand.map(IdValue::from));
        let (answer, total) = detached(py, progress.as_ref(), |runtime| {
            timeline(&*source, &consumer, brand.as_ref(), runtime).map_err(Error::from)
        })?;
        let (table, report, recipe) = answered(answer, false);
        Ok((table, report, recipe, total))
    })
}

#[pyfunction]
#[pyo3(signature = (source, model, days, scope, from_stage, to_stages, by, within=None, progress=None), name = "transition_drivers")]
#[allow(clippy::too_many_arguments, reason = "the Python signature, where each has a name")]
pub fn py_transition_drivers(
    py: Python<'_>,
    source: PySource<'_>,
    model: &PyModel,
    days: (String, String),
    scope: PyScope,
    from_stage: &str,
    to_stages: Vec<String>,
    by: &str,
    within: Option<&PyAudience>,
    progress: Option<Py<PyAny>>,
) -> PyResult<Answered> {
    guard(py, || {
        let (source, scope) = (source.timelines(), scope_value(scope));
        let params = DriverParams {
            within: within.map(|audience| audience.inner.clone()),
        };
        let answer = detached(py, progress.as_ref(), |runtime| {
            let range = (days.0.parse::<Day>()?, days.1.parse::<Day>()?);
            let to: Vec<&str> = to_stages.iter().map(String::as_str).collect();
            Ok::<_, Error>(transition_drivers(
                &*source,
                &model.inner,
                range,
                &scope,
                (from_stage, &to),
                by,
                &params,
                runtime,
            )?)
        })?;
        Ok(answered(answer, false))
    })
}
