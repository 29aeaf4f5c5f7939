//! `aipl._core`: the bridge from the Python package to `aipl-core`.
//!
//! Every function converts its arguments, detaches the interpreter, calls the core and converts the answer. There is no logic
//! here; signatures, defaults and documentation for people are in the Python package.

mod audience;
mod errors;
mod events;
mod ids;
mod model;
mod runtime;
mod schema;
mod snapshot;
mod stream;
mod table;

use pyo3::prelude::*;

/// The extension module.
#[pymodule(gil_used = true)]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    errors::record_panics();
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<schema::PySchema>()?;
    module.add_class::<events::PyEvents>()?;
    module.add_class::<model::PyModel>()?;
    module.add_class::<snapshot::PySnapshot>()?;
    module.add_class::<audience::PyAudience>()?;
    module.add_class::<audience::PyUniverse>()?;
    module.add_class::<table::PyTable>()?;
    module.add_function(wrap_pyfunction!(runtime::num_threads, module)?)?;
    module.add_function(wrap_pyfunction!(runtime::set_num_threads, module)?)?;
    module.add_function(wrap_pyfunction!(runtime::raise_panic, module)?)?;
    let names = [
        "Audience",
        "Events",
        "Schema",
        "Snapshot",
        "StageModel",
        "Table",
        "Universe",
        "__version__",
        "num_threads",
        "raise_panic",
        "set_num_threads",
    ];
    module.add("__all__", names.to_vec())
}
