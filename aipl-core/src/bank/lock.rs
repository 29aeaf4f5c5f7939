//! Who may write, and who reads what: kernel locks, which end with their holder.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;

use crate::bank::error::BankError;
use crate::bank::files::{create_new, random_name};
use crate::timeline::runtime::pause;

type Result<T> = std::result::Result<T, BankError>;

/// The lock of the one writer. Forked children inherit it and do not give it up.
#[derive(Debug)]
pub(crate) struct WriterLock {
    file: File,
    process: u32,
}

impl WriterLock {
    /// Takes the lock at once, or tries until the time is over.
    pub fn take(bank: &Path, timeout: Duration) -> Result<Self> {
        let path = bank.join("writer.lock");
        let failed = |error: &std::io::Error| BankError::io(&path, error);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(OFlags::NOFOLLOW.bits() as i32)
            .open(&path)
            .map_err(|error| failed(&error))?;
        let started = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if started.elapsed() < timeout => pause(Duration::from_millis(20)),
                Err(TryLockError::WouldBlock) => {
                    let mut holder = String::new();
                    let _ = file.read_to_string(&mut holder);
                    let holder = if holder.is_empty() {
                        String::new()
                    } else {
                        format!(" ({})", holder.trim())
                    };
                    return Err(BankError::Locked {
                        path: bank.display().to_string(),
                        holder,
                    });
                }
                Err(TryLockError::Error(error)) => return Err(failed(&error)),
            }
        }
        let process = std::process::id();
        let note = format!("process {process} since {}", super::now());
        let noted = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(note.as_bytes()));
        noted.map_err(|error| failed(&error))?;
        Ok(WriterLock { file, process })
    }
}

impl Drop for WriterLock {
    fn drop(&mut self) {
        if self.process == std::process::id() {
            // Children that inherited the handle keep it open; only this ends the lock for them too.
            let _ = self.file.set_len(0);
            let _ = self.file.unlock();
        }
    }
}

/// Stands for any commit.
pub(crate) const ANY_COMMIT: u64 = 0;
/// How long a reader may take from creating its word to locking it.
const BIRTH: Duration = Duration::from_secs(60);

/// A reader's word that it still reads a commit.
#[derive(Debug)]
pub(crate) struct Lease {
    path: PathBuf,
    file: File,
    process: u32,
}

impl Lease {
    /// Leaves word that any commit may be read. `None` where nothing can be written: such a reader may find its files gone.
    pub fn take(bank: &Path) -> Option<Self> {
        let path = bank.join("readers").join(random_name().ok()?);
        let file = create_new(&path).ok()?;
        let mut lease = Lease {
            path,
            file,
            process: std::process::id(),
        };
        lease.file.lock().ok()?;
        lease.note(&[ANY_COMMIT]);
        Some(lease)
    }

    /// Says which commits are read.
    pub fn note(&mut self, commits: &[u64]) {
        let text = commits.iter().map(u64::to_string).collect::<Vec<_>>().join(" ");
        let noted = self
            .file
            .set_len(0)
            .and_then(|()| self.file.rewind())
            .and_then(|()| self.file.write_all(text.as_bytes()));
        // Word that cannot be changed stays "any commit", which only keeps files longer.
        let _ = noted;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.process == std::process::id() {
            let _ = fs::remove_file(&self.path);
            let _ = self.file.unlock();
        }
    }
}

/// The commits that living readers read; 0 stands for any. Words of readers that are gone are removed.
pub(crate) fn commits_read(bank: &Path) -> Result<Vec<u64>> {
    let folder = bank.join("readers");
    let failed = |error: &std::io::Error| BankError::io(&folder, error);
    let mut read = Vec::new();
    for entry in fs::read_dir(&folder).map_err(|error| failed(&error))? {
        let path = entry.map_err(|error| failed(&error))?.path();
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let opened = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(flags.bits() as i32)
            .open(&path);
        let Ok(mut file) = opened else {
            continue;
        };
        match file.try_lock() {
            // Between its creation and its lock a reader's word is unlocked and empty.
            Ok(()) if is_being_born(&file) => read.push(ANY_COMMIT),
            Ok(()) => drop(fs::remove_file(&path)),
            Err(_) => {
                let mut text = String::new();
                let _ = file.read_to_string(&mut text);
                // A word that is being written is empty for a moment.
                let commits: Vec<u64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
                read.extend(if commits.is_empty() { vec![ANY_COMMIT] } else { commits });
            }
        }
    }
    Ok(read)
}

fn is_being_born(file: &File) -> bool {
    let age = |data: &fs::Metadata| data.modified().ok().and_then(|made| made.elapsed().ok());
    file.metadata()
        .is_ok_and(|data| data.len() == 0 && age(&data).is_some_and(|age| age < BIRTH))
}
