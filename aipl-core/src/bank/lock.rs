//! Who may write, and who reads what: kernel locks, which end with their holder.
//!
//! A lock is a courtesy. Some file systems do not honor it, and a file that is locked can be removed; so nothing that
//! was committed depends on it
//! (`append`, `vacuum`).

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::OFlags;

use crate::bank::error::BankError;
use crate::bank::files::{create_new, open_directory, random_name};
use crate::bank::places::check_file;
use crate::timeline::runtime::pause;

type Result<T> = std::result::Result<T, BankError>;

/// The file that says who writes.
const NOTE: &str = "writer.lock";
/// How often a place is looked at again that somebody else changes at the same time.
const AGAIN: usize = 100;

/// The lock of the one writer: of the bank's directory, which nobody can remove while it is full, and of `writer.lock`,
/// which says who
/// holds it and keeps away versions of the library that lock nothing else. Forked children inherit it and do not give
/// it up.
#[derive(Debug)]
pub(crate) struct WriterLock {
    folder: File,
    note: File,
    process: u32,
}

impl WriterLock {
    /// Takes the lock at once, or tries until the time is over.
    pub fn take(bank: &Path, timeout: Duration) -> Result<Self> {
        let started = Instant::now();
        loop {
            match Self::try_take(bank)? {
                Some(lock) => return Ok(lock),
                None if started.elapsed() < timeout => pause(Duration::from_millis(20)),
                None => {
                    return Err(BankError::Locked {
                        path: bank.display().to_string(),
                        holder: holder(bank),
                    });
                }
            }
        }
    }

    fn try_take(bank: &Path) -> Result<Option<Self>> {
        let Some(folder) = take_current(bank, || open_directory(bank))? else {
            return Ok(None);
        };
        let path = bank.join(NOTE);
        check_file(bank, NOTE)?;
        let note = match take_current(&path, || open_note(&path)) {
            Ok(Some(note)) => note,
            refused => {
                let _ = folder.unlock();
                return refused.map(|_| None);
            }
        };
        let lock = WriterLock {
            folder,
            note,
            process: std::process::id(),
        };
        lock.say_who();
        Ok(Some(lock))
    }

    /// Leaves word for others. A full disk has no room for it, and a writer must come in to make room.
    fn say_who(&self) {
        let text = format!("process {} since {}", self.process, super::now());
        let mut note = &self.note;
        let _ = note
            .set_len(0)
            .and_then(|()| note.rewind())
            .and_then(|()| note.write_all(text.as_bytes()));
    }
}

impl Drop for WriterLock {
    fn drop(&mut self) {
        if self.process == std::process::id() {
            // Children that inherited the handles keep them open; only this ends the locks for them too.
            let _ = self.note.set_len(0);
            let _ = self.note.unlock();
            let _ = self.folder.unlock();
        }
    }
}

/// Opens and locks what stands at a path, and makes sure that it still stands there; nothing if somebody else holds it.
fn take_current(path: &Path, open: impl Fn() -> io::Result<File>) -> Result<Option<File>> {
    let failed = |error: io::Error| BankError::io(path, &error);
    for _ in 0..AGAIN {
        let file = open().map_err(failed)?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => return Ok(None),
            // Some network file systems lock no directories; then the other lock has to do.
            Err(TryLockError::Error(error)) if !file.metadata().map_err(failed)?.is_dir() => return Err(failed(error)),
            Err(TryLockError::Error(_)) | Ok(()) => {}
        }
        if is_at(&file, path) {
            return Ok(Some(file));
        }
        // It was moved away in between, and another stands in its place.
        let _ = file.unlock();
    }
    Ok(None)
}

fn is_at(file: &File, path: &Path) -> bool {
    let place = |data: fs::Metadata| (data.dev(), data.ino());
    file.metadata().map(place).ok() == fs::metadata(path).map(place).ok()
}

fn open_note(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    options.custom_flags(flags.bits() as i32).open(path)
}

/// Who holds the lock, if it says so, ready to print.
fn holder(bank: &Path) -> String {
    let mut text = String::new();
    if let Ok(file) = crate::bank::files::open_regular(&bank.join(NOTE)) {
        // A note is short; whatever else stands there is not shown whole.
        let _ = file.take(100).read_to_string(&mut text);
    }
    if text.trim().is_empty() {
        String::new()
    } else {
        format!(" ({})", text.trim())
    }
}

/// Stands for any commit.
pub(crate) const ANY_COMMIT: u64 = 0;
/// How long a reader may take from creating its word to locking it.
const BIRTH: Duration = Duration::from_secs(60);
/// How long an unlocked word counts where locks are not honored, so that nobody can tell whether its reader lives.
const WORD_AGE: Duration = Duration::from_secs(86_400);

/// A handle's word that it still reads a commit.
#[derive(Debug)]
pub(crate) struct Lease {
    path: PathBuf,
    file: File,
    process: u32,
}

impl Lease {
    /// Leaves word that any commit may be read. `None` where nothing can be written: such a reader may find its files
    /// gone.
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

    /// Where the word is.
    pub fn path(&self) -> &Path {
        &self.path
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

/// What a file system does here: what time it has, and whether it honors locks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Habits {
    /// The time of a file that was just made. Other machines that use the bank may have other clocks.
    pub now: SystemTime,
    /// Whether a lock keeps another handle away.
    pub honors_locks: bool,
}

impl Habits {
    /// Looks, by a file of its own.
    pub fn of(bank: &Path) -> Result<Habits> {
        let path = bank.join("tmp").join(random_name()?);
        let look = || -> io::Result<Habits> {
            let (one, other) = (create_new(&path)?, File::open(&path)?);
            one.try_lock().map_err(io::Error::from)?;
            Ok(Habits {
                now: one.metadata()?.modified()?,
                honors_locks: matches!(other.try_lock(), Err(TryLockError::WouldBlock)),
            })
        };
        let found = look();
        let _ = fs::remove_file(&path);
        found.map_err(|error| BankError::io(&path, &error))
    }

    /// How far a file's time is from now, whichever of the two is ahead: clocks are set back too.
    pub fn age(&self, data: &fs::Metadata) -> Duration {
        let Ok(made) = data.modified() else { return Duration::ZERO };
        self.now.duration_since(made).unwrap_or_else(|ahead| ahead.duration())
    }
}

/// The commits that living readers read; 0 stands for any. Words of readers that are gone are removed; one's own is
/// passed over.
pub(crate) fn commits_read(bank: &Path, own: Option<&Path>, habits: &Habits) -> Result<Vec<u64>> {
    let folder = bank.join("readers");
    let failed = |error: &io::Error| BankError::io(&folder, error);
    let mut read = Vec::new();
    for entry in fs::read_dir(&folder).map_err(|error| failed(&error))? {
        let entry = entry.map_err(|error| failed(&error))?;
        let path = entry.path();
        if own == Some(path.as_path()) {
            continue;
        }
        check_file(bank, &format!("readers/{}", entry.file_name().to_string_lossy()))?;
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let opened = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(flags.bits() as i32)
            .open(&path);
        match opened {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // A reader of another user, perhaps; whatever it reads, it reads.
            Err(_) => read.push(ANY_COMMIT),
            Ok(file) => read.extend(word(file, &path, habits)),
        }
    }
    Ok(read)
}

/// The commits of one reader's word.
fn word(mut file: File, path: &Path, habits: &Habits) -> Vec<u64> {
    if file.try_lock().is_ok() {
        // Between its creation and its lock a reader's word is unlocked and empty.
        let born = |data: fs::Metadata| data.len() == 0 && habits.age(&data) < BIRTH;
        let counts = |data: fs::Metadata| !habits.honors_locks && habits.age(&data) < WORD_AGE;
        if !file.metadata().is_ok_and(born) && !file.metadata().is_ok_and(counts) {
            let _ = fs::remove_file(path);
            return Vec::new();
        }
    }
    let mut text = String::new();
    let _ = file.read_to_string(&mut text);
    // A word that is being written is empty for a moment.
    let commits: Vec<u64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    if commits.is_empty() { vec![ANY_COMMIT] } else { commits }
}
