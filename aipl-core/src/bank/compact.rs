//! Merging small segments, removing what nothing names, and letting old events expire.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::bank::consumers;
use crate::bank::error::BankError;
use crate::bank::files::{Published, check_space};
use crate::bank::handle::DataBank;
use crate::bank::merge::{LeftOut, Merge, Part};
use crate::bank::record::{FileRecord, Record};
use crate::bank::state::State;
use crate::base::id::BUCKETS;
use crate::base::{ConsumerIdx, Day};
use crate::model::compile;
use crate::timeline::Runtime;
use crate::timeline::timelines::{needed_from, state_switches};

type Result<T> = std::result::Result<T, BankError>;

/// So many segments of about one size are merged.
const MANY: usize = 16;
/// Segments are of about one size where the greatest has at most so many times the rows of the least.
const ALIKE: u64 = 8;
/// Segments below so many rows are all of the least size.
const SMALL_ROWS: u64 = 1 << 16;
/// A segment with more rows is not merged any more.
const LARGE_ROWS: u64 = 1 << 28;

/// Which segments to merge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compaction {
    /// Those of one size, where there are many.
    WhenMany,
    /// All that can be.
    All,
}

/// What [`DataBank::compact`] did.
#[derive(Debug, Clone, Default)]
pub struct CompactReport {
    /// Segments that were merged.
    pub segments: u64,
    /// Segments that they became.
    pub into: u64,
    /// Rows of those.
    pub rows: u64,
    /// Bytes before and after.
    pub bytes: (u64, u64),
    /// How long it took.
    pub elapsed: Duration,
}

/// What [`DataBank::expire`] did.
#[derive(Debug, Clone, Default)]
pub struct ExpireReport {
    /// Events that are gone.
    pub rows: u64,
    /// The commit that says so.
    pub commit: u64,
    /// The day before which there are none.
    pub before: String,
}

impl CompactReport {
    /// The report as plain data.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "segments": self.segments,
            "into": self.into,
            "rows": self.rows,
            "bytes_before": self.bytes.0,
            "bytes_after": self.bytes.1,
            "seconds": self.elapsed.as_secs_f64(),
        })
    }
}

impl ExpireReport {
    /// The report as plain data.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "rows": self.rows,
            "commit": self.commit,
            "before": self.before,
        })
    }
}

/// Segments to merge with each other.
fn choose(state: &State, compaction: Compaction) -> Vec<Vec<FileRecord>> {
    let mut segments: Vec<FileRecord> = state.of_folder("segments").cloned().collect();
    segments.sort_by_key(|segment| segment.days);
    match compaction {
        Compaction::WhenMany => {
            segments.sort_by_key(|segment| segment.rows);
            let alike = |list: &&[FileRecord]| list[MANY - 1].rows <= ALIKE * list[0].rows.max(SMALL_ROWS);
            let all = |list: &[FileRecord]| list.iter().map(|segment| segment.rows).sum::<u64>();
            let found = segments.windows(MANY).find(|list| alike(list) && all(list) <= LARGE_ROWS);
            found.map(<[FileRecord]>::to_vec).into_iter().collect()
        }
        Compaction::All => {
            let mut lists: Vec<Vec<FileRecord>> = vec![Vec::new()];
            let mut rows = 0;
            for segment in segments {
                if rows + segment.rows > LARGE_ROWS {
                    lists.push(Vec::new());
                    rows = 0;
                }
                rows += segment.rows;
                if let Some(list) = lists.last_mut() {
                    list.push(segment);
                }
            }
            lists.retain(|list| list.len() > 1);
            lists
        }
    }
}

impl DataBank {
    /// Merges segments, so that questions read fewer files. Readers go on reading the old ones; [`DataBank::vacuum`]
    /// removes them.
    ///
    /// # Errors
    /// [`BankError::ReadOnly`], [`BankError::NoSpace`], [`BankError::Corrupt`], cancellation. Nothing is changed then.
    pub fn compact(&self, runtime: &Runtime<'_>) -> Result<CompactReport> {
        self.write("compact", || self.compact_some(Compaction::All, runtime))
    }

    pub(super) fn compact_some(&self, compaction: Compaction, runtime: &Runtime<'_>) -> Result<CompactReport> {
        let started = Instant::now();
        let mut report = CompactReport::default();
        loop {
            let state = self.state();
            let lists = choose(&state, compaction);
            let many_ids = state.of_folder("ids").count() >= if compaction == Compaction::All { 2 } else { MANY };
            if lists.is_empty() && !many_ids {
                break;
            }
            // A commit for each, so that records tell which segments have become which.
            for list in lists {
                self.merge_list(&list, &mut report, runtime)?;
            }
            if many_ids {
                self.merge_consumers()?;
            }
            if compaction == Compaction::All {
                break;
            }
        }
        report.elapsed = started.elapsed();
        Ok(report)
    }

    fn merge_list(&self, list: &[FileRecord], report: &mut CompactReport, runtime: &Runtime<'_>) -> Result<()> {
        let before: u64 = list.iter().map(|segment| segment.bytes).sum();
        check_space(self.path(), before)?;
        let merged = self.merge_segments(list, LeftOut::default(), runtime)?.0;
        let files: Vec<Published> = merged.into_iter().collect();
        let record = Record {
            remove: list.iter().map(|segment| segment.name.clone()).collect(),
            ..Record::of("compact")
        };
        self.commit(record, &files, &[])?;
        self.forget_closed();
        report.into += files.len() as u64;
        report.segments += list.len() as u64;
        report.rows += list.iter().map(|segment| segment.rows).sum::<u64>();
        let after: u64 = files.iter().map(|file| file.record.bytes).sum();
        report.bytes = (report.bytes.0 + before, report.bytes.1 + after);
        Ok(())
    }

    fn merge_consumers(&self) -> Result<()> {
        let state = self.state();
        check_space(self.path(), state.of_folder("ids").map(|file| file.bytes).sum())?;
        let record = Record {
            remove: state.of_folder("ids").map(|file| file.name.clone()).collect(),
            ..Record::of("compact")
        };
        self.commit(record, &[self.write_all_consumers()?], &[])?;
        Ok(())
    }

    pub(super) fn merge_segments(
        &self,
        list: &[FileRecord],
        left_out: LeftOut<'_>,
        runtime: &Runtime<'_>,
    ) -> Result<(Option<Published>, crate::bank::merge::Fate)> {
        let mut parts = Vec::with_capacity(list.len());
        for record in list {
            parts.push(Part::Stored {
                segment: self.segment(record)?,
                finals: None,
            });
        }
        let merge = Merge {
            bank: self.path(),
            shape: &self.shape(&self.state().types),
            parts: &parts,
            left_out,
        };
        merge.write(Some(runtime))
    }

    fn write_all_consumers(&self) -> Result<Published> {
        let universe = self.accounts_of(&self.state(), None)?;
        let of_bucket = |bucket: usize| {
            let ids = universe.bucket(bucket);
            (0..ids.len()).map(move |local| (ConsumerIdx::new(bucket, local as u32), ids.id(local)))
        };
        consumers::write(self.path(), universe.id_kind(), (0..BUCKETS).flat_map(of_bucket))
    }

    /// Removes events before a day for ever, all but those that switch states (`member_join`, `member_leave`, `follow`,
    /// `unfollow`). Days that were materialized stay answerable; others whose rules look further back than `before` are
    /// refused from then on. Earlier commits keep the events until [`DataBank::vacuum`]. Where no event goes, nothing is
    /// recorded: no question is refused, and later batches keep their rows.
    ///
    /// # Errors
    /// [`BankError::Parameter`] for a day before the one of an earlier call, or where the bank's model looks back
    /// without bound; as [`DataBank::compact`].
    pub fn expire(&self, before: Day, runtime: &Runtime<'_>) -> Result<ExpireReport> {
        self.write("expire", || {
            let state = self.state();
            if let Some(already) = state.expired.filter(|already| *already > before) {
                let problem = format!("{before} is before {already}, up to which events are expired already");
                return Err(BankError::parameter("before", problem));
            }
            if let Some(model) = self.model() {
                let program = compile(model, &self.shared.schema).map_err(|error| BankError::parameter("model", error.to_string()))?;
                if needed_from(self, &program, Day::MAX) <= Day::MIN.number() {
                    let problem = format!(
                        "the bank's model {:?} looks back without bound; no day after could be answered",
                        model.id
                    );
                    return Err(BankError::parameter("before", problem));
                }
            }
            let mut record = Record {
                expired: Some(before.to_string()),
                ..Record::of("expire")
            };
            let (mut files, mut rows) = (Vec::new(), 0);
            let is_touched = |segment: &&FileRecord| segment.days.is_none_or(|(first, _)| first < before.number());
            let touched: Vec<&FileRecord> = state.of_folder("segments").filter(is_touched).collect();
            check_space(self.path(), touched.iter().map(|segment| segment.bytes).sum())?;
            for segment in touched {
                let left_out = LeftOut {
                    before: Some(before.number()),
                    switches: state_switches(&self.shared.schema),
                    ..LeftOut::default()
                };
                let (rest, fate) = self.merge_segments(std::slice::from_ref(segment), left_out, runtime)?;
                if fate.expired > 0 {
                    record.remove.push(segment.name.clone());
                    rows += fate.expired;
                    files.extend(rest);
                }
            }
            if rows == 0 {
                // Nothing is lost, so nothing is refused either.
                return Ok(ExpireReport {
                    rows,
                    commit: state.seq,
                    before: before.to_string(),
                });
            }
            let commit = self.commit(record, &files, &[])?;
            self.forget_closed();
            Ok(ExpireReport {
                rows,
                commit,
                before: before.to_string(),
            })
        })
    }
}
