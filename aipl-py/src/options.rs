//! How far files are trusted.

use aipl_core::source::ReadOptions;
use pyo3::prelude::*;

use crate::guard::guard;

/// Limits that files are read with.
#[pyclass(frozen, module = "aipl._core", name = "ReadOptions")]
pub struct PyReadOptions {
    pub inner: ReadOptions,
}

#[pymethods]
impl PyReadOptions {
    #[new]
    fn new(
        py: Python<'_>,
        max_columns: usize,
        max_depth: usize,
        max_metadata_bytes: u64,
        max_rows: u64,
        max_decoded_bytes: u64,
        verify_checksums: bool,
    ) -> PyResult<Self> {
        guard(py, || {
            Ok(PyReadOptions {
                inner: ReadOptions {
                    max_columns,
                    max_depth,
                    max_metadata_bytes,
                    max_rows,
                    max_decoded_bytes,
                    verify_checksums,
                },
            })
        })
    }
}
