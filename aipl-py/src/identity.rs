//! `IdentityMap` of the core.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aipl_core::Error;
use aipl_core::analyses::Report;
use aipl_core::base::{Zone, stop};
use aipl_core::event::SchemaError;
use aipl_core::identity::tables::Stop;
use aipl_core::identity::{Guards, IdType, IdTypeOf, IdentityError, IdentityMap, Normalizer, People, Reading, Unknown, components};
use aipl_core::source::{OnError, Source, SourceError, open_table};
use aipl_core::timeline::{
    Runtime, add_identities, block_identity, read_identities, resolve_identities, unlink_identities, write_identities,
};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchIterator, RecordBatchReader, UInt32Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, UInt32Type};
use pyo3::prelude::*;

use crate::events::PyEvents;
use crate::guard::guard;
use crate::options::PyReadOptions;
use crate::runtime::{detached, guarded, quick};
use crate::stream;
use crate::table::PyTable;

/// Which identifiers belong to one person.
#[pyclass(frozen, module = "aipl._core", name = "IdentityMap")]
pub struct PyIdentityMap {
    pub inner: IdentityMap,
}

/// Rows of identifiers, wherever they are.
#[pyclass(frozen, module = "aipl._core", name = "Rows")]
pub struct PyRows {
    pub source: Arc<dyn Source>,
}

#[pymethods]
impl PyRows {
    #[staticmethod]
    fn of_files(py: Python<'_>, paths: Vec<String>, columns: Vec<String>, options: &PyReadOptions) -> PyResult<Self> {
        guarded(py, || open_table(&paths, &columns, options.inner)).map(|source| PyRows { source })
    }

    #[staticmethod]
    fn of_events(py: Python<'_>, events: &PyEvents) -> PyResult<Self> {
        guard(py, || {
            Ok(PyRows {
                source: events.inner.shared_source(),
            })
        })
    }

    #[staticmethod]
    fn of_arrow(py: Python<'_>, data: &Bound<'_, PyAny>, place: &str, rows: Option<u64>, again: bool) -> PyResult<Self> {
        guard(py, || {
            let source = stream::source(data, place, rows, again)?;
            Ok(PyRows { source: Arc::new(source) })
        })
    }
}

/// How to read rows: the columns of times and sources, the zone, and whether values that cannot be used end it.
pub type How = (Option<String>, Option<String>, String, bool);

pub fn reading((seen_at, source, tz, raise): How) -> Result<(Reading, OnError), Error> {
    let zone = Zone::named(&tz).map_err(|error| {
        Error::from(SchemaError::Field {
            field: "tz".to_owned(),
            problem: error.to_string(),
        })
    })?;
    let reading = Reading {
        seen_at,
        source,
        zone: Arc::new(zone),
    };
    Ok((reading, if raise { OnError::Raise } else { OnError::Reject }))
}

pub fn guards(max_people_per_id: Option<u32>, max_component: Option<u32>) -> Guards {
    Guards {
        max_people_per_id,
        max_component,
    }
}

impl PyIdentityMap {
    /// A table that is made on the pool.
    fn table(
        &self,
        py: Python<'_>,
        make: impl FnOnce(&IdentityMap, Stop<'_>) -> Result<RecordBatch, IdentityError> + Send,
    ) -> PyResult<PyTable> {
        let made = detached(py, None, |runtime| {
            runtime.progress().begin(0);
            let progress = runtime.progress();
            runtime.run(|| make(&self.inner, &|| progress.is_canceled())).map_err(Error::from)
        });
        made.map(PyTable::of_batch)
    }
}

#[pymethods]
impl PyIdentityMap {
    /// `id_types` is JSON.
    #[staticmethod]
    #[pyo3(signature = (rows, id_types, max_people_per_id, max_component, how, progress=None))]
    fn resolve(
        py: Python<'_>,
        rows: &PyRows,
        id_types: &str,
        max_people_per_id: Option<u32>,
        max_component: Option<u32>,
        how: How,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        guard(py, || {
            let inner = detached(py, progress.as_ref(), |runtime| {
                let types: Vec<IdType> = serde_json::from_str(id_types).map_err(|error| Error::Parameter(format!("id_types: {error}")))?;
                let (reading, on_error) = reading(how)?;
                let guards = guards(max_people_per_id, max_component);
                resolve_identities(&*rows.source, types, guards, &reading, on_error, runtime).map_err(Error::from)
            })?;
            Ok(PyIdentityMap { inner })
        })
    }

    #[pyo3(signature = (rows, how, progress=None))]
    fn add(&self, py: Python<'_>, rows: &PyRows, how: How, progress: Option<Py<PyAny>>) -> PyResult<Self> {
        guard(py, || {
            let inner = detached(py, progress.as_ref(), |runtime| {
                let (reading, on_error) = reading(how)?;
                add_identities(&self.inner, &*rows.source, &reading, on_error, runtime).map_err(Error::from)
            })?;
            Ok(PyIdentityMap { inner })
        })
    }

    fn unlink(&self, py: Python<'_>, left: (String, String), right: (String, String)) -> PyResult<Self> {
        guard(py, || {
            let inner = detached(py, None, |runtime| {
                unlink_identities(&self.inner, (&left.0, &left.1), (&right.0, &right.1), runtime).map_err(Error::from)
            })?;
            Ok(PyIdentityMap { inner })
        })
    }

    fn block(&self, py: Python<'_>, id_type: &str, id: &str) -> PyResult<Self> {
        guard(py, || {
            let inner = detached(py, None, |runtime| {
                block_identity(&self.inner, id_type, id, runtime).map_err(Error::from)
            })?;
            Ok(PyIdentityMap { inner })
        })
    }

    /// The kind of normalizer by name, in order.
    #[staticmethod]
    fn normalizers(py: Python<'_>) -> PyResult<Vec<&'static str>> {
        guard(py, || Ok(Normalizer::ALL.map(|(name, _)| name).to_vec()))
    }

    /// What a name alone says of an id type, as JSON.
    #[staticmethod]
    fn named_type(py: Python<'_>, name: &str) -> PyResult<String> {
        guard(py, || {
            quick(py, || {
                serde_json::to_string(&IdType::named(name)).map_err(|error| Error::Parameter(error.to_string()))
            })
        })
    }

    /// The id types as JSON.
    fn id_types(&self, py: Python<'_>) -> PyResult<String> {
        guard(py, || {
            quick(py, || {
                serde_json::to_string(self.inner.types()).map_err(|error| Error::Parameter(error.to_string()))
            })
        })
    }

    #[getter]
    fn guards(&self, py: Python<'_>) -> PyResult<(Option<u32>, Option<u32>)> {
        guard(py, || {
            let guards = self.inner.guards();
            Ok((guards.max_people_per_id, guards.max_component))
        })
    }

    fn lookup(&self, py: Python<'_>, id_type: &str, id: &str) -> PyResult<Option<i64>> {
        guard(py, || quick(py, || self.inner.lookup(id_type, id)))
    }

    fn person(&self, py: Python<'_>, person: i64) -> PyResult<Vec<(String, String)>> {
        detached(py, None, |runtime| {
            let ids = runtime.run(|| self.inner.person(person))?;
            let owned = |(name, text): (&str, &str)| (name.to_owned(), text.to_owned());
            Ok::<_, Error>(ids.into_iter().map(owned).collect())
        })
    }

    fn persons(&self, py: Python<'_>) -> PyResult<PyTable> {
        guard(py, || {
            let count = detached(py, None, |runtime| Ok::<_, Error>(runtime.run(|| self.inner.persons().0)))?;
            let map = self.inner.clone();
            let schema = aipl_core::identity::tables::PersonRows::schema();
            let stream_schema = schema.clone();
            let open = move |_: Python<'_>| {
                let (_, rows) = map.persons();
                Ok(Box::new(RecordBatchIterator::new(rows, stream_schema.clone())) as Box<dyn RecordBatchReader + Send>)
            };
            Ok(PyTable::of_stream(schema, count, Box::new(open)))
        })
    }

    fn refused(&self, py: Python<'_>) -> PyResult<PyTable> {
        guard(py, || self.table(py, IdentityMap::refused))
    }

    fn merges(&self, py: Python<'_>) -> PyResult<PyTable> {
        guard(py, || self.table(py, IdentityMap::merges))
    }

    fn ignored(&self, py: Python<'_>) -> PyResult<PyTable> {
        guard(py, || self.table(py, |map, _| map.ignored()))
    }

    fn links(&self, py: Python<'_>, person: i64) -> PyResult<PyTable> {
        guard(py, || self.table(py, |map, stop| map.links(person, stop)))
    }

    /// The account of the map as JSON.
    fn report(&self, py: Python<'_>) -> PyResult<String> {
        detached(py, None, |runtime| Ok::<_, Error>(runtime.run(|| self.inner.report()).to_string()))
    }

    /// The map in the form in which it is stored.
    fn observations(&self, py: Python<'_>) -> PyResult<PyTable> {
        guard(py, || {
            let (count, rows) = guarded(py, || self.inner.observations())?;
            let map = self.inner.clone();
            let open = move |py: Python<'_>| {
                let (_, rows) = guarded(py, || map.observations())?;
                Ok(Box::new(rows) as Box<dyn RecordBatchReader + Send>)
            };
            Ok(PyTable::of_stream(rows.schema(), count, Box::new(open)))
        })
    }

    #[staticmethod]
    fn from_observations(py: Python<'_>, data: &Bound<'_, PyAny>) -> PyResult<Self> {
        guard(py, || {
            let reader = stream::open(data)?;
            let schema = reader.schema();
            let batches = stream::all(py, reader, "observations")?;
            let inner = guarded(py, || {
                stream::check(&batches, "observations")?;
                let map = IdentityMap::from_observations(&schema, batches.into_iter().map(Ok), &stop::requested)?;
                Ok::<_, Error>(map)
            })?;
            Ok(PyIdentityMap { inner })
        })
    }

    fn write_parquet(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        detached(py, None, |runtime| {
            write_identities(&self.inner, &path, runtime).map_err(Error::from)
        })
    }

    #[staticmethod]
    fn read_parquet(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        guard(py, || {
            let inner = detached(py, None, |runtime| read_identities(&path, runtime).map_err(Error::from))?;
            Ok(PyIdentityMap { inner })
        })
    }

    /// Rows, identifiers and persons.
    fn counts(&self, py: Python<'_>) -> PyResult<(usize, usize, usize)> {
        detached(py, None, |runtime| {
            Ok::<_, Error>(runtime.run(|| (self.inner.rows(), self.inner.ids(), self.inner.len())))
        })
    }

    /// Identifiers by type, in order of priority.
    fn ids_by_type(&self, py: Python<'_>) -> PyResult<Vec<(String, u64)>> {
        guard(py, || quick(py, || Ok::<_, Error>(self.inner.ids_by_type())))
    }

    /// Values that could not be used, by reason.
    fn rejected(&self, py: Python<'_>) -> PyResult<Vec<(&'static str, u64)>> {
        guard(py, || {
            let tally = self.inner.tally();
            Ok(tally.rejected.iter().map(|(reason, count)| (reason.code(), *count)).collect())
        })
    }

    /// What became of rows, as the JSON of a report.
    fn rows_report(&self, py: Python<'_>) -> PyResult<String> {
        guard(py, || {
            let report = Report {
                tally: self.inner.tally().clone(),
                notes: Vec::new(),
                elapsed: Duration::ZERO,
                threads: 0,
                identity: None,
            };
            Ok(report.to_json().to_string())
        })
    }

    #[getter]
    fn nbytes(&self, py: Python<'_>) -> PyResult<usize> {
        guard(py, || Ok(self.inner.nbytes()))
    }
}

/// Sees events through a map.
pub fn with_identity(
    events: &PyEvents,
    people: &PyIdentityMap,
    id_type: Option<String>,
    column: Option<String>,
    reject: bool,
) -> Result<PyEvents, SourceError> {
    let people = self::people(people, id_type, column, reject)?;
    Ok(PyEvents {
        inner: events.inner.clone().with_identity(people)?,
    })
}

/// A map as consumers are seen through it.
pub fn people(map: &PyIdentityMap, id_type: Option<String>, column: Option<String>, reject: bool) -> Result<People, SourceError> {
    let by = match (id_type, column) {
        (_, Some(column)) => IdTypeOf::Column(column),
        (name, None) => IdTypeOf::Type(name.unwrap_or_default()),
    };
    let unknown = if reject { Unknown::Reject } else { Unknown::Keep };
    Ok(People::new(map.inner.clone(), by, unknown)?)
}

/// The least node of every node's component.
#[pyfunction]
#[pyo3(signature = (links, nodes=None))]
pub fn connected_components(py: Python<'_>, links: &Bound<'_, PyAny>, nodes: Option<usize>) -> PyResult<PyTable> {
    guard(py, || {
        let batches = stream::all(py, stream::open(links)?, "links")?;
        let roots = detached(py, None, |runtime| labeled(&batches, nodes, runtime))?;
        let column: ArrayRef = Arc::new(UInt32Array::from(roots));
        let batch = RecordBatch::try_from_iter_with_nullable([("component", column, false)]);
        let batch = quick(py, || batch.map_err(|error| Error::Parameter(error.to_string())))?;
        Ok(PyTable::of_batch(batch))
    })
}

/// The two columns of node numbers.
fn ends(batches: &[RecordBatch]) -> Result<[Vec<ArrayRef>; 2], Error> {
    let wrong = |problem: String| Error::Parameter(format!("links: {problem}"));
    let columns = batches.first().map_or(0, RecordBatch::num_columns);
    if columns != 2 {
        return Err(wrong(format!("two columns of node numbers are needed, not {columns}")));
    }
    let mut ends: [Vec<ArrayRef>; 2] = [Vec::new(), Vec::new()];
    for batch in batches {
        for (kept, column) in ends.iter_mut().zip(batch.columns()) {
            stop::checkpoint()?;
            if !column.data_type().is_integer() {
                return Err(wrong(format!("node numbers are integers, not {}", column.data_type())));
            }
            column.to_data().validate_full().map_err(|error| wrong(error.to_string()))?;
            let numbers = cast(column, &DataType::UInt32).map_err(|error| wrong(error.to_string()))?;
            if numbers.null_count() > 0 {
                return Err(wrong(
                    "node numbers are whole numbers from 0 to 4294967294, and never null".to_owned(),
                ));
            }
            kept.push(numbers);
        }
    }
    Ok(ends)
}

fn labeled(batches: &[RecordBatch], nodes: Option<usize>, runtime: &Runtime<'_>) -> Result<Vec<u32>, Error> {
    let ends = runtime.run(|| ends(batches))?;
    let slices =
        |arrays: &[ArrayRef]| -> Vec<UInt32Array> { arrays.iter().map(|array| array.as_primitive::<UInt32Type>().clone()).collect() };
    let (left, right) = (slices(&ends[0]), slices(&ends[1]));
    let pieces: Vec<(&[u32], &[u32])> = left
        .iter()
        .zip(&right)
        .map(|(left, right)| (&left.values()[..], &right.values()[..]))
        .collect();
    runtime.progress().begin(0);
    let progress = runtime.progress();
    let greatest = runtime.run(|| aipl_core::identity::forest::greatest(&pieces));
    let least = greatest.map_or(0, |node| node as usize + 1);
    let nodes = nodes.unwrap_or(least);
    if nodes < least || nodes >= u32::MAX as usize {
        return Err(Error::Parameter(format!(
            "nodes: {nodes} nodes are fewer than the links name ({least}), or too many"
        )));
    }
    Ok(runtime.run(|| components(nodes, &pieces, &|| progress.is_canceled())))
}
