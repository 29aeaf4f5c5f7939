//! Texts at whose bytes a decoder does not look, or not well enough. It takes what a file marks as JSON or ENUM as it
//! is; and of texts that are stored as lengths and bytes apart it checks the bytes of a page together, so that a
//! character may be cut between two. Without their mark they are decoded as the bytes they are, and checked where they
//! are judged.

use std::collections::HashSet;
use std::sync::Arc;

use parquet::basic::{ConvertedType, Encoding, Type as Physical};
use parquet::errors::Result;
use parquet::file::metadata::{FileMetaData, ParquetMetaData};
use parquet::schema::types::{SchemaDescriptor, Type};

/// The metadata without the mark of every flat column whose texts are not checked.
pub(super) fn unmark(metadata: ParquetMetaData) -> Result<ParquetMetaData> {
    let file = metadata.file_metadata();
    let root = file.schema();
    let apart = stored_apart(&metadata);
    let is_unchecked = |column: &Type| is_misleading(column) || (is_bytes(column) && apart.contains(column.name()));
    if !root.get_fields().iter().any(|column| is_unchecked(column)) {
        return Ok(metadata);
    }
    let plain = |column: &Arc<Type>| {
        if is_unchecked(column) {
            bytes_alone(column)
        } else {
            Ok(column.clone())
        }
    };
    let columns = root.get_fields().iter().map(plain).collect::<Result<Vec<_>>>()?;
    let root = Type::group_type_builder(root.name()).with_fields(columns).build()?;
    let unmarked = FileMetaData::new(
        file.version(),
        file.num_rows(),
        file.created_by().map(str::to_owned),
        file.key_value_metadata().cloned(),
        Arc::new(SchemaDescriptor::new(Arc::new(root))),
        file.column_orders().cloned(),
    );
    let rebuilt = ParquetMetaData::new(unmarked, metadata.row_groups().to_vec()).into_builder();
    let rebuilt = rebuilt.set_column_index(metadata.column_index().cloned());
    Ok(rebuilt.set_offset_index(metadata.offset_index().cloned()).build())
}

/// Flat columns with a chunk whose lengths and bytes stand apart.
fn stored_apart(metadata: &ParquetMetaData) -> HashSet<&str> {
    let chunks = metadata.row_groups().iter().flat_map(|group| group.columns());
    let apart = chunks.filter(|chunk| {
        chunk
            .encodings()
            .any(|encoding| matches!(encoding, Encoding::DELTA_LENGTH_BYTE_ARRAY | Encoding::DELTA_BYTE_ARRAY))
    });
    apart
        .filter_map(|chunk| match chunk.column_path().parts() {
            [name] => Some(name.as_str()),
            _ => None,
        })
        .collect()
}

/// Columns of bytes, but for decimals, which are numbers.
fn is_bytes(column: &Type) -> bool {
    column.is_primitive()
        && column.get_physical_type() == Physical::BYTE_ARRAY
        && column.get_basic_info().converted_type() != ConvertedType::DECIMAL
}

fn is_misleading(column: &Type) -> bool {
    let mark = column.get_basic_info().converted_type();
    is_bytes(column) && matches!(mark, ConvertedType::ENUM | ConvertedType::JSON | ConvertedType::BSON)
}

fn bytes_alone(column: &Arc<Type>) -> Result<Arc<Type>> {
    let info = column.get_basic_info();
    let plain = Type::primitive_type_builder(column.name(), Physical::BYTE_ARRAY)
        .with_repetition(info.repetition())
        .with_id(info.has_id().then(|| info.id()));
    plain.build().map(Arc::new)
}
