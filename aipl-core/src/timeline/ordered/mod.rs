//! Homes whose rows stand in order already: a log in memory, a bank on disk. A question costs them one look at each row.
//!
//! A home hands out the rows of a bucket as one or several runs, each in order of consumer, scope and time. Rows are chosen by behavior
//! and day, judged as those of a scan are, and moved to their consumer's stretch; only where several runs meet are stretches sorted.
//! Where consumers are persons of several accounts, the rows of each account stand in its own bucket: those that matter are taken to the
//! bucket of their person.

mod draft;

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, Schema};

use crate::base::ConsumerIdx;
use crate::base::id::BUCKETS;
use crate::event::schema::MEASURE_FIELDS;
use crate::event::{BehaviorCode, Reason, Tally};
use crate::model::data::ScopeKind;
use crate::source::{EventBatch, OnError, SourceError};
use crate::timeline::judge::{Judge, Judged, Plan};
use crate::timeline::numbers::NOT_WANTED;
use crate::timeline::ordered::draft::{Settled, guests_by_bucket, merge_by_bucket, pick};
use crate::timeline::read::each_bucket;
use crate::timeline::rows::{Toggle, pack};
use crate::timeline::runtime::Runtime;
use crate::timeline::scan::{ScanError, refuse_rejected};
use crate::timeline::spans::{OwnedSpan, table_spans};
use crate::timeline::timelines::{Bucket, Question, Timelines, Visit, Visited};
use crate::timeline::universe::Universe;

pub(crate) use crate::timeline::ordered::draft::Draft;

/// Codes that there can be.
const BEHAVIORS: usize = 1 << BehaviorCode::BITS;

/// A home whose rows stand in order.
pub(crate) trait Ordered: Timelines {
    /// The consumers.
    fn universe(&self) -> Result<Arc<Universe>, ScanError>;
    /// All rows.
    fn rows(&self) -> u64;
    /// What happens to rows that only some questions find unacceptable.
    fn on_error(&self) -> OnError;
    /// How many consecutive buckets are read at a time; divides 256.
    fn unit_buckets(&self) -> usize;
    /// The rows of a unit's buckets that matter, one draft a run: the bucket's place in the unit, and what was found there.
    fn drafts(&self, unit: usize, asked: &Asked<'_>, tally: &mut Tally) -> Result<Vec<(usize, Draft)>, ScanError>;
    /// Every number that a consumer's rows stand under.
    fn accounts(&self, consumer: ConsumerIdx) -> Vec<ConsumerIdx> {
        vec![consumer]
    }
}

/// Where the rows of an account count that is not at its person's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Elsewhere {
    /// At its person's number.
    At(ConsumerIdx),
    /// Nowhere: it is nobody's, and its rows are rejected.
    Nowhere(Reason),
}

/// Whose the rows of a run are.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Owners<'a> {
    /// Where each consumer's rows begin; one more than there are consumers.
    Starts(&'a [u32]),
    /// The dense number of each row's consumer, ascending, all of one bucket.
    Numbers(&'a [u32]),
}

/// Rows of one bucket in order of consumer, scope and time.
pub(crate) struct Run<'a> {
    pub bucket: usize,
    pub owners: Owners<'a>,
    /// Those of the bucket's accounts that count elsewhere, in order of local number. They come with numbers.
    pub moved: &'a [(u32, Elsewhere)],
    pub days: &'a [i32],
    /// The instant of a row that switches a state, in UTC µs.
    pub instant: &'a dyn Fn(usize) -> i64,
    pub codes: &'a [BehaviorCode],
    /// Gives a column of the schema.
    pub column: &'a dyn Fn(&str) -> Option<ArrayRef>,
}

/// A question to an ordered home.
pub(crate) struct Asked<'a> {
    pub question: &'a Question<'a>,
    /// Columns of the schema that the question looks at.
    pub columns: &'a [String],
    /// The earliest day on which an event can matter, by behavior code; never of codes that are none.
    pub first_days: [i32; BEHAVIORS],
    /// The numbers of the one consumer wanted, if one is; none if the home does not know him.
    only: Option<Vec<ConsumerIdx>>,
    plan: &'a Plan<'a>,
    place: Arc<str>,
    /// Judges at rest: each remembers what it has met, and buckets have most of that in common.
    judges: Mutex<Vec<Judge<'a>>>,
}

/// Answers a question from a home's runs.
pub(crate) fn visit(
    home: &impl Ordered,
    columns: &[String],
    question: &Question<'_>,
    runtime: &Runtime<'_>,
    visit: Visit<'_>,
) -> Result<Visited, ScanError> {
    let started = Instant::now();
    let universe = home.universe()?;
    // Standard measures were checked when the rows came in.
    let unchecked = |role: &str| home.schema().column(role).map(|_| DataType::Float64);
    let plan = Plan::new(home, question, |role| unchecked(role).filter(|_| !MEASURE_FIELDS.contains(&role)));
    runtime.progress().begin(home.rows());
    let mut first_days = [i32::MAX; BEHAVIORS];
    for (first, own) in first_days.iter_mut().zip(question.program.first_days(question.first.number())) {
        *first = if question.places { i32::MIN } else { own };
    }
    let asked = Asked {
        question,
        columns,
        first_days,
        only: question
            .consumer
            .map(|consumer| universe.find(consumer).map_or(Vec::new(), |idx| home.accounts(idx))),
        plan: &plan,
        place: "log".into(),
        judges: Mutex::new(Vec::new()),
    };
    let (width, progress) = (home.unit_buckets(), runtime.progress());
    let units = each_bucket((0..BUCKETS / width).collect(), runtime, |_, unit| {
        let mut tally = Tally::default();
        let mut drafts = home.drafts(unit, &asked, &mut tally)?;
        progress.advance(tally.rows_read + tally.rows_skipped);
        let leaving: Vec<Draft> = drafts
            .iter_mut()
            .filter_map(|(_, draft)| draft.leaving.take())
            .map(|draft| *draft)
            .collect();
        let buckets = unit * width..(unit + 1) * width;
        Ok((merge_by_bucket(drafts, &universe, buckets, plan.layout), leaving, tally))
    })?;
    let mut tally = Tally::default();
    let (mut parts, mut leaving) = (Vec::with_capacity(BUCKETS), Vec::new());
    for (drafts, left, counted) in units {
        tally.merge(counted);
        parts.extend(drafts);
        leaving.extend(left);
    }
    let parts = parts.into_iter().zip(guests_by_bucket(leaving, plan.layout)).collect();
    tally.rows_total = home.rows();
    // Fields that only some questions look at are judged now.
    refuse_rejected(home.on_error(), &tally)?;
    // The rows of state tables are in the account of the load.
    let spans = table_spans(home, question, &plan.scopes, &mut Tally::default());
    drop(asked);
    let unmet = plan.scopes.unmet();
    let (scopes, scope_places) = plan.scopes.settle();
    let (masks, class_places) = plan.classes.settle();
    let (labels, label_places) = plan.labels.settle();
    let settled = Settled {
        layout: plan.layout,
        scope_places: &scope_places,
        class_places: &class_places,
        label_places: &label_places,
        // Copies of one event are only told apart where rows are sorted with what stands beside them.
        sorted: question.program.scope == ScopeKind::Brand && !plan.layout.events,
    };
    each_bucket(parts, runtime, |number, (draft, guests): (Draft, Draft)| {
        let ids = universe.bucket(number);
        let draft = draft.joined(guests, ids.len(), plan.layout);
        let owned = |(id, span): &OwnedSpan| ids.find(id).map(|local| (local as u32, *span));
        let timelines = settled.timelines(draft, spans[number].iter().filter_map(owned).collect());
        visit(Bucket {
            number,
            ids,
            timelines: &timelines,
            masks: &masks,
            scopes: &scopes,
            labels: &labels,
        });
        Ok(())
    })?;
    Ok(Visited {
        universe,
        scopes,
        labels,
        unmet,
        tally,
        elapsed: started.elapsed(),
    })
}

impl Asked<'_> {
    /// Whether rows switch states.
    pub fn has_switches(&self) -> bool {
        self.question.program.toggles.iter().any(Option::is_some)
    }

    /// The places of behaviors that switch a state, in order.
    pub fn switch_places(&self, codes: &[BehaviorCode]) -> Vec<usize> {
        let is_switch = |code: BehaviorCode| self.question.program.toggles[usize::from(code)].is_some();
        let mut places = Vec::new();
        match few_codes(
            (0..=BehaviorCode::MAX)
                .take(self.question.program.toggles.len())
                .filter(|code| is_switch(*code)),
        ) {
            Some(few) => each_of_few(codes, few, |place| places.push(place)),
            None => places.extend((0..codes.len()).filter(|&place| is_switch(codes[place]))),
        }
        places
    }

    /// Those of a unit's buckets that have rows of who is wanted.
    pub fn wanted(&self, unit: Range<usize>) -> Range<usize> {
        buckets_of(self.only.as_deref(), unit)
    }

    /// The rows of a run that matter.
    pub fn draft(&self, run: &Run<'_>, tally: &mut Tally) -> Result<Draft, ScanError> {
        let mut chosen = self.chosen(run);
        self.turn_away(&mut chosen, run, tally);
        tally.rows_read += run.days.len() as u64;
        let judge = self.judges.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut judge = judge.unwrap_or_else(|| Judge::new(self.plan));
        let judged = self.judge(&mut judge, run, &chosen, tally)?;
        self.judges.lock().unwrap_or_else(PoisonError::into_inner).push(judge);
        let mut draft = self.collect(run, &chosen, judged);
        tally.rows_kept += draft.rows();
        draft.part(run.moved, self.plan.layout);
        Ok(draft)
    }

    /// Rows that can matter by consumer, behavior and day.
    fn chosen(&self, run: &Run<'_>) -> Vec<u32> {
        let mut chosen = Vec::new();
        let Some(only) = &self.only else {
            return self.chosen_of(run, 0..run.days.len() as u32);
        };
        for local in only.iter().filter(|idx| idx.bucket() == run.bucket).map(|idx| idx.local()) {
            let rows = match run.owners {
                Owners::Starts(starts) => starts[local as usize]..starts[local as usize + 1],
                Owners::Numbers(numbers) => {
                    let bound = |local: u32| numbers.partition_point(|&number| local_of(number) < local) as u32;
                    bound(local)..bound(local + 1)
                }
            };
            chosen.extend(self.chosen_of(run, rows));
        }
        chosen
    }

    /// Those of a range of rows.
    fn chosen_of(&self, run: &Run<'_>, range: Range<u32>) -> Vec<u32> {
        let last = self.question.last.number();
        let may = |day: i32, code: BehaviorCode| (day <= last) & (day >= self.first_days[usize::from(code)]);
        let within = range.start as usize..range.end as usize;
        let (days, codes) = (&run.days[within.clone()], &run.codes[within]);
        let live = (0..=BehaviorCode::MAX).zip(&self.first_days).filter(|(_, first)| **first <= last);
        if let Some(few) = few_codes(live.map(|(code, _)| code)) {
            let mut chosen = Vec::new();
            each_of_few(codes, few, |place| {
                if may(days[place], codes[place]) {
                    chosen.push(range.start + place as u32);
                }
            });
            return chosen;
        }
        // Written whether it counts or not, and passed over if it does not: about every other row does, which no branch can foresee.
        let (mut chosen, mut count) = (vec![0; range.len()], 0);
        for (row, (&day, &code)) in range.zip(days.iter().zip(codes)) {
            chosen[count] = row;
            count += usize::from(may(day, code));
        }
        chosen.truncate(count);
        chosen
    }

    /// Rejects the rows of accounts that are nobody's.
    fn turn_away(&self, chosen: &mut Vec<u32>, run: &Run<'_>, tally: &mut Tally) {
        let Owners::Numbers(numbers) = run.owners else { return };
        if run.moved.iter().all(|(_, to)| matches!(to, Elsewhere::At(_))) {
            return;
        }
        let consumer = self.plan.schema.column("consumer").unwrap_or("consumer");
        let mut destination = destinations(run.moved);
        chosen.retain(|&row| match destination(local_of(numbers[row as usize])) {
            Some(Elsewhere::Nowhere(reason)) => {
                tally.reject(&self.place, u64::from(row), reason, consumer, String::new);
                false
            }
            _ => true,
        });
    }

    fn judge(&self, judge: &mut Judge<'_>, run: &Run<'_>, chosen: &[u32], tally: &mut Tally) -> Result<Judged, ScanError> {
        let whole = chosen.len() == run.days.len();
        let indices = UInt32Array::from(chosen.to_vec());
        let failed = |error: arrow::error::ArrowError| ScanError::Source(SourceError::Sink(error.to_string()));
        let (mut fields, mut arrays) = (Vec::new(), Vec::new());
        for name in self.columns {
            let Some(column) = (run.column)(name) else { continue };
            let column = if whole {
                column
            } else {
                take(&column, &indices, None).map_err(failed)?
            };
            fields.push(Field::new(name, column.data_type().clone(), true));
            arrays.push(column);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(chosen.len()));
        let columns = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options).map_err(failed)?;
        let rows: Vec<u64> = chosen.iter().map(|&row| u64::from(row)).collect();
        let batch = EventBatch {
            place: &self.place,
            rows: &rows,
            days: &chosen.iter().map(|&row| run.days[row as usize]).collect::<Vec<_>>(),
            codes: &chosen.iter().map(|&row| run.codes[row as usize]).collect::<Vec<_>>(),
            instants: &[],
            columns: &columns,
        };
        Ok(judge.judge(&batch, &vec![true; chosen.len()], tally)?)
    }

    /// The rows of a run that matter, by their places among the chosen ones.
    fn collect(&self, run: &Run<'_>, chosen: &[u32], judged: Judged) -> Draft {
        let (toggles, existence, places) = (
            &self.question.program.toggles,
            self.question.program.existence,
            self.plan.layout.places,
        );
        let (mut kept, mut count) = (vec![0u32; chosen.len()], 0);
        let mut switches = Vec::new();
        let found = judged.alive.iter().zip(&judged.scopes).zip(&judged.masks);
        for ((at, &row), ((&alive, &scope), &mask)) in (0u32..).zip(chosen).zip(found) {
            let counts = alive && scope != NOT_WANTED;
            let switch = toggles[usize::from(run.codes[row as usize])].is_some();
            if switch && counts {
                switches.push(at);
            }
            kept[count] = at;
            count += usize::from(counts && (mask != 0 || (existence && !switch) || places));
        }
        kept.truncate(count);
        let row_of = |at: u32| chosen[at as usize];
        let words = kept.iter().map(|&at| {
            let (row, at) = (row_of(at) as usize, at as usize);
            pack(judged.scopes[at], run.days[row], judged.classes[at])
        });
        let mut draft = Draft {
            words: words.collect(),
            ..Draft::default()
        };
        draft.toggles = self.switches(run, &switches, chosen, &judged);
        match run.owners {
            Owners::Numbers(numbers) => draft.owners = kept.iter().map(|&at| local_of(numbers[row_of(at) as usize])).collect(),
            Owners::Starts(starts) => {
                let mut at = 0;
                let place = |&end: &u32| {
                    at += kept[at..].iter().take_while(|&&kept| row_of(kept) < end).count();
                    at as u32
                };
                draft.starts = starts.iter().map(place).collect();
            }
        }
        draft.payloads = pick(judged.payloads, self.plan.layout.width(), &kept, chosen.len());
        draft
    }

    /// The changes of states at some places of the chosen rows, with whose they are.
    fn switches(&self, run: &Run<'_>, places: &[u32], chosen: &[u32], judged: &Judged) -> Vec<(u32, Toggle)> {
        let change = |&at: &u32| {
            let row = chosen[at as usize] as usize;
            let toggle = self.question.program.toggles[usize::from(run.codes[row])]?;
            let owner = match run.owners {
                Owners::Numbers(numbers) => local_of(numbers[row]),
                Owners::Starts(starts) => starts.partition_point(|&start| start as usize <= row) as u32 - 1,
            };
            let change = Toggle {
                scope: judged.scopes[at as usize],
                instant: (run.instant)(row),
                off: !toggle.on,
                state: toggle.state,
                day: run.days[row],
            };
            Some((owner, change))
        };
        places.iter().filter_map(change).collect()
    }
}

/// Where each of several owners' rows count, if elsewhere; owners are asked for in order.
fn destinations(moved: &[(u32, Elsewhere)]) -> impl FnMut(u32) -> Option<Elsewhere> {
    let mut rest = moved.iter().peekable();
    move |owner| {
        while rest.next_if(|(local, _)| *local < owner).is_some() {}
        rest.peek().filter(|(local, _)| *local == owner).map(|(_, to)| *to)
    }
}

/// So many behaviors are looked for by value.
const FEW: usize = 4;

/// Behaviors to look for by value, if they are few; one stands for those that are missing.
fn few_codes(mut live: impl Iterator<Item = BehaviorCode>) -> Option<[BehaviorCode; FEW]> {
    let mut few = [live.next()?; FEW];
    for place in &mut few[1..] {
        *place = live.next().unwrap_or(*place);
    }
    live.next().is_none().then_some(few)
}

fn local_of(number: u32) -> u32 {
    ConsumerIdx(number).local()
}

/// Calls `visit` with the place of every code that is one of these. Most rows are of others, and eight of them are passed over at once.
fn each_of_few(codes: &[BehaviorCode], few: [BehaviorCode; FEW], mut visit: impl FnMut(usize)) {
    const LANES: usize = 32;
    for (first, lane) in (0..).step_by(LANES).zip(codes.chunks(LANES)) {
        let mut hits = [0u8; LANES];
        for (hit, code) in hits.iter_mut().zip(lane) {
            *hit = few.iter().fold(0, |is, one| is | u8::from(one == code));
        }
        for (place, eight) in (first..).step_by(8).zip(hits.as_chunks::<8>().0) {
            let mut bits = u64::from_le_bytes(*eight);
            while bits != 0 {
                visit(place + bits.trailing_zeros() as usize / 8);
                bits &= bits - 1;
            }
        }
    }
}

/// Of a unit's buckets, those from the first to the last that has one of these numbers; all if all are wanted.
pub(crate) fn buckets_of(only: Option<&[ConsumerIdx]>, unit: Range<usize>) -> Range<usize> {
    let Some(only) = only else { return unit };
    let own = only.iter().map(|idx| idx.bucket()).filter(|bucket| unit.contains(bucket));
    own.fold(unit.start..unit.start, |all, bucket| {
        let first = if all.is_empty() { bucket } else { all.start.min(bucket) };
        first..all.end.max(bucket + 1)
    })
}

/// The columns of the schema that a program looks at, each once.
pub(crate) fn needed_columns(home: &dyn Timelines, roles: &[&str]) -> Vec<String> {
    let mut columns: Vec<String> = roles
        .iter()
        .filter_map(|role| home.schema().column(role).map(str::to_owned))
        .collect();
    columns.sort();
    columns.dedup();
    columns
}

/// The fields that a question to an ordered home looks at.
pub(crate) fn needed_roles<'a>(home: &dyn Timelines, question: &Question<'a>) -> Vec<&'a str> {
    let mut roles = question.program.fields();
    roles.push("brand");
    roles.extend(home.schema().column("event_id").map(|_| "event_id"));
    roles
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_behaviors_are_found_wherever_they_stand() {
        let codes: Vec<BehaviorCode> = (0..200u32).map(|row| (row * row % 11) as BehaviorCode).collect();
        for count in [0, 1, 7, 8, 31, 32, 33, 64, 200] {
            for few in [[3, 3, 3, 3], [0, 4, 9, 5], [10, 10, 10, 10]] {
                let mut found = Vec::new();
                each_of_few(&codes[..count], few, |place| found.push(place));
                let wanted: Vec<usize> = (0..count).filter(|place| few.contains(&codes[*place])).collect();
                assert_eq!(found, wanted);
            }
        }
        assert_eq!(few_codes([1, 3].into_iter()), Some([1, 3, 1, 1]));
        assert_eq!(few_codes(0..4), Some([0, 1, 2, 3]));
        assert_eq!((few_codes(0..5), few_codes(0..0)), (None, None));
    }
}
