//! Batches of events on their way in.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::bank::columns::{Types, check_events, optional_fields};
use crate::bank::compact::Compaction;
use crate::bank::consumers::{self, Newcomers};
use crate::bank::error::BankError;
use crate::bank::files::{Published, check_space, hex128};
use crate::bank::handle::DataBank;
use crate::bank::links::check_kind;
use crate::bank::merge::{Fate, FieldColumn, Finals, LeftOut, Merge, Part, gathered};
use crate::bank::record::{BatchRecord, Record};
use crate::bank::rows::Shape;
use crate::bank::segment::Segment;
use crate::bank::text::check_rows;
use crate::base::id::BUCKETS;
use crate::event::Tally;
use crate::source::{Events, SourceError};
use crate::timeline::log::load::{Loading, OrderedRows, Overflow, program_of_everything};
use crate::timeline::read::each_bucket;
use crate::timeline::timelines::state_switches;
use crate::timeline::{Runtime, Universe};

type Result<T> = std::result::Result<T, BankError>;

/// Optional parameters of [`DataBank::ingest`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IngestParams {
    /// About how many bytes the rows of a batch may take in memory; more are sorted in parts on disk first. At least 64
    /// MiB.
    pub memory_limit: u64,
    /// Whether small segments are merged once there are many.
    pub compact: bool,
}

/// The least memory limit.
pub const LEAST_MEMORY: u64 = 64 << 20;

impl Default for IngestParams {
    fn default() -> Self {
        IngestParams {
            memory_limit: 1 << 30,
            compact: true,
        }
    }
}

/// What became of a batch.
#[derive(Debug, Clone)]
pub struct IngestReport {
    /// The batch and its rows.
    pub batch: BatchRecord,
    /// The commit that holds it.
    pub commit: u64,
    /// Whether the bank had the batch already, with the same content; then nothing was done.
    pub replayed: bool,
    /// Rejected rows with examples.
    pub tally: Tally,
    /// What to know besides, in words.
    pub notes: Vec<String>,
    /// Days that were kept and no longer hold, since the batch has events on or before them.
    pub dropped_days: Vec<String>,
    /// Segments that were merged afterwards.
    pub compacted: u64,
    /// Bytes written for the batch.
    pub bytes: u64,
    /// Sorted parts that went to disk first, since they did not fit the memory limit.
    pub spilled: u64,
    /// How long it took, merging of segments left out.
    pub elapsed: Duration,
    /// How long merging took.
    pub compaction: Duration,
}

impl IngestReport {
    /// The report as plain data.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let batch = &self.batch;
        json!({
            "batch_id": batch.id,
            "replayed": self.replayed,
            "commit": self.commit,
            "rows_read": batch.rows_read,
            "rows_added": batch.rows_added,
            "rows_rejected": batch.rows_rejected,
            "rows_ignored": batch.rows_ignored,
            "rows_duplicate": batch.rows_duplicate,
            "rows_expired": batch.rows_expired,
            "new_consumers": batch.new_consumers,
            "rejected": self.tally.rejected_json(),
            "examples": Value::Array(self.tally.examples().map(crate::event::Example::to_json).collect()),
            "notes": self.notes,
            "dropped_days": self.dropped_days,
            "segments_compacted": self.compacted,
            "bytes": self.bytes,
            "parts_spilled": self.spilled,
            "seconds": self.elapsed.as_secs_f64(),
            "compaction_seconds": self.compaction.as_secs_f64(),
        })
    }
}

/// Rows of a batch that went to disk before their final numbers were known.
#[derive(Default)]
struct Spilled {
    /// Each with the segment, open from the start: who else cleans up in `tmp/` takes away no more than the name.
    files: Vec<(Published, Arc<Segment>)>,
    content: u128,
}

impl DataBank {
    /// Takes in a batch of events: all of it or nothing. A batch that the bank has already is left as it is, if its
    /// content is the same. Late events and backfills are welcome; where the schema maps `event_id`, copies of events
    /// that the bank holds are left out.
    ///
    /// # Errors
    /// [`BankError::BatchConflict`] for a known batch id with other content; [`BankError::Mismatch`] for events that do
    /// not fit; [`BankError::NoSpace`]; [`BankError::ReadOnly`]; a rejected row under `on_error = "raise"`;
    /// cancellation. Nothing is changed then.
    pub fn ingest(&self, events: &Events, batch_id: &str, params: &IngestParams, runtime: &Runtime<'_>) -> Result<IngestReport> {
        check_batch_id(batch_id)?;
        if params.memory_limit < LEAST_MEMORY {
            let problem = format!("{} bytes; at least {LEAST_MEMORY} are needed", params.memory_limit);
            return Err(BankError::parameter("memory_limit", problem));
        }
        self.write("ingest", || {
            let mut report = self.ingest_batch(events, batch_id, params, runtime)?;
            let started = Instant::now();
            if params.compact && !report.replayed {
                // The batch is in, whatever becomes of this; what cannot be merged now is merged another time.
                match self.compact_some(Compaction::WhenMany, runtime) {
                    Ok(merged) => report.compacted = merged.segments,
                    Err(error) => {
                        let error = self.judge(error);
                        report.notes.push(format!("segments were not merged: {error}"));
                    }
                }
            }
            report.compaction = started.elapsed();
            Ok(report)
        })
    }

    fn ingest_batch(&self, events: &Events, batch_id: &str, params: &IngestParams, runtime: &Runtime<'_>) -> Result<IngestReport> {
        let started = Instant::now();
        let state = self.state();
        let missing = check_events(&self.shared.schema, self.shared.zone.name(), events)?;
        let (types, new_types) = state.types.join(events)?;
        let shape = self.shape(&types);
        let universe = self.consumers_for(&types, runtime)?;
        let newcomers = Newcomers::new();
        let spilled = Mutex::new(Spilled::default());
        let program = program_of_everything(events)?;
        let loading = Loading::new(events, &program, None, None)?;
        let batch = Batch {
            bank: self,
            shape: &shape,
            universe: &universe,
            columns: |rows: &OrderedRows| field_columns(events, &self.shared.schema, rows),
        };
        let spill = |rows: OrderedRows| batch.spill(&rows, &newcomers, &spilled).map_err(SourceError::from);
        let overflow = Overflow {
            // Putting rows in order and encoding them takes about as much again as they do, twice over.
            bytes: (params.memory_limit as usize / 4 / runtime.threads()).max(1 << 20),
            take: &spill,
        };
        let (builders, tally) = loading.read(runtime, Some(&overflow))?;
        let rest = loading.assemble(builders, &[], Some(runtime))?;
        check_rows(&rest)?;
        let spilled = spilled.into_inner().unwrap_or_else(PoisonError::into_inner);
        let locals = batch.number(&rest, &newcomers, Some(runtime))?;
        newcomers.end_numbering();
        let counts = newcomers.counts();
        let new_consumers = counts.iter().map(|&count| u64::from(count)).sum();
        let content = spilled.content.wrapping_add(batch.content(&rest, &locals, runtime)?);
        let mut record = BatchRecord {
            id: batch_id.to_owned(),
            content: hex128(content),
            rows_read: tally.rows_read + tally.rows_skipped,
            rows_rejected: tally.rows_rejected(),
            rows_ignored: tally.rows_ignored,
            rows_duplicate: 0,
            rows_expired: 0,
            rows_added: 0,
            new_consumers,
        };
        if let Some((commit, had)) = state.batches.get(batch_id) {
            check_kind(&self.records(), *commit, batch_id, "ingest")?;
            return replayed(*commit, had, &record, tally, started);
        }
        check_space(
            self.path(),
            spilled.files.iter().map(|(file, _)| file.record.bytes).sum::<u64>() + (1 << 20),
        )?;
        let (locals, finals) = settle(locals, &newcomers, &universe, !spilled.files.is_empty());
        let columns = (batch.columns)(&rest);
        let mut parts = vec![Part::Gathered {
            rows: &rest,
            locals: &locals,
            columns: &columns,
        }];
        for (_, segment) in &spilled.files {
            parts.push(Part::Stored {
                segment: segment.clone(),
                finals: Some(&finals),
            });
        }
        let (segment, fate) = self.write_batch(&parts, &shape, runtime)?;
        record.rows_added = fate.written;
        record.rows_duplicate = fate.duplicate;
        record.rows_expired = fate.expired;
        // A batch without a row says nothing of types.
        let new_types = if fate.written == 0 { BTreeMap::default() } else { new_types };
        let days = segment.as_ref().and_then(|segment| segment.record.days);
        let mut files: Vec<Published> = segment.into_iter().collect();
        if new_consumers > 0 {
            files.push(consumers::write(self.path(), types.id_kind("consumer"), newcomers.list(&universe))?);
        }
        let bytes = files.iter().map(|file| file.record.bytes).sum();
        let (dropped, dropped_days) = touched_days(&state.kept, days);
        let commit = self.commit(
            Record {
                batch: Some(record.clone()),
                types: new_types,
                consumers: counts
                    .iter()
                    .enumerate()
                    .map(|(bucket, new)| universe.bucket(bucket).len() as u32 + new)
                    .collect(),
                remove: dropped.clone(),
                dropped,
                ..Record::of("ingest")
            },
            &files,
            &[],
        )?;
        let state = self.state();
        self.remember(Arc::new(newcomers.join(&universe, state.account_lineage())));
        Ok(IngestReport {
            batch: record,
            commit,
            replayed: false,
            notes: notes(&missing),
            dropped_days,
            compacted: 0,
            bytes,
            spilled: spilled.files.len() as u64,
            tally,
            elapsed: started.elapsed(),
            compaction: Duration::ZERO,
        })
    }

    /// The consumers that the bank knows; nobody, of the batch's type, before the first batch.
    fn consumers_for(&self, types: &Types, runtime: &Runtime<'_>) -> Result<Arc<Universe>> {
        let known = self.accounts_of(&self.state(), Some(runtime))?;
        if known.is_empty() && known.id_kind() != types.id_kind("consumer") {
            return Ok(Arc::new(Universe::of_ids(types.id_kind("consumer"), [])));
        }
        Ok(known)
    }

    fn write_batch(&self, parts: &[Part<'_>], shape: &Shape, runtime: &Runtime<'_>) -> Result<(Option<Published>, Fate)> {
        let state = self.state();
        let copies = self.shared.schema.column("event_id").is_some();
        let days = parts
            .iter()
            .filter_map(part_days)
            .reduce(|left, right| (left.0.min(right.0), left.1.max(right.1)));
        let mut held = Vec::new();
        if let (true, Some((first, last))) = (copies, days) {
            // Copies of an event agree in its time, so only segments with these days can hold one.
            for record in state.of_folder("segments") {
                if record.days.is_none_or(|(from, to)| from <= last && to >= first) {
                    held.push(self.segment(record)?);
                }
            }
        }
        let merge = Merge {
            bank: self.path(),
            shape,
            parts,
            left_out: LeftOut {
                before: state.expired.map(crate::base::Day::number),
                switches: state_switches(&self.shared.schema),
                copies,
                held: &held,
            },
        };
        merge.write(Some(runtime))
    }
}

pub(super) fn check_batch_id(id: &str) -> Result<()> {
    if id.is_empty() || id.len() > 256 {
        return Err(BankError::parameter(
            "batch_id",
            format!("{} bytes; 1 to 256 are accepted", id.len()),
        ));
    }
    Ok(())
}

fn part_days(part: &Part<'_>) -> Option<(i32, i32)> {
    match part {
        Part::Gathered { rows, .. } => {
            let all = || rows.buckets.iter().flat_map(|bucket| bucket.days.iter().copied());
            Some((all().min()?, all().max()?))
        }
        Part::Stored { segment, .. } => Some(segment.days),
    }
}

/// The batch again: nothing to do if its content is the same.
fn replayed(commit: u64, had: &BatchRecord, has: &BatchRecord, tally: Tally, started: Instant) -> Result<IngestReport> {
    let rows = |batch: &BatchRecord| batch.rows_read - batch.rows_rejected - batch.rows_ignored;
    if had.content != has.content {
        return Err(BankError::BatchConflict {
            id: had.id.clone(),
            had: rows(had),
            has: rows(has),
        });
    }
    Ok(IngestReport {
        batch: had.clone(),
        commit,
        replayed: true,
        tally,
        notes: vec![format!("the bank had this batch since commit {commit}; nothing was changed")],
        dropped_days: Vec::new(),
        compacted: 0,
        bytes: 0,
        spilled: 0,
        elapsed: started.elapsed(),
        compaction: Duration::ZERO,
    })
}

/// Final numbers of consumers. Where parts were spilled, newcomers were numbered as workers met them, and are put in
/// order now.
fn settle(mut locals: Vec<Vec<u32>>, newcomers: &Newcomers, universe: &Universe, spilled: bool) -> (Vec<Vec<u32>>, Finals) {
    let firsts: Vec<u32> = (0..BUCKETS).map(|bucket| universe.bucket(bucket).len() as u32).collect();
    if !spilled {
        let finals = Finals {
            firsts,
            locals: vec![Vec::new(); BUCKETS],
        };
        return (locals, finals);
    }
    let finals = Finals {
        firsts,
        locals: newcomers.settle(universe),
    };
    for (bucket, locals) in locals.iter_mut().enumerate() {
        for local in locals.iter_mut().filter(|local| **local >= finals.firsts[bucket]) {
            *local = finals.locals[bucket][(*local - finals.firsts[bucket]) as usize];
        }
    }
    (locals, finals)
}

/// Kept days that events of these days may change: their files, and the days.
fn touched_days(kept: &[crate::bank::record::KeptRecord], days: Option<(i32, i32)>) -> (Vec<String>, Vec<String>) {
    let Some((first, _)) = days else {
        return (Vec::new(), Vec::new());
    };
    let touched = kept.iter().filter(|kept| kept.day >= first);
    let named = |kept: &crate::bank::record::KeptRecord| (kept.file.clone(), kept.describe());
    touched.map(named).unzip()
}

fn notes(missing: &[String]) -> Vec<String> {
    let note = |field: &String| format!("the events map no {field:?}, which the bank keeps; it is null in this batch");
    missing.iter().map(note).collect()
}

/// Where gathered rows have the fields that the bank keeps.
fn field_columns(events: &Events, own: &crate::event::EventSchema, rows: &OrderedRows) -> Vec<FieldColumn> {
    let schema = events.schema();
    let place = |field: String| match schema.column(&field) {
        None => FieldColumn::Missing,
        Some(column) if Some(column) == schema.column("brand") => FieldColumn::Brand,
        Some(column) => rows
            .fields
            .iter()
            .position(|known| known.column == column)
            .map_or(FieldColumn::Missing, FieldColumn::At),
    };
    optional_fields(own).into_iter().map(place).collect()
}

/// A batch on its way in.
struct Batch<'a, F> {
    bank: &'a DataBank,
    shape: &'a Shape,
    universe: &'a Universe,
    columns: F,
}

impl<F: Fn(&OrderedRows) -> Vec<FieldColumn> + Sync> Batch<'_, F> {
    /// The local number of every consumer of gathered rows.
    fn number(&self, rows: &OrderedRows, newcomers: &Newcomers, runtime: Option<&Runtime<'_>>) -> Result<Vec<Vec<u32>>> {
        let of_bucket = |bucket: usize| newcomers.number(bucket, &rows.stores[bucket], self.universe);
        match runtime {
            Some(runtime) => Ok(each_bucket((0..BUCKETS).collect(), runtime, |_, bucket| Ok(of_bucket(bucket)?))?),
            None => (0..BUCKETS).map(of_bucket).collect(),
        }
    }

    /// What one bucket of gathered rows holds.
    fn content_of(&self, rows: &OrderedRows, locals: &[Vec<u32>], columns: &[FieldColumn], bucket: usize) -> u128 {
        let (ids, own) = (&rows.stores[bucket], &rows.buckets[bucket]);
        if own.days.is_empty() {
            return 0;
        }
        let keys: Vec<u64> = (0..ids.len()).map(|place| ids.id(place).key()).collect();
        let counts = own.starts.windows(2).map(|bounds| (bounds[1] - bounds[0]) as usize);
        let of_rows = keys.iter().zip(counts).flat_map(|(&key, count)| std::iter::repeat_n(key, count));
        gathered(bucket, own, &locals[bucket], columns)
            .with_numbers(self.shape)
            .content(of_rows)
    }

    fn content(&self, rows: &OrderedRows, locals: &[Vec<u32>], runtime: &Runtime<'_>) -> Result<u128> {
        let columns = (self.columns)(rows);
        let each = each_bucket((0..BUCKETS).collect(), runtime, |_, bucket| {
            Ok(self.content_of(rows, locals, &columns, bucket))
        })?;
        Ok(each.into_iter().fold(0, u128::wrapping_add))
    }

    /// Writes what one worker gathered to disk, with provisional numbers, on its own thread.
    fn spill(&self, rows: &OrderedRows, newcomers: &Newcomers, spilled: &Mutex<Spilled>) -> Result<()> {
        check_rows(rows)?;
        let locals = self.number(rows, newcomers, None)?;
        let columns = (self.columns)(rows);
        let content = (0..BUCKETS).fold(0u128, |content, bucket| {
            content.wrapping_add(self.content_of(rows, &locals, &columns, bucket))
        });
        let merge = Merge {
            bank: self.bank.path(),
            shape: self.shape,
            parts: &[Part::Gathered {
                rows,
                locals: &locals,
                columns: &columns,
            }],
            left_out: LeftOut::default(),
        };
        let (writer, _) = merge.encode(None)?;
        let file = writer.set_aside()?;
        let segment = Arc::new(Segment::open(self.bank.path(), &file.record, &file.blocks)?);
        let mut spilled = spilled.lock().unwrap_or_else(PoisonError::into_inner);
        spilled.content = spilled.content.wrapping_add(content);
        spilled.files.push((file, segment));
        Ok(())
    }
}
