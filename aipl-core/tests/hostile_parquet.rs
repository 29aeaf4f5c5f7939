//! Parquet files that declare what they do not hold, or hold far more than their size: refused by name before memory is
//! taken, or answered rightly.

#![allow(clippy::expect_used, clippy::panic, reason = "a test says what it expects")]

mod crafted;

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use aipl_core::Error;
use aipl_core::analyses::{SnapshotParams, snapshot, validate};
use aipl_core::event::{EventSchema, Reason};
use aipl_core::model::StageModel;
use aipl_core::source::{Events, ReadOptions, SourceError};
use aipl_core::timeline::Runtime;
use arrow::array::{ArrayRef, Date32Array, RecordBatch, StringArray};
use crafted::{
    Column, Crafted, DELTA_LENGTH, DELTA_TEXT, ENUM, JSON, PLAIN, Page, Thrift, UTF8, declared_steps, nested, packed_steps, plain,
};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;

/// Far more rows than a file of its size may have.
const MANY_ROWS: ReadOptions = ReadOptions {
    max_columns: 10_000,
    max_depth: 64,
    max_metadata_bytes: 64 << 20,
    max_rows: 1 << 23,
    max_decoded_bytes: 128 << 20,
    verify_checksums: true,
};

struct Kept {
    folder: tempfile::TempDir,
    runtime: Runtime<'static>,
}

impl Kept {
    fn new() -> Self {
        Kept {
            folder: tempfile::tempdir().expect("a folder"),
            runtime: Runtime::with_threads(2).expect("threads"),
        }
    }

    fn write(&self, name: &str, crafted: &Crafted) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
        fs::write(&path, crafted.written()).expect("writes");
        path
    }

    fn scan(&self, crafted: &Crafted, schema: EventSchema, options: ReadOptions) -> Result<Events, SourceError> {
        let path = self.write("events.parquet", crafted);
        Events::scan_parquet_with(&[path.display().to_string()], schema, "UTC", options)
    }

    /// Consumers in any stage, by two ways of reading.
    fn ask(&self, crafted: &Crafted, schema: EventSchema, options: ReadOptions) -> Result<(i64, u64), Error> {
        self.labels_and_rows(&self.scan(crafted, schema, options)?)
    }

    fn labels_and_rows(&self, events: &Events) -> Result<(i64, u64), Error> {
        let model = StageModel::preset("databank").expect("preset");
        let day = "2024-07-01".parse().expect("a day");
        let snap = snapshot(events, &model, day, &SnapshotParams::default(), &self.runtime)?;
        let report = validate(events, &self.runtime)?;
        Ok((snap.label_count(None)?, report.tally.rows_read))
    }
}

fn schema() -> EventSchema {
    EventSchema::new("user", "brand", "action", "day")
}

fn refused(outcome: Result<(i64, u64), Error>) -> String {
    match outcome {
        Err(Error::Source(error @ (SourceError::Malformed { .. } | SourceError::Limit { .. }))) => error.to_string(),
        other => panic!("not refused by name: {other:?}"),
    }
}

fn over(outcome: Result<(i64, u64), Error>, wanted: &str) {
    match outcome {
        Err(Error::Source(SourceError::Limit { option, .. })) => assert_eq!(option, wanted),
        other => panic!("not over {wanted}: {other:?}"),
    }
}

#[test]
fn depth_and_columns_are_bounded_before_a_schema_is_built() {
    let kept = Kept::new();
    let ask = |crafted: &Crafted, options| kept.ask(crafted, schema(), options);
    for depth in [65, 1_000, 100_000] {
        let crafted = Crafted {
            schema: Some(nested(depth)),
            ..Crafted::events(1)
        };
        over(ask(&crafted, ReadOptions::default()), "max_depth");
    }
    let mut wide = Crafted::events(1);
    wide.columns.extend((0..9_996).map(|at| Column::one_day(&format!("c{at}"), 1, 1)));
    assert_eq!(ask(&wide, ReadOptions::default()).expect("10,000 columns are read"), (1, 1));
    wide.columns.push(Column::one_day("c", 1, 1));
    over(ask(&wide, ReadOptions::default()), "max_columns");
    let more = ReadOptions {
        max_columns: 20_000,
        ..ReadOptions::default()
    };
    assert_eq!(ask(&wide, more).expect("the limit is raised"), (1, 1));
}

#[test]
fn schemas_that_do_not_add_up_are_refused() {
    let kept = Kept::new();
    let root = |children| Thrift::default().text(4, "root").int(5, children).end();
    let leaf = Thrift::default().int(1, 1).int(3, 1).text(4, "x").end();
    for schema_list in [
        vec![root(2), leaf.clone()],
        vec![root(1), leaf.clone(), leaf.clone()],
        vec![root(0), leaf.clone(), leaf.clone()],
        vec![root(-1), leaf],
        vec![],
    ] {
        let crafted = Crafted {
            schema: Some(schema_list),
            ..Crafted::events(1)
        };
        refused(kept.ask(&crafted, schema(), ReadOptions::default()));
    }
}

#[test]
fn rows_that_are_not_there_are_refused() {
    let kept = Kept::new();
    for (claimed, there) in [(1_000, 10), (10, 1_000), (1 << 23, 10), (4_200_000, 4_199_999)] {
        let crafted = Crafted {
            rows: claimed,
            ..Crafted::events(there)
        };
        let message = refused(kept.ask(&crafted, schema(), MANY_ROWS));
        assert!(message.contains("rows") || message.contains("more values than"), "{message}");
    }
    let claims = |rows| Crafted {
        rows,
        ..Crafted::events(10)
    };
    for rows in [1 << 31, u32::MAX.into(), 1 << 62] {
        over(kept.ask(&claims(rows), schema(), ReadOptions::default()), "max_rows");
    }
    // A footer that counts other rows than its row groups.
    let counted = Crafted {
        counted: Some(1_000),
        ..Crafted::events(10)
    };
    refused(kept.ask(&counted, schema(), ReadOptions::default()));
    // Many row groups that share their bytes.
    let crafted = Crafted {
        groups: 30_000,
        ..Crafted::events(1_000_000)
    };
    over(kept.ask(&crafted, schema(), ReadOptions::default()), "max_rows");
}

#[test]
fn rows_whose_columns_are_given_by_the_path_must_be_there_too() {
    let kept = Kept::new();
    let ask = |rows, there| {
        let crafted = Crafted {
            rows,
            ..Crafted::events(there)
        };
        let name = format!("action=view/day=2024-06-30/brand=x/user=u/{rows}-{there}.parquet");
        let path = kept.write(&name, &crafted);
        kept.labels_and_rows(&Events::scan_parquet(&[path.display().to_string()], schema(), "UTC")?)
    };
    assert_eq!(ask(50_000, 50_000).expect("they are there"), (1, 50_000));
    assert_eq!(ask(10, 10).expect("they are there"), (1, 10));
    refused(ask(1 << 20, 10));
    refused(ask(1 << 31, 10));
}

#[test]
fn large_groups_answer_as_small_ones() {
    let kept = Kept::new();
    for rows in [1, 100_000, 4_194_305] {
        let crafted = Crafted::events(rows);
        assert!(crafted.written().len() < 1_000);
        assert_eq!(kept.ask(&crafted, schema(), MANY_ROWS).expect("an answer"), (1, rows as u64));
    }
}

#[test]
fn pages_that_decompress_to_more_than_may_be_held_are_refused() {
    let kept = Kept::new();
    for codec in [1, 2, 4, 5, 6, 7] {
        let mut crafted = Crafted {
            codec,
            ..Crafted::events(1_000)
        };
        for column in &mut crafted.columns {
            column.pages.iter_mut().for_each(|page| page.uncompressed = (1 << 31) - 1);
        }
        over(kept.ask(&crafted, schema(), ReadOptions::default()), "max_decoded_bytes");
    }
    // Also where the first pages are as they say.
    for name in ["user", "brand", "action", "day"] {
        let mut crafted = Crafted::events(1_000);
        crafted.column(name).pages[1].uncompressed = (1 << 31) - 1;
        over(kept.ask(&crafted, schema(), ReadOptions::default()), "max_decoded_bytes");
    }
}

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).expect("compresses");
    encoder.finish().expect("ends")
}

#[test]
fn pages_that_grow_beyond_their_word_are_refused() {
    let kept = Kept::new();
    let mut crafted = Crafted {
        codec: 2,
        ..Crafted::events(1_000)
    };
    for column in &mut crafted.columns {
        column.pages.iter_mut().for_each(|page| page.body = gzipped(&page.body));
    }
    assert_eq!(kept.ask(&crafted, schema(), ReadOptions::default()).expect("an answer"), (1, 1_000));
    let page = &mut crafted.column("user").pages[1];
    page.body = gzipped(&vec![0; 300 << 20]);
    let message = refused(kept.ask(&crafted, schema(), ReadOptions::default()));
    assert!(message.contains("decompresses to more bytes than its header says"), "{message}");
}

#[test]
fn texts_that_repeat_the_one_before_are_added_up_first() {
    let kept = Kept::new();
    let with_user = |encoding, body: Vec<u8>| {
        let mut crafted = Crafted::events(20_000);
        *crafted.column("user") = Column::texts("user", Some(UTF8), vec![Page::data(body, 20_000, encoding)]);
        kept.ask(&crafted, schema(), ReadOptions::default())
    };
    let numbers = |first: i64, others: i64| -> Vec<i64> { (0..20_000).map(|at| if at == 0 { first } else { others }).collect() };
    // Twenty thousand texts, each the one before: of five bytes they are read, of a megabyte they are too much.
    let repeated = |length: usize| {
        let lengths = [packed_steps(&numbers(0, length as i64)), packed_steps(&numbers(length as i64, 0))];
        with_user(DELTA_TEXT, [lengths.concat(), vec![b'u'; length]].concat())
    };
    assert_eq!(repeated(5).expect("an answer"), (1, 20_000));
    over(repeated(1 << 20), "max_decoded_bytes");
    let plain_lengths = [packed_steps(&numbers(1, 1)), vec![b'u'; 20_000]].concat();
    assert_eq!(with_user(DELTA_LENGTH, plain_lengths).expect("an answer"), (1, 20_000));
    // A number of texts that no page has.
    refused(with_user(DELTA_LENGTH, declared_steps(1 << 40)));
    refused(with_user(DELTA_TEXT, declared_steps(1 << 40)));
    // An encoding that the column does not name is noticed at its page.
    let mut crafted = Crafted::events(20_000);
    crafted.column("user").pages[1].encoding = DELTA_TEXT;
    refused(kept.ask(&crafted, schema(), ReadOptions::default()));
}

#[test]
fn long_values_of_a_dictionary_are_not_written_out_at_once() {
    let kept = Kept::new();
    // A long brand in a dictionary, then a page without one: a decoder writes out what it has of the batch.
    let long = vec![b'b'; 4 << 20];
    let mut crafted = Crafted::events(12_000);
    let plain_page = Page::data(plain(&[b"x".as_slice(); 2_000]), 2_000, PLAIN);
    *crafted.column("brand") = Column::texts(
        "brand",
        Some(UTF8),
        vec![Page::dictionary(&[&long]), Page::repeated(10_000), plain_page],
    );
    // Over 256 bytes a value is no identifier: those rows are rejected, the others count.
    assert_eq!(
        kept.ask(&crafted, schema(), ReadOptions::default()).expect("an answer"),
        (1, 12_000)
    );
}

#[test]
fn declared_sizes_of_a_page_are_compared() {
    let kept = Kept::new();
    let with_page = |change: &dyn Fn(&mut Page), at: usize| {
        let mut crafted = Crafted::events(1_000);
        change(&mut crafted.column("user").pages[at]);
        kept.ask(&crafted, schema(), ReadOptions::default())
    };
    refused(with_page(&|page| page.values = i64::from(i32::MAX), 0));
    refused(with_page(&|page| page.values = i64::from(i32::MAX), 1));
    refused(with_page(&|page| page.values = -1, 1));
    refused(with_page(&|page| page.uncompressed = -1, 1));
}

#[test]
fn checksums_of_pages_are_compared() {
    let kept = Kept::new();
    let mut crafted = Crafted::events(1_000);
    for page in crafted.columns.iter_mut().flat_map(|column| &mut column.pages) {
        let mut sum = flate2::Crc::new();
        sum.update(&page.body);
        page.checksum = Some(sum.sum());
    }
    assert_eq!(kept.ask(&crafted, schema(), ReadOptions::default()).expect("whole"), (1, 1_000));
    for name in ["user", "brand", "action", "day"] {
        let mut damaged = crafted.clone();
        let checksum = &mut damaged.column(name).pages[1].checksum;
        *checksum = checksum.map(|sum| sum ^ 1);
        let message = refused(kept.ask(&damaged, schema(), ReadOptions::default()));
        assert!(message.contains("checksum"), "{message}");
        let unverified = ReadOptions {
            verify_checksums: false,
            ..ReadOptions::default()
        };
        assert_eq!(kept.ask(&damaged, schema(), unverified).expect("not looked at"), (1, 1_000));
    }
}

/// A bad text among good ones is one rejected row, whatever the file or a schema noted beside says of the column.
#[test]
fn bytes_that_are_no_text_are_rejected_rows() {
    let kept = Kept::new();
    let mapped = schema().with_field("touchpoint", "touch");
    let texts: [&[u8]; 3] = [b"good", b"\xff\xfe", b"fine"];
    for converted in [None, Some(ENUM), Some(JSON)] {
        for name in ["user", "brand", "action", "touch"] {
            for as_dictionary in [false, true] {
                let mut crafted = Crafted::events(3);
                crafted.columns.push(Column::one_text("touch", b"t", 3));
                let values: [&[u8]; 3] = if name == "action" { [b"view", b"\x80", b"view"] } else { texts };
                let pages = if as_dictionary {
                    let indices = Page::data(vec![2, 3, 0b0010_0100, 0], 3, crafted::RLE_DICTIONARY);
                    vec![Page::dictionary(&values), indices]
                } else {
                    vec![Page::data(plain(&values), 3, PLAIN)]
                };
                *crafted.column(name) = Column::texts(name, converted, pages);
                let events = kept.scan(&crafted, mapped.clone(), ReadOptions::default()).expect("opens");
                let report = validate(&events, &kept.runtime).expect("a report");
                let reasons: Vec<String> = report.tally.rejected.keys().map(|reason| reason.code().to_owned()).collect();
                assert_eq!(
                    (report.tally.rows_read, report.tally.rows_rejected(), reasons),
                    (3, 1, vec!["not_utf8".to_owned()]),
                    "{name}, {converted:?}, dictionary: {as_dictionary}"
                );
            }
        }
    }
}

/// Bytes that make characters only together with those of the next value.
#[test]
fn characters_that_are_cut_between_two_values_are_no_text() {
    let kept = Kept::new();
    let mapped = schema().with_field("touchpoint", "touch");
    let parts: [&[u8]; 2] = [b"\xe6\xb5", b"\x8f"];
    let lengths = |numbers: [i64; 2]| packed_steps(&(0..40).map(|at| numbers[at % 2]).collect::<Vec<_>>());
    let bytes = parts.concat().repeat(20);
    let apart = [lengths([2, 1]), bytes.clone()].concat();
    let with_prefixes = [lengths([0, 0]), lengths([2, 1]), bytes].concat();
    let together: Vec<&[u8]> = (0..40).map(|at| parts[at % 2]).collect();
    for (encoding, body) in [(DELTA_LENGTH, apart), (DELTA_TEXT, with_prefixes), (PLAIN, plain(&together))] {
        for name in ["user", "brand", "action", "touch"] {
            let mut crafted = Crafted::events(40);
            crafted.columns.push(Column::one_text("touch", b"t", 40));
            *crafted.column(name) = Column::texts(name, Some(UTF8), vec![Page::data(body.clone(), 40, encoding)]);
            let events = kept.scan(&crafted, mapped.clone(), ReadOptions::default()).expect("opens");
            match validate(&events, &kept.runtime) {
                // Labels that are marked as text are read where a question needs them.
                Ok(_) if (encoding, name) == (PLAIN, "touch") => {}
                Ok(report) => assert_eq!(
                    report.tally.rejected.get(&Reason::NotUtf8),
                    Some(&40),
                    "{name}, encoding {encoding}"
                ),
                // A decoder that looks at each value refuses the file.
                Err(error) => assert!(encoding == PLAIN, "{name}, encoding {encoding}: {error}"),
            }
        }
    }
}

/// Events of two brands on many pages, with a page index behind the last of them.
fn indexed() -> Vec<u8> {
    let text = |values: [&str; 2]| Arc::new(StringArray::from_iter_values((0..400).map(|row| values[row % 2]))) as ArrayRef;
    let days = Arc::new(Date32Array::from_iter_values((0..400).map(|row| 19_800 + row / 4))) as ArrayRef;
    let columns = [
        ("user", text(["ann", "bob"])),
        ("brand", text(["x", "y"])),
        ("action", text(["view", "purchase"])),
        ("day", days),
    ];
    let batch = RecordBatch::try_from_iter(columns).expect("columns");
    let properties = WriterProperties::builder()
        .set_data_page_row_count_limit(20)
        .set_write_batch_size(20);
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties.build())).expect("a writer");
    writer.write(&batch).expect("writes");
    writer.close().expect("closes");
    bytes
}

#[test]
fn every_byte_of_a_page_index_can_be_damaged() {
    let kept = Kept::new();
    let path = kept.folder.path().join("indexed.parquet");
    let ask = |bytes: &[u8]| {
        fs::write(&path, bytes).expect("writes");
        kept.labels_and_rows(&Events::scan_parquet(&[path.display().to_string()], schema(), "UTC")?)
    };
    let whole = indexed();
    let footer = u32::from_le_bytes(*whole[..whole.len() - 4].last_chunk().expect("a length")) as usize;
    let metadata = parquet::file::metadata::ParquetMetaDataReader::new()
        .parse_and_finish(&bytes::Bytes::from(whole.clone()))
        .expect("a footer");
    let chunks = metadata.row_group(0).columns().iter();
    let start = chunks
        .filter_map(|chunk| chunk.column_index_offset().into_iter().chain(chunk.offset_index_offset()).min())
        .min();
    let (start, end) = (start.expect("an index") as usize, whole.len() - 8 - footer);
    assert!(end - start > 300, "an index of {} bytes", end - start);
    let right = ask(&whole).expect("whole");
    let mut cases = 0;
    for at in (start..end).step_by(5) {
        for value in [0xff, 0xfc, whole[at] ^ 1] {
            let mut damaged = whole.clone();
            damaged[at] = value;
            match ask(&damaged) {
                // Statistics of a page have no checksum: a page that is said to be too old is passed over.
                Ok((_, rows)) => assert_eq!(rows, right.1),
                Err(Error::Source(SourceError::Malformed { .. } | SourceError::Limit { .. } | SourceError::DecoderPanicked { .. })) => {}
                Err(other) => panic!("byte {at}: {other:?}"),
            }
            cases += 1;
        }
    }
    assert!(cases > 180, "{cases} cases");
}
