//! Looking after a bank: what it holds, whether all of it is whole, and a copy of it.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::Read;
use std::path::Path;

use arrow::datatypes::UInt32Type;
use serde_json::{Value, json};

use crate::bank::catalog::{self, Commit, FORMAT_VERSION};
use crate::bank::error::BankError;
use crate::bank::files::{CheckedFile, FOLDERS, check_space, create_new, make_directory, open_regular, random_name, sync_directory};
use crate::bank::handle::DataBank;
use crate::bank::lock::Lease;
use crate::bank::merge::{is_given, primitive};
use crate::bank::record::{FileRecord, Record};
use crate::bank::sets::SetFile;
use crate::bank::state::State;
use crate::base::ConsumerIdx;
use crate::base::id::BUCKETS;
use crate::timeline::read::each_bucket;
use crate::timeline::scan::ScanError;
use crate::timeline::{Progress, Runtime};

type Result<T> = std::result::Result<T, BankError>;

/// So much of a file is copied before somebody looks whether it should stop.
const COPY_BYTES: u64 = 16 << 20;

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

impl DataBank {
    /// What the bank holds, as plain data.
    #[must_use]
    pub fn info(&self) -> Value {
        let state = self.state();
        let of = |folder: &str| {
            let (files, bytes) = state
                .of_folder(folder)
                .fold((0u64, 0u64), |(files, bytes), file| (files + 1, bytes + file.bytes));
            json!({"files": files, "bytes": bytes})
        };
        let day = |number: i32| super::day_text(number);
        let batches = state.batches.len();
        json!({
            "path": self.path().display().to_string(),
            "id": state.bank.id,
            "format": FORMAT_VERSION,
            "mode": if self.is_writer() { "rw" } else { "r" },
            "commit": state.seq,
            "tz": state.bank.tz,
            "model": self.model().map(|model| model.id.clone()),
            "fields": crate::bank::columns::optional_fields(&self.shared.schema),
            "rows": state.rows(),
            "consumers": state.accounts(),
            "batches": batches,
            "first_day": state.days().map(|(first, _)| day(first)),
            "last_day": state.days().map(|(_, last)| day(last)),
            "expired_before": state.expired.map(|day| day.to_string()),
            "kept_days": self.kept_days().iter().map(|kept| kept.day.to_string()).collect::<Vec<_>>(),
            "audiences": state.audiences.len(),
            "segments": of("segments"),
            "identity": state
                        .links
                        .as_ref()
                        .map(|links| json!({"id_type": links.id_type, "unknown": if links.reject_unknown { "reject" } else { "keep" }})),
            "ids": of("ids"),
            "bitmaps": of("bitmaps"),
            "links": of("links"),
            "bytes": state.files.iter().map(|file| file.bytes).sum::<u64>(),
        })
    }

    /// Reads every byte of the bank: the catalog and its chain, every file's checksums, and whether events, consumers and sets go together.
    ///
    /// # Errors
    /// [`BankError::Corrupt`] naming the first file that is damaged.
    pub fn verify(&self, runtime: &Runtime<'_>) -> Result<VerifyReport> {
        self.check_process()?;
        let contents = catalog::read(self.path())?;
        catalog::integrity(self.path())?;
        let state = self.state();
        let universe = self.accounts_of(&state, Some(runtime))?;
        runtime.progress().begin(0);
        let each = each_bucket(state.files.clone(), runtime, |_, file| Ok(self.verify_file(&state, &file)?))?;
        let mut report = VerifyReport {
            commits: contents.commits.len() as u64,
            orphans: self.orphans(&contents.commits)?,
            ..VerifyReport::default()
        };
        for (file, (rows, sets)) in state.files.iter().zip(each) {
            report.files += 1;
            report.bytes += file.bytes;
            report.rows += rows;
            report.sets += sets;
        }
        let known = (0..BUCKETS).all(|bucket| universe.bucket(bucket).len() == state.consumers[bucket] as usize);
        if !known {
            return Err(BankError::corrupt("ids", "their consumers are not those that the catalog counts"));
        }
        Ok(report)
    }

    /// Checks one file; gives the events or sets in it.
    fn verify_file(&self, state: &State, record: &FileRecord) -> Result<(u64, u64)> {
        let blocks = self.blocks(record)?;
        CheckedFile::open(self.path(), record, &blocks)?.verify(record)?;
        match record.folder.as_str() {
            "segments" => Ok((self.verify_segment(state, record)?, 0)),
            "bitmaps" => {
                let file = SetFile::open(self.path(), record, &blocks)?;
                file.verify(&state.consumers)?;
                Ok((0, record.rows))
            }
            _ => Ok((0, 0)),
        }
    }

    fn verify_segment(&self, state: &State, record: &FileRecord) -> Result<u64> {
        let segment = self.segment(record)?;
        let (batch, _) = segment.file.read(&["consumer_idx"], 0..record.rows)?;
        let consumers = primitive::<UInt32Type>(&segment, &batch, "consumer_idx")?;
        let damaged = |problem: &str| BankError::corrupt(&**segment.file.name(), problem);
        if !consumers.is_sorted() {
            return Err(damaged("its events are not in order"));
        }
        for bucket in 0..BUCKETS {
            let range = segment.range(bucket..bucket + 1);
            let own = &consumers[range.start as usize..range.end as usize];
            if own
                .iter()
                .any(|&idx| ConsumerIdx(idx).bucket() != bucket || !is_given(idx, &state.consumers))
            {
                return Err(damaged("it has a consumer that the bank does not know"));
            }
        }
        Ok(record.rows)
    }

    fn orphans(&self, commits: &[Commit]) -> Result<u64> {
        let named: HashSet<&str> = commits
            .iter()
            .flat_map(|commit| commit.record.add.iter().map(|file| file.name.as_str()))
            .collect();
        let mut orphans = 0;
        for folder in ["segments", "ids", "bitmaps", "links", "tmp"] {
            let folder = self.path().join(folder);
            let entries = match fs::read_dir(&folder) {
                // Tools that copy trees may leave empty folders behind.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                entries => entries.map_err(|error| BankError::io(&folder, &error))?,
            };
            for entry in entries {
                let entry = entry.map_err(|error| BankError::io(&folder, &error))?;
                orphans += u64::from(entry.file_name().to_str().is_none_or(|name| !named.contains(name)));
            }
        }
        Ok(orphans)
    }

    /// Copies the newest state of the bank into a directory that is new or empty. The copy is a bank of its own, whose audiences are not those of
    /// this one; it holds the files
    /// that the newest commit names, and no earlier state. A copy that does not come to its end leaves nothing behind. Gives the bytes of its files.
    ///
    /// # Errors
    /// [`BankError::Exists`]; [`BankError::NoSpace`]; [`BankError::Corrupt`] where a file to copy is damaged; cancellation.
    pub fn backup(&self, target: &Path, runtime: &Runtime<'_>) -> Result<u64> {
        self.check_process()?;
        let failed = |error: &std::io::Error| BankError::io(target, error);
        make_directory(target).map_err(|error| failed(&error))?;
        if fs::read_dir(target).map_err(|error| failed(&error))?.next().is_some() {
            return Err(BankError::Exists {
                path: target.display().to_string(),
            });
        }
        let copied = self.copy_to(target, runtime);
        if copied.is_err() {
            // What is there is a part of a bank, and nobody must take it for one.
            for folder in FOLDERS {
                let _ = fs::remove_dir_all(target.join(folder));
            }
            for file in fs::read_dir(target).into_iter().flatten().flatten() {
                let _ = fs::remove_file(file.path());
            }
        }
        copied
    }

    fn copy_to(&self, target: &Path, runtime: &Runtime<'_>) -> Result<u64> {
        let failed = |error: &std::io::Error| BankError::io(target, error);
        // Whoever cleans up meanwhile leaves every file where it is.
        let _lease = Lease::take(self.path());
        for folder in FOLDERS {
            make_directory(&target.join(folder)).map_err(|error| failed(&error))?;
        }
        catalog::copy(self.path(), target)?;
        let contents = catalog::read(target)?;
        let state = State::replay(&contents.commits, u64::MAX)?;
        let bytes: u64 = state.files.iter().map(|file| file.bytes).sum();
        check_space(target, bytes + (1 << 20))?;
        let blocks: HashMap<&str, &[u8]> = contents.blocks.iter().map(|(name, hashes)| (name.as_str(), &hashes[..])).collect();
        let progress = runtime.progress();
        progress.begin(0);
        each_bucket(state.files.iter().collect(), runtime, |_, record| {
            let hashes = blocks.get(record.name.as_str()).copied().unwrap_or_default();
            Ok(copy_file(self.path(), target, record, hashes, progress)?)
        })?;
        for folder in FOLDERS {
            sync_directory(&target.join(folder)).map_err(|error| failed(&error))?;
        }
        // Earlier commits name files that did not come along.
        let left: Vec<String> = blocks
            .keys()
            .filter(|name| state.file(name).is_none())
            .map(|name| (*name).to_owned())
            .collect();
        // From here on the two go their own ways, and the same number stands for different consumers.
        let record = Record {
            renamed: Some(random_name()?),
            ..Record::of("backup")
        };
        catalog::append(target, (state.seq, contents.hash), &record, &[], &left)?;
        catalog::write_sum(target, state.seq + 1)?;
        sync_directory(target).map_err(|error| failed(&error))?;
        Ok(bytes)
    }
}

/// Copies a file and checks the copy.
fn copy_file(bank: &Path, target: &Path, record: &FileRecord, blocks: &[u8], progress: &Progress) -> Result<()> {
    let place = |bank: &Path| bank.join(&record.folder).join(&record.name);
    let (from, to) = (place(bank), place(target));
    let mut reader = open_regular(&from).map_err(|error| BankError::io(&from, &error))?;
    let mut writer = create_new(&to).map_err(|error| BankError::io(&to, &error))?;
    loop {
        if progress.is_canceled() {
            return Err(ScanError::Canceled.into());
        }
        let copied = std::io::copy(&mut (&mut reader).take(COPY_BYTES), &mut writer);
        if copied.map_err(|error| BankError::io(&to, &error))? == 0 {
            break;
        }
    }
    writer.sync_all().map_err(|error| BankError::io(&to, &error))?;
    CheckedFile::open(target, record, blocks)?.verify(record)
}
