//! One way into a segment, for batches and for compaction: the rows of several parts, unit by unit, in order.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, new_null_array};
use arrow::buffer::ScalarBuffer;
use arrow::datatypes::{DataType, Date32Type, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType, UInt32Type};

use crate::bank::error::BankError;
use crate::bank::files::Published;
use crate::bank::rows::{EventIdentity, LEAD, MICROS_PER_MILLI, Rows, Shape};
use crate::bank::segment::{Group, Segment, SegmentWriter, UNIT_BUCKETS, UNITS, arrow_fault, group_count};
use crate::base::ConsumerIdx;
use crate::base::id::{BUCKETS, MAX_LOCAL};
use crate::event::{BehaviorDecoder, EventSchema};
use crate::timeline::log::LogBucket;
use crate::timeline::log::load::OrderedRows;
use crate::timeline::read::each_bucket;
use crate::timeline::runtime::Runtime;

type Result<T> = std::result::Result<T, BankError>;

/// Rows that go into a segment.
pub(crate) enum Part<'a> {
    /// Of a batch, as they were gathered, with the local number of each consumer by bucket.
    Gathered {
        rows: &'a OrderedRows,
        locals: &'a [Vec<u32>],
        /// The place of each field of the shape among the rows' columns; the brand's column is no field there.
        columns: &'a [FieldColumn],
    },
    /// Of a segment; `finals` has the final number of each provisional one, by bucket, from the bank's count on.
    Stored { segment: Arc<Segment>, finals: Option<&'a Finals> },
}

/// Final local numbers by bucket: of local numbers from a first one on.
pub(crate) struct Finals {
    pub firsts: Vec<u32>,
    pub locals: Vec<Vec<u32>>,
}

/// Where the values of a field are among gathered rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FieldColumn {
    /// In the column at this place.
    At(usize),
    /// In the column of brands.
    Brand,
    /// Nowhere: the source has no such column.
    Missing,
}

/// Which rows are left out.
#[derive(Default)]
pub(crate) struct LeftOut<'a> {
    /// Rows of earlier days, unless they switch a state.
    pub before: Option<i32>,
    /// By behavior code, whether it switches a state.
    pub switches: Vec<bool>,
    /// Whether copies of an event are told by their identity.
    pub copies: bool,
    /// Segments that may hold an event already.
    pub held: &'a [Arc<Segment>],
}

/// What became of the rows.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Fate {
    pub written: u64,
    pub expired: u64,
    pub duplicate: u64,
}

impl Fate {
    fn add(&mut self, other: Fate) {
        self.written += other.written;
        self.expired += other.expired;
        self.duplicate += other.duplicate;
    }
}

/// Decodes the behaviors of segments.
pub(crate) fn decoder(vocabulary: &[String]) -> BehaviorDecoder {
    let standard = EventSchema::new("c", "b", "a", "t").vocabulary().len();
    BehaviorDecoder::new(&EventSchema::new("c", "b", "a", "t").with_own_behaviors(vocabulary[standard..].iter().map(String::as_str)))
}

/// Reads a column of a segment, which must be of the type that segments have.
pub(crate) fn primitive<T: arrow::datatypes::ArrowPrimitiveType>(
    segment: &Segment,
    batch: &RecordBatch,
    name: &str,
) -> Result<ScalarBuffer<T::Native>> {
    let column = batch.column_by_name(name).filter(|column| column.null_count() == 0);
    let typed = column.and_then(|column| column.as_primitive_opt::<T>());
    typed
        .map(|column| column.values().clone())
        .ok_or_else(|| BankError::corrupt(&**segment.file.name(), format!("it has no column {name:?} as segments have it")))
}

/// The instants of a batch of a segment, in µs.
pub(crate) fn instants(segment: &Segment, batch: &RecordBatch) -> Result<Vec<i64>> {
    let millis = batch.column_by_name("time").is_some_and(|column| is_millis(column.data_type()));
    if millis {
        let values = primitive::<TimestampMillisecondType>(segment, batch, "time")?;
        return Ok(values.iter().map(|value| value.saturating_mul(MICROS_PER_MILLI)).collect());
    }
    Ok(primitive::<TimestampMicrosecondType>(segment, batch, "time")?.to_vec())
}

fn is_millis(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Timestamp(TimeUnit::Millisecond, _))
}

impl Part<'_> {
    /// Whether all instants are whole milliseconds.
    fn is_millis(&self) -> bool {
        match self {
            Part::Gathered { rows, .. } => {
                let mut instants = rows.buckets.iter().flat_map(|bucket| &bucket.instants);
                instants.all(|instant| instant % MICROS_PER_MILLI == 0)
            }
            Part::Stored { segment, .. } => {
                let time = segment.file.schema().field_with_name("time");
                time.is_ok_and(|field| is_millis(field.data_type()))
            }
        }
    }

    /// The rows of some buckets, part by part.
    fn rows(&self, buckets: std::ops::Range<usize>, shape: &Shape, decoder: &BehaviorDecoder) -> Result<Vec<Rows>> {
        match self {
            Part::Gathered { rows, locals, columns } => Ok(buckets
                .filter(|&bucket| !rows.buckets[bucket].days.is_empty())
                .map(|bucket| gathered(bucket, &rows.buckets[bucket], &locals[bucket], columns))
                .collect()),
            Part::Stored { segment, finals } => {
                let range = segment.range(buckets);
                if range.is_empty() {
                    return Ok(Vec::new());
                }
                let mut rows = read_rows(segment, range, shape, decoder)?;
                if let Some(finals) = finals {
                    finals.renumber(&mut rows.consumers);
                }
                Ok(vec![rows])
            }
        }
    }

    fn count(&self) -> u64 {
        match self {
            Part::Gathered { rows, .. } => rows.buckets.iter().map(|bucket| bucket.days.len() as u64).sum(),
            Part::Stored { segment, .. } => segment.starts[BUCKETS],
        }
    }
}

impl Finals {
    fn renumber(&self, consumers: &mut [u32]) {
        for number in consumers {
            let idx = ConsumerIdx(*number);
            let (bucket, first) = (idx.bucket(), self.firsts[idx.bucket()]);
            if idx.local() >= first {
                *number = ConsumerIdx::new(bucket, self.locals[bucket][(idx.local() - first) as usize]).0;
            }
        }
    }
}

/// The rows of a bucket as they were gathered.
pub(crate) fn gathered(number: usize, bucket: &LogBucket, locals: &[u32], columns: &[FieldColumn]) -> Rows {
    let mut consumers = Vec::with_capacity(bucket.days.len());
    for (bounds, &local) in bucket.starts.windows(2).zip(locals) {
        consumers.resize(bounds[1] as usize, ConsumerIdx::new(number, local).0);
    }
    let field = |column: &FieldColumn| match column {
        FieldColumn::At(place) => bucket.fields[*place].clone(),
        FieldColumn::Brand => bucket.brands.clone(),
        FieldColumn::Missing => new_null_array(&DataType::Null, bucket.days.len()),
    };
    Rows {
        consumers,
        brands: bucket.brands.clone(),
        days: bucket.days.clone(),
        instants: bucket.instants.clone(),
        codes: bucket.codes.clone(),
        fields: columns.iter().map(field).collect(),
    }
}

/// Some rows of a segment, with all columns of a shape.
pub(crate) fn read_rows(segment: &Segment, range: std::ops::Range<u64>, shape: &Shape, decoder: &BehaviorDecoder) -> Result<Rows> {
    let fields = shape.fields.iter().map(|(name, _)| name.as_str());
    let names: Vec<&str> = LEAD.into_iter().chain(fields).collect();
    let (batch, _) = segment.file.read(&names, range)?;
    stored(segment, &batch, shape, decoder)
}

/// The rows of a batch of a segment.
fn stored(segment: &Segment, batch: &RecordBatch, shape: &Shape, decoder: &BehaviorDecoder) -> Result<Rows> {
    let column = |name: &str| -> Result<ArrayRef> {
        let found = batch.column_by_name(name).cloned();
        found.ok_or_else(|| BankError::corrupt(&**segment.file.name(), format!("it has no column {name:?}")))
    };
    let mut codes = Vec::with_capacity(batch.num_rows());
    decoder.decode(&column("behavior")?, &mut codes);
    if codes.iter().any(|&code| usize::from(code) >= shape.vocabulary.len()) {
        return Err(BankError::corrupt(
            &**segment.file.name(),
            "it has a behavior that the bank does not know",
        ));
    }
    Ok(Rows {
        consumers: primitive::<UInt32Type>(segment, batch, "consumer_idx")?.to_vec(),
        brands: column("brand")?,
        days: primitive::<Date32Type>(segment, batch, "day")?.to_vec(),
        instants: instants(segment, batch)?,
        codes,
        fields: shape.fields.iter().map(|(name, _)| column(name)).collect::<Result<_>>()?,
    })
}

/// A row group in the making.
struct Made {
    group: Group,
    buckets: Vec<u64>,
    days: Option<(i32, i32)>,
    fate: Fate,
}

/// What a merge is made with.
pub(crate) struct Merge<'a> {
    pub bank: &'a Path,
    pub shape: &'a Shape,
    pub parts: &'a [Part<'a>],
    pub left_out: LeftOut<'a>,
}

impl Merge<'_> {
    /// Writes the rows of all parts as one segment, in its place; `None` if no row is left. On the threads of a
    /// runtime, or on this one.
    pub fn write(&self, runtime: Option<&Runtime<'_>>) -> Result<(Option<Published>, Fate)> {
        let (writer, fate) = self.encode(runtime)?;
        let published = if writer.rows() == 0 { None } else { Some(writer.publish()?) };
        Ok((published, fate))
    }

    /// Writes the rows of all parts as one segment, not yet in its place.
    pub fn encode(&self, runtime: Option<&Runtime<'_>>) -> Result<(SegmentWriter, Fate)> {
        let groups = group_count(self.parts.iter().map(Part::count).sum());
        let shape = Shape {
            millis: self.parts.iter().all(Part::is_millis),
            ..self.shape.clone()
        };
        let (mut writer, mut fate) = (SegmentWriter::create(self.bank, &shape)?, Fate::default());
        let decoder = decoder(&shape.vocabulary);
        let numbers: Vec<usize> = (0..groups).collect();
        // A few row groups at a time, so that memory does not grow with the segment.
        let wave = runtime.map_or(1, |runtime| 2 * runtime.threads());
        for wave in numbers.chunks(wave) {
            let made = match runtime {
                Some(runtime) => each_bucket(wave.to_vec(), runtime, |_, group| {
                    Ok(self.group(&writer, &shape, group, UNITS / groups, &decoder)?)
                })?,
                None => wave
                    .iter()
                    .map(|&group| self.group(&writer, &shape, group, UNITS / groups, &decoder))
                    .collect::<Result<_>>()?,
            };
            for made in made {
                fate.add(made.fate);
                writer.append(made.group, &made.buckets, made.days)?;
            }
        }
        Ok((writer, fate))
    }

    fn group(&self, writer: &SegmentWriter, shape: &Shape, group: usize, units: usize, decoder: &BehaviorDecoder) -> Result<Made> {
        let (mut batches, mut buckets, mut fate) = (Vec::new(), vec![0; BUCKETS], Fate::default());
        let mut days: Option<(i32, i32)> = None;
        for unit in group * units..(group + 1) * units {
            let (rows, own) = self.unit(unit, decoder)?;
            fate.add(own);
            rows.consumers
                .iter()
                .for_each(|&consumer| buckets[ConsumerIdx(consumer).bucket()] += 1);
            for &day in &rows.days {
                let (first, last) = days.unwrap_or((day, day));
                days = Some((first.min(day), last.max(day)));
            }
            batches.push(rows.into_batch(shape).map_err(arrow_fault)?);
        }
        Ok(Made {
            group: writer.encode(&batches)?,
            buckets,
            days,
            fate,
        })
    }

    /// The rows of a unit of all parts, in order.
    fn unit(&self, unit: usize, decoder: &BehaviorDecoder) -> Result<(Rows, Fate)> {
        let buckets = unit * UNIT_BUCKETS..(unit + 1) * UNIT_BUCKETS;
        let mut parts = Vec::new();
        for part in self.parts {
            parts.extend(part.rows(buckets.clone(), self.shape, decoder)?);
        }
        let rows = Rows::concat(&parts, self.shape).map_err(arrow_fault)?;
        drop(parts);
        let mut order = rows.order();
        let all = order.len();
        if let Some(before) = self.left_out.before {
            let stays = |row: usize| rows.days[row] >= before || self.left_out.switches.get(usize::from(rows.codes[row])) == Some(&true);
            order.retain(|&row| stays(row as usize));
        }
        let expired = (all - order.len()) as u64;
        let present = order.len();
        if self.left_out.copies {
            let held = self.held(buckets, decoder)?;
            order = rows.without_duplicates(order, self.shape, &held);
        }
        let fate = Fate {
            written: order.len() as u64,
            expired,
            duplicate: (present - order.len()) as u64,
        };
        Ok((rows.take(&order).map_err(arrow_fault)?, fate))
    }

    /// Identities of the events that segments hold in some buckets.
    fn held(&self, buckets: std::ops::Range<usize>, decoder: &BehaviorDecoder) -> Result<HashSet<EventIdentity>> {
        let mut held = HashSet::new();
        let shape = Shape {
            fields: self.shape.fields.iter().filter(|(name, _)| name == "event_id").cloned().collect(),
            ..self.shape.clone()
        };
        for segment in self.left_out.held {
            let part = Part::Stored {
                segment: segment.clone(),
                finals: None,
            };
            for rows in part.rows(buckets.clone(), &shape, decoder)? {
                held.extend(rows.event_identities(&shape).into_iter().flatten().flatten());
            }
        }
        Ok(held)
    }
}

/// Whether a dense number can be one.
pub(crate) fn is_given(consumer: u32, counts: &[u32]) -> bool {
    let idx = ConsumerIdx(consumer);
    idx.local() < MAX_LOCAL && idx.local() < counts[idx.bucket()]
}
