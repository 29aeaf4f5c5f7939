//! Attributes of consumers: a table of one row a consumer, such as age band, city tier or strategy group.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::RecordBatch;

use crate::base::suggest::hint;
use crate::base::{IdKind, IdValue, stop};
use crate::event::columns::IdRef;
use crate::event::{IdColumn, Reason, SchemaError, Tally};
use crate::identity::People;
use crate::source::SourceError;
use crate::timeline::labels::label_column;
use crate::timeline::universe::{IdStore, Universe};

/// Words for the accepted types, for error messages.
const ACCEPTED_TAGS: &str = "integers, texts, days, truth values, or a dictionary of these; put numbers with a fraction into classes first";
/// No value.
const NONE: u32 = u32::MAX;

/// The attributes of consumers. Cheap to clone.
///
/// A consumer with several rows has of each tag the least value that is not null, whatever the order of rows; where
/// they say different things, that is counted.
///
/// ```
/// use std::sync::Arc;
/// use aipl_core::timeline::Attributes;
/// use arrow::array::{RecordBatch, StringArray};
///
/// let column = |values: [&'static str; 2]| Arc::new(StringArray::from(values.to_vec())) as _;
/// let batch = RecordBatch::try_from_iter([("user", column(["u1", "u2"])), ("age", column(["18-24", "25-34"]))])?;
/// let attributes = Attributes::read(vec![batch], "user", None)?;
/// assert_eq!((attributes.consumers(), attributes.tags()), (2, vec!["age"]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Attributes {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    universe: Universe,
    tags: Vec<Tag>,
    tally: Tally,
    disagreeing: u64,
    /// Whether consumers are persons.
    persons: bool,
    /// What was read, so that it can be read again through an identity map.
    rows: Vec<RecordBatch>,
    consumer: String,
}

#[derive(Debug)]
struct Tag {
    name: String,
    /// Distinct values, in order.
    values: Vec<IdValue>,
    /// The place of each consumer's value, by bucket and local number, or [`NONE`].
    codes: Vec<Vec<u32>>,
}

impl Attributes {
    /// Reads a table: a column of consumers, and tags of integers, texts, days or truth values (all other columns if
    /// not named).
    ///
    /// # Errors
    /// A column that is not there or of a wrong type; a table without tags.
    pub fn read(rows: Vec<RecordBatch>, consumer: &str, tags: Option<&[String]>) -> Result<Attributes, SourceError> {
        Self::make(rows, consumer, tags, None)
    }

    /// The same attributes of the persons of an identity map. Rows of consumers without a person are counted as
    /// rejected.
    ///
    /// # Errors
    /// As [`Attributes::read`].
    pub fn seen_through(&self, people: &People) -> Result<Attributes, SourceError> {
        let tags: Vec<String> = self.inner.tags.iter().map(|tag| tag.name.clone()).collect();
        Self::make(self.inner.rows.clone(), &self.inner.consumer, Some(&tags), Some(people))
    }

    fn make(rows: Vec<RecordBatch>, consumer: &str, tags: Option<&[String]>, people: Option<&People>) -> Result<Attributes, SourceError> {
        let mut tally = Tally::default();
        let mut owners = Vec::new();
        for batch in &rows {
            owners.push(read_owners(
                batch,
                consumer,
                people,
                owners.iter().map(Vec::len).sum::<usize>() as u64,
                &mut tally,
            )?);
        }
        let kind = match (people, rows.first()) {
            (Some(_), _) => IdKind::Int64,
            (None, Some(batch)) => column(batch, "consumer", consumer)?.1,
            (None, None) => IdKind::Text,
        };
        let known = owners.iter().flatten().flatten().cloned();
        let universe = Universe::of_ids(kind, known.take_while(|_| !stop::requested()));
        go_on()?;
        let names: Vec<String> = match (tags, rows.first()) {
            (Some(tags), _) => tags.to_vec(),
            (None, Some(batch)) => {
                let fields = batch.schema();
                fields
                    .fields()
                    .iter()
                    .map(|field| field.name().clone())
                    .filter(|name| name != consumer)
                    .collect()
            }
            (None, None) => Vec::new(),
        };
        if names.is_empty() && !rows.is_empty() {
            return Err(refuse(consumer, "the only column", "a table with at least one tag"));
        }
        if let Some((_, name)) = names.iter().enumerate().find(|(place, name)| names[..*place].contains(name)) {
            return Err(refuse(name, "named twice", "each tag once"));
        }
        let mut disagreeing = BTreeSet::new();
        let tags = names
            .into_iter()
            .map(|name| read_tag(&rows, name, &owners, &universe, &mut disagreeing))
            .collect::<Result<Vec<_>, _>>()?;
        let inner = Inner {
            universe,
            tags,
            tally,
            disagreeing: disagreeing.len() as u64,
            persons: people.is_some(),
            rows,
            consumer: consumer.to_owned(),
        };
        Ok(Attributes { inner: Arc::new(inner) })
    }

    /// Consumers with a row.
    #[must_use]
    pub fn consumers(&self) -> usize {
        self.inner.universe.len()
    }

    /// The names of the tags.
    #[must_use]
    pub fn tags(&self) -> Vec<&str> {
        self.inner.tags.iter().map(|tag| tag.name.as_str()).collect()
    }

    /// Consumers whose rows say different things of some tag.
    #[must_use]
    pub fn disagreeing(&self) -> u64 {
        self.inner.disagreeing
    }

    /// The account of the rows.
    #[must_use]
    pub fn tally(&self) -> &Tally {
        &self.inner.tally
    }

    /// The place of a tag.
    #[must_use]
    pub fn tag(&self, name: &str) -> Option<usize> {
        self.inner.tags.iter().position(|tag| tag.name == name)
    }

    /// The values of a tag, in order.
    #[must_use]
    pub fn values(&self, tag: usize) -> &[IdValue] {
        &self.inner.tags[tag].values
    }

    /// Whether it has consumers and none of them can be one of these: accounts where these are persons, or the other
    /// way.
    pub(crate) fn is_stranger(&self, universe: &Universe) -> bool {
        let own = &self.inner.universe;
        let mut all = own.numbers().map(|idx| own.id(idx));
        !own.is_empty() && self.inner.persons != universe.people().is_some() && !all.any(|id| universe.find(&id).is_some())
    }

    /// By local number of a bucket's consumers, the place of each one's row there, if there is one.
    pub(crate) fn align(&self, bucket: usize, ids: &IdStore, kind: IdKind) -> Vec<u32> {
        let find = |id: IdValue| {
            // Identifiers of another type hash elsewhere, and a bank's persons are where their accounts are.
            let id = id.to_type(self.inner.universe.id_kind())?;
            self.inner.universe.find(&id)
        };
        let same = kind == self.inner.universe.id_kind() && ids.is_keyed();
        let own = self.inner.universe.bucket(bucket);
        (0..ids.len())
            .map(|local| match same {
                true => own
                    .find(&ids.id(local))
                    .map_or(NONE, |row| crate::base::ConsumerIdx::new(bucket, row as u32).0),
                false => find(ids.id(local)).map_or(NONE, |idx| idx.0),
            })
            .collect()
    }

    /// One more than the place of the value of a tag of an aligned consumer; 0 if there is none.
    #[inline]
    pub(crate) fn value(&self, tag: usize, aligned: u32) -> u64 {
        if aligned == NONE {
            return 0;
        }
        let idx = crate::base::ConsumerIdx(aligned);
        match self.inner.tags[tag].codes[idx.bucket()][idx.local() as usize] {
            NONE => 0,
            place => u64::from(place) + 1,
        }
    }
}

fn refuse(column: &str, found: &str, accepted: &'static str) -> SourceError {
    SchemaError::ColumnType {
        place: "attributes".to_owned(),
        column: column.to_owned(),
        role: "attributes".to_owned(),
        found: found.to_owned(),
        accepted,
    }
    .into()
}

fn column(batch: &RecordBatch, role: &str, name: &str) -> Result<(IdColumn, IdKind), SourceError> {
    let schema = batch.schema();
    let Some(array) = batch.column_by_name(name) else {
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        return Err(SchemaError::ColumnNotFound {
            place: "attributes".to_owned(),
            column: name.to_owned(),
            role: role.to_owned(),
            hint: hint(name, names.iter().copied()),
            choices: names.iter().map(|name| (*name).to_owned()).collect(),
        }
        .into());
    };
    let read = label_column(array).ok_or_else(|| refuse(name, &array.data_type().to_string(), ACCEPTED_TAGS))?;
    Ok((read, IdColumn::id_kind(array.data_type()).unwrap_or(IdKind::Text)))
}

/// Who each row is of; rows that are of nobody are counted.
fn read_owners(
    batch: &RecordBatch,
    consumer: &str,
    people: Option<&People>,
    first: u64,
    tally: &mut Tally,
) -> Result<Vec<Option<IdValue>>, SourceError> {
    let place: Arc<str> = "attributes".into();
    let (ids, _) = column(batch, "consumer", consumer)?;
    let mut owners = Vec::with_capacity(ids.len());
    ids.for_each(|row, id| {
        if stop::requested() {
            return;
        }
        let found = match (id, people) {
            (IdRef::Null, _) => Err(Reason::NullConsumer),
            (IdRef::Bad(reason), _) => Err(reason),
            (id, None) => id.to_value().ok_or(Reason::NullConsumer),
            (IdRef::Int(value), Some(people)) => people.person_of(&value.to_string()).map(IdValue::Int),
            (IdRef::Text(text), Some(people)) => people.person_of(text).map(IdValue::Int),
        };
        tally.rows_read += 1;
        if let Err(reason) = found {
            tally.reject(&place, first + row as u64, reason, consumer, String::new);
        }
        owners.push(found.ok());
    });
    go_on()?;
    Ok(owners)
}

/// Loops over rows pass the rest by once the work should stop; what they leave behind is not used.
fn go_on() -> Result<(), SourceError> {
    stop::checkpoint().map_err(|_| SourceError::Canceled)
}

fn read_tag(
    rows: &[RecordBatch],
    name: String,
    owners: &[Vec<Option<IdValue>>],
    universe: &Universe,
    disagreeing: &mut BTreeSet<u32>,
) -> Result<Tag, SourceError> {
    let mut said: Vec<(u32, IdValue)> = Vec::new();
    for (batch, owners) in rows.iter().zip(owners) {
        let (column, _) = column(batch, "tag", &name)?;
        column.for_each(|row, value| {
            if stop::requested() {
                return;
            }
            let owner = owners[row].as_ref().and_then(|owner| universe.find(owner));
            if let (Some(owner), Some(value)) = (owner, value.to_value()) {
                said.push((owner.0, value));
            }
        });
    }
    go_on()?;
    said.sort();
    said.dedup();
    disagreeing.extend(said.windows(2).filter(|pair| pair[0].0 == pair[1].0).map(|pair| pair[0].0));
    // The least value of each consumer comes first.
    said.dedup_by_key(|(owner, _)| *owner);
    let values: Vec<IdValue> = said
        .iter()
        .map(|(_, value)| value.clone())
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    let mut codes: Vec<Vec<u32>> = (0..crate::base::id::BUCKETS)
        .map(|bucket| vec![NONE; universe.bucket(bucket).len()])
        .collect();
    for (owner, value) in &said {
        let idx = crate::base::ConsumerIdx(*owner);
        if let Ok(place) = values.binary_search(value) {
            codes[idx.bucket()][idx.local() as usize] = place as u32;
        }
    }
    Ok(Tag { name, values, codes })
}
