//! Lists of files: one path, several, a pattern, or a folder with hive-style `key=value` parts.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use crate::event::{EventSchema, IdColumn, Measures, SchemaError};
use crate::source::SourceError;
use crate::source::check::{check_types, not_found};
use crate::source::expected::Expected;
use crate::source::paths;

/// A file and what its path says about all of its rows.
#[derive(Debug, Clone)]
pub struct DataFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its path as messages show it.
    pub name: Arc<str>,
    /// Hive keys of its path with their values.
    pub constants: Vec<(String, Constant)>,
}

/// The value of a hive key for all rows of a file.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Constant {
    /// Every file's value of this key is an integer.
    Int(i64),
    /// Text.
    Text(String),
    /// `__HIVE_DEFAULT_PARTITION__`.
    Null,
}

/// Files of one format, in path order.
#[derive(Debug, Clone)]
pub struct FileList {
    /// The files.
    pub files: Vec<DataFile>,
}

impl FileList {
    /// Expands paths, patterns (`*`, `?`, `[…]`, `**`) and folders into files of the given endings, each file once.
    ///
    /// # Errors
    /// [`SourceError::NoFiles`] for a path or pattern that gives no file.
    pub fn expand(patterns: &[String], format: &'static str, endings: &[&str]) -> Result<FileList, SourceError> {
        let mut files: Vec<DataFile> = paths::expand(patterns, format, endings)?
            .into_iter()
            .map(|path| DataFile {
                name: path.display().to_string().into(),
                constants: hive_keys(&path),
                path,
            })
            .collect();
        settle_constants(&mut files);
        Ok(FileList { files })
    }

    /// The one file's name, or how many files there are.
    #[must_use]
    pub fn title(&self, format: &str) -> String {
        match self.files.as_slice() {
            [one] => one.name.to_string(),
            many => format!("{} {format} files", many.len()),
        }
    }

    /// Paths, sizes and times of change.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let mut hasher = xxhash_rust::xxh3::Xxh3::new();
        for file in &self.files {
            let meta = std::fs::metadata(&file.path).ok();
            let changed = meta
                .as_ref()
                .and_then(|meta| meta.modified().ok())
                .and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
            hasher.update(file.name.as_bytes());
            hasher.update(&meta.map_or(0, |meta| meta.len()).to_le_bytes());
            hasher.update(&changed.map_or(0, |time| time.as_nanos()).to_le_bytes());
        }
        format!("{} files, xxh3:{:016x}", self.files.len(), hasher.digest())
    }
}

/// What the folders of a path say, `key=value` each.
pub(super) fn hive_keys(path: &Path) -> Vec<(String, Constant)> {
    let folder = path.parent().into_iter().flat_map(Path::components);
    let pair = |part: std::path::Component<'_>| {
        let text = part.as_os_str().to_str()?.to_owned();
        let (key, value) = text.split_once('=')?;
        let constant = if value == "__HIVE_DEFAULT_PARTITION__" {
            Constant::Null
        } else {
            Constant::Text(percent_decode(value))
        };
        (!key.is_empty()).then(|| (percent_decode(key), constant))
    };
    folder.filter_map(pair).collect()
}

/// Hive writers escape special characters of partition values as `%41`.
fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let digit = |place: usize| bytes.get(place).and_then(|byte| char::from(*byte).to_digit(16));
        let code = (bytes[at] == b'%')
            .then(|| Some((digit(at + 1)? * 16 + digit(at + 2)?) as u8))
            .flatten();
        decoded.push(code.unwrap_or(bytes[at]));
        at += if code.is_some() { 3 } else { 1 };
    }
    String::from_utf8(decoded).unwrap_or_else(|_| text.to_owned())
}

/// A key is an integer column if every file's value of it is one in plain form.
fn settle_constants(files: &mut [DataFile]) {
    let mut keys: Vec<String> = files
        .iter()
        .flat_map(|file| file.constants.iter().map(|(key, _)| key.clone()))
        .collect();
    keys.sort();
    keys.dedup();
    for key in keys {
        let integer = |constant: &Constant| match constant {
            Constant::Text(text) => text.parse::<i64>().ok().filter(|value| value.to_string() == *text),
            Constant::Int(value) => Some(*value),
            Constant::Null => None,
        };
        let all_integers = files
            .iter()
            .flat_map(|file| &file.constants)
            .filter(|(name, value)| *name == key && *value != Constant::Null)
            .all(|(_, value)| integer(value).is_some());
        if all_integers {
            for (_, constant) in files
                .iter_mut()
                .flat_map(|file| &mut file.constants)
                .filter(|(name, _)| *name == key)
            {
                *constant = integer(constant).map_or(Constant::Null, Constant::Int);
            }
        }
    }
}

impl Constant {
    /// The column of this value.
    #[must_use]
    pub fn column(&self, rows: usize) -> ArrayRef {
        match self {
            Constant::Int(value) => Arc::new(Int64Array::from(vec![*value; rows])),
            Constant::Text(text) => Arc::new(StringArray::from_iter_values(std::iter::repeat_n(text, rows))),
            Constant::Null => arrow::array::new_null_array(&DataType::Null, rows),
        }
    }

    fn data_type(&self) -> DataType {
        match self {
            Constant::Int(_) => DataType::Int64,
            Constant::Text(_) => DataType::Utf8,
            Constant::Null => DataType::Null,
        }
    }
}

impl DataFile {
    /// The value that the path gives a column.
    #[must_use]
    pub fn constant(&self, column: &str) -> Option<&Constant> {
        self.constants.iter().find(|(key, _)| key == column).map(|(_, value)| value)
    }
}

/// Joins the columns of all files: every column that some file has, with the type of the first file that has it.
///
/// Files may differ in integer width, text representation, time unit and in optional columns; an identifier that is a
/// number in one file and text in another is refused.
///
/// # Errors
/// [`SchemaError::FilesDisagree`] naming the file and the column.
pub fn join_schemas(files: &FileList, schemas: &[SchemaRef], expected: Expected<'_>) -> Result<SchemaRef, SchemaError> {
    let mut joined: Vec<(Field, Arc<str>)> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for (file, columns) in files.files.iter().zip(schemas) {
        if let Some(schema) = expected.schema() {
            check_required(file, columns, schema)?;
            check_types(&file.name, columns, schema)?;
        }
        let constants = file.constants.iter().map(|(key, value)| Field::new(key, value.data_type(), true));
        let own = columns
            .fields()
            .iter()
            .filter(|field| file.constant(field.name()).is_none())
            .map(|field| field.as_ref().clone());
        for field in own.chain(constants) {
            match places.get(field.name()).map(|place| &mut joined[*place]) {
                None => {
                    places.insert(field.name().clone(), joined.len());
                    joined.push((field, file.name.clone()));
                }
                Some((known, first)) if *known.data_type() == DataType::Null => (*known, *first) = (field, file.name.clone()),
                Some((known, first)) => {
                    if expected.is_identifier(field.name()) && !agree(known.data_type(), field.data_type()) {
                        return Err(SchemaError::FilesDisagree {
                            place: file.name.to_string(),
                            column: field.name().clone(),
                            found: field.data_type().to_string(),
                            expected: known.data_type().to_string(),
                            first: first.to_string(),
                        });
                    }
                    // The wider of two measure types stands for both: it says whether values must be checked.
                    if Measures::can_be_bad(field.data_type())
                        && !Measures::can_be_bad(known.data_type())
                        && expected.is_measure(field.name())
                    {
                        (*known, *first) = (field, file.name.clone());
                    }
                }
            }
        }
    }
    Ok(Arc::new(Schema::new(
        joined.into_iter().map(|(field, _)| field).collect::<Vec<_>>(),
    )))
}

/// A file without a required column would only give rejected rows, one and all; that is a mistake worth naming.
fn check_required(file: &DataFile, columns: &SchemaRef, schema: &EventSchema) -> Result<(), SchemaError> {
    for role in ["consumer", "brand", "behavior", "time"] {
        let column = schema.column(role).unwrap_or_default();
        if columns.field_with_name(column).is_err() && file.constant(column).is_none() {
            let own = columns.fields().iter().map(|field| field.name().clone());
            let choices: Vec<String> = own.chain(file.constants.iter().map(|(key, _)| key.clone())).collect();
            return Err(not_found(&file.name, role, column, choices));
        }
    }
    Ok(())
}

fn agree(left: &DataType, right: &DataType) -> bool {
    let kind = |data_type: &DataType| IdColumn::id_kind(data_type);
    *right == DataType::Null || kind(left) == kind(right)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hive_keys_are_columns() {
        let constants = hive_keys(Path::new(
            "lake/dt=2024-11-11/brand=a%2Fb/part=__HIVE_DEFAULT_PARTITION__/x.parquet",
        ));
        assert_eq!(
            constants,
            [
                ("dt".to_owned(), Constant::Text("2024-11-11".to_owned())),
                ("brand".to_owned(), Constant::Text("a/b".to_owned())),
                ("part".to_owned(), Constant::Null),
            ]
        );
    }

    #[test]
    fn integer_keys_need_every_file() {
        let file = |path: &str| DataFile {
            path: path.into(),
            name: path.into(),
            constants: hive_keys(Path::new(path)),
        };
        let mut files = vec![file("n=1/m=01/x"), file("n=22/m=02/x")];
        settle_constants(&mut files);
        assert_eq!(
            files[1].constants,
            [
                ("n".to_owned(), Constant::Int(22)),
                ("m".to_owned(), Constant::Text("02".to_owned()))
            ]
        );
    }

    #[test]
    fn escapes_are_two_hexadecimal_digits() {
        for (escaped, plain) in [
            ("a%2Fb", "a/b"),
            ("%+f", "%+f"),
            ("%e4%bd%a0", "你"),
            ("100%", "100%"),
            ("%4", "%4"),
            ("%ff", "%ff"),
        ] {
            assert_eq!(percent_decode(escaped), plain, "{escaped}");
        }
    }

    #[test]
    fn missing_files_are_named() {
        let error = FileList::expand(&["no/such/*.parquet".to_owned()], "Parquet", &[".parquet"]).expect_err("nothing there");
        assert!(error.to_string().starts_with("no/such/*.parquet: no such file"));
    }
}
