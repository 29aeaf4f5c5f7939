//! `aipl._core`: the bridge from the Python package to `aipl-core`.
//!
//! Every function converts its arguments, detaches the interpreter, calls the core and converts the answer. There is no logic
//! here; signatures, defaults and documentation for people are in the Python package.

mod audience;
mod bank;
mod errors;
mod events;
mod flow;
mod identity;
mod ids;
mod log;
mod model;
mod over_time;
mod runtime;
mod schema;
mod snapshot;
mod stream;
mod table;
mod values;

use pyo3::prelude::*;

/// The extension module.
#[pymodule(gil_used = true)]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    errors::record_panics();
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<schema::PySchema>()?;
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
    module.add_function(wrap_pyfunction!(identity::connected_components, module)?)?;
    module.add_function(wrap_pyfunction!(over_time::py_trend, module)?)?;
    module.add_function(wrap_pyfunction!(over_time::py_flow_triangle, module)?)?;
    module.add_function(wrap_pyfunction!(over_time::py_history, module)?)?;
    module.add_function(wrap_pyfunction!(over_time::py_timeline, module)?)?;
    module.add_function(wrap_pyfunction!(over_time::py_transition_drivers, module)?)?;
    module.add_function(wrap_pyfunction!(runtime::num_threads, module)?)?;
    module.add_function(wrap_pyfunction!(runtime::set_num_threads, module)?)?;
    module.add_function(wrap_pyfunction!(runtime::raise_panic, module)?)?;
    let names = [
        "Audience",
        "DataBank",
        "EventLog",
        "Events",
        "Flow",
        "IdentityMap",
        "Rows",
        "Schema",
        "Snapshot",
        "StageModel",
        "Table",
        "Universe",
        "__version__",
        "connected_components",
        "flow_triangle",
        "history",
        "num_threads",
        "raise_panic",
        "set_num_threads",
        "timeline",
        "transition_drivers",
        "trend",
    ];
    module.add("__all__", names.to_vec())
}
