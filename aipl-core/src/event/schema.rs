//! Which column of the data is what.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::base::suggest::hint;
use crate::event::behavior::STANDARD_BEHAVIORS;
use crate::event::error::SchemaError;

/// The most behaviors of a vocabulary, standard and own.
pub const MAX_BEHAVIORS: usize = 250;
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

    /// Maps raw behavior values to behavior names; `None` ignores the rows. Raw values not named here are rejected rows.
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

    /// Refuses names that do not exist.
    ///
    /// # Errors
    /// [`SchemaError::Field`] naming the field and the choices.
    pub fn check(&self) -> Result<(), SchemaError> {
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
                    format!("behaviors[{raw:?}]"),
                    format!(
                        "{name:?} is not a behavior{tail} (own ones go in own_behaviors); behaviors: {}",
                        vocabulary.join(", ")
                    ),
                ));
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
}
