//! A bank as timelines: the runs of its segments, unit by unit.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::buffer::ScalarBuffer;
use arrow::datatypes::{DataType, Date32Type, Field, Schema, SchemaRef, TimeUnit, UInt32Type};
use roaring::RoaringBitmap;

use crate::bank::columns::optional_fields;
use crate::bank::error::BankError;
use crate::bank::handle::DataBank;
use crate::bank::merge::{decoder, instants, is_given, primitive};
use crate::bank::persons::Persons;
use crate::bank::record::FileRecord;
use crate::bank::rows::column_type;
use crate::bank::segment::{Segment, UNIT_BUCKETS};
use crate::bank::source::BankSource;
use crate::bank::state::State;
use crate::base::day::MICROS_PER_DAY;
use crate::base::{ConsumerIdx, Day, IdKind, IdValue, Zone};
use crate::event::{BehaviorCode, BehaviorDecoder, EventSchema, Tally};
use crate::model::StageModel;
use crate::source::{Events, OnError, StateTable};
use crate::timeline::log::fields::Kind;
use crate::timeline::log::{EventLog, load};
use crate::timeline::ordered::{Asked, Draft, Elsewhere, Ordered, Owners, Run, needed_columns, needed_roles, visit};
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
        self.state().id_kind(role)
    }

    fn fingerprint(&self) -> String {
        self.state().fingerprint()
    }

    fn visit(&self, question: &Question<'_>, runtime: &Runtime<'_>, show: Visit<'_>) -> Result<Visited, ScanError> {
        self.check_process()?;
        let snapshot = Snapshot::of(self, Some(runtime))?;
        refuse_expired(self, question)?;
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
        let only = match consumer {
            Some(consumer) => {
                let found = Ordered::universe(&snapshot)?.find(consumer);
                Some(found.map_or(Vec::new(), |idx| snapshot.accounts(idx)))
            }
            None => None,
        };
        let people = self.people_of(&snapshot.state, runtime)?;
        let events = self.events_of(snapshot, only)?;
        match people {
            Some(people) => load(&events.with_identity((*people).clone())?, fields, consumer, runtime),
            None => load(&events, fields, consumer, runtime),
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

    fn events_of(&self, snapshot: Snapshot, only: Option<Vec<ConsumerIdx>>) -> Result<Events, ScanError> {
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
pub(super) struct Snapshot {
    pub bank: DataBank,
    pub state: Arc<State>,
    pub accounts: Arc<Universe>,
    /// Who the consumers are, once links were taken in.
    persons: Option<Arc<Persons>>,
    pub segments: Vec<Arc<Segment>>,
    decoder: BehaviorDecoder,
}

impl Snapshot {
    fn of(bank: &DataBank, runtime: Option<&Runtime<'_>>) -> Result<Snapshot, BankError> {
        let state = bank.state();
        let open = |record: &FileRecord| bank.segment(record).map_err(|error| state.explain(error));
        Ok(Snapshot {
            accounts: bank.accounts_of(&state, runtime)?,
            persons: match runtime {
                Some(runtime) => bank.persons_of(&state, runtime)?,
                None => None,
            },
            segments: state.of_folder("segments").map(open).collect::<Result<_, _>>()?,
            decoder: decoder(&bank.shared.schema.vocabulary()),
            bank: bank.clone(),
            state,
        })
    }

    /// The columns that the bank's events have: those of its fields, in the types that they have come to.
    pub fn columns(&self) -> SchemaRef {
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

    /// What was read, or a refusal that says what it takes along and what helps.
    pub fn whole<T>(&self, read: Result<T, BankError>) -> Result<T, BankError> {
        read.map_err(|error| self.state.explain(error))
    }

    pub fn damaged(segment: &Segment, problem: &str) -> BankError {
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
        let range = segment.range(buckets.clone());
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
        let greatest = codes.iter().copied().max().unwrap_or(0);
        if usize::from(greatest) >= self.decoder.vocabulary().len() {
            return Err(Self::damaged(segment, "it has a behavior that the bank does not know"));
        }
        self.check_consumers(segment, &consumers, buckets)?;
        Ok(Read {
            consumers,
            days: primitive::<Date32Type>(segment, &batch, "day")?,
            exact: Vec::new(),
            codes,
            batch,
            range,
            segment: segment.clone(),
        })
    }

    /// Whether the consumers of some buckets' rows stand in order, each in its bucket, and were given.
    fn check_consumers(&self, segment: &Segment, consumers: &[u32], buckets: std::ops::Range<usize>) -> Result<(), BankError> {
        let start = segment.starts[buckets.start];
        let whole = |bucket: usize| {
            let rows = (segment.starts[bucket] - start) as usize..(segment.starts[bucket + 1] - start) as usize;
            let own = consumers.get(rows).unwrap_or_default();
            // Of rows in order the first and the last speak for all.
            let ends = own.first().into_iter().chain(own.last()).map(|number| ConsumerIdx(*number));
            ends.into_iter()
                .all(|idx| idx.bucket() == bucket && is_given(idx.0, &self.state.consumers))
        };
        if consumers.is_sorted() && buckets.into_iter().all(whole) {
            return Ok(());
        }
        Err(Self::damaged(segment, "it has a consumer that the bank does not know"))
    }
}

/// Rows of one segment, read for a question.
struct Read {
    segment: Arc<Segment>,
    /// Places in the segment.
    range: std::ops::Range<u64>,
    batch: RecordBatch,
    consumers: ScalarBuffer<u32>,
    days: ScalarBuffer<i32>,
    /// Rows whose instants are known exactly, in order; of others any instant of the day will do.
    exact: Vec<(usize, i64)>,
    codes: Vec<BehaviorCode>,
}

impl Read {
    /// The rows of one of the buckets, as far as they matter.
    fn draft(&self, bucket: usize, moved: &[(u32, Elsewhere)], asked: &Asked<'_>, tally: &mut Tally) -> Result<Option<Draft>, ScanError> {
        let own = self.segment.range(bucket..bucket + 1);
        let (start, length) = ((own.start - self.range.start) as usize, (own.end - own.start) as usize);
        if length == 0 {
            return Ok(None);
        }
        let rows = start..start + length;
        let column = |name: &str| self.batch.column_by_name(name).map(|column| column.slice(start, length));
        let run = Run {
            bucket,
            moved,
            owners: Owners::Numbers(&self.consumers[rows.clone()]),
            days: &self.days[rows.clone()],
            instant: &|row| self.instant(start + row),
            codes: &self.codes[rows],
            column: &column,
        };
        Ok(Some(asked.draft(&run, tally)?))
    }
}

impl Read {
    fn instant(&self, row: usize) -> i64 {
        match self.exact.binary_search_by_key(&row, |(row, _)| *row) {
            Ok(place) => self.exact[place].1,
            Err(_) => i64::from(self.days[row]) * MICROS_PER_DAY,
        }
    }
}

/// Gives the rows that switch states their instants. Times are the largest column, and rows that switch are few: an
/// exact instant is read only where another of the same consumer lies less than two days away; elsewhere any instant of
/// the day orders them as well. Of persons with several accounts all are read, since the others may lie in another
/// unit.
fn read_instants(reads: &mut [Read], persons: Option<&Persons>, asked: &Asked<'_>, tally: &mut Tally) -> Result<(), BankError> {
    let mut switches: Vec<(u32, i32, usize, usize)> = Vec::new();
    for (place, read) in reads.iter().enumerate() {
        let rows = asked.switch_places(&read.codes).into_iter();
        switches.extend(rows.map(|row| (read.consumers[row], read.days[row], place, row)));
    }
    switches.sort_unstable();
    let close = |left: &(u32, i32, usize, usize), right: &(u32, i32, usize, usize)| left.0 == right.0 && right.1 - left.1 < 2;
    let mut wanted: Vec<Vec<usize>> = vec![Vec::new(); reads.len()];
    let single = |consumer: u32| persons.is_none_or(|persons| persons.is_single(consumer));
    for run in switches.chunk_by(close).filter(|run| run.len() > 1 || !single(run[0].0)) {
        run.iter().for_each(|&(_, _, place, row)| wanted[place].push(row));
    }
    for (read, mut rows) in reads.iter_mut().zip(wanted).filter(|(_, rows)| !rows.is_empty()) {
        rows.sort_unstable();
        let places: Vec<u64> = rows.iter().map(|&row| read.range.start + row as u64).collect();
        let batch = read.segment.file.read_rows(&["time"], &places)?;
        tally.bytes += 8 * rows.len() as u64;
        read.exact = rows.into_iter().zip(instants(&read.segment, &batch)?).collect();
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
        self.state.id_kind(role)
    }

    fn fingerprint(&self) -> String {
        self.state.fingerprint()
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
        Ok(match &self.persons {
            Some(persons) => persons.universe.clone(),
            None => self.accounts.clone(),
        })
    }

    fn accounts(&self, consumer: ConsumerIdx) -> Vec<ConsumerIdx> {
        match &self.persons {
            Some(persons) => {
                let accounts = persons.accounts(&RoaringBitmap::from_iter([consumer.0]));
                accounts.into_iter().map(ConsumerIdx).collect()
            }
            None => vec![consumer],
        }
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
        let buckets = asked.wanted(all.clone());
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
                reads.push(self.whole(self.read(segment, buckets.clone(), asked, tally))?);
            }
        }
        if asked.has_switches() {
            self.whole(read_instants(&mut reads, self.persons.as_deref(), asked, tally))?;
        }
        let mut drafts = Vec::new();
        for (bucket, read) in buckets.flat_map(|bucket| reads.iter().map(move |read| (bucket, read))) {
            let moved = self.persons.as_ref().map_or(&[][..], |persons| &persons.moved[bucket]);
            let draft = read.draft(bucket, moved, asked, tally)?;
            drafts.extend(draft.map(|draft| (bucket - all.start, draft)));
        }
        Ok(drafts)
    }
}
