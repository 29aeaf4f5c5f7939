//! A seeded event log: the same parameters give the same bytes.
//!
//! The shape imitates a brand's log where it matters to the cost and to the answers of a stage model: brands are
//! skewed (Zipf), consumers differ in activity and come back to a few brands of their own, evenings and sale days are
//! busier, behaviors appear in the proportions of a shop funnel. It is not a model of people: behaviors of one consumer
//! are drawn independently of each other.
//!
//! Row `i` draws the same numbers whatever the row group size and the number of files, so logs of one seed that differ
//! only in layout hold the same rows.

use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Builder, Int64Builder, RecordBatch, StringBuilder, TimestampMicrosecondBuilder};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::params::{FIRST_DAY, GeneratorParams, IdKind, ParamsError, SortOrder};

/// Rows handed to the Parquet writer at once; bounds the memory outside the writer.
const BATCH_ROWS: usize = 65_536;
const HOUR_US: i64 = 3_600_000_000;

/// Behaviors and how many of 10,000 events they are.
pub const BEHAVIOR_MIX: [(&str, u32); 12] = [
    ("impression", 4_500),
    ("view", 3_500),
    ("click", 600),
    ("add_to_cart", 500),
    ("search", 300),
    ("purchase", 300),
    ("favorite", 165),
    ("review", 60),
    ("member_join", 40),
    ("follow", 20),
    ("member_leave", 10),
    ("unfollow", 5),
];

/// Relative traffic of the 24 hours of a day.
const HOURS: [f64; 24] = [
    4.0, 2.0, 1.0, 1.0, 1.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 6.0, 6.0, 5.0, 5.0, 5.0, 5.0, 5.0, 6.0, 7.0, 9.0, 9.0, 8.0, 6.0,
];
/// Every `SALE_EVERY`-th day has `SALE_FACTOR` times the traffic.
const SALE_EVERY: u32 = 30;
const SALE_FACTOR: f64 = 2.5;

/// Share of a consumer's events that go to brands of their own, rather than to any brand.
const AFFINITY: f64 = 0.75;
const MAX_OWN_BRANDS: u64 = 4;
const ZIPF_EXPONENT: f64 = 0.9;

fn schema(ids: IdKind) -> SchemaRef {
    let id = match ids {
        IdKind::Int => DataType::Int64,
        IdKind::Text => DataType::Utf8,
    };
    Arc::new(Schema::new(vec![
        Field::new("user_id", id, false),
        Field::new("brand", DataType::Utf8, false),
        Field::new("action", DataType::Utf8, false),
        Field::new("ts", DataType::Timestamp(TimeUnit::Microsecond, None), false),
        Field::new("rating", DataType::Float64, true),
        Field::new("amount", DataType::Float64, true),
    ]))
}

/// Why a log could not be written.
#[derive(Debug)]
pub enum GenerateError {
    /// The parameters describe no log.
    Params(ParamsError),
    /// The folder already holds a Parquet file, which a reader of the folder would take for a part of the log.
    NotEmpty(PathBuf),
    /// The file system refused.
    Io(std::io::Error),
    /// Arrow refused a batch.
    Arrow(ArrowError),
    /// The Parquet writer refused.
    Parquet(ParquetError),
}

impl fmt::Display for GenerateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Params(error) => error.fmt(f),
            Self::NotEmpty(path) => write!(f, "the output folder already holds {}", path.display()),
            Self::Io(error) => error.fmt(f),
            Self::Arrow(error) => error.fmt(f),
            Self::Parquet(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for GenerateError {}

impl From<ParamsError> for GenerateError {
    fn from(error: ParamsError) -> Self {
        Self::Params(error)
    }
}

impl From<std::io::Error> for GenerateError {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<ArrowError> for GenerateError {
    fn from(error: ArrowError) -> Self {
        Self::Arrow(error)
    }
}

impl From<ParquetError> for GenerateError {
    fn from(error: ParquetError) -> Self {
        Self::Parquet(error)
    }
}

/// One file of a written log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its rows.
    pub rows: u64,
    /// Its size.
    pub bytes: u64,
}

/// Writes the log as `part-00000.parquet`, … into `out`, which is created if missing.
///
/// # Errors
/// [`GenerateError`]; files written before the failure stay.
pub fn write_parquet(params: &GeneratorParams, out: &Path) -> Result<Vec<WrittenFile>, GenerateError> {
    let mut generator = EventGenerator::new(params)?;
    fs::create_dir_all(out)?;
    for entry in fs::read_dir(out)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "parquet") {
            return Err(GenerateError::NotEmpty(path));
        }
    }
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_max_row_group_row_count(Some(params.row_group))
        .build();
    let files = u64::from(params.files);
    let mut written = Vec::new();
    for index in 0..files {
        let path = out.join(format!("part-{index:05}.parquet"));
        let rows = params.rows / files + u64::from(index < params.rows % files);
        let file = File::create(&path)?;
        let mut writer = ArrowWriter::try_new(file, generator.schema(), Some(properties.clone()))?;
        let mut left = rows;
        while left > 0 {
            let batch = generator.batch(left.min(BATCH_ROWS as u64) as usize)?;
            left -= batch.num_rows() as u64;
            writer.write(&batch)?;
        }
        writer.close()?;
        let bytes = fs::metadata(&path)?.len();
        written.push(WrittenFile { path, rows, bytes });
    }
    Ok(written)
}

/// The log as a stream of batches.
pub struct EventGenerator {
    params: GeneratorParams,
    schema: SchemaRef,
    rng: ChaCha8Rng,
    next_row: u64,
    /// Odd, and with no factor in common with the number of consumers: multiplying by it scatters the busy consumers
    /// over the ids.
    id_step: u64,
    brand_names: Vec<String>,
    brands: Cumulative,
    behaviors: Cumulative,
    /// One weight an hour of the whole span.
    hours: Cumulative,
}

impl EventGenerator {
    /// A generator at its first row.
    ///
    /// # Errors
    /// [`ParamsError`] for a parameter out of range.
    pub fn new(params: &GeneratorParams) -> Result<Self, ParamsError> {
        params.check()?;
        let brand_width = (params.brands - 1).to_string().len().max(3);
        let zipf = (1..=params.brands).map(|rank| f64::from(rank).powf(-ZIPF_EXPONENT));
        let day_weight = |day: u32| {
            if day % SALE_EVERY == SALE_EVERY - 1 { SALE_FACTOR } else { 1.0 }
        };
        let hours = (0..params.days).flat_map(|day| HOURS.map(|weight| weight * day_weight(day)));
        Ok(Self {
            schema: schema(params.ids),
            rng: ChaCha8Rng::seed_from_u64(params.seed),
            next_row: 0,
            id_step: coprime_step(params.consumers, params.seed),
            brand_names: (0..params.brands).map(|brand| format!("b{brand:0brand_width$}")).collect(),
            brands: Cumulative::new(zipf),
            behaviors: Cumulative::new(BEHAVIOR_MIX.iter().map(|(_, weight)| f64::from(*weight))),
            hours: Cumulative::new(hours),
            params: params.clone(),
        })
    }

    /// Schema of the batches.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// The next `rows` rows; it is for the caller to stop at `params.rows`.
    ///
    /// # Errors
    /// [`ArrowError`] if Arrow refuses the columns.
    pub fn batch(&mut self, rows: usize) -> Result<RecordBatch, ArrowError> {
        let mut ids = IdBuilder::new(self.params.ids, rows);
        let mut brands = StringBuilder::with_capacity(rows, rows * 4);
        let mut actions = StringBuilder::with_capacity(rows, rows * 8);
        let mut times = TimestampMicrosecondBuilder::with_capacity(rows);
        let mut ratings = Float64Builder::with_capacity(rows);
        let mut amounts = Float64Builder::with_capacity(rows);
        for _ in 0..rows {
            let consumer = self.consumer();
            let brand = self.brand_of(consumer);
            let (behavior, _) = BEHAVIOR_MIX[self.behaviors.pick(self.rng.random())];
            let time = self.time();
            // Drawn for every row, so that a row's later draws do not depend on its behavior.
            let detail: f64 = self.rng.random();
            ids.append(consumer * self.id_step % self.params.consumers);
            brands.append_value(&self.brand_names[brand]);
            actions.append_value(behavior);
            times.append_value(time);
            ratings.append_option((behavior == "review").then(|| rating(detail)));
            amounts.append_option((behavior == "purchase").then(|| amount(detail)));
            self.next_row += 1;
        }
        let columns: Vec<ArrayRef> = vec![
            ids.finish(),
            Arc::new(brands.finish()),
            Arc::new(actions.finish()),
            Arc::new(times.finish()),
            Arc::new(ratings.finish()),
            Arc::new(amounts.finish()),
        ];
        RecordBatch::try_new(self.schema(), columns)
    }

    /// Squaring makes the lower half of the population about 2.4 times as active as the upper one, and a few consumers
    /// very active, while nearly everybody has some event.
    fn consumer(&mut self) -> u64 {
        let draw: f64 = self.rng.random();
        let consumer = (draw * draw * self.params.consumers as f64) as u64;
        consumer.min(self.params.consumers - 1)
    }

    fn brand_of(&mut self, consumer: u64) -> usize {
        let (kind, draw): (f64, f64) = (self.rng.random(), self.rng.random());
        if kind >= AFFINITY {
            return self.brands.pick(draw);
        }
        let person = mix(self.params.seed ^ mix(consumer));
        let own_brands = 1 + person % MAX_OWN_BRANDS;
        // The square prefers the first of them.
        let which = (draw * draw * own_brands as f64) as u64;
        self.brands.pick(unit(mix(person.wrapping_add(which))))
    }

    /// Microseconds, cut to whole milliseconds as logs have them.
    fn time(&mut self) -> i64 {
        let draw: f64 = self.rng.random();
        let position = match self.params.sort {
            SortOrder::None => draw,
            SortOrder::Time => (self.next_row as f64 + draw) / self.params.rows.max(1) as f64,
        };
        let (hour, within) = self.hours.locate(position);
        let microsecond = ((within * HOUR_US as f64) as i64).clamp(0, HOUR_US - 1);
        FIRST_DAY * 24 * HOUR_US + hour as i64 * HOUR_US + microsecond / 1000 * 1000
    }
}

fn rating(draw: f64) -> f64 {
    match draw {
        d if d < 0.06 => 1.0,
        d if d < 0.11 => 2.0,
        d if d < 0.21 => 3.0,
        d if d < 0.45 => 4.0,
        _ => 5.0,
    }
}

/// From 9.90 up, mostly small, with whole cents.
fn amount(draw: f64) -> f64 {
    let cents = 990 + (draw * draw * draw * 200_000.0) as i64;
    cents as f64 / 100.0
}

enum IdBuilder {
    Int(Int64Builder),
    Text(StringBuilder, String),
}

impl IdBuilder {
    fn new(kind: IdKind, rows: usize) -> Self {
        match kind {
            IdKind::Int => Self::Int(Int64Builder::with_capacity(rows)),
            IdKind::Text => Self::Text(StringBuilder::with_capacity(rows, rows * 8), String::new()),
        }
    }

    fn append(&mut self, id: u64) {
        match self {
            Self::Int(builder) => builder.append_value(id as i64 + 1),
            Self::Text(builder, text) => {
                use fmt::Write;
                text.clear();
                // Writing to a String does not fail.
                let _ = write!(text, "u{:07}", id + 1);
                builder.append_value(&text);
            }
        }
    }

    fn finish(self) -> ArrayRef {
        match self {
            Self::Int(mut builder) => Arc::new(builder.finish()),
            Self::Text(mut builder, _) => Arc::new(builder.finish()),
        }
    }
}

/// Picks an index with the probability of its weight.
struct Cumulative(Vec<f64>);

impl Cumulative {
    fn new(weights: impl Iterator<Item = f64>) -> Self {
        let mut sum = 0.0;
        let mut bounds: Vec<f64> = weights
            .map(|weight| {
                sum += weight;
                sum
            })
            .collect();
        for bound in &mut bounds {
            *bound /= sum;
        }
        Self(bounds)
    }

    fn pick(&self, draw: f64) -> usize {
        let index = self.0.partition_point(|bound| *bound <= draw);
        index.min(self.0.len() - 1)
    }

    /// The index, and how far `draw` lies into it, from 0 to 1.
    fn locate(&self, draw: f64) -> (usize, f64) {
        let index = self.pick(draw);
        let low = if index == 0 { 0.0 } else { self.0[index - 1] };
        (index, (draw - low) / (self.0[index] - low))
    }
}

/// SplitMix64's finalizer: a fixed hash, so that files do not change with a library's.
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn unit(hash: u64) -> f64 {
    (hash >> 11) as f64 / (1u64 << 53) as f64
}

/// Below 2^30, so that its product with any consumer number fits 64 bits.
fn coprime_step(consumers: u64, seed: u64) -> u64 {
    let gcd = |mut a: u64, mut b: u64| {
        while b > 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    let mut step = (mix(seed) >> 35) | 1;
    while gcd(step, consumers) != 1 {
        step += 2;
    }
    step
}

#[cfg(test)]
mod tests;
