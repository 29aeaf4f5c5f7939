//! Which batches a file has rows or consumers of, as far as records tell: what a damaged file takes along, and what can
//! be taken out alone.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::bank::error::{BankError, RESTORE, quoted};
use crate::bank::record::{FileRecord, Record};
use crate::bank::state::State;
use crate::base::suggest::some_of;

/// Commits that brought what is in a file: those of the batches whose events or consumers it has.
pub(crate) type Commits = BTreeSet<u64>;

/// By name of a segment or a file of consumers, the commits of its batches.
#[derive(Debug, Clone, Default)]
pub(crate) struct Origins(HashMap<String, Arc<Commits>>);

impl Origins {
    /// Takes in a commit: the files that it removes, and the commits of batches that it takes out.
    pub fn apply(&mut self, seq: u64, record: &Record, removed: &[FileRecord], gone: &[u64]) {
        for folder in ["segments", "ids"] {
            let old = removed.iter().filter(|file| file.folder == folder);
            let old: Vec<Arc<Commits>> = old.map(|file| self.0.remove(&file.name).unwrap_or_default()).collect();
            let new: Vec<&FileRecord> = record.add.iter().filter(|file| file.folder == folder).collect();
            for (place, file) in new.iter().enumerate() {
                let mut own = match &record.batch {
                    Some(_) => Commits::from([seq]),
                    // Where there are as many as before, each stands for the one in its place; else all of them may be
                    // in each.
                    None if old.len() == new.len() => (*old[place]).clone(),
                    None => old.iter().flat_map(|commits| commits.iter().copied()).collect(),
                };
                if folder == "segments" {
                    own.retain(|commit| !gone.contains(commit));
                }
                self.0.insert(file.name.clone(), Arc::new(own));
            }
        }
    }

    /// The commits of a file's batches.
    pub fn of(&self, file: &str) -> Arc<Commits> {
        self.0.get(file).cloned().unwrap_or_default()
    }
}

impl State {
    /// The ids of the batches of some commits, as far as they are in the bank, in order of coming.
    pub fn batches_of(&self, commits: &Commits) -> Vec<String> {
        let mut own: Vec<(u64, &String)> = self.batches.iter().map(|(id, (seq, _))| (*seq, id)).collect();
        own.retain(|(seq, _)| commits.contains(seq));
        own.sort_unstable();
        own.into_iter().map(|(_, id)| id.clone()).collect()
    }

    /// A refusal to read a file of this state, with the batches that it takes along and what helps.
    pub fn explain(&self, error: BankError) -> BankError {
        let BankError::Corrupt { file, problem, cure } = error else {
            return error;
        };
        let name = file.strip_prefix("segments/").or_else(|| file.strip_prefix("ids/"));
        let batches = name.map(|name| self.batches_of(&self.origins.of(name))).unwrap_or_default();
        if batches.is_empty() || cure != RESTORE {
            return BankError::Corrupt { file, problem, cure };
        }
        let (what, them) = if batches.len() == 1 { ("batch", "it") } else { ("batches", "them") };
        BankError::Corrupt {
            cure: format!(
                "it has {what} {}: {RESTORE}, or take {them} out by drop_batch",
                some_of(&quoted(&batches))
            ),
            file,
            problem,
        }
    }
}
