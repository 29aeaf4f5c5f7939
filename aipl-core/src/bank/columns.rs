//! What columns a bank has: those that its schema maps, by the name of the field, each of one type that may widen.

use std::collections::BTreeMap;

use arrow::datatypes::DataType;
use serde_json::Value;

use crate::bank::error::BankError;
use crate::base::IdKind;
use crate::event::schema::{LABEL_FIELDS, MEASURE_FIELDS};
use crate::event::{EventSchema, IdColumn};
use crate::source::Events;
use crate::timeline::log::fields::Kind;

/// Fields whose values are identifiers: they never change between integers and text.
const REQUIRED_IDS: [&str; 2] = ["consumer", "brand"];

/// The same fields, each in the column of its own name: how a bank keeps events, whatever their source calls them.
pub(crate) fn canonical(schema: &EventSchema) -> EventSchema {
    let mut own = EventSchema::new("consumer", "brand", "behavior", "time");
    for (name, _) in schema.mapped().skip(4) {
        own = if is_standard(name) {
            own.with_field(name, name)
        } else {
            own.with_attribute(name, name)
        };
    }
    let vocabulary = schema.vocabulary();
    let standard = EventSchema::new("c", "b", "a", "t").vocabulary().len();
    own.with_own_behaviors(vocabulary[standard..].iter().map(String::as_str))
}

fn is_standard(name: &str) -> bool {
    LABEL_FIELDS.contains(&name) || MEASURE_FIELDS.contains(&name)
}

/// The fields of a bank besides the required ones, in order of name.
pub(crate) fn optional_fields(schema: &EventSchema) -> Vec<String> {
    let mut fields: Vec<String> = schema.mapped().skip(4).map(|(name, _)| name.to_owned()).collect();
    fields.sort();
    fields
}

/// Reads a schema as recipes write it.
pub(crate) fn read_schema(value: &Value) -> Option<EventSchema> {
    let texts = |key: &str| -> Option<Vec<(String, String)>> {
        let object = value.get(key)?.as_object()?;
        object
            .iter()
            .map(|(name, text)| Some((name.clone(), text.as_str()?.to_owned())))
            .collect()
    };
    let columns: BTreeMap<String, String> = texts("columns")?.into_iter().collect();
    let of = |name: &str| columns.get(name).map(String::as_str);
    let mut schema = EventSchema::new(of("consumer")?, of("brand")?, of("behavior")?, of("time")?);
    for (name, column) in columns.iter().filter(|(name, _)| is_standard(name)) {
        schema = schema.with_field(name, column);
    }
    for (name, column) in texts("attributes")? {
        schema = schema.with_attribute(&name, &column);
    }
    if let Some(behaviors) = value.get("behaviors")?.as_object() {
        schema = schema.with_behaviors(behaviors.iter().map(|(raw, name)| (raw.as_str(), name.as_str())));
    }
    let own = value.get("own_behaviors")?.as_array()?;
    schema = schema.with_own_behaviors(own.iter().filter_map(Value::as_str));
    if let Some(unit) = value.get("time_unit")?.as_str() {
        schema = schema.with_time_unit(crate::event::schema::TimeUnit::parse(unit).ok()?);
    }
    Some(schema)
}

/// The types of a bank's columns: `consumer`, `brand` and every optional field that some batch had.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Types(BTreeMap<String, Kind>);

impl Types {
    /// Takes in types as records write them.
    pub fn read(&mut self, types: &BTreeMap<String, String>) -> Result<(), BankError> {
        for (name, text) in types {
            let kind = Kind::parse(text)
                .ok_or_else(|| BankError::corrupt("catalog.sqlite", format!("column {name:?} has the unknown type {text:?}")))?;
            self.0.insert(name.clone(), kind);
        }
        Ok(())
    }

    /// What the values of a field are; text while no batch had any.
    pub fn kind(&self, field: &str) -> Kind {
        self.0.get(field).copied().unwrap_or(Kind::Text)
    }

    /// What the identifiers of a field are.
    pub fn id_kind(&self, field: &str) -> IdKind {
        if self.kind(field) == Kind::Int {
            IdKind::Int64
        } else {
            IdKind::Text
        }
    }

    /// These types and those of some events, where they go together; and what is new, as records write it.
    ///
    /// # Errors
    /// [`BankError::Mismatch`] naming the field and both types.
    pub fn join(&self, events: &Events) -> Result<(Types, BTreeMap<String, String>), BankError> {
        let (mut joined, mut news) = (self.clone(), BTreeMap::new());
        let columns = events.source().columns();
        for (role, column) in events.schema().mapped().filter(|(role, _)| *role != "behavior" && *role != "time") {
            let data_type = columns.field_with_name(column).map(|field| field.data_type().clone());
            let Ok(data_type) = data_type else { continue };
            if is_empty_of_type(&data_type) {
                continue;
            }
            let new = kind_of(role, &data_type);
            let kind = match self.0.get(role) {
                None => new,
                Some(&had) if REQUIRED_IDS.contains(&role) && had != new => return Err(disagree(role, had, new)),
                Some(&had) => had.join(new).ok_or_else(|| disagree(role, had, new))?,
            };
            if joined.0.insert(role.to_owned(), kind) != Some(kind) {
                news.insert(role.to_owned(), kind.name().to_owned());
            }
        }
        Ok((joined, news))
    }
}

fn disagree(role: &str, had: Kind, new: Kind) -> BankError {
    BankError::mismatch(
        role,
        format!(
            "the bank has {} and these events have {}; convert the column before it goes in",
            had.name(),
            new.name()
        ),
    )
}

/// A column whose values are all null says nothing about its type.
fn is_empty_of_type(data_type: &DataType) -> bool {
    match data_type {
        DataType::Null => true,
        DataType::Dictionary(_, values) => is_empty_of_type(values),
        _ => false,
    }
}

fn kind_of(role: &str, data_type: &DataType) -> Kind {
    if MEASURE_FIELDS.contains(&role) && Kind::of(data_type) == Kind::Text {
        // CSV writes numbers as text; rows whose text is none are rejected before.
        return Kind::Decimal;
    }
    if !REQUIRED_IDS.contains(&role) {
        return Kind::of(data_type);
    }
    match IdColumn::id_kind(data_type) {
        Some(IdKind::Int64) => Kind::Int,
        _ => Kind::Text,
    }
}

/// Refuses events that do not fit: another zone, persons instead of accounts, tables of states, fields that the bank does not keep.
/// Gives the fields that the bank keeps and these events lack.
pub(crate) fn check_events(own: &EventSchema, zone: &str, events: &Events) -> Result<Vec<String>, BankError> {
    let mismatch = |field: &str, problem: String| Err(BankError::mismatch(field, problem));
    if events.zone().name() != zone {
        let problem = format!(
            "the days of the bank are in {zone} and those of the events in {}",
            events.zone().name()
        );
        return mismatch("tz", problem);
    }
    if events.people().is_some() {
        let problem = "a bank keeps accounts as they come; ingest the links, and persons are made when questions are asked";
        return mismatch("identity", problem.to_owned());
    }
    if !events.states().is_empty() {
        let problem = "a bank keeps no tables of states; write joins and leaves as events (member_join, member_leave, follow, unfollow)";
        return mismatch("states", problem.to_owned());
    }
    let fields: Vec<&str> = events.schema().mapped().map(|(name, _)| name).collect();
    if let Some(more) = fields.iter().find(|name| own.column(name).is_none()) {
        let kept = optional_fields(own).join(", ");
        let problem = format!("the bank was created without this field and keeps: {kept}; map only these");
        return mismatch(more, problem);
    }
    let vocabulary = own.vocabulary();
    if let Some(more) = events.schema().vocabulary().iter().find(|name| !vocabulary.contains(name)) {
        let problem = format!(
            "the bank was created without the own behavior {more:?}; it has {}",
            vocabulary.join(", ")
        );
        return mismatch("own_behaviors", problem);
    }
    Ok(optional_fields(own)
        .into_iter()
        .filter(|name| !fields.contains(&name.as_str()))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::schema::TimeUnit;

    #[test]
    fn schemas_come_back_as_they_were_written() {
        let schema = EventSchema::new("user", "brand", "action", "ts")
            .with_field("rating", "stars")
            .with_attribute("campaign", "utm")
            .with_behaviors([("pv", Some("view")), ("ping", None)])
            .with_own_behaviors(["unboxing"])
            .with_time_unit(TimeUnit::Second);
        assert_eq!(read_schema(&schema.to_json()).as_ref(), Some(&schema));
        let plain = EventSchema::new("a", "b", "c", "d");
        assert_eq!(read_schema(&plain.to_json()).as_ref(), Some(&plain));
        let own = canonical(&schema);
        assert_eq!(
            (own.column("rating"), own.column("campaign"), own.column("consumer")),
            (Some("rating"), Some("campaign"), Some("consumer"))
        );
        assert!(own.check().is_ok() && own.vocabulary() == schema.vocabulary());
    }

    #[test]
    fn types_widen_and_never_lose() {
        use Kind::{Bool, Decimal, Float, Int, Text, Unsigned};
        assert_eq!(
            [Int.join(Float), Float.join(Int), Int.join(Int)],
            [Some(Float), Some(Float), Some(Int)]
        );
        assert_eq!(
            [Int.join(Decimal), Decimal.join(Float), Int.join(Unsigned)],
            [Some(Decimal), Some(Float), None]
        );
        assert_eq!([Int.join(Text), Bool.join(Int)], [None, None]);
        for kind in [Bool, Decimal, Float, Int, Text, Unsigned] {
            assert_eq!(Kind::parse(kind.name()), Some(kind));
        }
    }
}
