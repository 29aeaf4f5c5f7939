//! `Rfm` of the core, and the opportunity form of GROW.

use aipl_core::Error;
use aipl_core::analyses::{Benchmark, Rfm, RfmParams, RfmScheme, grow_opportunity, rfm};
use aipl_core::base::{Day, Decimal6};
use pyo3::prelude::*;

use crate::audience::PyAudience;
use crate::guard::guard;
use crate::ids::{PyScope, scope_value};
use crate::log::PySource;
use crate::measured::days;
use crate::over_time::{Answered, answered, scopes};
use crate::runtime::{detached, guarded};

/// The buyers of brands with their scores.
#[pyclass(frozen, module = "aipl._core", name = "Rfm")]
pub struct PyRfm {
    inner: Rfm,
}

/// Thresholds of recency, frequency and monetary value.
type Thresholds = (Vec<i64>, Vec<i64>, Vec<f64>);

fn custom((recency, frequency, monetary): Thresholds) -> Result<RfmScheme, Error> {
    let exact = |value: &f64| Decimal6::from_f64(*value).ok_or_else(|| Error::Parameter(format!("scheme: {value} is no amount")));
    Ok(RfmScheme::Custom {
        monetary: monetary.iter().map(exact).collect::<Result<_, _>>()?,
        recency,
        frequency,
    })
}

#[pymethods]
impl PyRfm {
    #[staticmethod]
    #[pyo3(signature = (source, as_of, scopes, window, scheme, thresholds=None, progress=None))]
    #[allow(clippy::too_many_arguments, reason = "the Python signature, where each has a name")]
    fn ask(
        py: Python<'_>,
        source: PySource<'_>,
        as_of: &str,
        scopes: Option<Vec<PyScope>>,
        window: u32,
        scheme: &str,
        thresholds: Option<Thresholds>,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        guard(py, || {
            let (source, scopes) = (source.timelines(), self::scopes(scopes));
            let inner = detached(py, progress.as_ref(), |runtime| {
                let scheme = match (thresholds, scheme) {
                    (Some(thresholds), _) => custom(thresholds)?,
                    (None, "quintile") => RfmScheme::Quintile,
                    (None, _) => RfmScheme::Mean,
                };
                let params = RfmParams { scopes, window, scheme };
                Ok::<_, Error>(rfm(&*source, as_of.parse::<Day>()?, &params, runtime)?)
            })?;
            Ok(PyRfm { inner })
        })
    }

    fn table(&self, py: Python<'_>) -> PyResult<Answered> {
        guard(py, || Ok(answered(guarded(py, || self.inner.table())?, false)))
    }

    fn summary(&self, py: Python<'_>) -> PyResult<Answered> {
        guard(py, || Ok(answered(guarded(py, || self.inner.summary())?, false)))
    }

    #[pyo3(signature = (kind, scope=None))]
    fn audience(&self, py: Python<'_>, kind: &str, scope: Option<PyScope>) -> PyResult<PyAudience> {
        guard(py, || {
            let scope = scope.map(scope_value);
            guarded(py, || self.inner.audience(kind, scope.as_ref())).map(PyAudience::new)
        })
    }
}

/// Benchmarks of the three levers, or the word for one of the panel.
#[pyfunction]
#[pyo3(signature = (source, period, scopes, panel, benchmark, given=None, progress=None), name = "grow_opportunity")]
#[allow(clippy::too_many_arguments, reason = "the Python signature, where each has a name")]
pub fn py_grow_opportunity(
    py: Python<'_>,
    source: PySource<'_>,
    period: (String, String),
    scopes: Option<Vec<PyScope>>,
    panel: Option<Vec<PyScope>>,
    benchmark: &str,
    given: Option<[Option<f64>; 3]>,
    progress: Option<Py<PyAny>>,
) -> PyResult<Answered> {
    guard(py, || {
        let (source, scopes, panel) = (source.timelines(), self::scopes(scopes), self::scopes(panel));
        let benchmark = match (given, benchmark) {
            (Some(values), _) => Benchmark::Given(values),
            (None, "median") => Benchmark::Median,
            (None, _) => Benchmark::Mean,
        };
        let answer = detached(py, progress.as_ref(), |runtime| {
            grow_opportunity(&*source, days(&period)?, (scopes.as_deref(), panel.as_deref()), &benchmark, runtime).map_err(Error::from)
        })?;
        Ok(answered(answer, false))
    })
}
