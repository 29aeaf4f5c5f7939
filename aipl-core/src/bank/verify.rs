//! Whether all of a bank is whole: every byte by its checksum, and everything decoded as questions decode it.

use std::collections::HashSet;
use std::fs;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::bank::catalog::{self, Commit};
use crate::bank::error::BankError;
use crate::bank::files::CheckedFile;
use crate::bank::handle::DataBank;
use crate::bank::merge::{decoder, is_given, read_rows};
use crate::bank::places::{check_file, check_folders};
use crate::bank::record::FileRecord;
use crate::bank::rows::{Rows, Shape};
use crate::bank::segment::{Segment, UNIT_BUCKETS, UNITS, arrow_fault};
use crate::bank::sets::SetFile;
use crate::bank::state::State;
use crate::bank::text::check_text;
use crate::base::ConsumerIdx;
use crate::timeline::Runtime;
use crate::timeline::read::each_bucket;

type Result<T> = std::result::Result<T, BankError>;

/// What [`DataBank::verify`] looked at; that it returns at all says that everything is whole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Commits whose hashes agree.
    pub commits: u64,
    /// Files whose checksums agree.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Events whose consumers are known and stand in order.
    pub rows: u64,
    /// Sets whose consumers are known.
    pub sets: u64,
    /// Files that no commit names; [`DataBank::vacuum`] removes them.
    pub orphans: u64,
}

impl VerifyReport {
    /// The report as plain data.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "commits": self.commits,
            "files": self.files,
            "bytes": self.bytes,
            "rows": self.rows,
            "sets": self.sets,
            "orphans": self.orphans,
        })
    }
}

/// One thing to look at.
enum Item<'s> {
    /// The bytes of a file, and what is in it as a whole.
    File(&'s FileRecord),
    /// A unit of buckets of a segment.
    Unit(Arc<Segment>, usize),
}

impl DataBank {
    /// Reads every byte of the bank: the catalog and its chain, every file's checksums, whether events, consumers and
    /// sets go together, and
    /// whether everything decodes as a question decodes it.
    ///
    /// # Errors
    /// [`BankError::Corrupt`] naming the first file that is damaged.
    pub fn verify(&self, runtime: &Runtime<'_>) -> Result<VerifyReport> {
        self.check_process()?;
        let state = self.state();
        self.verify_state(&state, runtime).map_err(|error| state.explain(error))
    }

    fn verify_state(&self, state: &Arc<State>, runtime: &Runtime<'_>) -> Result<VerifyReport> {
        check_folders(self.path())?;
        check_file(self.path(), "writer.lock")?;
        let contents = catalog::read(self.path())?;
        catalog::integrity(self.path())?;
        let orphans = self.orphans(&contents.commits)?;
        runtime.progress().begin(0);
        let items = state.files.iter().map(Item::File).collect();
        each_bucket(items, runtime, |_, item| Ok(self.verify_item(state, &item)?))?;
        let mut units = Vec::new();
        for record in state.of_folder("segments") {
            let segment = Arc::new(Segment::open(self.path(), record, &self.blocks(record)?)?);
            units.extend((0..UNITS).map(|unit| Item::Unit(segment.clone(), unit)));
        }
        each_bucket(units, runtime, |_, item| Ok(self.verify_item(state, &item)?))?;
        self.read_accounts(state, Some(runtime))?;
        if let Some(links) = &state.links {
            self.read_people(state, links, runtime)?;
        }
        for kept in &state.kept {
            self.open_kept(state, kept)?;
        }
        for audience in &state.audiences {
            self.set_file(state, &audience.file)?.set(0, &state.consumers)?;
        }
        Ok(VerifyReport {
            commits: contents.commits.len() as u64,
            files: state.files.len() as u64,
            bytes: state.files.iter().map(|file| file.bytes).sum(),
            rows: state.rows(),
            sets: state.of_folder("bitmaps").map(|file| file.rows).sum(),
            orphans,
        })
    }

    fn verify_item(&self, state: &State, item: &Item<'_>) -> Result<()> {
        match item {
            Item::File(record) => {
                let blocks = self.blocks(record)?;
                CheckedFile::open(self.path(), record, &blocks)?.verify(record)?;
                match record.folder.as_str() {
                    "bitmaps" => SetFile::open(self.path(), record, &blocks)?.verify(&state.consumers),
                    _ => Ok(()),
                }
            }
            Item::Unit(segment, unit) => {
                let buckets = unit * UNIT_BUCKETS..(unit + 1) * UNIT_BUCKETS;
                verify_unit(state, segment, buckets, &self.shape(&state.types))
            }
        }
    }

    /// How many files there are that no commit names. Whatever is no file and no folder is refused.
    fn orphans(&self, commits: &[Commit]) -> Result<u64> {
        let named: HashSet<&str> = commits
            .iter()
            .flat_map(|commit| commit.record.add.iter().map(|file| file.name.as_str()))
            .collect();
        let mut orphans = 0;
        for folder in ["segments", "ids", "bitmaps", "links", "tmp", "readers"] {
            let place = self.path().join(folder);
            let entries = match fs::read_dir(&place) {
                // Tools that copy trees may leave empty folders behind.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                entries => entries.map_err(|error| BankError::io(&place, &error))?,
            };
            for entry in entries {
                let entry = entry.map_err(|error| BankError::io(&place, &error))?;
                let name = entry.file_name();
                if folder == "readers" || !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    check_file(self.path(), &format!("{folder}/{}", name.to_string_lossy()))?;
                }
                orphans += u64::from(folder != "readers" && name.to_str().is_none_or(|name| !named.contains(name)));
            }
        }
        Ok(orphans)
    }
}

/// Decodes every column of a segment's rows of some buckets, as questions and merging do.
fn verify_unit(state: &State, segment: &Arc<Segment>, buckets: std::ops::Range<usize>, shape: &Shape) -> Result<()> {
    let damaged = |problem: &str| BankError::corrupt(&**segment.file.name(), problem);
    let range = segment.range(buckets.clone());
    if range.is_empty() {
        return Ok(());
    }
    let rows = read_rows(segment, range.clone(), shape, &decoder(&shape.vocabulary))?;
    for (name, array) in
        std::iter::once(("brand", &rows.brands)).chain(shape.fields.iter().map(|(name, _)| name.as_str()).zip(&rows.fields))
    {
        check_text(name, array).map_err(|error| damaged(&error.to_string()))?;
    }
    if !rows.consumers.is_sorted() {
        return Err(damaged("its events are not in order"));
    }
    for bucket in buckets {
        let own = segment.range(bucket..bucket + 1);
        let own = &rows.consumers[(own.start - range.start) as usize..(own.end - range.start) as usize];
        if own
            .iter()
            .any(|&idx| ConsumerIdx(idx).bucket() != bucket || !is_given(idx, &state.consumers))
        {
            return Err(damaged("it has a consumer that the bank does not know"));
        }
    }
    if rows.days.iter().any(|&day| day < segment.days.0 || day > segment.days.1) {
        return Err(damaged("it has an event of a day outside of those that the catalog says"));
    }
    // Types that do not go together are found as merging would find them.
    Rows::concat(&[rows], shape)
        .map_err(arrow_fault)
        .map_err(|error| damaged(&error.to_string()))?;
    Ok(())
}
