//! A bank as timelines: the runs of its segments, unit by unit; and as a source, for what needs the events themselves.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Date32Type, Field, Schema, SchemaRef, TimeUnit, UInt32Type};

use crate::bank::columns::optional_fields;
use crate::bank::error::BankError;
use crate::bank::handle::DataBank;
use crate::bank::merge::{decoder, instants, is_given, primitive};
use crate::bank::record::FileRecord;
use crate::bank::rows::column_type;
use crate::bank::segment::{Segment, UNIT_BUCKETS, UNITS};
use crate::bank::state::State;
use crate::base::day::MICROS_PER_DAY;
use crate::base::{ConsumerIdx, Day, IdKind, IdValue, Zone};
use crate::event::{BehaviorCode, BehaviorDecoder, EventSchema, Tally};
use crate::model::StageModel;
use crate::source::select::{Selector, Survivors, select_batch};
use crate::source::{Events, OnError, Piece, Plan, Request, Sink, Source, SourceError, StateTable};
use crate::timeline::log::fields::Kind;
use crate::timeline::log::{EventLog, load};
use crate::timeline::ordered::{Asked, Draft, Ordered, Owners, Run, needed_columns, needed_roles, visit};
use crate::timeline::scan::ScanError;
use crate::timeline::timelines::{KeptStages, Question, Timelines, Visit, Visited, refuse_expired};
use crate::timeline::{Runtime, Universe};

impl Timelines for DataBank {
    fn schema(&self) -> &EventSchema {
        &self.shared.schema
    }

    fn zone(&self) -> &Arc<Zone> {
        &self.shared.zone
    }

    fn states(&self) -> &[Arc<StateTable>] {
        &[]
    }

    fn id_kind(&self, role: &str) -> IdKind {
        let state = self.state();
        if role == "consumer" && state.links.is_some() {
            // Consumers are persons.
            return IdKind::Int64;
        }
        state.types.id_kind(role)
    }

    fn fingerprint(&self) -> String {
        let state = self.state();
        format!("bank {} at commit {}", state.bank.id, state.seq)
    }

    fn visit(&self, question: &Question<'_>, runtime: &Runtime<'_>, show: Visit<'_>) -> Result<Visited, ScanError> {
        self.check_process()?;
        let snapshot = Snapshot::of(self, Some(runtime))?;
        refuse_expired(self, question)?;
        if let Some(people) = self.people_of(&snapshot.state, runtime)? {
            // Rows of one person lie in the buckets of all accounts, so they are spread anew.
            return self
                .events_of(snapshot, None)?
                .with_identity((*people).clone())?
                .visit(question, runtime, show);
        }
        let columns = needed_columns(&snapshot, &needed_roles(&snapshot, question));
        visit(&snapshot, &columns, question, runtime, show)
    }

    fn expired(&self) -> Option<Day> {
        self.state().expired
    }

    fn kept(&self, model: &StageModel, day: Day) -> Result<Option<Arc<dyn KeptStages>>, ScanError> {
        Ok(self.find_kept(model, day)?)
    }

    fn log(&self, fields: Option<&[String]>, consumer: Option<&IdValue>, runtime: &Runtime<'_>) -> Result<EventLog, ScanError> {
        self.check_process()?;
        let snapshot = Snapshot::of(self, Some(runtime))?;
        match self.people_of(&snapshot.state, runtime)? {
            Some(people) => load(
                &self.events_of(snapshot, None)?.with_identity((*people).clone())?,
                fields,
                consumer,
                runtime,
            ),
            None => load(&self.events_of(snapshot, consumer)?, fields, consumer, runtime),
        }
    }
}

impl DataBank {
    /// The bank's events as lazy events of accounts, in columns that bear the names of their fields.
    ///
    /// # Errors
    /// [`BankError::Corrupt`].
    pub fn events(&self) -> Result<Events, BankError> {
        self.check_process()?;
        Ok(self.events_of(Snapshot::of(self, None)?, None)?)
    }

    fn events_of(&self, snapshot: Snapshot, consumer: Option<&IdValue>) -> Result<Events, ScanError> {
        let only = consumer.map(|consumer| snapshot.universe.find(consumer));
        let source = BankSource {
            columns: snapshot.columns(),
            snapshot,
            only,
        };
        let zone = (*self.shared.zone).clone();
        Ok(Events::new(Arc::new(source), self.shared.schema.clone(), zone)?)
    }
}

/// One state of a bank with its segments open: what a question sees, whatever is committed meanwhile.
#[derive(Debug)]
struct Snapshot {
    bank: DataBank,
    state: Arc<State>,
    universe: Arc<Universe>,
    segments: Vec<Arc<Segment>>,
    decoder: BehaviorDecoder,
}

impl Snapshot {
    fn of(bank: &DataBank, runtime: Option<&Runtime<'_>>) -> Result<Snapshot, BankError> {
        let state = bank.state();
        let open = |record: &FileRecord| bank.segment(record);
        Ok(Snapshot {
            universe: bank.consumers_of(&state, runtime)?,
            segments: state.of_folder("segments").map(open).collect::<Result<_, _>>()?,
            decoder: decoder(&bank.shared.schema.vocabulary()),
            bank: bank.clone(),
            state,
        })
    }

    /// The columns that the bank's events have: those of its fields, in the types that they have come to.
    fn columns(&self) -> SchemaRef {
        let types = &self.state.types;
        let id = |field: &str| {
            if types.id_kind(field) == IdKind::Int64 {
                Kind::Int
            } else {
                Kind::Text
            }
        };
        let consumer = if types.id_kind("consumer") == IdKind::Int64 {
            DataType::Int64
        } else {
            DataType::Utf8
        };
        let mut columns = vec![
            Field::new("consumer", consumer, false),
            Field::new("brand", column_type("brand", id("brand")), false),
            Field::new("time", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), false),
            Field::new("behavior", column_type("behavior", Kind::Text), false),
        ];
        let optional = optional_fields(&self.bank.shared.schema).into_iter();
        columns.extend(optional.map(|name| Field::new(&name, column_type(&name, types.kind(&name)), true)));
        Arc::new(Schema::new(columns))
    }

    fn damaged(segment: &Segment, problem: &str) -> BankError {
        BankError::corrupt(&**segment.file.name(), problem)
    }

    /// What a question looks at in one segment's rows of some buckets.
    fn read(
        &self,
        segment: &Arc<Segment>,
        buckets: std::ops::Range<usize>,
        asked: &Asked<'_>,
        tally: &mut Tally,
    ) -> Result<Read, BankError> {
        let range = segment.range(buckets);
        let mut names: Vec<&str> = vec!["consumer_idx", "day", "behavior"];
        names.extend(
            asked
                .columns
                .iter()
                .map(String::as_str)
                .filter(|name| !names.contains(name))
                .collect::<Vec<_>>(),
        );
        let (batch, bytes) = segment.file.read(&names, range.clone())?;
        tally.bytes += bytes;
        let consumers = primitive::<UInt32Type>(segment, &batch, "consumer_idx")?;
        let behaviors = batch
            .column_by_name("behavior")
            .ok_or_else(|| Self::damaged(segment, "it has no behaviors"))?;
        let mut codes = Vec::with_capacity(batch.num_rows());
        self.decoder.decode(behaviors, &mut codes);
        let behaviors = self.decoder.vocabulary().len();
        if codes.iter().any(|&code| usize::from(code) >= behaviors) || consumers.iter().any(|&idx| !is_given(idx, &self.state.consumers)) {
            return Err(Self::damaged(
                segment,
                "it has a behavior or a consumer that the bank does not know",
            ));
        }
        Ok(Read {
            locals: consumers.iter().map(|&idx| ConsumerIdx(idx).local()).collect(),
            consumers: consumers.to_vec(),
            days: primitive::<Date32Type>(segment, &batch, "day")?.to_vec(),
            instants: Vec::new(),
            codes,
            batch,
            range,
            segment: segment.clone(),
        })
    }
}

/// Rows of one segment, read for a question.
struct Read {
    segment: Arc<Segment>,
    /// Places in the segment.
    range: std::ops::Range<u64>,
    batch: RecordBatch,
    consumers: Vec<u32>,
    locals: Vec<u32>,
    days: Vec<i32>,
    instants: Vec<i64>,
    codes: Vec<BehaviorCode>,
}

impl Read {
    /// The rows of one of the buckets, as far as they matter.
    fn draft(&self, bucket: usize, asked: &Asked<'_>, tally: &mut Tally) -> Result<Option<Draft>, ScanError> {
        let own = self.segment.range(bucket..bucket + 1);
        let (start, length) = ((own.start - self.range.start) as usize, (own.end - own.start) as usize);
        if length == 0 {
            return Ok(None);
        }
        let rows = start..start + length;
        let column = |name: &str| self.batch.column_by_name(name).map(|column| column.slice(start, length));
        let run = Run {
            owners: Owners::Locals(&self.locals[rows.clone()]),
            days: &self.days[rows.clone()],
            instants: if self.instants.is_empty() {
                &[]
            } else {
                &self.instants[rows.clone()]
            },
            codes: &self.codes[rows],
            column: &column,
        };
        Ok(Some(asked.draft(&run, tally)?))
    }
}

/// Gives the rows that switch states their instants. Times are the largest column, and rows that switch are few: an exact instant is
/// read only where another of the same consumer lies less than two days away; elsewhere any instant of the day orders them as well.
fn read_instants(reads: &mut [Read], asked: &Asked<'_>, tally: &mut Tally) -> Result<(), BankError> {
    let toggles = &asked.question.program.toggles;
    let mut switches: Vec<(u32, i32, usize, usize)> = Vec::new();
    for (place, read) in reads.iter_mut().enumerate() {
        read.instants = read.days.iter().map(|&day| i64::from(day) * MICROS_PER_DAY).collect();
        let rows = read
            .codes
            .iter()
            .enumerate()
            .filter(|(_, code)| toggles[usize::from(**code)].is_some());
        switches.extend(rows.map(|(row, _)| (read.consumers[row], read.days[row], place, row)));
    }
    switches.sort_unstable();
    let close = |left: &(u32, i32, usize, usize), right: &(u32, i32, usize, usize)| left.0 == right.0 && right.1 - left.1 < 2;
    let mut wanted: Vec<Vec<usize>> = vec![Vec::new(); reads.len()];
    for run in switches.chunk_by(close).filter(|run| run.len() > 1) {
        run.iter().for_each(|&(_, _, place, row)| wanted[place].push(row));
    }
    for (read, mut rows) in reads.iter_mut().zip(wanted).filter(|(_, rows)| !rows.is_empty()) {
        rows.sort_unstable();
        let places: Vec<u64> = rows.iter().map(|&row| read.range.start + row as u64).collect();
        let batch = read.segment.file.read_rows(&["time"], &places)?;
        tally.bytes += 8 * rows.len() as u64;
        for (row, instant) in rows.into_iter().zip(instants(&read.segment, &batch)?) {
            read.instants[row] = instant;
        }
    }
    Ok(())
}

/// A snapshot stands for its bank.
impl Timelines for Snapshot {
    fn schema(&self) -> &EventSchema {
        self.bank.schema()
    }

    fn zone(&self) -> &Arc<Zone> {
        self.bank.zone()
    }

    fn states(&self) -> &[Arc<StateTable>] {
        &[]
    }

    fn id_kind(&self, role: &str) -> IdKind {
        self.state.types.id_kind(role)
    }

    fn fingerprint(&self) -> String {
        self.bank.fingerprint()
    }

    fn visit(&self, question: &Question<'_>, runtime: &Runtime<'_>, show: Visit<'_>) -> Result<Visited, ScanError> {
        self.bank.visit(question, runtime, show)
    }

    fn log(&self, fields: Option<&[String]>, consumer: Option<&IdValue>, runtime: &Runtime<'_>) -> Result<EventLog, ScanError> {
        self.bank.log(fields, consumer, runtime)
    }
}

impl Ordered for Snapshot {
    fn universe(&self) -> Result<Arc<Universe>, ScanError> {
        Ok(self.universe.clone())
    }

    fn rows(&self) -> u64 {
        self.state.rows()
    }

    fn on_error(&self) -> OnError {
        OnError::Reject
    }

    fn unit_buckets(&self) -> usize {
        UNIT_BUCKETS
    }

    fn drafts(&self, unit: usize, asked: &Asked<'_>, tally: &mut Tally) -> Result<Vec<(usize, Draft)>, ScanError> {
        let all = unit * UNIT_BUCKETS..(unit + 1) * UNIT_BUCKETS;
        let buckets = match asked.only {
            None => all.clone(),
            Some(Some(idx)) if all.contains(&idx.bucket()) => idx.bucket()..idx.bucket() + 1,
            Some(_) => all.start..all.start,
        };
        let (first, last) = (
            asked.first_days.iter().min().copied().unwrap_or(i32::MAX),
            asked.question.last.number(),
        );
        let mut reads = Vec::new();
        for segment in &self.segments {
            let (wanted, of_unit) = (segment.range(buckets.clone()), segment.range(all.clone()));
            let outside = !asked.question.places && (segment.days.1 < first || segment.days.0 > last);
            let read = if outside { 0 } else { wanted.end - wanted.start };
            tally.rows_skipped += of_unit.end - of_unit.start - read;
            if read > 0 {
                reads.push(self.read(segment, buckets.clone(), asked, tally)?);
            }
        }
        if asked.needs_instants() {
            read_instants(&mut reads, asked, tally)?;
        }
        let mut drafts = Vec::new();
        for (bucket, read) in buckets.flat_map(|bucket| reads.iter().map(move |read| (bucket, read))) {
            let draft = read.draft(bucket, asked, tally)?;
            drafts.extend(draft.map(|draft| (bucket - all.start, draft)));
        }
        Ok(drafts)
    }
}

/// The events of a bank as a source of their own; the unit of parallel work is one of buckets.
#[derive(Debug)]
struct BankSource {
    snapshot: Snapshot,
    columns: SchemaRef,
    /// The one consumer wanted, if one is.
    only: Option<Option<ConsumerIdx>>,
}

impl BankSource {
    fn consumers(&self, numbers: &[u32]) -> Result<ArrayRef, BankError> {
        let universe = &self.snapshot.universe;
        if let Some(bad) = numbers.iter().find(|number| !universe.contains(ConsumerIdx(**number))) {
            return Err(BankError::corrupt("segments", format!("consumer number {bad} was never given")));
        }
        Ok(match universe.id_kind() {
            IdKind::Int64 => Arc::new(Int64Array::from_iter_values(
                numbers.iter().map(|&number| universe.int(ConsumerIdx(number))),
            )),
            IdKind::Text => Arc::new(StringArray::from_iter_values(
                numbers.iter().map(|&number| universe.text(ConsumerIdx(number))),
            )),
        })
    }

    /// These columns of a segment's rows in some buckets.
    fn piece(&self, segment: &Segment, buckets: std::ops::Range<usize>, names: &[String], tally: &mut Tally) -> Result<Piece, BankError> {
        let range = segment.range(buckets);
        let mut stored: Vec<&str> = names.iter().map(String::as_str).filter(|name| *name != "consumer").collect();
        stored.push("consumer_idx");
        let (batch, bytes) = segment.file.read(&stored, range.clone())?;
        tally.bytes += bytes;
        let mut columns = Vec::with_capacity(names.len());
        for name in names {
            let column = match name.as_str() {
                "consumer" => Some(self.consumers(primitive::<UInt32Type>(segment, &batch, "consumer_idx")?)?),
                stored => batch.column_by_name(stored).cloned(),
            };
            let column = column.ok_or_else(|| Snapshot::damaged(segment, &format!("it has no column {name:?}")))?;
            columns.push((Field::new(name, column.data_type().clone(), true), column));
        }
        let (fields, arrays): (Vec<Field>, Vec<ArrayRef>) = columns.into_iter().unzip();
        let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).map_err(super::segment::arrow_fault)?;
        Ok(Piece {
            place: segment.file.name().clone(),
            first_row: range.start,
            batch,
        })
    }

    fn each_piece(
        &self,
        unit: usize,
        names: &[String],
        tally: &mut Tally,
        mut take: impl FnMut(&Piece, &mut Tally) -> Result<(), SourceError>,
    ) -> Result<(), SourceError> {
        let all = unit * UNIT_BUCKETS..(unit + 1) * UNIT_BUCKETS;
        let buckets = match self.only {
            None => all.clone(),
            Some(Some(idx)) if all.contains(&idx.bucket()) => idx.bucket()..idx.bucket() + 1,
            Some(_) => all.start..all.start,
        };
        for segment in &self.snapshot.segments {
            let (wanted, of_unit) = (segment.range(buckets.clone()), segment.range(all.clone()));
            tally.rows_skipped += (of_unit.end - of_unit.start) - (wanted.end - wanted.start);
            if !wanted.is_empty() {
                let piece = self.piece(segment, buckets.clone(), names, tally)?;
                take(&piece, tally)?;
            }
        }
        Ok(())
    }
}

impl Source for BankSource {
    fn name(&self) -> String {
        self.snapshot.bank.path().display().to_string()
    }

    fn columns(&self) -> SchemaRef {
        self.columns.clone()
    }

    fn fingerprint(&self) -> String {
        self.snapshot.bank.fingerprint()
    }

    fn rows(&self) -> Option<u64> {
        Some(self.snapshot.state.rows())
    }

    fn plan<'a>(&'a self, _: &'a [String]) -> Result<Plan<'a>, SourceError> {
        Ok(Plan::Splits(UNITS))
    }

    fn read_split(&self, split: usize, request: &Request, sink: &mut dyn Sink, tally: &mut Tally) -> Result<(), SourceError> {
        let (mut selector, mut survivors) = (Selector::new(request), Survivors::default());
        self.each_piece(split, &request.all_columns(), tally, |piece, tally| {
            sink.checkpoint()?;
            select_batch(request, piece, &mut selector, &mut survivors, sink, tally)
        })
    }

    fn read_pieces(
        &self,
        split: usize,
        columns: &[String],
        take: &mut crate::source::TakePiece<'_>,
        tally: &mut Tally,
    ) -> Result<(), SourceError> {
        self.each_piece(split, columns, tally, |piece, tally| take(piece, tally))
    }
}
