//! Analyses of consumer assets: what a brand's consumers are worth, who they are, and what became of them.

use std::sync::Arc;

use aipl_core::Error;
use aipl_core::analyses::{
    BenefitGroups, BenefitParams, BridgeParams, CellMeasure, ConcentrationParams, CrosstabParams, CustomerParams, EquityParams, FastParams,
    GmvParams, GmvPeople, GrowParams, MembershipParams, PenetrationParams, Periods, ProfileParams, RetentionParams, Step, aac_bridge,
    benefit_people, benefits, bridge_people, cohort_people, cohort_track, concentrated, concentration, consumer_equity, crosstab,
    crosstab_people, customers, equity_people, fast, fast_people, gmv_aac, gmv_people, grow, grow_buyers, membership, membership_people,
    new_vs_existing, penetration, penetration_people, profile, profile_people, retained, retention,
};
use aipl_core::base::Day;
use aipl_core::base::statistics::Split;
use pyo3::prelude::*;

use crate::audience::PyAudience;
use crate::guard::guard;
use crate::ids::PyScope;
use crate::log::PySource;
use crate::measured::{PyAttributes, PyMeasured, Shared, asking, day, days, name, scope, value};
use crate::model::PyModel;
use crate::over_time::scopes;
use crate::runtime::detached;

/// Two days as text.
type Days = (String, String);
type Scopes = Option<Vec<PyScope>>;

fn shared(source: &PySource<'_>) -> Shared {
    Arc::new(source.timelines())
}

/// `lmdi` or `shapley`; checked before.
pub fn split(method: &str) -> Split {
    if method == "shapley" { Split::Shapley } else { Split::Lmdi }
}

#[pyfunction]
#[pyo3(signature = (source, model, period, scopes, panel, force, members, acts, peak, progress=None), name = "fast")]
#[allow(clippy::too_many_arguments, reason = "the Python signature, where each has a name")]
pub fn py_fast(
    py: Python<'_>,
    source: PySource<'_>,
    model: &PyModel,
    period: Days,
    scopes: Scopes,
    panel: Scopes,
    force: bool,
    members: String,
    acts: Option<Vec<String>>,
    peak: bool,
    progress: Option<Py<PyAny>>,
) -> PyResult<PyMeasured> {
    guard(py, || {
        let (source, model) = (shared(&source), model.inner.clone());
        let mut params = FastParams {
            scopes: self::scopes(scopes),
            panel: self::scopes(panel),
            force,
            members,
            peak,
            ..FastParams::default()
        };
        if let Some(acts) = acts {
            params.acts = acts;
        }
        detached(py, progress.as_ref(), |runtime| {
            let days = days(&period)?;
            let answer = fast(&**source, &model, days, &params, runtime)?;
            let (again, params) = (source.clone(), params.clone());
            let ask = asking(move |of, cell, runtime| fast_people(&**again, &model, days, &params, (scope(of)?, name(cell, 0)?), runtime));
            Ok::<_, Error>(PyMeasured::of(answer, ask))
        })
    })
}

#[pyfunction]
#[pyo3(signature = (source, period, scopes, step, active_days, progress=None), name = "gmv_aac")]
pub fn py_gmv_aac(
    py: Python<'_>,
    source: PySource<'_>,
    period: Days,
    scopes: Scopes,
    step: &str,
    active_days: u32,
    progress: Option<Py<PyAny>>,
) -> PyResult<PyMeasured> {
    guard(py, || {
        let (source, scopes) = (shared(&source), self::scopes(scopes));
        detached(py, progress.as_ref(), |runtime| {
            let params = GmvParams {
                scopes,
                step: Step::parse(step)?,
                active_days,
            };
            let days = days(&period)?;
            let answer = gmv_aac(&**source, days.0, days.1, &params, runtime)?;
            let again = source.clone();
            let ask = asking(move |of, cell, runtime| {
                let who = GmvPeople::parse(name(cell, 0)?)?;
                gmv_people(&**again, days, &params, (scope(of)?, day(cell, 1)?), who, runtime)
            });
            Ok::<_, Error>(PyMeasured::of(answer, ask))
        })
    })
}

#[pyfunction]
#[pyo3(signature = (source, period, scopes, active_days, progress=None), name = "aac_bridge")]
pub fn py_aac_bridge(
    py: Python<'_>,
    source: PySource<'_>,
    period: Days,
    scopes: Scopes,
    active_days: u32,
    progress: Option<Py<PyAny>>,
) -> PyResult<PyMeasured> {
    guard(py, || {
        let source = shared(&source);
        let params = BridgeParams {
            scopes: self::scopes(scopes),
            active_days,
        };
        detached(py, progress.as_ref(), |runtime| {
            let days = days(&period)?;
            let answer = aac_bridge(&**source, days.0, days.1, &params, runtime)?;
            let (again, params) = (source.clone(), params.clone());
            let ask = asking(move |of, cell, runtime| bridge_people(&**again, days, &params, scope(of)?, name(cell, 0)?, runtime));
            Ok::<_, Error>(PyMeasured::of(answer, ask))
        })
    })
}

#[pyfunction]
#[pyo3(signature = (source, model, as_of, scopes, horizon, snapshots, every, category_spend, progress=None), name = "consumer_equity")]
#[allow(clippy::too_many_arguments, reason = "the Python signature, where each has a name")]
pub fn py_consumer_equity(
    py: Python<'_>,
    source: PySource<'_>,
    model: &PyModel,
    as_of: &str,
    scopes: Scopes,
    horizon: u32,
    snapshots: u32,
    every: u32,
    category_spend: bool,
    progress: Option<Py<PyAny>>,
) -> PyResult<PyMeasured> {
    guard(py, || {
        let (source, model) = (shared(&source), model.inner.clone());
        let params = EquityParams {
            scopes: self::scopes(scopes),
            horizon,
            snapshots,
            every,
            category_spend,
        };
        detached(py, progress.as_ref(), |runtime| {
            let as_of: Day = as_of.parse()?;
            let equity = consumer_equity(&**source, &model, as_of, &params, runtime)?;
            let (again, known) = (source.clone(), equity.clone());
            let ask = asking(move |of, cell, runtime| {
                let (of, stage) = (known.scope(scope(of)?)?, cell.get(1).and_then(Option::as_deref));
                equity_people(&**again, &model, (as_of, &params), (&of, stage, name(cell, 0)?), runtime)
            });
            let tables = vec![equity.stages, equity.totals];
            Ok::<_, Error>(PyMeasured::of_tables(tables, equity.report, equity.recipe, ask))
        })
    })
}

/// What made the assets of one day into those of a later one.
#[pyfunction]
#[pyo3(signature = (source, model, days, scopes, horizon, snapshots, every, category_spend, method, progress=None), name = "compare_equity")]
#[allow(clippy::too_many_arguments, reason = "the Python signature, where each has a name")]
pub fn py_compare_equity(
    py: Python<'_>,
    source: PySource<'_>,
    model: &PyModel,
    days: Days,
    scopes: Scopes,
    horizon: u32,
    snapshots: u32,
    every: u32,
    category_spend: bool,
    method: &str,
    progress: Option<Py<PyAny>>,
) -> PyResult<crate::over_time::Answered> {
    guard(py, || {
        let source = source.timelines();
        let params = EquityParams {
            scopes: self::scopes(scopes),
            horizon,
            snapshots,
            every,
            category_spend,
        };
        let answer = detached(py, progress.as_ref(), |runtime| {
            let ask = |day: &str| Ok::<_, Error>(consumer_equity(&*source, &model.inner, day.parse()?, &params, runtime)?);
            let (before, after) = (ask(&days.0)?, ask(&days.1)?);
            Ok::<_, Error>(after.compare(&before, split(method))?)
        })?;
        Ok(crate::over_time::answered(answer, false))
    })
}

#[pyfunction]
#[pyo3(signature = (source, periods, scopes, by, method, lookback, launch=None, attributes=None, progress=None), name = "grow")]
#[allow(clippy::too_many_arguments, reason = "the Python signature, where each has a name")]
pub fn py_grow(
    py: Python<'_>,
    source: PySource<'_>,
    periods: (Days, Days),
    scopes: Scopes,
    by: Vec<String>,
    method: &str,
    lookback: u32,
    launch: Option<String>,
    attributes: Option<&PyAttributes>,
    progress: Option<Py<PyAny>>,
) -> PyResult<PyMeasured> {
    guard(py, || {
        let source = shared(&source);
        let params = GrowParams {
            scopes: self::scopes(scopes),
            by,
            method: split(method),
            lookback: Some(lookback),
            launch,
            attributes: attributes.map(|attributes| attributes.inner.clone()),
        };
        detached(py, progress.as_ref(), |runtime| {
            let periods: Periods = (days(&periods.0)?, days(&periods.1)?);
            let answer = grow(&**source, periods, &params, runtime)?;
            let (again, params) = (source.clone(), params.clone());
            let ask = asking(move |of, cell, runtime| {
                let period = usize::from(name(cell, 0)? == "buyers_after");
                grow_buyers(&**again, periods, &params, (scope(of)?, &cell[1..], period), runtime)
            });
            let tables = vec![answer.groups, answer.totals];
            Ok::<_, Error>(PyMeasured::of_tables(tables, answer.report, answer.recipe, ask))
        })
    })
}

#[pyfunction]
#[pyo3(signature = (source, period, scopes, lookback, progress=None), name = "new_vs_existing")]
pub fn py_new_vs_existing(
    py: Python<'_>,
    source: PySource<'_>,
    period: Days,
    scopes: Scopes,
    lookback: u32,
    progress: Option<Py<PyAny>>,
) -> PyResult<PyMeasured> {
    guard(py, || {
        let source = shared(&source);
        let params = CustomerParams {
            scopes: self::scopes(scopes),
            lookback,
        };
        detached(py, progress.as_ref(), |runtime| {
            let days = days(&period)?;
            let answer = new_vs_existing(&**source, days, &params, runtime)?;
            let (again, params) = (source.clone(), params.clone());
            let ask = asking(move |of, cell, runtime| customers(&**again, days, &params, (scope(of)?, name(cell, 0)?), runtime));
            Ok::<_, Error>(PyMeasured::of(answer, ask))
        })
    })
}

#[pyfunction]
#[pyo3(signature = (source, period, category=None, scopes=None, reference=None, progress=None), name = "penetration")]
pub fn py_penetration(
    py: Python<'_>,
    source: PySource<'_>,
    period: Days,
    category: Option<String>,
    scopes: Scopes,
    reference: Option<&PyAudience>,
    progress: Option<Py<PyAny>>,
) -> PyResult<PyMeasured> {
    guard(py, || {
        let source = shared(&source);
        let params = PenetrationParams {
            category,
            scopes: self::scopes(scopes),
            reference: reference.map(|audience| audience.inner.clone()),
        };
        detached(py, progress.as_ref(), |runtime| {
            let days = days(&period)?;
            let answer = penetration(&**source, days, &params, runtime)?;
            let (again, params) = (source.clone(), params.clone());
            let ask = asking(move |of, cell, runtime| {
                let category = cell.first().and_then(Option::as_deref);
                penetration_people(&**again, days, &params, (category, of), runtime)
            });
            Ok::<_, Error>(PyMeasured::of(answer, ask))
        })
    })
}

#[pyfunction]
#[pyo3(signature = (source, audience, by, period, base=None, behaviors=None, scopes=None, attributes=None, progress=None), name = "profile")]
#[allow(clippy::too_many_arguments, reason = "the Python signature, where each has a name")]
pub fn py_profile(
    py: Python<'_>,
    source: PySource<'_>,
    audience: &PyAudience,
    by: Vec<String>,
    period: Days,
    base: Option<&PyAudience>,
    behaviors: Option<Vec<String>>,
    scopes: Scopes,
    attributes: Option<&PyAttributes>,
    progress: Option<Py<PyAny>>,
) -> PyResult<PyMeasured> {
    guard(py, || {
        let (source, audience, scopes) = (shared(&source), audience.inner.clone(), self::scopes(scopes));
        let (base, attributes) = (
            base.map(|base| base.inner.clone()),
            attributes.map(|attributes| attributes.inner.clone()),
        );
        detached(py, progress.as_ref(), |runtime| {
            let params = ProfileParams {
                by,
                base,
                days: days(&period)?,
                behaviors: behaviors.unwrap_or_default(),
                scopes,
                attributes,
            };
            let answer = profile(&**source, &audience, &params, runtime)?;
            let again = source.clone();
            let ask = asking(move |_, cell, runtime| {
                let of = (name(cell, 0)?, name(cell, 1)?, value(cell, 2));
                profile_people(&**again, &audience, &params, of, runtime)
            });
            Ok::<_, Error>(PyMeasured::of(answer, ask))
        })
    })
}

#[pyfunction]
#[pyo3(signature = (source, rows, columns, measure, period, scopes=None, within=None, attributes=None, progress=None), name = "crosstab")]
#[allow(clippy::too_many_arguments, reason = "the Python signature, where each has a name")]
pub fn py_crosstab(
    py: Python<'_>,
    source: PySource<'_>,
    rows: String,
    columns: String,
    measure: &str,
    period: Days,
    scopes: Scopes,
    within: Option<&PyAudience>,
    attributes: Option<&PyAttributes>,
    progress: Option<Py<PyAny>>,
) -> PyResult<PyMeasured> {
    guard(py, || {
        let (source, scopes) = (shared(&source), self::scopes(scopes));
        let (within, attributes) = (
            within.map(|within| within.inner.clone()),
            attributes.map(|attributes| attributes.inner.clone()),
        );
        detached(py, progress.as_ref(), |runtime| {
            let params = CrosstabParams {
                rows,
                columns,
                measure: CellMeasure::parse(measure)?,
                days: days(&period)?,
                scopes,
                within,
                attributes,
            };
            let answer = crosstab(&**source, &params, runtime)?;
            let again = source.clone();
            let ask = asking(move |_, cell, runtime| crosstab_people(&**again, &params, (value(cell, 0), value(cell, 2)), runtime));
            Ok::<_, Error>(PyMeasured::of(answer, ask))
        })
    })
}

#[pyfunction]
#[pyo3(signature = (source, model, audience, period, scopes, step, progress=None), name = "concentration")]
#[allow(clippy::too_many_arguments, reason = "the Python signature, where each has a name")]
pub fn py_concentration(
    py: Python<'_>,
    source: PySource<'_>,
    model: &PyModel,
    audience: &PyAudience,
    period: Days,
    scopes: Scopes,
    step: &str,
    progress: Option<Py<PyAny>>,
) -> PyResult<PyMeasured> {
    guard(py, || {
        let (source, model, audience, scopes) = (shared(&source), model.inner.clone(), audience.inner.clone(), self::scopes(scopes));
        detached(py, progress.as_ref(), |runtime| {
            let params = ConcentrationParams {
                scopes,
                step: Step::parse(step)?,
            };
            let days = days(&period)?;
            let answer = concentration(&**source, &model, &audience, days, &params, runtime)?;
            let again = source.clone();
            let ask = asking(move |of, cell, runtime| {
                concentrated(
                    &**again,
                    &model,
                    &audience,
                    (days, &params),
                    (scope(of)?, name(cell, 0)?, day(cell, 1)?, name(cell, 2)?),
                    runtime,
                )
            });
            Ok::<_, Error>(PyMeasured::of(answer, ask))
        })
    })
}

#[pyfunction]
#[pyo3(signature = (source, model, audience, days, scopes, progress=None), name = "cohort_track")]
#[allow(clippy::too_many_arguments, reason = "the Python signature, where each has a name")]
pub fn py_cohort_track(
    py: Python<'_>,
    source: PySource<'_>,
    model: &PyModel,
    audience: &PyAudience,
    days: Vec<String>,
    scopes: Scopes,
    progress: Option<Py<PyAny>>,
) -> PyResult<PyMeasured> {
    guard(py, || {
        let (source, model, audience, scopes) = (shared(&source), model.inner.clone(), audience.inner.clone(), self::scopes(scopes));
        detached(py, progress.as_ref(), |runtime| {
            let days = days.iter().map(|day| day.parse::<Day>()).collect::<Result<Vec<_>, _>>()?;
            let track = cohort_track(&**source, &model, &audience, &days, scopes.as_deref(), runtime)?;
            let again = source.clone();
            let ask = asking(move |of, cell, runtime| {
                cohort_people(
                    &**again,
                    &model,
                    &audience,
                    (&days, scopes.as_deref()),
                    (scope(of)?, name(cell, 0)?, day(cell, 1)?),
                    runtime,
                )
            });
            let tables = vec![track.stages, track.summary];
            Ok::<_, Error>(PyMeasured::of_tables(tables, track.report, track.recipe, ask))
        })
    })
}

#[pyfunction]
#[pyo3(signature = (source, period, scopes, unit, rolling, on_or_after, behaviors, progress=None), name = "retention")]
#[allow(clippy::too_many_arguments, reason = "the Python signature, where each has a name")]
pub fn py_retention(
    py: Python<'_>,
    source: PySource<'_>,
    period: Days,
    scopes: Scopes,
    unit: &str,
    rolling: bool,
    on_or_after: bool,
    behaviors: Vec<String>,
    progress: Option<Py<PyAny>>,
) -> PyResult<PyMeasured> {
    guard(py, || {
        let (source, scopes) = (shared(&source), self::scopes(scopes));
        detached(py, progress.as_ref(), |runtime| {
            let params = RetentionParams {
                scopes,
                unit: Step::parse(unit)?,
                rolling,
                on_or_after,
                behaviors,
            };
            let days = days(&period)?;
            let answer = retention(&**source, days, &params, runtime)?;
            let again = source.clone();
            let ask = asking(move |of, cell, runtime| {
                let period = cell.get(1).and_then(Option::as_deref).and_then(|text| text.parse().ok());
                retained(&**again, days, &params, (scope(of)?, day(cell, 0)?, period), runtime)
            });
            Ok::<_, Error>(PyMeasured::of(answer, ask))
        })
    })
}

#[pyfunction]
#[pyo3(signature = (source, period, scopes, members, fans, progress=None), name = "membership")]
#[allow(clippy::too_many_arguments, reason = "the Python signature, where each has a name")]
pub fn py_membership(
    py: Python<'_>,
    source: PySource<'_>,
    period: Days,
    scopes: Scopes,
    members: String,
    fans: String,
    progress: Option<Py<PyAny>>,
) -> PyResult<PyMeasured> {
    guard(py, || {
        let source = shared(&source);
        let params = MembershipParams {
            scopes: self::scopes(scopes),
            members,
            fans,
        };
        detached(py, progress.as_ref(), |runtime| {
            let days = days(&period)?;
            let answer = membership(&**source, days, &params, runtime)?;
            let (again, params) = (source.clone(), params.clone());
            let ask = asking(move |of, cell, runtime| membership_people(&**again, days, &params, (scope(of)?, name(cell, 0)?), runtime));
            Ok::<_, Error>(PyMeasured::of(answer, ask))
        })
    })
}

#[pyfunction]
#[pyo3(signature = (source, period, steps, scopes=None, coupon=None, discount=None, by=None, model=None, lookback=365, progress=None), name = "benefits")]
#[allow(clippy::too_many_arguments, reason = "the Python signature, where each has a name")]
pub fn py_benefits(
    py: Python<'_>,
    source: PySource<'_>,
    period: Days,
    steps: (Option<String>, Option<String>, String),
    scopes: Scopes,
    coupon: Option<String>,
    discount: Option<String>,
    by: Option<&str>,
    model: Option<&PyModel>,
    lookback: u32,
    progress: Option<Py<PyAny>>,
) -> PyResult<PyMeasured> {
    guard(py, || {
        let source = shared(&source);
        let params = BenefitParams {
            scopes: self::scopes(scopes),
            issued: steps.0,
            claimed: steps.1,
            used: steps.2,
            coupon,
            discount,
            by: match (by, model) {
                (Some("customers"), _) => BenefitGroups::Customers(lookback),
                (Some(_), Some(model)) => BenefitGroups::Stage(model.inner.clone()),
                _ => BenefitGroups::All,
            },
        };
        detached(py, progress.as_ref(), |runtime| {
            let days = days(&period)?;
            let answer = benefits(&**source, days, &params, runtime)?;
            let (again, params) = (source.clone(), params.clone());
            let ask = asking(move |of, cell, runtime| {
                let group = cell.get(1).and_then(Option::as_deref);
                benefit_people(&**again, days, &params, (scope(of)?, name(cell, 0)?, group), runtime)
            });
            Ok::<_, Error>(PyMeasured::of(answer, ask))
        })
    })
}
