//! Taking batches out: as a commit, so that it can be looked behind, and also where a batch can no longer be read.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::bank::catalog::Commit;
use crate::bank::error::{BankError, of_names};
use crate::bank::files::{Published, check_space};
use crate::bank::handle::DataBank;
use crate::bank::mend::Mended;
use crate::bank::merge::LeftOut;
use crate::bank::origins::Commits;
use crate::bank::record::{FileRecord, KeptRecord, Record};
use crate::bank::segment::Segment;
use crate::bank::state::State;
use crate::base::suggest::hint;
use crate::timeline::Runtime;
use crate::timeline::timelines::state_switches;

type Result<T> = std::result::Result<T, BankError>;

/// What [`DataBank::drop_batches`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DropReport {
    /// The batches that were taken out, in order of coming.
    pub batches: Vec<String>,
    /// The commit that says so; the one before still has them, until [`DataBank::vacuum`].
    pub commit: u64,
    /// Events that no longer count.
    pub rows: u64,
    /// Events of other batches that were written anew, since they stood in one segment with those that went.
    pub rewritten: u64,
    /// Consumers whose identifiers could no longer be read and are lost; no event is of them. They keep their numbers, count in
    /// saved audiences, and are in no list of identifiers.
    pub lost_ids: u64,
    /// Later batches that stay and had rows left out as copies by `event_id`, in order of coming. The events may have been of the
    /// batches that went, and are then gone with them. The bank does not know which: these batches, taken out and
    /// ingested again, bring them back.
    pub later_batches: Vec<String>,
    /// The rows of these that were left out as copies: at most so many events are gone without being named.
    pub later_copies: u64,
    /// Days that were kept and no longer hold.
    pub dropped_days: Vec<String>,
    /// Of these, days that look back on expired events: they cannot be kept again as they were.
    pub lost_days: Vec<String>,
}

impl DropReport {
    /// The report as plain data.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "batch_ids": self.batches,
            "commit": self.commit,
            "rows": self.rows,
            "rows_rewritten": self.rewritten,
            "lost_ids": self.lost_ids,
            "later_batches": self.later_batches,
            "later_copies": self.later_copies,
            "dropped_days": self.dropped_days,
            "lost_days": self.lost_days,
        })
    }
}

/// What goes: batches of events and of links, by their commits.
struct Going {
    events: Commits,
    links: Commits,
}

impl DataBank {
    /// Takes one batch out; see [`DataBank::drop_batches`].
    ///
    /// # Errors
    /// As [`DataBank::drop_batches`].
    pub fn drop_batch(&self, batch_id: &str, runtime: &Runtime<'_>) -> Result<DropReport> {
        self.drop_batches(&[batch_id], runtime)
    }

    /// Takes batches out, also such as can no longer be read: their events or links count no more, and their ids can be
    /// used again. The commit
    /// before still has them, until [`DataBank::vacuum`]. Numbers of consumers stay given, and saved audiences stay as
    /// they were saved; kept
    /// days that the batches had a part in are dropped.
    ///
    /// Events of batches that were merged into one segment can be told apart as long as the files of before the merge
    /// are there. Links go from
    /// the newest batch of them back.
    ///
    /// Where events have an `event_id`, rows of later batches were left out as copies of events that go now. They are not
    /// stored, so they cannot come back by themselves, and their batches are still known: [`DropReport::later_batches`]
    /// names them. Take these out too, and ingest them again.
    ///
    /// # Errors
    /// [`BankError::Unknown`] for a batch that is not there; [`BankError::SharedBatches`] naming those that can only go
    /// together;
    /// [`BankError::ReadOnly`]; [`BankError::NoSpace`]; cancellation. Nothing is changed then.
    ///
    /// # Example
    /// ```
    /// # use aipl_core::bank::{CreateParams, DataBank, IngestParams};
    /// # use aipl_core::event::EventSchema;
    /// # use aipl_core::source::Events;
    /// # use aipl_core::timeline::Runtime;
    /// # use arrow::array::{RecordBatch, StringArray};
    /// # let folder = tempfile::tempdir()?;
    /// # let schema = EventSchema::new("user", "brand", "action", "at");
    /// # let column = |value: &'static str| std::sync::Arc::new(StringArray::from(vec![value])) as _;
    /// # let batch = RecordBatch::try_from_iter([
    /// #     ("user", column("u1")), ("brand", column("b")), ("action", column("purchase")),
    /// #     ("at", column("2024-06-30 10:00:00")),
    /// # ])?;
    /// # let events = Events::from_batches(batch.schema(), vec![batch], schema.clone(), "Asia/Shanghai")?;
    /// let bank = DataBank::create(folder.path(), schema, "Asia/Shanghai", CreateParams::default())?;
    /// let runtime = Runtime::default();
    /// bank.ingest(&events, "wrong file", &IngestParams::default(), &runtime)?;
    /// let told = bank.drop_batch("wrong file", &runtime)?;
    /// assert_eq!((told.rows, bank.info()["rows"].as_u64()), (1, Some(0)));
    /// assert_eq!(bank.as_of_commit(told.commit - 1)?.info()["rows"], 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn drop_batches(&self, batch_ids: &[&str], runtime: &Runtime<'_>) -> Result<DropReport> {
        self.write("drop_batch", || {
            let state = self.state();
            let going = self.going(&state, batch_ids)?;
            let mut record = Record {
                dropped_batches: state.batches_of(&going.all()),
                ..Record::of("drop_batch")
            };
            let mut files = Vec::new();
            let mut report = self.drop_events(&state, &going.events, &mut record, &mut files, runtime)?;
            self.drop_links(&state, &going.links, &mut record)?;
            let days = self.touched_days(&state, &going);
            report.dropped_days = days.iter().map(|kept| kept.describe()).collect();
            let is_lost = |kept: &&&KeptRecord| state.expired.is_some_and(|expired| kept.from < expired.number());
            report.lost_days = days.iter().filter(is_lost).map(|kept| kept.describe()).collect();
            (report.later_batches, report.later_copies) = later_copies(&self.records(), &state, &going.events);
            record.dropped = days.iter().map(|kept| kept.file.clone()).collect();
            record.remove.extend(record.dropped.iter().cloned());
            report.batches.clone_from(&record.dropped_batches);
            report.commit = self.commit(record, &files, &[])?;
            self.forget_closed();
            if report.lost_ids > 0 {
                self.forget_consumers();
            }
            Ok(report)
        })
    }

    fn going(&self, state: &State, ids: &[&str]) -> Result<Going> {
        if ids.is_empty() {
            return Err(BankError::parameter("batch_id", "no batch is named"));
        }
        let (mut events, mut links) = (Commits::new(), Commits::new());
        for id in ids {
            let Some((seq, _)) = state.batches.get(*id) else {
                return Err(BankError::Unknown {
                    what: "batch",
                    name: (*id).to_owned(),
                    hint: hint(id, state.batches.keys().map(String::as_str)),
                });
            };
            let list = if self.is_of_links(*seq) { &mut links } else { &mut events };
            list.insert(*seq);
        }
        Ok(Going { events, links })
    }

    fn is_of_links(&self, seq: u64) -> bool {
        self.record_of(seq).is_some_and(|record| record.kind == "ingest_links")
    }

    fn record_of(&self, seq: u64) -> Option<Record> {
        self.records()
            .into_iter()
            .find(|commit| commit.seq == seq)
            .map(|commit| commit.record)
    }

    /// Takes the segments of batches out of a state. What other batches have in them is written anew.
    fn drop_events(
        &self,
        state: &State,
        going: &Commits,
        record: &mut Record,
        files: &mut Vec<Published>,
        runtime: &Runtime<'_>,
    ) -> Result<DropReport> {
        let together = connected(state, going);
        let touched = |file: &&FileRecord| !state.origins.of(&file.name).is_disjoint(&together);
        let (gone, others): (Vec<&FileRecord>, Vec<&FileRecord>) = state.of_folder("segments").partition(touched);
        record.remove.extend(gone.iter().map(|file| file.name.clone()));
        let staying: Commits = together.difference(going).copied().collect();
        let rest = self.rewrite(state, going, &staying, runtime)?;
        let rewritten = rest.as_ref().map_or(0, |rest| rest.record.rows);
        let mended = self.mend(state, going, &others, rest.as_ref())?;
        files.extend(rest);
        let lost_ids = mended.as_ref().map_or(0, |mended| mended.lost);
        if let Some(mended) = mended {
            record.remove.extend(state.of_folder("ids").map(|file| file.name.clone()));
            files.push(mended.file);
        }
        Ok(DropReport {
            rows: gone.iter().map(|file| file.rows).sum::<u64>().saturating_sub(rewritten),
            rewritten,
            lost_ids,
            ..DropReport::default()
        })
    }

    /// Writes the events of batches that stay anew, from the segments that the batches came in.
    fn rewrite(&self, state: &State, going: &Commits, staying: &Commits, runtime: &Runtime<'_>) -> Result<Option<Published>> {
        if staying.is_empty() {
            return Ok(None);
        }
        let (mut own, mut missing) = (Vec::new(), false);
        for seq in staying {
            let record = self.record_of(*seq).unwrap_or_default();
            for file in record.add.into_iter().filter(|file| file.folder == "segments") {
                missing |= self.open_anew(&file).is_err();
                own.push(file);
            }
        }
        if missing {
            let together: Commits = going.union(staying).copied().collect();
            return Err(BankError::SharedBatches {
                problem: format!(
                    "{} had a segment each until they were merged into one, and these are gone or damaged, so their events cannot be told apart",
                    of_names(&state.batches_of(&together))
                ),
                batches: state.batches_of(&together),
            });
        }
        check_space(self.path(), own.iter().map(|file| file.bytes).sum())?;
        let left_out = LeftOut {
            before: state.expired.map(crate::base::Day::number),
            switches: state_switches(&self.shared.schema),
            ..LeftOut::default()
        };
        Ok(self.merge_segments(&own, left_out, runtime)?.0)
    }

    fn open_anew(&self, file: &FileRecord) -> Result<Segment> {
        Segment::open(self.path(), file, &self.blocks(file)?)
    }

    fn mend(&self, state: &State, going: &Commits, others: &[&FileRecord], rest: Option<&Published>) -> Result<Option<Mended>> {
        let mut open = Vec::new();
        for file in others {
            open.push(self.open_anew(file));
        }
        // A segment that cannot be read matters only where identifiers are lost, and then nobody can tell whose events
        // it has.
        let whole = open.iter().all(Result::is_ok);
        let mut open: Vec<Segment> = open.into_iter().flatten().collect();
        if let Some(rest) = rest {
            open.push(Segment::open(self.path(), &rest.record, &rest.blocks)?);
        }
        let mended = self.mend_consumers(state, going, &open)?;
        match mended {
            Some(mended) if mended.lost > 0 && !whole => Err(BankError::SharedBatches {
                problem: "the identifiers of its consumers can no longer be read, nor can a segment of other batches".to_owned(),
                batches: state.batches_of(&origins_of(state, others.iter().copied())),
            }),
            mended => Ok(mended),
        }
    }

    /// Takes the newest batches of links out of a state: the map is again the one of the batch before.
    fn drop_links(&self, state: &State, going: &Commits, record: &mut Record) -> Result<()> {
        let Some(first) = going.first() else { return Ok(()) };
        let all: Commits = state
            .batches
            .values()
            .map(|(seq, _)| *seq)
            .filter(|seq| self.is_of_links(*seq))
            .collect();
        let later: Commits = all.range(first..).copied().collect();
        if later != *going {
            return Err(BankError::SharedBatches {
                problem: "later batches of links go on from this one".to_owned(),
                batches: state.batches_of(&later),
            });
        }
        record.remove.extend(state.links.iter().map(|links| links.file.clone()));
        let Some(before) = all.range(..first).next_back() else {
            record.unlinked = true;
            return Ok(());
        };
        let earlier = self.record_of(*before).unwrap_or_default();
        let file = earlier.add.iter().find(|file| file.folder == "links");
        let whole = |file: &&FileRecord| {
            let opened = self
                .blocks(file)
                .and_then(|blocks| crate::bank::files::CheckedFile::open(self.path(), file, &blocks));
            opened.is_ok_and(|opened| opened.verify(file).is_ok())
        };
        let Some(file) = file.filter(whole) else {
            return Err(BankError::SharedBatches {
                problem: "the map of the links before it is gone or damaged".to_owned(),
                batches: state.batches_of(&all),
            });
        };
        record.add.push(file.clone());
        record.links.clone_from(&earlier.links);
        Ok(())
    }

    /// Kept days that batches had a part in: those with their events, and those of persons who were made by their
    /// links.
    fn touched_days<'s>(&self, state: &'s Arc<State>, going: &Going) -> Vec<&'s KeptRecord> {
        let records = going.events.iter().filter_map(|seq| self.record_of(*seq));
        let days = records.flat_map(|record| record.add).filter_map(|file| file.days);
        let first_day = days.map(|(first, _)| first).min();
        let first_links = going.links.first().copied();
        let touched =
            |kept: &&KeptRecord| first_day.is_some_and(|first| kept.day >= first) || first_links.is_some_and(|first| kept.made > first);
        state.kept.iter().filter(touched).collect()
    }
}

/// Batches that stay, came after the first that goes, and had rows left out as copies; and how many rows.
fn later_copies(commits: &[Commit], state: &State, going: &Commits) -> (Vec<String>, u64) {
    let Some(first) = going.first() else {
        return (Vec::new(), 0);
    };
    let (mut later, mut copies) = (Commits::new(), 0);
    for commit in commits.iter().filter(|commit| commit.seq > *first && !going.contains(&commit.seq)) {
        let own = commit.record.batch.as_ref().filter(|_| commit.record.kind == "ingest");
        let own = own.filter(|batch| batch.rows_duplicate > 0);
        if let Some(batch) = own.filter(|batch| state.batches.get(&batch.id).is_some_and(|(seq, _)| *seq == commit.seq)) {
            later.insert(commit.seq);
            copies += batch.rows_duplicate;
        }
    }
    (state.batches_of(&later), copies)
}

/// All batches of some files.
fn origins_of<'f>(state: &State, files: impl Iterator<Item = &'f FileRecord>) -> Commits {
    let mut all = Commits::new();
    files.for_each(|file| all.extend(state.origins.of(&file.name).iter()));
    all
}

/// Batches with all those that may stand in a segment with one of them, and with one of those, and so on: records do
/// not always tell which
/// of several segments has the events of a batch.
fn connected(state: &State, going: &Commits) -> Commits {
    let mut together = going.clone();
    loop {
        let touched = state
            .of_folder("segments")
            .filter(|file| !state.origins.of(&file.name).is_disjoint(&together));
        let more: Commits = origins_of(state, touched).union(&together).copied().collect();
        if more.len() == together.len() {
            return together;
        }
        together = more;
    }
}

impl Going {
    fn all(&self) -> Commits {
        self.events.union(&self.links).copied().collect()
    }
}
