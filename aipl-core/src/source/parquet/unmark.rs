//! Texts that a file marks as something else than UTF-8, as JSON or ENUM: a decoder takes them for text and looks at no byte of them.
//! Without their mark they are decoded as the bytes they are, and checked where they are judged.

use std::sync::Arc;

use parquet::basic::{ConvertedType, Type as Physical};
use parquet::errors::Result;
use parquet::file::metadata::{FileMetaData, ParquetMetaData};
use parquet::schema::types::{SchemaDescriptor, Type};

/// The metadata with every flat column of bytes that is not marked as UTF-8 without a mark.
pub(super) fn unmark(metadata: ParquetMetaData) -> Result<ParquetMetaData> {
    let file = metadata.file_metadata();
    let root = file.schema();
    if !root.get_fields().iter().any(|column| is_misleading(column)) {
        return Ok(metadata);
    }
    let columns = root.get_fields().iter().map(bytes_alone).collect::<Result<Vec<_>>>()?;
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

fn is_misleading(column: &Type) -> bool {
    let mark = column.get_basic_info().converted_type();
    column.is_primitive()
        && column.get_physical_type() == Physical::BYTE_ARRAY
        && matches!(mark, ConvertedType::ENUM | ConvertedType::JSON | ConvertedType::BSON)
}

fn bytes_alone(column: &Arc<Type>) -> Result<Arc<Type>> {
    if !is_misleading(column) {
        return Ok(column.clone());
    }
    let info = column.get_basic_info();
    let plain = Type::primitive_type_builder(column.name(), Physical::BYTE_ARRAY)
        .with_repetition(info.repetition())
        .with_id(info.has_id().then(|| info.id()));
    plain.build().map(Arc::new)
}
