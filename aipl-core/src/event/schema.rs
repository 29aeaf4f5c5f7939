//! Which column of the data is what.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::base::suggest::{hint, shown};
use crate::event::behavior::STANDARD_BEHAVIORS;
use crate::event::error::SchemaError;

/// The most behaviors of a vocabulary, standard and own.
pub const MAX_BEHAVIORS: usize = 250;
/// The longest name of a column, an attribute or a behavior, and the longest raw value of one, in bytes.
pub const MAX_NAME_BYTES: usize = 1_024;
/// The most own attributes.
pub const MAX_ATTRIBUTES: usize = 1_000;
/// The most raw values of behaviors.
pub const MAX_RAW_BEHAVIORS: usize = 100_000;
/// Optional fields that hold labels or identifiers.
pub const LABEL_FIELDS: [&str; 8] = ["category", "item", "store", "channel", "touchpoint", "order_id", "event_id", "city"];
/// Optional fields that hold numbers.
pub const MEASURE_FIELDS: [&str; 4] = ["amount", "quantity", "rating", "cost"];

/// The unit of an integer time column, counted from 1970-01-01 00:00 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeUnit {
    /// Days; a calendar day as it is, in no time zone.
    Day,
    /// Seconds.
    Second,
    /// Milliseconds.
    Millisecond,
    /// Microseconds.
    Microsecond,
    /// Nanoseconds.
    Nanosecond,
}

impl TimeUnit {
    /// Reads `d`, `s`, `ms`, `us` or `ns`.
    ///
    /// # Errors
    /// [`SchemaError::Field`] for anything else.
    pub fn parse(text: &str) -> Result<TimeUnit, SchemaError> {
        Ok(match text {
            "d" => TimeUnit::Day,
            "s" => TimeUnit::Second,
            "ms" => TimeUnit::Millisecond,
            "us" => TimeUnit::Microsecond,
            "ns" => TimeUnit::Nanosecond,
            _ => {
                return Err(field(
                    "time_unit",
                    format!("{text:?} is not one of \"d\", \"s\", \"ms\", \"us\", \"ns\""),
                ));
            }
        })
    }

    /// `d`, `s`, `ms`, `us` or `ns`.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            TimeUnit::Day => "d",
            TimeUnit::Second => "s",
            TimeUnit::Millisecond => "ms",
            TimeUnit::Microsecond => "us",
            TimeUnit::Nanosecond => "ns",
        }
    }
}

/// Maps columns of the data, and raw values of the behavior column, to what the library works with.
///
/// Consumer, brand, behavior and time are required; everything else is optional. Two fields may name the same column.
///
/// ```
/// use aipl_core::event::EventSchema;
/// let schema = EventSchema::new("user_id", "brand", "action", "ts")
///     .with_field("rating", "stars")
///     .with_behaviors([("pv", Some("view")), ("buy", Some("purchase")), ("heartbeat", None)]);
/// schema.check()?;
/// assert_eq!(schema.column("rating"), Some("stars"));
/// # Ok::<(), aipl_core::event::SchemaError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventSchema {
    consumer: String,
    brand: String,
    behavior: String,
    time: String,
    fields: BTreeMap<String, String>,
    attributes: BTreeMap<String, String>,
    behaviors: Option<BTreeMap<String, Option<String>>>,
    own_behaviors: Vec<String>,
    time_unit: Option<TimeUnit>,
}

fn field(name: impl Into<String>, problem: impl Into<String>) -> SchemaError {
    SchemaError::Field {
        field: name.into(),
        problem: problem.into(),
    }
}

impl EventSchema {
    /// A schema of the four required columns.
    #[must_use]
    pub fn new(consumer: &str, brand: &str, behavior: &str, time: &str) -> Self {
        EventSchema {
            consumer: consumer.to_owned(),
            brand: brand.to_owned(),
            behavior: behavior.to_owned(),
            time: time.to_owned(),
            fields: BTreeMap::new(),
            attributes: BTreeMap::new(),
            behaviors: None,
            own_behaviors: Vec::new(),
            time_unit: None,
        }
    }

    /// Maps an optional standard field (`category`, `rating`, …) to a column.
    #[must_use]
    pub fn with_field(mut self, name: &str, column: &str) -> Self {
        self.fields.insert(name.to_owned(), column.to_owned());
        self
    }

    /// Adds an own attribute that rules can use in `where` and `sum`.
    #[must_use]
    pub fn with_attribute(mut self, name: &str, column: &str) -> Self {
        self.attributes.insert(name.to_owned(), column.to_owned());
        self
    }

    /// Maps raw behavior values to behavior names; `None` ignores the rows. Raw values not named here are rejected
    /// rows.
    #[must_use]
    pub fn with_behaviors<'a>(mut self, mapping: impl IntoIterator<Item = (&'a str, Option<&'a str>)>) -> Self {
        self.behaviors = Some(
            mapping
                .into_iter()
                .map(|(raw, name)| (raw.to_owned(), name.map(str::to_owned)))
                .collect(),
        );
        self
    }

    /// Adds own behavior names to the standard ones.
    #[must_use]
    pub fn with_own_behaviors<'a>(mut self, names: impl IntoIterator<Item = &'a str>) -> Self {
        self.own_behaviors.extend(names.into_iter().map(str::to_owned));
        self
    }

    /// Declares the unit of an integer time column.
    #[must_use]
    pub fn with_time_unit(mut self, unit: TimeUnit) -> Self {
        self.time_unit = Some(unit);
        self
    }

    /// Refuses names that do not exist, and more or longer names than any data has: at most 1,000 attributes, 250
    /// behaviors, 100,000 raw values of them, and 1,024 bytes a name.
    ///
    /// # Errors
    /// [`SchemaError::Field`] naming the field and the choices, or the limit.
    pub fn check(&self) -> Result<(), SchemaError> {
        self.check_size()?;
        for (name, column) in self.required() {
            if column.is_empty() {
                return Err(field(name, "names no column"));
            }
        }
        for name in self.fields.keys() {
            let known = || LABEL_FIELDS.into_iter().chain(MEASURE_FIELDS);
            if !known().any(|choice| choice == name) {
                return Err(field(
                    name,
                    format!(
                        "is not a field{}; fields: {}",
                        hint(name, known()),
                        known().collect::<Vec<_>>().join(", ")
                    ),
                ));
            }
        }
        for name in self.attributes.keys() {
            let taken = ["consumer", "brand", "behavior", "time"]
                .into_iter()
                .chain(LABEL_FIELDS)
                .chain(MEASURE_FIELDS);
            if name.is_empty() || taken.into_iter().any(|standard| standard == name) {
                return Err(field(
                    "attributes",
                    format!("{name:?} is empty or the name of a standard field; map the field itself"),
                ));
            }
        }
        for name in &self.own_behaviors {
            if name.is_empty() || STANDARD_BEHAVIORS.contains(&name.as_str()) {
                return Err(field("own_behaviors", format!("{name:?} is empty or a standard behavior already")));
            }
        }
        let vocabulary = self.vocabulary();
        if vocabulary.len() > MAX_BEHAVIORS {
            return Err(field(
                "own_behaviors",
                format!("{} behaviors in all; at most {MAX_BEHAVIORS}", vocabulary.len()),
            ));
        }
        for (raw, name) in self.behaviors.iter().flatten() {
            let Some(name) = name else { continue };
            if !vocabulary.contains(name) {
                let tail = hint(name, vocabulary.iter().map(String::as_str));
                return Err(field(
                    format!("behaviors[{:?}]", shown(raw)),
                    format!(
                        "{:?} is not a behavior{tail} (own ones go in own_behaviors); behaviors: {}",
                        shown(name),
                        vocabulary.join(", ")
                    ),
                ));
            }
        }
        Ok(())
    }

    fn check_size(&self) -> Result<(), SchemaError> {
        let raw = self.behaviors.as_ref();
        let counts = [
            ("attributes", self.attributes.len(), MAX_ATTRIBUTES),
            ("behaviors", raw.map_or(0, BTreeMap::len), MAX_RAW_BEHAVIORS),
            ("own_behaviors", self.own_behaviors.len(), MAX_BEHAVIORS),
        ];
        if let Some((name, count, limit)) = counts.into_iter().find(|(_, count, limit)| count > limit) {
            return Err(field(name, format!("has {count} entries; at most {limit}")));
        }
        let mapped = self
            .required()
            .into_iter()
            .chain(self.fields.iter().map(|(name, column)| (name.as_str(), column.as_str())));
        let attributes = self
            .attributes
            .iter()
            .flat_map(|(name, column)| [("attributes", name.as_str()), ("attributes", column)]);
        let behaviors = raw
            .into_iter()
            .flatten()
            .flat_map(|(raw, name)| [Some(raw.as_str()), name.as_deref()]);
        let names = mapped
            .chain(attributes)
            .chain(behaviors.flatten().map(|name| ("behaviors", name)))
            .chain(self.own_behaviors.iter().map(|name| ("own_behaviors", name.as_str())));
        for (name, text) in names {
            if text.len().max(name.len()) > MAX_NAME_BYTES {
                let problem = format!("has a name of {} bytes; at most {MAX_NAME_BYTES}", text.len().max(name.len()));
                return Err(field(shown(name), problem));
            }
        }
        Ok(())
    }

    fn required(&self) -> [(&'static str, &str); 4] {
        [
            ("consumer", &self.consumer),
            ("brand", &self.brand),
            ("behavior", &self.behavior),
            ("time", &self.time),
        ]
    }

    /// The column of a field or own attribute; `None` if it is not mapped.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<&str> {
        self.required()
            .into_iter()
            .find(|(role, _)| *role == name)
            .map(|(_, column)| column)
            .or_else(|| self.fields.get(name).or_else(|| self.attributes.get(name)).map(String::as_str))
    }

    /// Every mapped field with its column, required ones first.
    pub fn mapped(&self) -> impl Iterator<Item = (&str, &str)> {
        let optional = self
            .fields
            .iter()
            .chain(&self.attributes)
            .map(|(name, column)| (name.as_str(), column.as_str()));
        self.required().into_iter().chain(optional)
    }

    /// The mapping of raw behavior values, if one was given.
    #[must_use]
    pub fn behaviors(&self) -> Option<&BTreeMap<String, Option<String>>> {
        self.behaviors.as_ref()
    }

    /// The declared unit of an integer time column.
    #[must_use]
    pub fn time_unit(&self) -> Option<TimeUnit> {
        self.time_unit
    }

    /// Standard behaviors, then own ones: a behavior's code is its place here.
    #[must_use]
    pub fn vocabulary(&self) -> Vec<String> {
        STANDARD_BEHAVIORS
            .iter()
            .map(ToString::to_string)
            .chain(self.own_behaviors.iter().cloned())
            .collect()
    }

    /// The schema as plain data, for recipes.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut columns: BTreeMap<&str, &str> = self.required().into_iter().collect();
        columns.extend(self.fields.iter().map(|(name, column)| (name.as_str(), column.as_str())));
        json!({
            "columns": columns,
            "attributes": self.attributes,
            "behaviors": self.behaviors,
            "own_behaviors": self.own_behaviors,
            "time_unit": self.time_unit.map(TimeUnit::code),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_name_the_field_and_the_choice() {
        let base = || EventSchema::new("c", "b", "a", "t");
        let message = |schema: EventSchema| schema.check().expect_err("refused").to_string();
        assert!(message(base().with_field("ratng", "x")).contains("did you mean \"rating\""));
        assert!(
            message(base().with_behaviors([("pv", Some("veiw"))]))
                .contains("behaviors[\"pv\"]: \"veiw\" is not a behavior; did you mean \"view\"")
        );
        assert!(message(base().with_own_behaviors(["view"])).contains("standard behavior already"));
        assert!(message(base().with_attribute("amount", "x")).contains("standard field"));
        assert!(message(EventSchema::new("", "b", "a", "t")).contains("consumer"));
        assert!(TimeUnit::parse("sec").is_err());
    }

    #[test]
    fn sizes_are_limited_and_the_limit_is_named() {
        let base = || EventSchema::new("c", "b", "a", "t");
        let message = |schema: EventSchema| schema.check().expect_err("refused").to_string();
        let long = "x".repeat(1 << 20);
        let schemas = [
            EventSchema::new(&long, "b", "a", "t"),
            base().with_field("rating", &long),
            base().with_field(&long, "x"),
            base().with_attribute(&long, "x"),
            base().with_behaviors([(long.as_str(), None)]),
            base().with_behaviors([("x", Some(long.as_str()))]),
            base().with_own_behaviors([long.as_str()]),
        ];
        for schema in schemas {
            let message = message(schema);
            assert!(message.contains("1048576 bytes; at most 1024") && message.len() < 200, "{message}");
        }
        let names: Vec<String> = (0..=MAX_RAW_BEHAVIORS).map(|n| format!("n{n}")).collect();
        let many = |count: usize| names[..count].iter().map(String::as_str);
        assert!(message(base().with_behaviors(many(100_001).map(|raw| (raw, None)))).contains("100001 entries; at most 100000"));
        assert!(message(base().with_own_behaviors(many(251))).contains("251 entries; at most 250"));
        let schema = many(1_001).fold(base(), |schema, name| schema.with_attribute(name, name));
        assert!(message(schema).contains("1001 entries; at most 1000"));
        assert!(base().with_behaviors(many(100_000).map(|raw| (raw, Some("view")))).check().is_ok());
    }
}
