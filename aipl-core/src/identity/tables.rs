//! A map as tables: persons, links, refusals, merges, and the account of it all.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;
use rayon::prelude::*;
use serde_json::{Value, json};

use crate::event::Example;
use crate::identity::IdentityError;
use crate::identity::forest::Forest;
use crate::identity::link::{Links, Refusal, each_asked, pair, stretches};
use crate::identity::map::IdentityMap;
use crate::identity::observations::NONE;

/// Says that the answer does not matter any more.
pub type Stop<'a> = &'a (dyn Fn() -> bool + Sync);

/// Rows of one batch of a streamed table.
const BATCH_ROWS: usize = 1 << 16;

/// Columns of a table in the making.
pub(super) struct Columns(Vec<(Field, ArrayRef)>);

impl Columns {
    pub fn new() -> Self {
        Columns(Vec::new())
    }

    pub fn array(mut self, name: &str, array: ArrayRef) -> Self {
        self.0.push((Field::new(name, array.data_type().clone(), false), array));
        self
    }

    pub fn integers(mut self, name: &str, values: impl IntoIterator<Item = i64>) -> Self {
        self.0.push((
            Field::new(name, DataType::Int64, false),
            Arc::new(Int64Array::from_iter_values(values)),
        ));
        self
    }

    pub fn texts<T: AsRef<str>>(mut self, name: &str, values: impl IntoIterator<Item = T>) -> Self {
        self.0.push((
            Field::new(name, DataType::Utf8, false),
            Arc::new(StringArray::from_iter_values(values)),
        ));
        self
    }

    pub fn optional_texts<T: AsRef<str>>(mut self, name: &str, values: impl IntoIterator<Item = Option<T>>) -> Self {
        self.0
            .push((Field::new(name, DataType::Utf8, true), Arc::new(StringArray::from_iter(values))));
        self
    }

    /// Instants in UTC; `i64::MAX` is null.
    pub fn instants(mut self, name: &str, values: impl IntoIterator<Item = i64>) -> Self {
        let array: TimestampMicrosecondArray = values.into_iter().map(|instant| (instant != i64::MAX).then_some(instant)).collect();
        self.0.push((
            Field::new(name, DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true),
            Arc::new(array.with_timezone("UTC")),
        ));
        self
    }

    pub fn batch(self) -> Result<RecordBatch, ArrowError> {
        let (fields, arrays): (Vec<Field>, Vec<ArrayRef>) = self.0.into_iter().unzip();
        RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)
    }
}

/// A table that is known to be well formed, or why Arrow cannot hold it.
pub(super) fn table(columns: Columns) -> Result<RecordBatch, IdentityError> {
    columns.batch().map_err(|error| IdentityError::Malformed {
        place: "table".to_owned(),
        problem: error.to_string(),
    })
}

/// Persons with their identifiers, batch by batch.
#[derive(Debug)]
pub struct PersonRows {
    map: IdentityMap,
    /// The person to go on with, and how many of its identifiers have been shown.
    next: (usize, usize),
}

impl PersonRows {
    /// Columns `person`, `id_type`, `id`.
    #[must_use]
    pub fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![
            Field::new("person", DataType::Int64, false),
            Field::new("id_type", DataType::Utf8, false),
            Field::new("id", DataType::Utf8, false),
        ]))
    }
}

impl Iterator for PersonRows {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (map, members) = (&self.map, self.map.members());
        let (mut persons, mut ids) = (Vec::with_capacity(BATCH_ROWS), Vec::with_capacity(BATCH_ROWS));
        while let Some(&person) = members.persons.get(self.next.0).filter(|_| ids.len() < BATCH_ROWS) {
            let left = &members.at(self.next.0)[self.next.1..];
            let taken = left.len().min(BATCH_ROWS - ids.len());
            ids.extend_from_slice(&left[..taken]);
            persons.resize(ids.len(), person);
            self.next = if taken == left.len() {
                (self.next.0 + 1, 0)
            } else {
                (self.next.0, self.next.1 + taken)
            };
        }
        if ids.is_empty() {
            return None;
        }
        let (types, kinds) = (map.types(), map.inner.table.kinds());
        let made = map.inner.table.texts(&ids).and_then(|texts| {
            let names = ids.iter().map(|&id| types[usize::from(kinds[id as usize])].name.as_str());
            let columns = Columns::new().integers("person", persons).texts("id_type", names);
            columns.array("id", Arc::new(texts)).batch()
        });
        Some(made)
    }
}

/// A link as tables show it.
struct Shown<'a> {
    left: (u8, &'a str),
    right: (u8, &'a str),
}

impl IdentityMap {
    /// Every person with its identifiers, in order of person, priority of type, and age. Also tells how many rows there are.
    #[must_use]
    pub fn persons(&self) -> (usize, PersonRows) {
        let rows = PersonRows {
            map: self.clone(),
            next: (0, 0),
        };
        (self.members().len(), rows)
    }

    fn shown(&self, (low, high): (u32, u32)) -> Shown<'_> {
        let (one, other) = (self.described(low), self.described(high));
        let (left, right) = if one <= other { (one, other) } else { (other, one) };
        Shown { left, right }
    }

    fn link_columns(&self, columns: Columns, links: &[Shown<'_>]) -> Columns {
        let name = |kind: u8| self.types()[usize::from(kind)].name.as_str();
        columns
            .texts("id_type_a", links.iter().map(|link| name(link.left.0)))
            .texts("id_a", links.iter().map(|link| link.left.1))
            .texts("id_type_b", links.iter().map(|link| name(link.right.0)))
            .texts("id_b", links.iter().map(|link| link.right.1))
    }

    /// Calls `visit` with every link that rows ask for, on all threads: pair, reason of refusal if any, batch, instant and source.
    fn asked<R: Send>(&self, stop: Stop<'_>, visit: impl Fn((u32, u32), Option<Refusal>, u32, i64, u32) -> Option<R> + Sync) -> Vec<R> {
        let inner = &self.inner;
        let is_out = self.is_out();
        let links = Links::new(&inner.types, inner.table.kinds(), &is_out);
        stretches(inner.batches.iter().map(|batch| &**batch))
            .par_iter()
            .filter(|_| !stop())
            .flat_map_iter(|stretch| {
                let mut found = Vec::new();
                for row in stretch.part.rows(stretch.width) {
                    each_asked(row, &inner.partition, &links, &inner.cuts, |hub, id, refusal| {
                        found.extend(visit(pair(hub, id), refusal, stretch.batch, row.seen_at, row.source));
                    });
                }
                found
            })
            .collect()
    }

    /// Links that were not taken (unfinished once `stop` holds): `id_type_a`, `id_a`, `id_type_b`, `id_b`, `reason`, `rows` (how many rows ask for it), `seen_at` (first),
    /// in order of the identifiers.
    ///
    /// # Errors
    /// More than Arrow can hold.
    pub fn refused(&self, stop: Stop<'_>) -> Result<RecordBatch, IdentityError> {
        let found = self.asked(stop, |pair, refusal, _, seen_at, _| Some((pair, refusal?, seen_at)));
        let mut rows: Vec<(Shown<'_>, Refusal, i64, i64)> =
            counted(found.into_iter().map(|(pair, refusal, seen_at)| ((pair, refusal), seen_at)))
                .into_iter()
                .map(|((pair, refusal), (rows, seen_at))| (self.shown(pair), refusal, rows, seen_at))
                .collect();
        rows.sort_by(|one, other| (one.0.left, one.0.right, one.1).cmp(&(other.0.left, other.0.right, other.1)));
        let mut links = Vec::with_capacity(rows.len());
        let mut rest = Vec::with_capacity(rows.len());
        for (link, refusal, rows, seen_at) in rows {
            links.push(link);
            rest.push((refusal, rows, seen_at));
        }
        table(
            self.link_columns(Columns::new(), &links)
                .texts("reason", rest.iter().map(|row| row.0.code()))
                .integers("rows", rest.iter().map(|row| row.1))
                .instants("seen_at", rest.iter().map(|row| row.2)),
        )
    }

    /// Links within one person: the columns of [`IdentityMap::refused`] without the reason.
    ///
    /// # Errors
    /// There is no such person.
    pub fn links(&self, person: i64, stop: Stop<'_>) -> Result<RecordBatch, IdentityError> {
        let root = self.root(person).ok_or(IdentityError::UnknownPerson { person })?;
        let roots = &self.inner.partition.roots;
        let found = self.asked(stop, |pair, refusal, _, seen_at, _| {
            (refusal.is_none() && roots[pair.0 as usize] == root).then_some((pair, seen_at))
        });
        let mut rows: Vec<(Shown<'_>, i64, i64)> = counted(found)
            .into_iter()
            .map(|(pair, (rows, seen))| (self.shown(pair), rows, seen))
            .collect();
        rows.sort_by(|one, other| (one.0.left, one.0.right).cmp(&(other.0.left, other.0.right)));
        let counts: Vec<(i64, i64)> = rows.iter().map(|row| (row.1, row.2)).collect();
        let links: Vec<Shown<'_>> = rows.into_iter().map(|row| row.0).collect();
        table(
            self.link_columns(Columns::new(), &links)
                .integers("rows", counts.iter().map(|row| row.0))
                .instants("seen_at", counts.iter().map(|row| row.1)),
        )
    }

    /// Identifiers that belong to nobody: `id_type`, `id`, `reason` (`ignored`, `blocked`, `shared`).
    ///
    /// # Errors
    /// More than Arrow can hold.
    pub fn ignored(&self) -> Result<RecordBatch, IdentityError> {
        let mut rows: Vec<(u8, &str, Refusal)> = self
            .inner
            .partition
            .out
            .iter()
            .map(|(&id, &refusal)| {
                let (kind, text) = self.described(id);
                (kind, text, refusal)
            })
            .collect();
        rows.sort_unstable();
        table(
            Columns::new()
                .texts("id_type", rows.iter().map(|row| self.types()[usize::from(row.0)].name.as_str()))
                .texts("id", rows.iter().map(|row| row.1))
                .texts("reason", rows.iter().map(|row| row.2.code())),
        )
    }

    /// The log of merges: links that joined two persons who had both been seen before. Columns `batch`, `seen_at`, `kept`, `merged`
    /// (persons as they were then), `id_type_a`, `id_a`, `id_type_b`, `id_b`, `source`; in order of batch, time, and identifiers.
    ///
    /// What one batch shows at one time (or without times) is seen at once, so it merges nobody.
    ///
    /// # Errors
    /// More than Arrow can hold.
    pub fn merges(&self, stop: Stop<'_>) -> Result<RecordBatch, IdentityError> {
        let inner = &self.inner;
        // What is carried connects nobody.
        let joins = |id: u32| inner.types[usize::from(inner.table.kinds()[id as usize])].joining;
        let mut taken = self.asked(stop, |pair, refusal, batch, seen_at, source| {
            (refusal.is_none() && joins(pair.0) && joins(pair.1)).then_some(((batch, seen_at), pair, source))
        });
        taken.par_sort_unstable();
        taken.dedup_by_key(|(when, pair, _)| (*when, *pair));
        let mut born = vec![(u32::MAX, i64::MAX); inner.table.len()];
        for stretch in stretches(inner.batches.iter().map(|batch| &**batch)) {
            for row in stretch.part.rows(stretch.width) {
                for &id in row.ids.iter().filter(|id| **id != NONE) {
                    born[id as usize] = born[id as usize].min((stretch.batch, row.seen_at));
                }
            }
        }
        let forest = Forest::new(inner.table.len());
        let mut merges = Vec::new();
        for (when, (low, high), source) in taken {
            if stop() {
                break;
            }
            let (one, other) = (forest.find(low), forest.find(high));
            if one == other {
                continue;
            }
            let (kept, merged) = pair(one, other);
            forest.join(kept, merged);
            if born[kept as usize] < when && born[merged as usize] < when {
                merges.push((when, kept, merged, (low, high), source));
            }
            born[kept as usize] = born[kept as usize].min(born[merged as usize]);
        }
        let person = |id: u32| inner.table.person(id);
        let links: Vec<Shown<'_>> = merges.iter().map(|merge| self.shown(merge.3)).collect();
        let columns = Columns::new()
            .integers("batch", merges.iter().map(|merge| i64::from(merge.0.0)))
            .instants("seen_at", merges.iter().map(|merge| merge.0.1))
            .integers("kept", merges.iter().map(|merge| person(merge.1)))
            .integers("merged", merges.iter().map(|merge| person(merge.2)));
        let source = |merge: &(_, _, _, _, u32)| inner.sources.get(merge.4 as usize).map(String::as_str);
        table(
            self.link_columns(columns, &links)
                .optional_texts("source", merges.iter().map(source)),
        )
    }

    /// The account of the map: rows, values, identifiers, persons and how large they are, as plain data.
    #[must_use]
    pub fn report(&self) -> Value {
        let inner = &self.inner;
        let members = self.members();
        let mut sizes: BTreeMap<usize, u64> = BTreeMap::new();
        (0..members.persons.len()).for_each(|place| *sizes.entry(members.at(place).len()).or_default() += 1);
        let ids = self.ids_by_type();
        let mut out: BTreeMap<(u8, &str), u64> = BTreeMap::new();
        for (&id, refusal) in &inner.partition.out {
            *out.entry((inner.table.kinds()[id as usize], refusal.code())).or_default() += 1;
        }
        let of_type = |(kind, id_type): (u8, &crate::identity::IdType)| {
            let place = usize::from(kind);
            let count = |reason: &str| out.get(&(kind, reason)).copied().unwrap_or(0);
            json!({
                "id_type": id_type.name, "joining": id_type.joining, "single": id_type.single,
                "hash": inner.hashes[place].map(|hash| hash.to_string()), "ids": ids[place].1, "blank": inner.blanks[place],
                "ignored": count("ignored"), "blocked": count("blocked"), "shared": count("shared"),
            })
        };
        let rejected = inner.tally.rejected_json();
        let examples: Vec<Value> = inner.tally.examples().map(Example::to_json).collect();
        let persons = members.persons.len();
        json!({
            "rows": self.rows(), "batches": inner.batches.len(), "ids": inner.table.len(), "persons": persons,
            "ids_per_person": if persons == 0 { Value::Null } else { json!(members.len() as f64 / persons as f64) },
            "largest": sizes.keys().next_back(),
            "sizes": sizes.iter().map(|(ids, persons)| json!({"ids": ids, "persons": persons})).collect::<Vec<_>>(),
            "id_types": (0u8..).zip(&inner.types).map(of_type).collect::<Vec<_>>(),
            "rejected": rejected, "examples": examples, "unlinked": inner.cuts.len(), "bytes": self.nbytes(),
        })
    }
}

/// How often each key comes, and when first.
fn counted<K: Ord>(seen: impl IntoIterator<Item = (K, i64)>) -> BTreeMap<K, (i64, i64)> {
    let mut counted: BTreeMap<K, (i64, i64)> = BTreeMap::new();
    for (key, seen_at) in seen {
        let entry = counted.entry(key).or_insert((0, i64::MAX));
        *entry = (entry.0 + 1, entry.1.min(seen_at));
    }
    counted
}
