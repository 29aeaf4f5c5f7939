//! A look at the sizes that an Arrow IPC file declares, before a decoder makes buffers of those sizes: footers,
//! messages, bodies, and the length that each compressed buffer says it has.

use arrow::datatypes::{DataType, Fields, Schema, UnionMode};
use arrow::ipc::{Block, CompressionType, Message, RecordBatch, root_as_footer, root_as_message};
use parquet::basic::Compression;

use crate::source::SourceError;
use crate::source::limits::{OverLimit, ReadOptions, within};
use crate::source::parquet::exceeds;
use crate::source::positioned::PositionedFile;
use std::os::unix::fs::FileExt;

/// Marks the beginning of a message since format version 0.15.
const CONTINUATION: i32 = -1;
/// Bytes before a compressed buffer, which say how long it is without compression.
const PREFIX: u64 = 8;
/// The prefix of a buffer that is not compressed after all.
const PLAIN: i64 = -1;
/// The metadata version from which on unions have no validity.
const V5: arrow::ipc::MetadataVersion = arrow::ipc::MetadataVersion::V5;

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
enum SizeError {
    #[error("{0}")]
    Over(#[from] OverLimit),
    #[error("{0}")]
    Broken(String),
}

impl From<&str> for SizeError {
    fn from(problem: &str) -> Self {
        SizeError::Broken(problem.to_owned())
    }
}

impl From<String> for SizeError {
    fn from(problem: String) -> Self {
        SizeError::Broken(problem)
    }
}

type Result<T> = std::result::Result<T, SizeError>;

/// What is called with a message and the place and length of its body.
type Look<'a> = dyn FnMut(&Message<'_>, u64, u64) -> Result<()> + 'a;

/// Where a block is: its metadata, and its body behind that.
struct Placed {
    at: u64,
    metadata: u64,
    body: u64,
    is_dictionary: bool,
}

impl Placed {
    /// The place of a block, if it is within a file of this length.
    fn of(block: &Block, is_dictionary: bool, length: u64) -> Option<Self> {
        let placed = Placed {
            at: u64::try_from(block.offset()).ok()?,
            metadata: u64::try_from(block.metaDataLength()).ok()?,
            body: u64::try_from(block.bodyLength()).ok()?,
            is_dictionary,
        };
        let end = placed.at.checked_add(placed.metadata)?.checked_add(placed.body)?;
        (end <= length).then_some(placed)
    }
}

/// Looks at the sizes of one file.
pub(crate) struct Sizes<'a> {
    pub file: &'a PositionedFile,
    pub name: &'a str,
    pub is_file: bool,
    pub options: &'a ReadOptions,
}

impl Sizes<'_> {
    /// Refuses a footer, or messages of a stream, that the file cannot hold; and dictionaries that decode to more than
    /// may be held, since opening a file decodes them all.
    pub fn check_outline(&self) -> std::result::Result<(), SourceError> {
        let outline = if self.is_file {
            self.footer_blocks().and_then(|blocks| {
                let mut dictionaries = blocks.iter().filter(|block| block.is_dictionary);
                dictionaries.try_for_each(|block| self.look_at_block(block, &mut |_, _, _| Ok(())))
            })
        } else {
            self.each_message(|_, _, _| Ok(()))
        };
        self.told(outline)
    }

    /// Refuses a schema with too many columns or levels.
    pub fn check_schema(&self, schema: &Schema) -> std::result::Result<(), SourceError> {
        self.told(self.columns_within(schema.fields()))
    }

    /// Refuses batches whose buffers are not in the file, or decode to more than may be held. Of columns that are not
    /// wanted nothing is decoded.
    pub fn check_batches(&self, schema: &Schema, wanted: Option<&[usize]>) -> std::result::Result<(), SourceError> {
        let mut rows = 0u64;
        let mut look = |message: &Message<'_>, body: u64, length: u64| {
            if let Some(batch) = message.header_as_record_batch() {
                rows = rows.saturating_add(u64::try_from(batch.length()).map_err(|_| "a batch with a negative number of rows")?);
                within("rows", rows, self.options.rows_of(self.file.length()), "max_rows")?;
                let columns = Columns::of(schema, &batch, message.version() >= V5);
                return self.check_buffers(&batch, body, length, wanted.and_then(|wanted| columns.buffers(wanted)));
            }
            self.look_at_dictionary(message, body, length)
        };
        let looked = if self.is_file {
            self.footer_blocks()
                .and_then(|blocks| blocks.iter().try_for_each(|block| self.look_at_block(block, &mut look)))
        } else {
            self.each_message(look)
        };
        self.told(looked)
    }

    /// Calls `look` with the message of a block; a dictionary is looked at in any case.
    fn look_at_block(&self, block: &Placed, look: &mut Look<'_>) -> Result<()> {
        let bytes = self.read(block.at, block.metadata, "a message")?;
        // Since version 0.15 a mark stands before the length.
        let skipped = if bytes.starts_with(&CONTINUATION.to_le_bytes()) { 8 } else { 4 };
        let message = root_as_message(bytes.get(skipped..).unwrap_or_default()).map_err(|error| error.to_string())?;
        let body = block.at + block.metadata;
        self.look_at_dictionary(&message, body, block.body)?;
        look(&message, body, block.body)
    }

    fn look_at_dictionary(&self, message: &Message<'_>, body: u64, length: u64) -> Result<()> {
        match message.header_as_dictionary_batch().and_then(|dictionary| dictionary.data()) {
            Some(values) => self.check_buffers(&values, body, length, None),
            None => Ok(()),
        }
    }

    fn told<T>(&self, outcome: Result<T>) -> std::result::Result<T, SourceError> {
        outcome.map_err(|error| match error {
            SizeError::Over(over) => SourceError::over(self.name, over),
            SizeError::Broken(problem) => SourceError::Malformed {
                path: self.name.to_owned(),
                format: super::ipc::FORMAT,
                problem,
            },
        })
    }

    fn read(&self, at: u64, bytes: u64, what: &str) -> Result<Vec<u8>> {
        within("bytes of metadata", bytes, self.options.max_metadata_bytes, "max_metadata_bytes")?;
        let length = self.file.length();
        if at.checked_add(bytes).is_none_or(|end| end > length) {
            return Err(format!("{what} of {bytes} bytes at {at} in a file of {length}").into());
        }
        let mut buffer = vec![0; bytes as usize];
        self.file
            .handle()
            .read_exact_at(&mut buffer, at)
            .map_err(|error| error.to_string())?;
        Ok(buffer)
    }

    fn read_i32(&self, at: u64) -> Result<i32> {
        let bytes = self.read(at, 4, "a length")?;
        Ok(bytes.first_chunk().map_or(0, |bytes| i32::from_le_bytes(*bytes)))
    }

    /// Every block that the footer names.
    fn footer_blocks(&self) -> Result<Vec<Placed>> {
        let length = self.file.length();
        let tail = length.checked_sub(10).ok_or("it is cut short")?;
        let size = u64::try_from(self.read_i32(tail)?).map_err(|_| "a negative footer length")?;
        let start = tail
            .checked_sub(size)
            .ok_or_else(|| format!("a footer of {size} bytes in a file of {length}"))?;
        let bytes = self.read(start, size, "a footer")?;
        let footer = root_as_footer(&bytes).map_err(|error| error.to_string())?;
        let dictionaries = footer.dictionaries().into_iter().flatten().map(|block| (block, true));
        let batches = footer.recordBatches().into_iter().flatten().map(|block| (block, false));
        let beyond = || SizeError::Broken(format!("a block that ends beyond the file of {length} bytes"));
        dictionaries
            .chain(batches)
            .map(|(block, is_dictionary)| Placed::of(block, is_dictionary, length).ok_or_else(beyond))
            .collect()
    }

    /// Calls `look` with every message of a stream and the place and length of its body.
    fn each_message(&self, mut look: impl FnMut(&Message<'_>, u64, u64) -> Result<()>) -> Result<()> {
        let (mut at, length) = (0, self.file.length());
        while at < length {
            let mut size = self.read_i32(at)?;
            at += 4;
            if size == CONTINUATION {
                size = self.read_i32(at)?;
                at += 4;
            }
            if size == 0 {
                return Ok(());
            }
            let size = u64::try_from(size).map_err(|_| "a negative message length")?;
            let bytes = self.read(at, size, "a message")?;
            let message = root_as_message(&bytes).map_err(|error| error.to_string())?;
            let body = u64::try_from(message.bodyLength()).map_err(|_| "a negative body length")?;
            let start = at + size;
            at = start
                .checked_add(body)
                .filter(|end| *end <= length)
                .ok_or_else(|| format!("a message body of {body} bytes in a file of {length}"))?;
            look(&message, start, body)?;
        }
        Ok(())
    }

    /// Adds up what the buffers of a batch decode to; `wanted` says of which, if not of all.
    fn check_buffers(&self, batch: &RecordBatch<'_>, body: u64, length: u64, wanted: Option<Vec<bool>>) -> Result<()> {
        let codec = batch.compression().map(|compression| compression.codec());
        let (mut encoded, mut decoded) = (0u64, 0u64);
        for (number, buffer) in batch.buffers().into_iter().flatten().enumerate() {
            let place = u64::try_from(buffer.offset()).ok().zip(u64::try_from(buffer.length()).ok());
            let (at, bytes) = place
                .filter(|(at, bytes)| at.checked_add(*bytes).is_some_and(|end| end <= length))
                .ok_or("a buffer that ends beyond its message")?;
            if wanted.as_ref().is_some_and(|wanted| wanted.get(number) == Some(&false)) {
                continue;
            }
            encoded = encoded.saturating_add(bytes);
            decoded = decoded.saturating_add(match codec {
                Some(codec) if bytes > 0 => self.decoded(body + at, bytes, codec)?,
                _ => bytes,
            });
            within("decoded bytes", decoded, self.may_decode(encoded), "max_decoded_bytes")?;
        }
        Ok(())
    }

    /// What so many bytes of a batch may decode to. One thread decodes a batch, and needs it whole.
    fn may_decode(&self, encoded: u64) -> u64 {
        self.options
            .decoded_of(encoded)
            .max(self.options.max_decoded_bytes.saturating_mul(2))
    }

    /// The length that a compressed buffer says it has.
    fn decoded(&self, at: u64, bytes: u64, codec: CompressionType) -> Result<u64> {
        let prefix = self.read(at, PREFIX.min(bytes), "a compressed buffer")?;
        let prefix = prefix
            .first_chunk()
            .map(|bytes| i64::from_le_bytes(*bytes))
            .ok_or("a compressed buffer without its length")?;
        if prefix == PLAIN {
            return Ok(bytes - PREFIX);
        }
        let decoded = u64::try_from(prefix).map_err(|_| "a compressed buffer with a negative length")?;
        within("decoded bytes", decoded, self.may_decode(bytes), "max_decoded_bytes")?;
        // Zstandard stops at the length that was announced.
        if codec == CompressionType::LZ4_FRAME && super::parquet::may_exceed(Compression::LZ4, bytes) {
            let mut body = vec![0; (bytes - PREFIX) as usize];
            self.file
                .handle()
                .read_exact_at(&mut body, at + PREFIX)
                .map_err(|error| error.to_string())?;
            if exceeds(Compression::LZ4, &body, decoded) {
                return Err("a buffer decompresses to more bytes than it says".into());
            }
        }
        Ok(decoded)
    }

    fn columns_within(&self, fields: &Fields) -> Result<()> {
        let mut open: Vec<(&DataType, u64)> = fields.iter().map(|field| (field.data_type(), 1)).collect();
        let mut leaves = 0;
        while let Some((data_type, depth)) = open.pop() {
            within("levels of nested columns", depth, self.options.max_depth as u64, "max_depth")?;
            let before = open.len();
            open.extend(children(data_type).into_iter().map(|child| (child, depth + 1)));
            leaves += u64::from(open.len() == before);
            within("columns", leaves, self.options.max_columns as u64, "max_columns")?;
        }
        Ok(())
    }
}

fn children(data_type: &DataType) -> Vec<&DataType> {
    match data_type {
        DataType::List(field)
        | DataType::LargeList(field)
        | DataType::ListView(field)
        | DataType::LargeListView(field)
        | DataType::FixedSizeList(field, _)
        | DataType::Map(field, _) => vec![field.data_type()],
        DataType::Struct(fields) => fields.iter().map(|field| field.data_type()).collect(),
        DataType::Union(fields, _) => fields.iter().map(|(_, field)| field.data_type()).collect(),
        DataType::RunEndEncoded(ends, values) => vec![ends.data_type(), values.data_type()],
        _ => Vec::new(),
    }
}

/// How many buffers each column of a batch has.
struct Columns(Vec<usize>);

impl Columns {
    fn of(schema: &Schema, batch: &RecordBatch<'_>, unions_without_validity: bool) -> Self {
        let mut variadic = batch.variadicBufferCounts().into_iter().flatten();
        let mut count = |root: &DataType| {
            let (mut open, mut buffers) = (vec![root], 0);
            while let Some(data_type) = open.pop() {
                buffers += match data_type {
                    DataType::Null | DataType::RunEndEncoded(_, _) => 0,
                    DataType::Struct(_) | DataType::FixedSizeList(_, _) => 1,
                    DataType::Utf8 | DataType::LargeUtf8 | DataType::Binary | DataType::LargeBinary => 3,
                    DataType::ListView(_) | DataType::LargeListView(_) => 3,
                    DataType::Utf8View | DataType::BinaryView => {
                        2 + variadic.next().and_then(|count| usize::try_from(count).ok()).unwrap_or(0)
                    }
                    DataType::Union(_, mode) => 1 + usize::from(*mode == UnionMode::Dense) + usize::from(!unions_without_validity),
                    _ => 2,
                };
                // Depth first, in order: the last one pushed comes next.
                open.extend(children(data_type).into_iter().rev());
            }
            buffers
        };
        Columns(schema.fields().iter().map(|field| count(field.data_type())).collect())
    }

    /// For every buffer whether it is of a wanted column.
    fn buffers(&self, wanted: &[usize]) -> Option<Vec<bool>> {
        // A count that does not fit into memory is that of a damaged file; then all buffers count.
        let total = self
            .0
            .iter()
            .try_fold(0usize, |sum, count| sum.checked_add(*count))
            .filter(|total| *total < 1 << 20)?;
        let mut of_wanted = Vec::with_capacity(total);
        for (column, count) in self.0.iter().enumerate() {
            of_wanted.extend(std::iter::repeat_n(wanted.contains(&column), *count));
        }
        Some(of_wanted)
    }
}
