//! `aipl._core`: the bridge from the Python package to `aipl-core`.
//!
//! Every function converts its arguments, detaches the interpreter, calls the core and converts the answer. There is no
//! logic here; signatures, defaults and documentation for people are in the Python package.

mod assets;
mod audience;
mod bank;
mod c_schema;
mod errors;
mod events;
mod flow;
mod guard;
mod identity;
mod ids;
mod log;
mod measured;
mod memory;
mod model;
mod options;
mod over_time;
mod rfm;
mod runtime;
mod schema;
mod snapshot;
mod stream;
mod table;
mod values;

use pyo3::prelude::*;

#[global_allocator]
static ALLOCATOR: memory::Careful = memory::Careful;

/// The extension module.
#[pymodule(gil_used = true)]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    errors::record_panics();
    memory::put_by();
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<schema::PySchema>()?;
    module.add_class::<options::PyReadOptions>()?;
    module.add_class::<events::PyEvents>()?;
    module.add_class::<bank::PyDataBank>()?;
    module.add_class::<log::PyEventLog>()?;
    module.add_class::<flow::PyFlow>()?;
    module.add_class::<model::PyModel>()?;
    module.add_class::<snapshot::PySnapshot>()?;
    module.add_class::<audience::PyAudience>()?;
    module.add_class::<audience::PyUniverse>()?;
    module.add_class::<table::PyTable>()?;
    module.add_class::<identity::PyIdentityMap>()?;
    module.add_class::<identity::PyRows>()?;
    module.add_class::<measured::PyMeasured>()?;
    module.add_class::<measured::PyAttributes>()?;
    module.add_class::<rfm::PyRfm>()?;
    module.add_function(wrap_pyfunction!(identity::connected_components, module)?)?;
    module.add_function(wrap_pyfunction!(over_time::py_trend, module)?)?;
    module.add_function(wrap_pyfunction!(over_time::py_flow_triangle, module)?)?;
    module.add_function(wrap_pyfunction!(over_time::py_history, module)?)?;
    module.add_function(wrap_pyfunction!(over_time::py_timeline, module)?)?;
    module.add_function(wrap_pyfunction!(over_time::py_transition_drivers, module)?)?;
    module.add_function(wrap_pyfunction!(assets::py_aac_bridge, module)?)?;
    module.add_function(wrap_pyfunction!(assets::py_benefits, module)?)?;
    module.add_function(wrap_pyfunction!(assets::py_cohort_track, module)?)?;
    module.add_function(wrap_pyfunction!(assets::py_compare_equity, module)?)?;
    module.add_function(wrap_pyfunction!(assets::py_concentration, module)?)?;
    module.add_function(wrap_pyfunction!(assets::py_consumer_equity, module)?)?;
    module.add_function(wrap_pyfunction!(assets::py_crosstab, module)?)?;
    module.add_function(wrap_pyfunction!(assets::py_fast, module)?)?;
    module.add_function(wrap_pyfunction!(assets::py_gmv_aac, module)?)?;
    module.add_function(wrap_pyfunction!(assets::py_grow, module)?)?;
    module.add_function(wrap_pyfunction!(assets::py_membership, module)?)?;
    module.add_function(wrap_pyfunction!(assets::py_new_vs_existing, module)?)?;
    module.add_function(wrap_pyfunction!(assets::py_penetration, module)?)?;
    module.add_function(wrap_pyfunction!(assets::py_profile, module)?)?;
    module.add_function(wrap_pyfunction!(assets::py_retention, module)?)?;
    module.add_function(wrap_pyfunction!(rfm::py_grow_opportunity, module)?)?;
    module.add_function(wrap_pyfunction!(runtime::num_threads, module)?)?;
    module.add_function(wrap_pyfunction!(runtime::set_num_threads, module)?)?;
    module.add_function(wrap_pyfunction!(guard::panic_next, module)?)?;
    let names = [
        "Attributes",
        "Audience",
        "DataBank",
        "EventLog",
        "Events",
        "Flow",
        "IdentityMap",
        "Measured",
        "ReadOptions",
        "Rfm",
        "Rows",
        "Schema",
        "Snapshot",
        "StageModel",
        "Table",
        "Universe",
        "__version__",
        "aac_bridge",
        "benefits",
        "cohort_track",
        "compare_equity",
        "concentration",
        "connected_components",
        "consumer_equity",
        "crosstab",
        "fast",
        "flow_triangle",
        "gmv_aac",
        "grow",
        "grow_opportunity",
        "history",
        "membership",
        "new_vs_existing",
        "num_threads",
        "panic_next",
        "penetration",
        "profile",
        "retention",
        "set_num_threads",
        "timeline",
        "transition_drivers",
        "trend",
    ];
    module.add("__all__", names.to_vec())
}
