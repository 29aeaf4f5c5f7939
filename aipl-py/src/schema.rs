//! `EventSchema` of the core.

use std::collections::BTreeMap;

use aipl_core::event::{EventSchema, TimeUnit};
use pyo3::prelude::*;

use crate::guard::guard;
use crate::runtime::quick;

/// A checked mapping of columns and behaviors.
#[pyclass(frozen, module = "aipl._core", name = "Schema")]
pub struct PySchema {
    pub inner: EventSchema,
}

#[pymethods]
impl PySchema {
    #[new]
    fn new(
        py: Python<'_>,
        required: (String, String, String, String),
        fields: BTreeMap<String, String>,
        attributes: BTreeMap<String, String>,
        behaviors: Option<BTreeMap<String, Option<String>>>,
        own_behaviors: Vec<String>,
        time_unit: Option<String>,
    ) -> PyResult<Self> {
        guard(py, || {
            let inner = quick(py, || {
                let (consumer, brand, behavior, time) = &required;
                let mut schema = EventSchema::new(consumer, brand, behavior, time);
                for (name, column) in &fields {
                    schema = schema.with_field(name, column);
                }
                for (name, column) in &attributes {
                    schema = schema.with_attribute(name, column);
                }
                if let Some(behaviors) = &behaviors {
                    schema = schema.with_behaviors(behaviors.iter().map(|(raw, name)| (raw.as_str(), name.as_deref())));
                }
                schema = schema.with_own_behaviors(own_behaviors.iter().map(String::as_str));
                if let Some(unit) = &time_unit {
                    schema = schema.with_time_unit(TimeUnit::parse(unit)?);
                }
                schema.check()?;
                Ok::<_, aipl_core::event::SchemaError>(schema)
            })?;
            Ok(PySchema { inner })
        })
    }
}
