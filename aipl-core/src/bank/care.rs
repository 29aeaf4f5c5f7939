//! Looking after a bank: what it holds, whether all of it is whole, and a copy of it.

use std::collections::HashMap;
use std::fs;
use std::io::Read;
use std::path::Path;

use serde_json::{Value, json};

use crate::bank::append::{Addition, append};
use crate::bank::catalog::{self, FORMAT_VERSION};
use crate::bank::error::BankError;
use crate::bank::files::{CheckedFile, FOLDERS, check_space, create_new, open_regular, random_name, sync_directory};
use crate::bank::handle::DataBank;
use crate::bank::lock::Lease;
use crate::bank::places::{make_folders, make_new};
use crate::bank::record::{FileRecord, Record};
use crate::bank::state::State;
use crate::timeline::read::each_bucket;
use crate::timeline::scan::ScanError;
use crate::timeline::{Progress, Runtime};

type Result<T> = std::result::Result<T, BankError>;

/// So much of a file is copied before somebody looks whether it should stop.
const COPY_BYTES: u64 = 16 << 20;

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

    /// Copies the newest state of the bank into a directory that is new or empty. The copy is a bank of its own, whose
    /// audiences are not those of
    /// this one; it holds the files
    /// that the newest commit names, and no earlier state. A copy that does not come to its end leaves nothing behind.
    /// Gives the bytes of its files.
    ///
    /// # Errors
    /// [`BankError::Exists`]; [`BankError::NoSpace`]; [`BankError::Corrupt`] where a file to copy is damaged;
    /// cancellation.
    pub fn backup(&self, target: &Path, runtime: &Runtime<'_>) -> Result<u64> {
        self.check_process()?;
        make_new(target, |target| Ok(fs::read_dir(target)?.next().is_none()))?;
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
        make_folders(target)?;
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
        let addition = Addition {
            forget: &left,
            needed: &state.files.iter().collect::<Vec<_>>(),
            ..Addition::default()
        };
        append(target, (state.seq, contents.hash), &record, &addition)?;
        catalog::write_sum(target)?;
        sync_directory(target).map_err(|error| failed(&error))?;
        Ok(bytes)
    }
}

/// Copies a file and checks the copy.
fn copy_file(bank: &Path, target: &Path, record: &FileRecord, blocks: &[u8], progress: &Progress) -> Result<()> {
    let place = |bank: &Path| bank.join(&record.folder).join(&record.name);
    let (from, to) = (place(bank), place(target));
    // Whatever stands in its place is named in the words of a bank.
    CheckedFile::open(bank, record, blocks)?;
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
