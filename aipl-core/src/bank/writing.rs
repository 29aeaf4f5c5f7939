//! The one way to write: one operation at a time, and one commit each.

use std::sync::{MutexGuard, TryLockError};

use crate::bank::append::{Addition, append, is_overtaken};
use crate::bank::catalog::{self, Commit};
use crate::bank::error::BankError;
use crate::bank::files::Published;
use crate::bank::handle::{DataBank, locked};
use crate::bank::record::{FileRecord, Record};
use crate::bank::state::State;

type Result<T> = std::result::Result<T, BankError>;

/// Operations that take something out: they must work on a bank that has lost a file.
const TAKE_OUT: [&str; 4] = ["drop_batch", "drop_day", "drop_audience", "vacuum"];

impl DataBank {
    /// One operation writes at a time; one that is called within another would wait for ever.
    pub(super) fn begin_writing(&self) -> Result<MutexGuard<'_, ()>> {
        match self.shared.writing.try_lock() {
            Ok(writing) => Ok(writing),
            Err(TryLockError::Poisoned(writing)) => Ok(writing.into_inner()),
            Err(TryLockError::WouldBlock) => Err(BankError::Locked {
                path: self.shared.path.display().to_string(),
                holder: " (this handle, in the middle of another operation)".to_owned(),
            }),
        }
    }

    /// Lets the handle write no more, if the disk has failed.
    pub(super) fn poison(&self, error: &BankError) {
        if matches!(error, BankError::Io { failed: true, .. }) {
            // What a failed write or sync has left on the disk is not known to this handle any more.
            *locked(&self.shared.poison) = Some(error.to_string());
        }
    }

    /// Does what writes: refused to readers, one at a time, and never again after the disk has failed.
    pub(super) fn write<T>(&self, operation: &'static str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        self.check_process()?;
        if !self.is_writer() {
            return Err(BankError::ReadOnly { operation });
        }
        let _writing = self.begin_writing()?;
        if let Some(problem) = locked(&self.shared.poison).clone() {
            return Err(BankError::Poisoned {
                path: self.shared.path.display().to_string(),
                problem,
            });
        }
        work().map_err(|error| self.judge(error))
    }

    /// What a failure of writing comes to.
    pub(super) fn judge(&self, error: BankError) -> BankError {
        let state = self.state();
        let gone = matches!(error, BankError::Io { failed: false, .. } | BankError::Corrupt { .. });
        if gone && is_overtaken(&self.shared.path, (state.seq, state.hash)) {
            // Files go missing where another writer commits and cleans up.
            return BankError::overtaken(&self.shared.path, "it has committed since this one read the bank");
        }
        self.poison(&error);
        state.explain(error)
    }

    /// Commits: the files become part of the bank, and what the record says becomes true. Gives the commit's number.
    pub(super) fn commit(&self, mut record: Record, files: &[Published], forget: &[String]) -> Result<u64> {
        let path = &self.shared.path;
        record.add.extend(files.iter().map(|file| file.record.clone()));
        let blocks: Vec<(&str, &[u8])> = files.iter().map(|file| (file.record.name.as_str(), &file.blocks[..])).collect();
        let state = self.state();
        let addition = Addition {
            blocks: &blocks,
            forget,
            needed: &needed(&state, &record),
        };
        let appended = append(path, (state.seq, state.hash), &record, &addition);
        if matches!(appended, Ok(_) | Err(BankError::Io { .. })) {
            // Where the disk failed the commit may stand all the same, and then these files are its own.
            files.iter().for_each(Published::keep);
        }
        let hash = appended?;
        let mut next = (*state).clone();
        next.apply(state.seq + 1, &record)?;
        next.hash = hash;
        let seq = next.seq;
        {
            let mut inside = locked(&self.shared.inside);
            inside.commits.push(Commit { seq, record });
            inside
                .blocks
                .extend(files.iter().map(|file| (file.record.name.clone(), file.blocks.clone())));
            forget.iter().for_each(|name| drop(inside.blocks.remove(name)));
            inside.put(next);
            self.note_commits(&inside);
        }
        // The commit stands; a sum that cannot be written now is written by the next one, and until then proves less.
        let _ = catalog::write_sum(path);
        Ok(seq)
    }
}

/// Files of a state that a commit goes on with, and that must be there for it.
fn needed<'s>(state: &'s State, record: &Record) -> Vec<&'s FileRecord> {
    if TAKE_OUT.contains(&record.kind.as_str()) {
        return Vec::new();
    }
    state.files.iter().filter(|file| !record.remove.contains(&file.name)).collect()
}
