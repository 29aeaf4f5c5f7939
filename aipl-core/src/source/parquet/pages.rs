//! Pages of a row group as a decoder reads them: each is looked at before it is decompressed. Its checksum is compared,
//! and the pages that are decoded at a time stay within the bytes that one reader may hold.

use std::io::Read;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use parquet::basic::{Compression, Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::page_index::offset_index::PageLocation;
use parquet::file::reader::{ChunkReader, Length};

use super::expand;
use super::thrift::{Cursor, ThriftError, kind};
use crate::source::SourceError;
use crate::source::limits::{ReadOptions, within};
use crate::source::positioned::{PositionedFile, PositionedReader};

/// Bytes read at first for the header of a page.
const HEADER_BYTES: u64 = 512;

/// Encodings that matter before a page is decoded: those by a dictionary, and those that declare lengths within a page
/// (see [`super::delta`]).
pub(super) mod encoding {
    pub const PLAIN_DICTIONARY: i64 = 2;
    pub const RLE_DICTIONARY: i64 = 8;
    pub const DELTA_LENGTH_BYTE_ARRAY: i64 = 6;
    pub const DELTA_BYTE_ARRAY: i64 = 7;
}

/// What a page says of itself.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Header {
    /// Bytes of the header itself.
    length: u64,
    dictionary: bool,
    uncompressed: u64,
    compressed: u64,
    checksum: Option<u32>,
    values: u64,
    encoding: i64,
    /// Bytes of levels before the values of a page of the second version, which are never compressed.
    levels: u64,
    is_compressed: bool,
}

/// The chunk of one column, as far as its pages are judged by it.
#[derive(Debug)]
pub(super) struct Chunk {
    range: Range<u64>,
    codec: Compression,
    values: u64,
    /// The least bytes of a value that is written out.
    least_value: u64,
    /// Where each data page begins and how many rows it has, where the file says so and every row has one value.
    pages: Vec<(u64, u64)>,
    /// Whether lengths within its pages were added up before.
    pub lengths_known: bool,
    held: Held,
}

/// Decoded and encoded bytes of pages that a reader still holds.
#[derive(Debug, Clone, Copy, Default)]
struct Held {
    dictionary: (u64, u64),
    /// The page at hand.
    last: (u64, u64),
    /// Earlier pages that the batch at hand reaches back to.
    earlier: (u64, u64),
}

impl Chunk {
    pub fn new(metadata: &ColumnChunkMetaData, rows: u64, locations: Option<&[PageLocation]>) -> Option<Self> {
        let start = metadata.dictionary_page_offset().unwrap_or(metadata.data_page_offset());
        let start = u64::try_from(start).ok()?;
        let end = start.checked_add(u64::try_from(metadata.compressed_size()).ok()?)?;
        let flat = metadata.column_descr().max_rep_level() == 0;
        Some(Chunk {
            range: start..end,
            codec: metadata.compression(),
            values: u64::try_from(metadata.num_values()).ok()?,
            least_value: match metadata.column_type() {
                Type::BYTE_ARRAY | Type::INT32 | Type::FLOAT => 4,
                Type::INT64 | Type::DOUBLE => 8,
                Type::INT96 => 12,
                Type::BOOLEAN | Type::FIXED_LEN_BYTE_ARRAY => 1,
            },
            pages: locations.filter(|_| flat).map_or_else(Vec::new, |pages| page_rows(pages, rows)),
            lengths_known: false,
            held: Held::default(),
        })
    }
}

fn page_rows(pages: &[PageLocation], rows: u64) -> Vec<(u64, u64)> {
    let next = pages.iter().skip(1).map(|page| page.first_row_index as u64).chain([rows]);
    pages
        .iter()
        .zip(next)
        .map(|(page, next)| (page.offset as u64, next.wrapping_sub(page.first_row_index as u64)))
        .collect()
}

/// A row group's pages, each looked at before it is handed to the decoder.
#[derive(Debug, Clone)]
pub(super) struct PageFile {
    file: PositionedFile,
    name: Arc<str>,
    options: ReadOptions,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    /// In order of their place.
    chunks: Vec<Chunk>,
    /// Where the body of a page begins whose header was read.
    bodies: Vec<(u64, Header)>,
    /// Why a page was refused. Decoders pass on no more than its text.
    refused: Option<SourceError>,
}

impl PageFile {
    pub fn new(file: PositionedFile, name: Arc<str>, options: ReadOptions, mut chunks: Vec<Chunk>) -> Self {
        chunks.sort_unstable_by_key(|chunk| chunk.range.start);
        PageFile {
            file,
            name,
            options,
            state: Arc::new(Mutex::new(State {
                chunks,
                bodies: Vec::new(),
                refused: None,
            })),
        }
    }

    /// The file, as messages show it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Notes that a batch is complete: of the pages that it was decoded from, only the last is still needed.
    pub fn end_batch(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for chunk in &mut state.chunks {
            chunk.held.earlier = (0, 0);
        }
    }

    /// Why a page was refused, if one was.
    pub fn refused(&self) -> Option<SourceError> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).refused.take()
    }

    /// Notes that something was refused, and gives what the decoder is to pass on.
    pub fn refuse(&self, error: SourceError) -> ParquetError {
        let text = error.to_string();
        self.state.lock().unwrap_or_else(PoisonError::into_inner).refused = Some(error);
        ParquetError::General(text)
    }

    /// Whether some page of the only chunk has its values beside the dictionary. Where a batch reaches into such a
    /// page, a decoder writes out what it has.
    pub fn leaves_dictionary(&self) -> parquet::errors::Result<bool> {
        let range = {
            let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.chunks.first().map_or(0..0, |chunk| chunk.range.clone())
        };
        let mut at = range.start;
        while at < range.end {
            let (header, _) = self.header(at, &range).map_err(|error| self.refuse(error))?;
            let indexed = matches!(header.encoding, encoding::PLAIN_DICTIONARY | encoding::RLE_DICTIONARY);
            if !header.dictionary && !indexed {
                return Ok(true);
            }
            at = at.saturating_add(header.length).saturating_add(header.compressed);
        }
        Ok(false)
    }

    fn broken(&self, problem: impl ToString) -> SourceError {
        SourceError::Malformed {
            path: self.name.to_string(),
            format: super::FORMAT,
            problem: problem.to_string(),
        }
    }

    /// Reads the header of the page that begins here, and the bytes that were read to find it.
    fn header(&self, at: u64, chunk: &Range<u64>) -> Result<(Header, Bytes), SourceError> {
        let room = chunk.end.saturating_sub(at).min(self.file.length().saturating_sub(at));
        let mut wanted = HEADER_BYTES;
        loop {
            let bytes = self
                .file
                .get_bytes(at, wanted.min(room) as usize)
                .map_err(|error| self.broken(error))?;
            match Header::read(&bytes) {
                Ok(header) => return Ok((header, bytes)),
                // Statistics can make a header long.
                Err(ThriftError::CutShort) if wanted < room => {
                    wanted *= 8;
                    let limit = self.options.max_metadata_bytes;
                    within("bytes of page header", wanted.min(room), limit, "max_metadata_bytes")
                        .map_err(|over| SourceError::over(&self.name, over))?;
                }
                Err(error) => return Err(self.broken(format!("a page header: {error}"))),
            }
        }
    }

    /// Looks at a page that is about to be decoded.
    fn admit(&self, state: &mut State, place: usize, at: u64, header: &Header, body: &[u8]) -> Result<(), SourceError> {
        let chunk = &mut state.chunks[place];
        if header.dictionary {
            if header.values.saturating_mul(chunk.least_value) > header.uncompressed {
                return Err(self.broken("a dictionary declares more values than it has bytes for"));
            }
        } else if header.values > chunk.values {
            return Err(self.broken("a page declares more values than its column has"));
        } else if let Ok(found) = chunk.pages.binary_search_by_key(&at, |page| page.0)
            && chunk.pages[found].1 != header.values
        {
            return Err(self.broken("a page has another number of rows than the page index says"));
        }
        let delta = matches!(header.encoding, encoding::DELTA_LENGTH_BYTE_ARRAY | encoding::DELTA_BYTE_ARRAY);
        if delta && !header.dictionary && !chunk.lengths_known {
            return Err(self.broken("a page has an encoding that its column does not name"));
        }
        let size = (header.uncompressed, header.compressed);
        if header.dictionary {
            chunk.held.dictionary = size;
        } else {
            chunk.held.earlier = add(chunk.held.earlier, chunk.held.last);
            chunk.held.last = size;
        }
        self.within_budget(&state.chunks)?;
        let chunk = &state.chunks[place];
        if self.options.verify_checksums && header.checksum.is_some_and(|expected| expected != checksum(body)) {
            return Err(self.broken("the checksum of a page does not agree; the file is damaged"));
        }
        let compressed = body.get(header.levels as usize..).unwrap_or_default();
        let announced = header.uncompressed.saturating_sub(header.levels);
        if header.is_compressed && expand::exceeds(chunk.codec, compressed, announced) {
            return Err(self.broken("a page decompresses to more bytes than its header says"));
        }
        Ok(())
    }

    fn within_budget(&self, chunks: &[Chunk]) -> Result<(), SourceError> {
        let held = chunks.iter().fold((0, 0), |sum, chunk| {
            [chunk.held.dictionary, chunk.held.last, chunk.held.earlier]
                .into_iter()
                .fold(sum, add)
        });
        within("decoded bytes", held.0, self.options.decoded_of(held.1), "max_decoded_bytes")
            .map_err(|over| SourceError::over(&self.name, over))
    }

    /// The bytes that were read to find the header of the page here; none where it was read before.
    fn read_header(&self, start: u64) -> Result<Bytes, SourceError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let read_before = state.bodies.iter().any(|(at, _)| *at == start);
        let Some(place) = chunk_of(&state.chunks, start).filter(|_| !read_before) else {
            return Ok(Bytes::new());
        };
        let range = state.chunks[place].range.clone();
        let (header, bytes) = self.header(start, &range)?;
        // Bodies of this chunk behind us are not asked for again.
        state.bodies.retain(|(at, _)| !range.contains(at));
        state.bodies.push((start + header.length, header));
        Ok(bytes)
    }

    fn read_page(&self, start: u64, length: usize) -> Result<Bytes, SourceError> {
        let bytes = self.file.get_bytes(start, length).map_err(|error| self.broken(error))?;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(place) = chunk_of(&state.chunks, start) else {
            return Ok(bytes);
        };
        let known = state.bodies.iter().find(|(at, _)| *at == start).map(|(_, header)| *header);
        match known {
            Some(header) => self.admit(&mut state, place, start - header.length, &header, &bytes)?,
            // By the page index a page is read together with its header.
            None => {
                let header = Header::read(&bytes).map_err(|error| self.broken(format!("a page header: {error}")))?;
                self.admit(&mut state, place, start, &header, &bytes[header.length as usize..])?;
            }
        }
        Ok(bytes)
    }
}

fn add(left: (u64, u64), right: (u64, u64)) -> (u64, u64) {
    (left.0.saturating_add(right.0), left.1.saturating_add(right.1))
}

fn checksum(body: &[u8]) -> u32 {
    let mut sum = flate2::Crc::new();
    sum.update(body);
    sum.sum()
}

/// The chunk that holds a position.
fn chunk_of(chunks: &[Chunk], at: u64) -> Option<usize> {
    let after = chunks.partition_point(|chunk| chunk.range.start <= at);
    chunks[..after].iter().rposition(|chunk| chunk.range.contains(&at))
}

impl Header {
    fn read(bytes: &[u8]) -> Result<Self, ThriftError> {
        let mut cursor = Cursor::new(bytes);
        let mut header = Header {
            is_compressed: true,
            ..Header::default()
        };
        let mut before = 0;
        while let Some((number, found)) = cursor.field(before)? {
            match (number, found) {
                (2, kind::I32) => header.uncompressed = size(cursor.integer()?)?,
                (3, kind::I32) => header.compressed = size(cursor.integer()?)?,
                (4, kind::I32) => header.checksum = Some(cursor.integer()? as u32),
                (5 | 7 | 8, kind::STRUCT) => header.read_body(&mut cursor, number)?,
                _ => cursor.skip(found)?,
            }
            before = number;
        }
        header.length = cursor.position() as u64;
        Ok(header)
    }

    /// The part that depends on the kind of page: 5 data, 7 dictionary, 8 data of the second version.
    fn read_body(&mut self, cursor: &mut Cursor<'_>, page: i64) -> Result<(), ThriftError> {
        self.dictionary = page == 7;
        let mut before = 0;
        while let Some((number, found)) = cursor.field(before)? {
            match (page, number, found) {
                (_, 1, kind::I32) => self.values = size(cursor.integer()?)?,
                (5 | 7, 2, kind::I32) | (8, 4, kind::I32) => self.encoding = cursor.integer()?,
                (8, 5 | 6, kind::I32) => self.levels = self.levels.saturating_add(size(cursor.integer()?)?),
                (8, 7, kind::TRUE | kind::FALSE) => self.is_compressed = found == kind::TRUE,
                _ => cursor.skip(found)?,
            }
            before = number;
        }
        Ok(())
    }
}

fn size(number: i64) -> Result<u64, ThriftError> {
    u64::try_from(number).map_err(|_| ThriftError::Invalid)
}

impl Length for PageFile {
    fn len(&self) -> u64 {
        self.file.length()
    }
}

impl ChunkReader for PageFile {
    type T = HeadReader;

    /// A decoder that reads on from a place looks for the header of a page there, or has read it already.
    fn get_read(&self, start: u64) -> parquet::errors::Result<HeadReader> {
        let head = self.read_header(start).map_err(|error| self.refuse(error))?;
        Ok(HeadReader {
            rest: self.file.reader(start + head.len() as u64),
            head,
        })
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        self.read_page(start, length).map_err(|error| self.refuse(error))
    }
}

/// Bytes that were read already, and those behind them.
#[derive(Debug)]
pub(super) struct HeadReader {
    head: Bytes,
    rest: PositionedReader,
}

impl Read for HeadReader {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.head.is_empty() {
            return self.rest.read(buffer);
        }
        let count = buffer.len().min(self.head.len());
        buffer[..count].copy_from_slice(&self.head.split_to(count));
        Ok(count)
    }
}
