use std::collections::{HashMap, HashSet};
use std::error::Error;

use arrow::array::{Array, AsArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{Float64Type, Int64Type, TimestampMicrosecondType};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::*;

type TestResult = Result<(), Box<dyn Error>>;

/// A folder that is removed at the end of the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = format!("aipl-generate-{}-{name}", std::process::id());
        Self(std::env::temp_dir().join(folder))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A folder left behind does not fail a test.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn small() -> GeneratorParams {
    GeneratorParams {
        rows: 20_000,
        consumers: 1_000,
        brands: 50,
        days: 60,
        row_group: 3_000,
        ..GeneratorParams::default()
    }
}

fn file_bytes(params: &GeneratorParams, name: &str) -> Result<Vec<Vec<u8>>, Box<dyn Error>> {
    let folder = Folder::new(name);
    let files = write_parquet(params, &folder.0)?;
    Ok(files.iter().map(|file| fs::read(&file.path)).collect::<Result<_, _>>()?)
}

fn read_back(params: &GeneratorParams, name: &str) -> Result<RecordBatch, Box<dyn Error>> {
    let folder = Folder::new(name);
    let mut batches = Vec::new();
    for file in write_parquet(params, &folder.0)? {
        let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(file.path)?)?.build()?;
        batches.extend(reader.collect::<Result<Vec<_>, _>>()?);
    }
    Ok(concat_batches(&schema(params.ids), &batches)?)
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_does_not() -> TestResult {
    let first = file_bytes(&small(), "same-a")?;
    assert_eq!(first, file_bytes(&small(), "same-b")?);
    let other = GeneratorParams { seed: 8, ..small() };
    assert_ne!(first, file_bytes(&other, "other")?);
    Ok(())
}

#[test]
fn layout_does_not_change_the_rows() -> TestResult {
    let one = read_back(&small(), "one-file")?;
    let layout = GeneratorParams {
        files: 3,
        row_group: 777,
        ..small()
    };
    assert_eq!(one, read_back(&layout, "three-files")?);
    assert_eq!(one.num_rows(), 20_000);
    Ok(())
}

#[test]
fn rows_and_row_groups_are_as_asked() -> TestResult {
    let folder = Folder::new("row-groups");
    let params = GeneratorParams { files: 3, ..small() };
    let files = write_parquet(&params, &folder.0)?;
    assert_eq!(files.iter().map(|file| file.rows).collect::<Vec<_>>(), [6_667, 6_667, 6_666]);
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(&files[0].path)?)?;
    let groups = reader.metadata().row_groups().iter().map(|group| group.num_rows());
    assert_eq!(groups.collect::<Vec<_>>(), [3_000, 3_000, 667]);
    Ok(())
}

#[test]
fn text_ids_are_the_integers_spelled() -> TestResult {
    let numbers = read_back(&small(), "int")?;
    let texts = read_back(
        &GeneratorParams {
            ids: IdKind::Text,
            ..small()
        },
        "text",
    )?;
    let (numbers, texts) = (numbers.column(0).as_primitive::<Int64Type>(), texts.column(0).as_string::<i32>());
    for row in 0..numbers.len() {
        assert_eq!(texts.value(row), format!("u{:07}", numbers.value(row)));
    }
    Ok(())
}

#[test]
fn times_lie_in_the_span_and_ascend_when_sorted() -> TestResult {
    let end = (FIRST_DAY + 60) * 24 * HOUR_US;
    for sort in [SortOrder::None, SortOrder::Time] {
        let rows = read_back(&GeneratorParams { sort, ..small() }, &format!("{sort:?}"))?;
        let times = rows.column(3).as_primitive::<TimestampMicrosecondType>().values();
        assert!(times.iter().all(|time| (FIRST_DAY * 24 * HOUR_US..end).contains(time)));
        assert_eq!(times.is_sorted(), sort == SortOrder::Time);
        let days: HashSet<i64> = times.iter().map(|time| time / (24 * HOUR_US)).collect();
        assert_eq!(days.len(), 60);
    }
    Ok(())
}

#[test]
fn values_stand_only_with_their_behavior() -> TestResult {
    let rows = read_back(&small(), "nulls")?;
    let actions = rows.column(2).as_string::<i32>();
    let ratings = rows.column(4).as_primitive::<Float64Type>();
    let amounts = rows.column(5).as_primitive::<Float64Type>();
    for row in 0..rows.num_rows() {
        assert_eq!(ratings.is_valid(row), actions.value(row) == "review");
        assert_eq!(amounts.is_valid(row), actions.value(row) == "purchase");
        if amounts.is_valid(row) {
            let cents = amounts.value(row) * 100.0;
            assert!((cents - cents.round()).abs() < 1e-6, "{cents}");
        }
    }
    Ok(())
}

#[test]
fn behaviors_come_in_their_proportions() -> TestResult {
    assert_eq!(BEHAVIOR_MIX.iter().map(|(_, weight)| weight).sum::<u32>(), 10_000);
    let rows = 100_000;
    let batch = EventGenerator::new(&small())?.batch(rows)?;
    let mut seen: HashMap<&str, u32> = HashMap::new();
    for behavior in batch.column(2).as_string::<i32>().iter().flatten() {
        *seen.entry(behavior).or_default() += 1;
    }
    for (behavior, weight) in BEHAVIOR_MIX {
        let (expected, actual) = (f64::from(weight) * 10.0, f64::from(seen[behavior]));
        // Six standard deviations of a binomial count.
        assert!(
            (actual - expected).abs() < 6.0 * expected.sqrt(),
            "{behavior}: {actual} for {expected}"
        );
    }
    Ok(())
}

#[test]
fn brands_are_skewed_and_consumers_come_back_to_theirs() -> TestResult {
    let batch = EventGenerator::new(&small())?.batch(50_000)?;
    let ids = batch.column(0).as_primitive::<Int64Type>().values();
    let brands = batch.column(1).as_string::<i32>();
    let mut by_brand: HashMap<&str, u32> = HashMap::new();
    let mut by_pair: HashMap<(i64, &str), u32> = HashMap::new();
    for row in 0..batch.num_rows() {
        *by_brand.entry(brands.value(row)).or_default() += 1;
        *by_pair.entry((ids[row], brands.value(row))).or_default() += 1;
    }
    assert!(by_brand["b000"] > 10 * by_brand["b049"]);
    let consumers: HashSet<i64> = ids.iter().copied().collect();
    assert!(consumers.len() > 990 && consumers.iter().all(|id| (1..=1_000).contains(id)));
    // Without affinity a consumer's 50 events would meet about 25 brands.
    assert!(by_pair.len() < 15_000, "{}", by_pair.len());
    Ok(())
}

#[test]
fn extremes_work() -> TestResult {
    let least = GeneratorParams {
        rows: 1,
        consumers: 1,
        brands: 1,
        days: 1,
        row_group: 1,
        ..small()
    };
    let row = read_back(&least, "least")?;
    assert_eq!(row.column(0).as_primitive::<Int64Type>().values(), &[1]);
    assert_eq!(row.column(1).as_string::<i32>().value(0), "b000");
    let none = read_back(&GeneratorParams { rows: 0, ..small() }, "none")?;
    assert_eq!(none.num_rows(), 0);
    Ok(())
}

#[test]
fn a_folder_that_holds_a_log_is_refused() -> TestResult {
    let folder = Folder::new("twice");
    write_parquet(&small(), &folder.0)?;
    let again = write_parquet(&small(), &folder.0);
    assert!(matches!(again, Err(GenerateError::NotEmpty(path)) if path.ends_with("part-00000.parquet")));
    Ok(())
}

#[test]
fn parameters_out_of_range_are_named() {
    let cases = [
        (
            GeneratorParams { consumers: 0, ..small() },
            "consumers: 0 is not between 1 and 10000000000",
        ),
        (GeneratorParams { days: 3_651, ..small() }, "days: 3651 is not between 1 and 3650"),
        (
            GeneratorParams { row_group: 0, ..small() },
            "row_group: 0 is not between 1 and 100000000",
        ),
        (GeneratorParams { files: 0, ..small() }, "files: 0 is not between 1 and 10000"),
    ];
    for (params, message) in cases {
        assert_eq!(params.check().map_err(|error| error.to_string()), Err(message.to_owned()));
    }
}
