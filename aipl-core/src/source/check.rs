//! Whether columns are there, and of types that their fields take.

use arrow::datatypes::{DataType, SchemaRef};

use crate::base::suggest::hint;
use crate::event::columns::ACCEPTED_IDS;
use crate::event::measure::ACCEPTED_MEASURES;
use crate::event::schema::{LABEL_FIELDS, MEASURE_FIELDS};
use crate::event::time::ACCEPTED_TIMES;
use crate::event::{BehaviorDecoder, EventSchema, IdColumn, Measures, SchemaError, TimeKind};
use crate::model::filter::ACCEPTED_CONDITIONS;

/// Every mapped column is there and of a type that its field takes.
pub(crate) fn check_columns(place: &str, columns: &SchemaRef, schema: &EventSchema) -> Result<(), SchemaError> {
    for (role, column) in schema.mapped() {
        if columns.field_with_name(column).is_err() {
            let choices = columns.fields().iter().map(|field| field.name().clone()).collect();
            return Err(not_found(place, role, column, choices));
        }
    }
    check_types(place, columns, schema)
}

/// Mapped columns, as far as they are there, are of types that their fields take.
pub(crate) fn check_types(place: &str, columns: &SchemaRef, schema: &EventSchema) -> Result<(), SchemaError> {
    for (role, column) in schema.mapped() {
        let Ok(field) = columns.field_with_name(column) else { continue };
        let Some(accepted) = refused(role, field.data_type(), schema) else {
            continue;
        };
        let found = match field.data_type() {
            integer if role == "time" && integer.is_integer() => format!("{integer} and EventSchema sets no time_unit"),
            other => other.to_string(),
        };
        return Err(SchemaError::ColumnType {
            place: place.to_owned(),
            column: column.to_owned(),
            role: role.to_owned(),
            found,
            accepted,
        });
    }
    Ok(())
}

/// A missing column, with the nearest of those that are there.
pub(crate) fn not_found(place: &str, role: &str, column: &str, choices: Vec<String>) -> SchemaError {
    let hint = hint(column, choices.iter().map(String::as_str));
    SchemaError::ColumnNotFound {
        place: place.to_owned(),
        column: column.to_owned(),
        role: role.to_owned(),
        hint,
        choices,
    }
}

/// The accepted types in words if this type is not among them.
fn refused(role: &str, data_type: &DataType, schema: &EventSchema) -> Option<&'static str> {
    let empty = |data_type: &DataType| *data_type == DataType::Null;
    if empty(data_type) || matches!(data_type, DataType::Dictionary(_, values) if empty(values)) {
        return None;
    }
    let (accepted, words) = match role {
        "time" => (TimeKind::of(data_type, schema.time_unit()).is_some(), ACCEPTED_TIMES),
        "behavior" => (BehaviorDecoder::accepts(data_type), ACCEPTED_IDS),
        "consumer" | "brand" => (IdColumn::id_kind(data_type).is_some(), ACCEPTED_IDS),
        role if LABEL_FIELDS.contains(&role) => (IdColumn::id_kind(data_type).is_some(), ACCEPTED_IDS),
        role if MEASURE_FIELDS.contains(&role) => (Measures::accepts(data_type), ACCEPTED_MEASURES),
        _ => (crate::model::filter::accepts(data_type), ACCEPTED_CONDITIONS),
    };
    (!accepted).then_some(words)
}
