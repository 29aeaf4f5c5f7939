//! CSV files: every column is text; a row that cannot be read is counted with its line.

use std::collections::HashSet;
use std::io::Read;
use std::sync::Arc;

use arrow::array::{ArrayRef, StringBuilder};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use csv_core::{ReadRecordResult, Reader, ReaderBuilder};

use crate::base::stop;
use crate::event::{Reason, Tally};
use crate::source::expected::Expected;
use crate::source::files::{DataFile, FileList, join_schemas};
use crate::source::limits::{ReadOptions, within};
use crate::source::positioned::{PositionedFile, PositionedReader, Stamp};
use crate::source::select::{Selector, Survivors, select_batch};
use crate::source::{Piece, Plan, Request, Sink, Source, SourceError, TakePiece};

const FORMAT: &str = "CSV";
/// The longest accepted record.
const MAX_RECORD_BYTES: usize = 1 << 20;
const BATCH_ROWS: usize = 16_384;
/// A batch ends early when its records are this long together.
const BATCH_BYTES: usize = 16 << 20;
const READ_BYTES: usize = 1 << 18;

/// How CSV files are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CsvOptions {
    /// The byte between fields.
    pub delimiter: u8,
    /// The byte around fields that hold delimiters.
    pub quote: u8,
}

impl Default for CsvOptions {
    fn default() -> Self {
        CsvOptions {
            delimiter: b',',
            quote: b'"',
        }
    }
}

/// CSV files with a header line, in UTF-8; the unit of parallel work is a file.
#[derive(Debug)]
pub struct CsvSource {
    list: FileList,
    columns: SchemaRef,
    /// Column names of each file, and what it was when they were read.
    headers: Vec<(Vec<String>, Stamp)>,
    csv: CsvOptions,
    options: ReadOptions,
}

impl CsvSource {
    /// Reads every file's header.
    ///
    /// # Errors
    /// No file, a file without a header or in UTF-16, or a header that names a column twice or has more columns than
    /// the options allow.
    pub fn open<'a>(
        paths: &[String],
        expected: impl Into<Expected<'a>>,
        csv: CsvOptions,
        options: ReadOptions,
    ) -> Result<Self, SourceError> {
        let list = FileList::expand(paths, FORMAT, &[".csv", ".tsv", ".txt"])?;
        let headers = list
            .files
            .iter()
            .map(|file| read_header(file, csv, &options))
            .collect::<Result<Vec<_>, _>>()?;
        let text_schema = |(names, _): &(Vec<String>, Stamp)| {
            Arc::new(Schema::new(
                names.iter().map(|name| Field::new(name, DataType::Utf8, true)).collect::<Vec<_>>(),
            ))
        };
        let schemas: Vec<SchemaRef> = headers.iter().map(text_schema).collect();
        Ok(CsvSource {
            columns: join_schemas(&list, &schemas, expected.into())?,
            list,
            headers,
            csv,
            options,
        })
    }
}

fn malformed(file: &DataFile, problem: impl Into<String>) -> SourceError {
    SourceError::Malformed {
        path: file.name.to_string(),
        format: FORMAT,
        problem: problem.into(),
    }
}

fn read_header(file: &DataFile, csv: CsvOptions, options: &ReadOptions) -> Result<(Vec<String>, Stamp), SourceError> {
    stop::checkpoint()?;
    let positioned = PositionedFile::open(&file.path)?;
    let stamp = positioned.stamp();
    let mut records = Records::open(file, positioned, csv, options.max_columns)?;
    let header = match records.next_record()? {
        Outcome::Record => records
            .fields()
            .map(|field| field.map(str::to_owned))
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| malformed(file, "the header is not UTF-8"))?,
        Outcome::TooLong => return Err(malformed(file, "line 1: the header is over 1 MiB")),
        Outcome::TooWide => {
            let limit = options.max_columns as u64;
            let over = within("columns or more", limit + 1, limit, "max_columns");
            return Err(over.map_or_else(
                |over| SourceError::over(&file.name, over),
                |()| malformed(file, "the header is too wide"),
            ));
        }
        Outcome::End => {
            return Err(malformed(file, "it is empty; a header line with the column names is needed"));
        }
    };
    let mut known = HashSet::with_capacity(header.len());
    match header.iter().find(|name| !known.insert(name.as_str())) {
        Some(twice) => Err(malformed(file, format!("the header names column {twice:?} twice"))),
        None => Ok((header, stamp)),
    }
}

impl Source for CsvSource {
    fn name(&self) -> String {
        self.list.title(FORMAT)
    }

    fn columns(&self) -> SchemaRef {
        self.columns.clone()
    }

    fn fingerprint(&self) -> String {
        self.list.fingerprint()
    }

    fn rows(&self) -> Option<u64> {
        None
    }

    fn plan<'a>(&'a self, _: &'a [String]) -> Result<Plan<'a>, SourceError> {
        Ok(Plan::Splits(self.list.files.len()))
    }

    fn read_split(&self, split: usize, request: &Request, sink: &mut dyn Sink, tally: &mut Tally) -> Result<(), SourceError> {
        let columns = request.all_columns();
        let mut parser = self.parser(split, &columns)?;
        let (mut selector, mut scratch) = (Selector::new(request), Survivors::default());
        while let Some(piece) = parser.next_piece(tally)? {
            sink.checkpoint()?;
            select_lines(request, &piece, &parser.lines, &mut selector, &mut scratch, sink, tally)?;
        }
        tally.bytes += parser.records.bytes;
        parser.records.positioned.check_unchanged()
    }

    fn read_pieces(&self, split: usize, columns: &[String], take: &mut TakePiece<'_>, tally: &mut Tally) -> Result<(), SourceError> {
        let mut parser = self.parser(split, columns)?;
        while let Some(piece) = parser.next_piece(tally)? {
            let mut part = Tally::default();
            take(&piece, &mut part)?;
            part.renumber(|row| parser.lines[row as usize]);
            tally.merge(part);
        }
        tally.bytes += parser.records.bytes;
        parser.records.positioned.check_unchanged()
    }
}

impl CsvSource {
    fn parser<'a>(&'a self, split: usize, columns: &'a [String]) -> Result<FileParser<'a>, SourceError> {
        let (file, (header, stamp)) = (&self.list.files[split], &self.headers[split]);
        let positioned = PositionedFile::open_again(&file.path, stamp)?;
        let mut records = Records::open(file, positioned, self.csv, self.options.max_columns)?;
        records.next_record()?;
        Ok(FileParser {
            file,
            records,
            width: header.len(),
            wanted: columns
                .iter()
                .map(|name| (name.as_str(), header.iter().position(|column| column == name)))
                .collect(),
            lines: Vec::new(),
        })
    }
}

/// As [`select_batch`], with line numbers in place of row numbers.
fn select_lines(
    request: &Request,
    piece: &Piece,
    lines: &[u64],
    selector: &mut Selector<'_>,
    scratch: &mut Survivors,
    sink: &mut dyn Sink,
    tally: &mut Tally,
) -> Result<(), SourceError> {
    let mut part = Tally::default();
    select_batch(request, piece, selector, scratch, sink, &mut part)?;
    part.renumber(|row| lines[row as usize]);
    tally.merge(part);
    Ok(())
}

/// Parses one file into batches of the requested columns.
struct FileParser<'a> {
    file: &'a DataFile,
    records: Records<'a>,
    width: usize,
    /// Requested columns with their place in the file.
    wanted: Vec<(&'a str, Option<usize>)>,
    /// The line of each row of the piece at hand.
    lines: Vec<u64>,
}

impl FileParser<'_> {
    fn next_piece(&mut self, tally: &mut Tally) -> Result<Option<Piece>, SourceError> {
        let mut builders: Vec<StringBuilder> = self.wanted.iter().map(|_| StringBuilder::new()).collect();
        self.lines.clear();
        let mut bytes = 0;
        while self.lines.len() < BATCH_ROWS && bytes < BATCH_BYTES {
            bytes += self.records.record_bytes();
            match self.records.next_record()? {
                Outcome::End => break,
                Outcome::Record => self.take_record(&mut builders, tally),
                Outcome::TooLong => self.reject(tally, "the record is over 1 MiB; is a quote left open?"),
                Outcome::TooWide => self.reject(tally, "the record has more fields than a file may have columns"),
            }
        }
        if self.lines.is_empty() {
            return Ok(None);
        }
        let rows = self.lines.len();
        let column = |((name, _), builder): (&(&str, Option<usize>), &mut StringBuilder)| {
            let text: ArrayRef = Arc::new(builder.finish());
            let array = self.file.constant(name).map_or(text, |constant| constant.column(rows));
            (Field::new(*name, array.data_type().clone(), true), array)
        };
        let (fields, arrays): (Vec<Field>, Vec<ArrayRef>) = self.wanted.iter().zip(&mut builders).map(column).unzip();
        let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).map_err(|error| malformed(self.file, error.to_string()))?;
        Ok(Some(Piece {
            place: self.file.name.clone(),
            first_row: 0,
            batch,
        }))
    }

    fn take_record(&mut self, builders: &mut [StringBuilder], tally: &mut Tally) {
        let found = self.records.field_count();
        if found != self.width {
            let width = self.width;
            return self.reject(tally, &format!("{found} fields where the header has {width}"));
        }
        let is_text = |(_, place): &&(&str, Option<usize>)| place.is_none_or(|place| self.records.field(place).is_some());
        if let Some((column, _)) = self.wanted.iter().find(|column| !is_text(column)) {
            tally.rows_read += 1;
            return tally.reject(&self.file.name, self.records.line, Reason::NotUtf8, column, String::new);
        }
        for ((_, place), builder) in self.wanted.iter().zip(builders) {
            // Text files cannot tell an empty field from a missing one: both are null.
            builder.append_option(place.and_then(|place| self.records.field(place)).filter(|text| !text.is_empty()));
        }
        self.lines.push(self.records.line);
    }

    fn reject(&self, tally: &mut Tally, problem: &str) {
        tally.rows_read += 1;
        tally.reject(&self.file.name, self.records.line, Reason::MalformedRow, "", || problem.to_owned());
    }
}

enum Outcome {
    Record,
    /// Over [`MAX_RECORD_BYTES`].
    TooLong,
    /// More fields than a file may have columns.
    TooWide,
    End,
}

/// Records of a file, each with the line it begins on.
struct Records<'a> {
    file: &'a DataFile,
    positioned: PositionedFile,
    handle: PositionedReader,
    reader: Reader,
    input: Vec<u8>,
    filled: usize,
    at: usize,
    output: Vec<u8>,
    ends: Vec<usize>,
    field_count: usize,
    line: u64,
    bytes: u64,
    at_end: bool,
    max_columns: usize,
}

impl<'a> Records<'a> {
    fn open(file: &'a DataFile, positioned: PositionedFile, csv: CsvOptions, max_columns: usize) -> Result<Self, SourceError> {
        let reader = ReaderBuilder::new().delimiter(csv.delimiter).quote(csv.quote).build();
        let mut records = Records {
            file,
            handle: positioned.reader(0),
            positioned,
            reader,
            input: vec![0; READ_BYTES],
            filled: 0,
            at: 0,
            output: vec![0; 4096],
            ends: vec![0; 64],
            field_count: 0,
            line: 1,
            bytes: 0,
            at_end: false,
            max_columns,
        };
        records.fill()?;
        let start = &records.input[..records.filled];
        if start.starts_with(&[0xff, 0xfe]) || start.starts_with(&[0xfe, 0xff]) {
            return Err(malformed(file, "it is UTF-16; only UTF-8 is read"));
        }
        if start.starts_with(&[0xef, 0xbb, 0xbf]) {
            records.at = 3;
        }
        Ok(records)
    }

    fn fill(&mut self) -> Result<(), SourceError> {
        self.at = 0;
        self.filled = loop {
            match self.handle.read(&mut self.input) {
                Ok(read) => break read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(SourceError::io(&self.file.path, &error)),
            }
        };
        self.bytes += self.filled as u64;
        self.at_end = self.filled == 0;
        Ok(())
    }

    /// Passes over blank lines and the rest of the last line end, so that the line number is that of the next record.
    fn skip_line_ends(&mut self) -> Result<(), SourceError> {
        loop {
            if self.at == self.filled && !self.at_end {
                self.fill()?;
            }
            if !matches!(self.input[self.at..self.filled].first(), Some(b'\r' | b'\n')) {
                return Ok(());
            }
            let (_, read, _, _) = self
                .reader
                .read_record(&self.input[self.at..=self.at], &mut self.output, &mut self.ends);
            self.at += read;
        }
    }

    fn next_record(&mut self) -> Result<Outcome, SourceError> {
        self.skip_line_ends()?;
        self.line = self.reader.line();
        let (mut written, mut ended) = (0, 0);
        let mut too_much = None;
        loop {
            if self.at == self.filled && !self.at_end {
                self.fill()?;
            }
            let (result, read, wrote, ends) = self.reader.read_record(
                &self.input[self.at..self.filled],
                &mut self.output[written..],
                &mut self.ends[ended..],
            );
            self.at += read;
            written += wrote;
            ended += ends;
            match result {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull if self.output.len() < MAX_RECORD_BYTES => self.output.resize(self.output.len() * 2, 0),
                ReadRecordResult::OutputEndsFull if self.ends.len() <= self.max_columns => self.ends.resize(self.ends.len() * 2, 0),
                // Too much to keep: go on to the record's end over what was kept.
                ReadRecordResult::OutputFull => (too_much, written, ended) = (Some(Outcome::TooLong), 0, 0),
                ReadRecordResult::OutputEndsFull => (too_much, written, ended) = (Some(Outcome::TooWide), 0, 0),
                ReadRecordResult::Record if too_much.is_none() && ended > self.max_columns => return Ok(Outcome::TooWide),
                ReadRecordResult::Record => {
                    self.field_count = ended;
                    return Ok(too_much.unwrap_or(Outcome::Record));
                }
                ReadRecordResult::End => return Ok(too_much.unwrap_or(Outcome::End)),
            }
        }
    }

    /// Bytes of the last record's fields.
    fn record_bytes(&self) -> usize {
        if self.field_count == 0 {
            0
        } else {
            self.ends[self.field_count - 1]
        }
    }

    fn field_count(&self) -> usize {
        self.field_count
    }

    fn field(&self, place: usize) -> Option<&str> {
        let start = if place == 0 { 0 } else { self.ends[place - 1] };
        std::str::from_utf8(&self.output[start..self.ends[place]]).ok()
    }

    fn fields(&self) -> impl Iterator<Item = Option<&str>> {
        (0..self.field_count).map(|place| self.field(place))
    }
}
