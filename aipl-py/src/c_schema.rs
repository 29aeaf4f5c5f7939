//! Schemas that other libraries hand over through Arrow's C interface. Whoever turns them into types follows their
//! children level by level on the stack, so they are looked at first, in a loop.

#![allow(unsafe_code, reason = "the C interface is made of pointers; this is the module for it")]

use aipl_core::Error;
use aipl_core::source::{ReadOptions, SourceError};
use arrow::ffi::FFI_ArrowSchema;
use arrow::ffi_stream::FFI_ArrowArrayStream;
use pyo3::prelude::*;
use pyo3::types::PyCapsule;

use crate::runtime::quick;

/// Refuses the schema of a stream that has too many columns or levels.
pub fn check_stream(capsule: &Bound<'_, PyCapsule>, place: &str) -> PyResult<()> {
    let stream = capsule.pointer_checked(Some(c"arrow_array_stream"))?.cast::<FFI_ArrowArrayStream>();
    let mut schema = FFI_ArrowSchema::empty();
    // SAFETY: a capsule of this name holds a stream that the producer keeps alive as long as the capsule, and Python's
    // lock is held, so nobody else uses it. `get_schema` writes a schema of its own, which is released when `schema` is
    // dropped.
    let given = unsafe {
        let stream = stream.as_ptr();
        (*stream).get_schema.map(|get_schema| get_schema(stream, &mut schema))
    };
    match given {
        Some(0) => check(capsule.py(), &schema, place),
        // A stream that fails to give its schema, or was released, is told by whoever reads it.
        _ => Ok(()),
    }
}

/// Refuses the schema of a batch that has too many columns or levels.
pub fn check_batch(capsule: &Bound<'_, PyCapsule>, place: &str) -> PyResult<()> {
    let schema = capsule.pointer_checked(Some(c"arrow_schema"))?.cast::<FFI_ArrowSchema>();
    // SAFETY: a capsule of this name holds a schema that the producer keeps alive as long as the capsule.
    check(capsule.py(), unsafe { schema.as_ref() }, place)
}

fn check(py: Python<'_>, schema: &FFI_ArrowSchema, place: &str) -> PyResult<()> {
    quick(py, || look_at(schema, place))
}

fn look_at(schema: &FFI_ArrowSchema, place: &str) -> Result<(), Error> {
    let limits = ReadOptions::default();
    let over = |what, found, limit, option| {
        Err(Error::from(SourceError::Limit {
            path: place.to_owned(),
            what,
            found,
            limit,
            option,
        }))
    };
    let (mut open, mut leaves) = (vec![(schema, 0u64)], 0u64);
    while let Some((column, depth)) = open.pop() {
        if depth > limits.max_depth as u64 {
            return over("levels of nested columns", depth, limits.max_depth as u64, "max_depth");
        }
        let children = u64::try_from(column.n_children).unwrap_or(0);
        leaves += u64::from(children == 0);
        let columns = leaves.saturating_add(open.len() as u64).saturating_add(children);
        if columns > limits.max_columns as u64 {
            return over("columns", columns, limits.max_columns as u64, "max_columns");
        }
        open.extend((0..children as usize).map(|at| (column.child(at), depth + 1)));
        open.extend(column.dictionary().map(|values| (values, depth + 1)));
    }
    Ok(())
}
