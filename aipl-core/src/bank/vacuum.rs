//! Removing files that nobody needs any more.

use std::collections::HashSet;
use std::fs::{self, DirEntry};
use std::time::Duration;

use serde_json::{Value, json};

use crate::bank::append::exclusively;
use crate::bank::error::BankError;
use crate::bank::files::is_file_name;
use crate::bank::handle::{DataBank, locked};
use crate::bank::lock::{ANY_COMMIT, Habits, commits_read};
use crate::bank::record::Record;
use crate::bank::state::State;

type Result<T> = std::result::Result<T, BankError>;

/// How old a file must be that no commit names: a writer that holds no honored lock may be about to commit it.
const ORPHAN_AGE: Duration = Duration::from_secs(600);

/// What [`DataBank::vacuum`] did.
#[derive(Debug, Clone, Default)]
pub struct VacuumReport {
    /// Files removed.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files that only an earlier commit names, kept since somebody reads it.
    pub kept_for_readers: u64,
    /// Files that no commit names, kept since they are younger than ten minutes: a commit may come to name them.
    pub kept_young: u64,
}

impl VacuumReport {
    /// The report as plain data.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "files": self.files,
            "bytes": self.bytes,
            "kept_for_readers": self.kept_for_readers,
            "kept_young": self.kept_young,
        })
    }
}

/// Files that stay, and files that some commit names.
#[derive(Default)]
struct Names {
    needed: HashSet<String>,
    committed: HashSet<String>,
    kept_for_readers: u64,
}

impl DataBank {
    /// Removes files that neither the newest commit nor any reader needs, and files of more than ten minutes that no
    /// commit names. Earlier
    /// commits can be read until then, and no longer.
    ///
    /// # Errors
    /// [`BankError::ReadOnly`]; [`BankError::NoSpace`] where there is no room for the commit that says so; what the
    /// disk refuses.
    pub fn vacuum(&self) -> Result<VacuumReport> {
        self.write("vacuum", || {
            let habits = Habits::of(self.path())?;
            let mut report = VacuumReport::default();
            match self.say_what_goes(&habits) {
                Err(BankError::NoSpace { .. }) => {
                    // What no commit names goes without a word, and makes room for it.
                    self.sweep(&habits, false, &mut report)?;
                    self.say_what_goes(&habits)?;
                }
                said => said?,
            }
            self.forget_closed();
            self.sweep(&habits, true, &mut report)?;
            Ok(report)
        })
    }

    /// Commits that files go: from then on nobody can come to read them.
    fn say_what_goes(&self, habits: &Habits) -> Result<()> {
        let names = self.names(habits)?;
        let commits = self.records();
        let named = commits.iter().flat_map(|commit| commit.record.add.iter());
        let gone: Vec<String> = named
            .filter(|file| !names.needed.contains(&file.name) && self.blocks(file).is_ok())
            .map(|file| file.name.clone())
            .collect::<HashSet<String>>()
            .into_iter()
            .collect();
        if !gone.is_empty() {
            self.commit(Record::of("vacuum"), &[], &gone)?;
        }
        Ok(())
    }

    /// Who needs what, now.
    fn names(&self, habits: &Habits) -> Result<Names> {
        let (newest, commits) = (self.state(), self.records());
        let mut names = Names {
            needed: newest.files.iter().map(|file| file.name.clone()).collect(),
            committed: commits
                .iter()
                .flat_map(|commit| commit.record.add.iter().map(|file| file.name.clone()))
                .collect(),
            kept_for_readers: 0,
        };
        self.states_in_use().iter().for_each(|state| names.keep(state));
        let own = locked(&self.shared.lease).as_ref().map(|lease| lease.path().to_owned());
        for seq in commits_read(self.path(), own.as_deref(), habits)? {
            if seq == ANY_COMMIT {
                for commit in &commits {
                    names.keep(&State::replay(&commits, commit.seq)?);
                }
            } else {
                names.keep(&State::replay(&commits, seq)?);
            }
        }
        Ok(names)
    }

    /// Removes files while nobody can commit, so that what is committed meanwhile is looked at before or after, never
    /// in between.
    fn sweep(&self, habits: &Habits, committed: bool, report: &mut VacuumReport) -> Result<()> {
        let state = self.state();
        exclusively(self.path(), (state.seq, state.hash), || {
            let names = self.names(habits)?;
            report.kept_for_readers = names.kept_for_readers;
            report.kept_young = 0;
            for folder in ["segments", "ids", "bitmaps", "links", "tmp"] {
                let place = self.path().join(folder);
                let failed = |error: &std::io::Error| BankError::io(&place, error);
                for entry in fs::read_dir(&place).map_err(|error| failed(&error))? {
                    let entry = entry.map_err(|error| failed(&error))?;
                    remove(&entry, folder, &names, habits, committed, report)?;
                }
            }
            Ok(())
        })
    }
}

impl Names {
    fn keep(&mut self, state: &State) {
        let more = state.files.iter().filter(|file| self.needed.insert(file.name.clone())).count();
        self.kept_for_readers += more as u64;
    }
}

/// Removes a file that nobody needs; one that some commit names only if that is asked for.
fn remove(entry: &DirEntry, folder: &str, names: &Names, habits: &Habits, committed: bool, report: &mut VacuumReport) -> Result<()> {
    let (name, unfinished) = (entry.file_name(), folder == "tmp");
    let name = name.to_str().unwrap_or_default();
    // What a bank does not make is not a bank's to remove.
    if !(unfinished || is_file_name(name) && !names.needed.contains(name)) {
        return Ok(());
    }
    let Ok(data) = fs::symlink_metadata(entry.path()) else {
        return Ok(());
    };
    if !data.is_file() {
        return Ok(());
    }
    if !unfinished && names.committed.contains(name) {
        if !committed {
            return Ok(());
        }
    } else if habits.age(&data) < ORPHAN_AGE {
        report.kept_young += 1;
        return Ok(());
    }
    match fs::remove_file(entry.path()) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(BankError::io(&entry.path(), &error)),
        _ => {}
    }
    report.files += 1;
    report.bytes += data.len();
    Ok(())
}
