//! A log as timelines: its rows are in order already, so a question costs one look at each.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, Schema};

use crate::base::id::BUCKETS;
use crate::base::{ConsumerIdx, IdKind, IdValue, Zone};
use crate::event::schema::MEASURE_FIELDS;
use crate::event::{EventSchema, Tally};
use crate::model::data::ScopeKind;
use crate::model::program::Program;
use crate::source::{EventBatch, SourceError, StateTable};
use crate::timeline::bucket::{BucketTimelines, States};
use crate::timeline::judge::{Judge, Judged, Plan};
use crate::timeline::log::load::wanted_columns;
use crate::timeline::log::{EventLog, LogBucket};
use crate::timeline::read::each_bucket;
use crate::timeline::rows::{PayloadLayout, Toggle, class_of, day_of, pack, scope_of};
use crate::timeline::runtime::Runtime;
use crate::timeline::scan::{ScanError, refuse_rejected};
use crate::timeline::spans::{OwnedSpan, table_spans};
use crate::timeline::timelines::{Bucket, Question, Timelines, Visit, Visited};

impl Timelines for EventLog {
    fn schema(&self) -> &EventSchema {
        &self.inner.schema
    }

    fn zone(&self) -> &Arc<Zone> {
        &self.inner.zone
    }

    fn states(&self) -> &[Arc<StateTable>] {
        &self.inner.states
    }

    fn id_kind(&self, role: &str) -> IdKind {
        let known = self.inner.id_kinds.iter().find(|(known, _)| known == role);
        known.map_or(IdKind::Text, |(_, id_kind)| *id_kind)
    }

    fn fingerprint(&self) -> String {
        self.inner.fingerprint.clone()
    }

    fn visit(&self, question: &Question<'_>, runtime: &Runtime<'_>, visit: Visit<'_>) -> Result<Visited, ScanError> {
        let started = Instant::now();
        let columns = self.needed(question.program)?;
        // Standard measures were checked when the log was loaded.
        let unchecked = |role: &str| self.inner.schema.column(role).map(|_| DataType::Float64);
        let plan = Plan::new(self, question, |role| unchecked(role).filter(|_| !MEASURE_FIELDS.contains(&role)));
        runtime.progress().begin(self.rows() as u64);
        let asked = Asked {
            log: self,
            question,
            plan: &plan,
            columns: &columns,
            first_days: question.program.first_days(question.first.number()),
            only: question.consumer.map(|consumer| self.inner.universe.find(consumer)),
            judges: Mutex::new(Vec::new()),
        };
        let (progress, numbers) = (runtime.progress(), (0..BUCKETS).collect::<Vec<_>>());
        let drafts = each_bucket(numbers, runtime, |number, _| {
            let draft = asked.draft(number);
            progress.advance(self.inner.buckets[number].rows() as u64);
            draft
        })?;
        let mut tally = Tally::default();
        let mut parts = Vec::with_capacity(BUCKETS);
        for (draft, counted) in drafts {
            tally.merge(counted);
            parts.push(draft);
        }
        tally.rows_total = self.rows() as u64;
        // Fields that only some questions look at are judged now.
        refuse_rejected(self.inner.on_error, &tally)?;
        // The rows of state tables are in the account of the load.
        let spans = table_spans(self, question, &plan.scopes, &mut Tally::default());
        drop(asked);
        let (scopes, scope_places) = plan.scopes.settle();
        let (masks, class_places) = plan.classes.settle();
        let settled = Settled {
            layout: plan.layout,
            scope_places: &scope_places,
            class_places: &class_places,
            sorted: question.program.scope == ScopeKind::Brand && plan.layout.width() == 0,
        };
        each_bucket(parts, runtime, |number, draft| {
            let ids = self.inner.universe.bucket(number);
            let owned = |(id, span): &OwnedSpan| ids.find(id).map(|local| (local as u32, *span));
            let timelines = settled.timelines(draft, spans[number].iter().filter_map(owned).collect());
            visit(Bucket {
                number,
                ids,
                timelines: &timelines,
                masks: &masks,
                scopes: &scopes,
            });
            Ok(())
        })?;
        Ok(Visited {
            universe: self.inner.universe.clone(),
            scopes,
            tally,
            elapsed: started.elapsed(),
        })
    }

    fn log(&self, fields: Option<&[String]>, _: Option<&IdValue>, _: &Runtime<'_>) -> Result<EventLog, ScanError> {
        wanted_columns(&self.inner.schema, fields)?;
        fields.unwrap_or_default().iter().try_for_each(|field| self.check_loaded(field))?;
        Ok(self.clone())
    }
}

impl EventLog {
    /// The columns that a program looks at.
    fn needed(&self, program: &Program) -> Result<Vec<String>, ScanError> {
        let mut roles = program.fields();
        roles.push("brand");
        roles.extend(self.inner.schema.column("event_id").map(|_| "event_id"));
        roles.iter().try_for_each(|role| self.check_loaded(role))?;
        let mut columns: Vec<String> = roles
            .into_iter()
            .filter_map(|role| self.inner.schema.column(role).map(str::to_owned))
            .collect();
        columns.sort();
        columns.dedup();
        Ok(columns)
    }

    /// Refuses a mapped field that the log was loaded without.
    pub(super) fn check_loaded(&self, role: &str) -> Result<(), ScanError> {
        let Some(column) = self.inner.schema.column(role) else {
            return Ok(());
        };
        let required = self.inner.schema.mapped().take(4).any(|(known, _)| known == role);
        if required || Some(column) == self.inner.schema.column("brand") || self.inner.fields.iter().any(|field| field.column == column) {
            return Ok(());
        }
        Err(ScanError::NotLoaded {
            field: role.to_owned(),
            loaded: self.loaded(),
        })
    }

    /// A column of a bucket.
    pub(super) fn column(&self, bucket: &LogBucket, column: &str) -> Option<ArrayRef> {
        if self.inner.schema.column("brand") == Some(column) {
            return Some(bucket.brands.clone());
        }
        let place = self.inner.fields.iter().position(|field| field.column == column)?;
        Some(bucket.fields[place].clone())
    }
}

/// A question to a log.
struct Asked<'a> {
    log: &'a EventLog,
    question: &'a Question<'a>,
    plan: &'a Plan<'a>,
    columns: &'a [String],
    first_days: Vec<i32>,
    /// The one consumer wanted, if one is; nobody if the log does not know him.
    only: Option<Option<ConsumerIdx>>,
    /// Judges at rest: each remembers what it has met, and buckets have most of that in common.
    judges: Mutex<Vec<Judge<'a>>>,
}

/// The rows of a bucket that matter, scopes and classes not yet settled.
struct Draft {
    starts: Vec<u32>,
    words: Vec<u64>,
    payloads: Vec<u64>,
    toggles: Vec<(u32, Toggle)>,
}

impl Asked<'_> {
    fn draft(&self, number: usize) -> Result<(Draft, Tally), ScanError> {
        let bucket = &self.log.inner.buckets[number];
        let mut tally = Tally::default();
        let chosen = self.chosen(number, bucket);
        tally.rows_read = bucket.rows() as u64;
        let judge = self.judges.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut judge = judge.unwrap_or_else(|| Judge::new(self.plan));
        let judged = self.judge(&mut judge, bucket, &chosen, &mut tally)?;
        self.judges.lock().unwrap_or_else(PoisonError::into_inner).push(judge);
        let draft = self.collect(bucket, &chosen, &judged);
        tally.rows_kept = (draft.words.len() + draft.toggles.len()) as u64;
        Ok((draft, tally))
    }

    /// Rows that can matter by consumer, behavior and day.
    fn chosen(&self, number: usize, bucket: &LogBucket) -> Vec<u32> {
        let last = self.question.last.number();
        let range: Range<u32> = match self.only {
            None => 0..bucket.rows() as u32,
            Some(Some(idx)) if idx.bucket() == number => {
                let local = idx.local() as usize;
                bucket.starts[local]..bucket.starts[local + 1]
            }
            Some(_) => 0..0,
        };
        let everything = self.plan.layout.places;
        let may = |&row: &u32| {
            let (day, code) = (bucket.days[row as usize], bucket.codes[row as usize]);
            day <= last && (everything || day >= self.first_days[usize::from(code)])
        };
        range.filter(may).collect()
    }

    fn judge(&self, judge: &mut Judge<'_>, bucket: &LogBucket, chosen: &[u32], tally: &mut Tally) -> Result<Judged, ScanError> {
        let whole = chosen.len() == bucket.rows();
        let indices = UInt32Array::from(chosen.to_vec());
        let failed = |error: arrow::error::ArrowError| ScanError::Source(SourceError::Sink(error.to_string()));
        let (mut fields, mut arrays) = (Vec::new(), Vec::new());
        for name in self.columns {
            let Some(column) = self.log.column(bucket, name) else { continue };
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
        let place: Arc<str> = "log".into();
        let batch = EventBatch {
            place: &place,
            rows: &rows,
            days: &chosen.iter().map(|&row| bucket.days[row as usize]).collect::<Vec<_>>(),
            codes: &chosen.iter().map(|&row| bucket.codes[row as usize]).collect::<Vec<_>>(),
            instants: &[],
            columns: &columns,
        };
        Ok(judge.judge(&batch, &vec![true; chosen.len()], tally)?)
    }

    fn collect(&self, bucket: &LogBucket, chosen: &[u32], judged: &Judged) -> Draft {
        let (program, width) = (self.question.program, self.plan.layout.width());
        let mut draft = Draft {
            starts: Vec::with_capacity(bucket.starts.len()),
            words: Vec::with_capacity(chosen.len()),
            payloads: Vec::new(),
            toggles: Vec::new(),
        };
        draft.starts.push(0);
        let mut at = 0;
        for (consumer, &end) in (0u32..).zip(&bucket.starts[1..]) {
            while let Some(&row) = chosen.get(at).filter(|row| **row < end) {
                let (day, code) = (bucket.days[row as usize], bucket.codes[row as usize]);
                let toggle = program.toggles[usize::from(code)];
                if judged.matters(at, toggle.is_some(), self.plan) {
                    if judged.masks[at] != 0 || toggle.is_none() || self.plan.layout.places {
                        draft.words.push(pack(judged.scopes[at], day, judged.classes[at]));
                        draft.payloads.extend_from_slice(&judged.payloads[at * width..(at + 1) * width]);
                    }
                    draft.toggles.extend(toggle.map(|toggle| {
                        let change = Toggle {
                            scope: judged.scopes[at],
                            instant: bucket.instants[row as usize],
                            off: !toggle.on,
                            state: toggle.state,
                            day,
                        };
                        (consumer, change)
                    }));
                }
                at += 1;
            }
            draft.starts.push(draft.words.len() as u32);
        }
        draft
    }
}

/// The final places of scopes and classes.
struct Settled<'a> {
    layout: PayloadLayout,
    scope_places: &'a [u32],
    class_places: &'a [u16],
    /// Whether rows stand in order of scope and day already.
    sorted: bool,
}

impl Settled<'_> {
    fn timelines(&self, draft: Draft, mut spans: Vec<(u32, crate::timeline::bucket::StateSpan)>) -> BucketTimelines {
        let Draft {
            starts,
            mut words,
            payloads,
            mut toggles,
        } = draft;
        for word in &mut words {
            let scope = self.scope_places[scope_of(*word) as usize];
            *word = pack(scope, day_of(*word), self.class_places[class_of(*word)]);
        }
        toggles
            .iter_mut()
            .for_each(|(_, toggle)| toggle.scope = self.scope_places[toggle.scope as usize]);
        spans
            .iter_mut()
            .for_each(|(_, span)| span.scope = self.scope_places[span.scope as usize]);
        BucketTimelines::of_ordered(starts, words, payloads, self.layout, States { toggles, spans }, self.sorted)
    }
}
