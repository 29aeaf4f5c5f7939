//! Files of a bank: written once, synced and published without ever replacing another; read with every byte checked.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use parquet::file::reader::{ChunkReader, Length};
use rustix::fs::OFlags;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::bank::error::{BankError, is_full};
use crate::bank::record::FileRecord;

/// Bytes that one block hash covers.
pub(crate) const BLOCK_BYTES: usize = 256 << 10;
/// Folders of a bank.
pub(crate) const FOLDERS: [&str; 6] = ["segments", "ids", "bitmaps", "links", "readers", "tmp"];

type Result<T> = std::result::Result<T, BankError>;

/// A random number of 128 bits in hexadecimal.
pub(crate) fn random_name() -> Result<String> {
    let mut bytes = [0u8; 16];
    getrandom::fill(&mut bytes).map_err(|error| BankError::Io {
        path: "the system's random numbers".to_owned(),
        problem: error.to_string(),
        failed: false,
    })?;
    Ok(hex128(u128::from_le_bytes(bytes)))
}

/// 32 hexadecimal digits.
pub(crate) fn hex128(value: u128) -> String {
    format!("{value:032x}")
}

/// Whether a name from the catalog is one that the bank gives.
pub(crate) fn is_file_name(name: &str) -> bool {
    let stem = name.strip_suffix(".parquet").or_else(|| name.strip_suffix(".rb"));
    stem.is_some_and(|stem| stem.len() == 32 && stem.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)))
}

/// Bytes that this process may still write there.
pub(crate) fn free_bytes(path: &Path) -> Option<u64> {
    let found = path.ancestors().find(|path| path.exists())?;
    let stat = rustix::fs::statvfs(found).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Refuses work that the disk has no room for.
pub(crate) fn check_space(path: &Path, needed: u64) -> Result<()> {
    match free_bytes(path) {
        Some(free) if free < needed => Err(BankError::NoSpace {
            path: path.display().to_string(),
            needed,
            free,
        }),
        _ => Ok(()),
    }
}

/// Whether a file of a length may be made in a bank and become a little longer. Where that cannot be tried out, it is
/// taken to be so.
pub(crate) fn has_room(bank: &Path, length: u64) -> bool {
    const BYTES: usize = 1 << 16;
    let Ok(path) = random_name().map(|name| bank.join("tmp").join(name)) else {
        return true;
    };
    let written = create_new(&path).and_then(|file| file.write_all_at(&[1; BYTES], length));
    let _ = fs::remove_file(&path);
    !written.is_err_and(|error| is_full(&error))
}

/// Makes a directory that only its owner can enter.
pub(crate) fn make_directory(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().mode(0o700).recursive(true).create(path)
}

/// Syncs a directory: names in it survive a power cut.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    open_directory(path)?.sync_all()
}

/// Opens a directory. Whatever else stands there is refused and not waited for.
pub(crate) fn open_directory(path: &Path) -> io::Result<File> {
    let flags = OFlags::DIRECTORY | OFlags::NONBLOCK;
    OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(path)
}

/// Creates a file that nobody else can read; it must be new.
pub(crate) fn create_new(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .read(true)
        .create_new(true)
        .mode(0o600)
        .custom_flags(OFlags::NOFOLLOW.bits() as i32)
        .open(path)
}

/// What stands at a path instead of a regular file, in words; nothing for a regular file or where nothing is.
pub(crate) fn odd(path: &Path) -> io::Result<Option<&'static str>> {
    let kind = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        found => found?.file_type(),
    };
    Ok(Some(match kind {
        kind if kind.is_file() => return Ok(None),
        kind if kind.is_dir() => "a folder",
        kind if kind.is_symlink() => "a link",
        kind if kind.is_fifo() => "a pipe",
        kind if kind.is_socket() => "a socket",
        _ => "a device",
    }))
}

/// Opens a regular file to read, without following a link and without waiting for a pipe.
pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
    if odd(path)?.is_some() {
        // To open a device may already do something.
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    Ok(file)
}

/// A file in `tmp/`, hashed while it is written.
pub(crate) struct NewFile {
    path: PathBuf,
    name: String,
    file: File,
    bytes: u64,
    whole: Xxh3,
    block: Xxh3,
    in_block: usize,
    blocks: Vec<u8>,
    published: bool,
}

/// A file that is in its place and named by no commit yet; removed again unless a commit comes to name it.
#[derive(Debug)]
pub(crate) struct Published {
    pub record: FileRecord,
    pub blocks: Vec<u8>,
    place: PathBuf,
    kept: AtomicBool,
}

impl NewFile {
    /// Begins a file with this ending.
    pub fn create(bank: &Path, ending: &str) -> Result<Self> {
        let name = format!("{}.{ending}", random_name()?);
        let path = bank.join("tmp").join(&name);
        let file = create_new(&path).map_err(|error| BankError::io(&path, &error))?;
        Ok(NewFile {
            path,
            name,
            file,
            bytes: 0,
            whole: Xxh3::new(),
            block: Xxh3::new(),
            in_block: 0,
            blocks: Vec::new(),
            published: false,
        })
    }

    fn hash(&mut self, mut bytes: &[u8]) {
        self.whole.update(bytes);
        self.bytes += bytes.len() as u64;
        while !bytes.is_empty() {
            let (now, rest) = bytes.split_at(bytes.len().min(BLOCK_BYTES - self.in_block));
            self.block.update(now);
            self.in_block += now.len();
            bytes = rest;
            if self.in_block == BLOCK_BYTES {
                self.end_block();
            }
        }
    }

    fn end_block(&mut self) {
        self.blocks.extend_from_slice(&self.block.digest().to_le_bytes());
        self.block = Xxh3::new();
        self.in_block = 0;
    }

    /// Syncs the file and links it into its folder.
    pub fn publish(mut self, bank: &Path, folder: &str, rows: u64, days: Option<(i32, i32)>) -> Result<Published> {
        let failed = |path: &Path, error: &io::Error| BankError::io(path, error);
        if self.in_block > 0 {
            self.end_block();
        }
        self.file.sync_all().map_err(|error| failed(&self.path, &error))?;
        let place = bank.join(folder).join(&self.name);
        fs::hard_link(&self.path, &place).map_err(|error| failed(&place, &error))?;
        self.published = true;
        let published = self.describe(place.clone(), folder, rows, days);
        fs::remove_file(&self.path).map_err(|error| failed(&self.path, &error))?;
        sync_directory(&bank.join(folder)).map_err(|error| failed(&place, &error))?;
        Ok(published)
    }

    /// Leaves the file in `tmp/`, for this process alone.
    pub fn set_aside(mut self, rows: u64, days: Option<(i32, i32)>) -> Published {
        if self.in_block > 0 {
            self.end_block();
        }
        self.published = true;
        self.describe(self.path.clone(), "tmp", rows, days)
    }

    fn describe(&mut self, place: PathBuf, folder: &str, rows: u64, days: Option<(i32, i32)>) -> Published {
        Published {
            place,
            kept: AtomicBool::new(false),
            record: FileRecord {
                name: self.name.clone(),
                folder: folder.to_owned(),
                bytes: self.bytes,
                rows,
                checksum: hex128(self.whole.digest128()),
                blocks: format!("{:016x}", xxh3_64(&self.blocks)),
                days,
            },
            blocks: std::mem::take(&mut self.blocks),
        }
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hash(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.published {
            // What cannot be removed now is removed by the next vacuum.
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Published {
    /// Leaves the file where it is: a commit names it, or may do so.
    pub fn keep(&self) {
        self.kept.store(true, Ordering::Relaxed);
    }
}

impl Drop for Published {
    fn drop(&mut self) {
        if !*self.kept.get_mut() {
            // What cannot be removed now is removed by the next vacuum.
            let _ = fs::remove_file(&self.place);
        }
    }
}

/// A file of the bank, of which every block is checked when it is first touched.
#[derive(Debug, Clone)]
pub(crate) struct CheckedFile {
    file: Arc<File>,
    name: Arc<str>,
    length: u64,
    blocks: Arc<Vec<Block>>,
}

#[derive(Debug)]
struct Block {
    hash: u64,
    /// Whether its bytes were found to have the hash.
    checked: AtomicBool,
}

impl CheckedFile {
    /// Opens a file that a commit names; its length must be the recorded one.
    pub fn open(bank: &Path, record: &FileRecord, blocks: &[u8]) -> Result<Self> {
        let name = format!("{}/{}", record.folder, record.name);
        if !is_file_name(&record.name) || !FOLDERS.contains(&record.folder.as_str()) {
            return Err(BankError::corrupt(name, "no name that a bank gives"));
        }
        let path = bank.join(&record.folder).join(&record.name);
        let file = match open_regular(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(BankError::corrupt(&name, "the file is missing")),
            Err(error) => {
                return Err(match odd(&path) {
                    Ok(Some(what)) => BankError::corrupt(&name, format!("{what}, not a regular file")),
                    _ => BankError::io(&path, &error),
                });
            }
            Ok(file) => file,
        };
        let length = file.metadata().map_err(|error| BankError::io(&path, &error))?.len();
        if length != record.bytes {
            return Err(BankError::corrupt(name, format!("{length} bytes instead of {}", record.bytes)));
        }
        if format!("{:016x}", xxh3_64(blocks)) != record.blocks || blocks.len() as u64 != record.bytes.div_ceil(BLOCK_BYTES as u64) * 8 {
            return Err(BankError::corrupt(
                "catalog.sqlite",
                format!("the block hashes of {name} are damaged"),
            ));
        }
        let block = |hash: &[u8; 8]| Block {
            hash: u64::from_le_bytes(*hash),
            checked: AtomicBool::new(false),
        };
        let blocks = blocks.as_chunks::<8>().0.iter().map(block).collect();
        Ok(CheckedFile {
            file: Arc::new(file),
            name: name.into(),
            length,
            blocks: Arc::new(blocks),
        })
    }

    /// Its name within the bank.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Reads a range; blocks of it that were not touched before are read whole and checked.
    pub fn read(&self, start: u64, length: usize) -> Result<Bytes> {
        let beyond = || BankError::corrupt(&*self.name, format!("{length} bytes at {start} of {}", self.length));
        let end = start
            .checked_add(length as u64)
            .filter(|end| *end <= self.length)
            .ok_or_else(beyond)?;
        let size = BLOCK_BYTES as u64;
        let (first, last) = (start / size, end.div_ceil(size).max(start / size + 1).min(self.blocks.len() as u64));
        let own = &self.blocks[first as usize..last.max(first) as usize];
        if own.iter().all(|block| block.checked.load(Ordering::Acquire)) {
            return self.read_bytes(start, length).map(Bytes::from);
        }
        let from = first * size;
        let bytes = self.read_bytes(from, ((last * size).min(self.length) - from) as usize)?;
        for ((number, block), chunk) in (first..).zip(own).zip(bytes.chunks(BLOCK_BYTES)) {
            if xxh3_64(chunk) != block.hash {
                let problem = format!("the block of 256 KiB at {} is damaged: its checksum does not agree", number * size);
                return Err(BankError::corrupt(&*self.name, problem));
            }
            block.checked.store(true, Ordering::Release);
        }
        Ok(Bytes::from(bytes).slice((start - from) as usize..(end - from) as usize))
    }

    fn read_bytes(&self, start: u64, length: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, start).map_err(|error| BankError::Io {
            path: self.name.to_string(),
            problem: error.to_string(),
            failed: false,
        })?;
        Ok(bytes)
    }

    /// Reads all of it and checks it as a whole.
    pub fn verify(&self, record: &FileRecord) -> Result<()> {
        let mut whole = Xxh3::new();
        let mut at = 0;
        while at < self.length {
            let bytes = self.read(at, (self.length - at).min(16 << 20) as usize)?;
            whole.update(&bytes);
            at += bytes.len() as u64;
        }
        if hex128(whole.digest128()) == record.checksum {
            Ok(())
        } else {
            Err(BankError::corrupt(&*self.name, "its checksum does not agree"))
        }
    }
}

impl Length for CheckedFile {
    fn len(&self) -> u64 {
        self.length
    }
}

/// Reads on from a position, block by block.
pub(crate) struct CheckedReader {
    file: CheckedFile,
    at: u64,
}

impl Read for CheckedReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = (buffer.len() as u64).min(self.file.length - self.at.min(self.file.length)) as usize;
        if length == 0 {
            return Ok(0);
        }
        let bytes = self.file.read(self.at, length).map_err(io::Error::other)?;
        buffer[..length].copy_from_slice(&bytes);
        self.at += length as u64;
        Ok(length)
    }
}

impl ChunkReader for CheckedFile {
    type T = io::BufReader<CheckedReader>;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Self::T> {
        let reader = CheckedReader {
            file: self.clone(),
            at: start,
        };
        Ok(io::BufReader::with_capacity(BLOCK_BYTES, reader))
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        self.read(start, length)
            .map_err(|error| parquet::errors::ParquetError::External(Box::new(error)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(bytes: &[u8]) -> (tempfile::TempDir, Published) {
        let bank = tempfile::tempdir().expect("a folder");
        for folder in FOLDERS {
            make_directory(&bank.path().join(folder)).expect("a folder");
        }
        let mut file = NewFile::create(bank.path(), "rb").expect("creates");
        bytes.chunks(100_003).for_each(|chunk| file.write_all(chunk).expect("writes"));
        let published = file.publish(bank.path(), "bitmaps", 1, None).expect("publishes");
        published.keep();
        (bank, published)
    }

    #[test]
    fn every_range_comes_back_and_every_damage_is_noticed() {
        let bytes: Vec<u8> = (0..600_000u32).map(|at| (at * 7 % 251) as u8).collect();
        let (bank, published) = written(&bytes);
        assert_eq!(fs::read_dir(bank.path().join("tmp")).expect("a folder").count(), 0);
        let open = || CheckedFile::open(bank.path(), &published.record, &published.blocks);
        let file = open().expect("opens");
        for (start, length) in [(0, 600_000), (262_143, 2), (262_144, 0), (599_999, 1), (300_000, 262_144)] {
            assert_eq!(
                &file.read(start, length).expect("reads")[..],
                &bytes[start as usize..start as usize + length]
            );
        }
        assert!(file.read(599_999, 2).is_err());
        assert!(file.verify(&published.record).is_ok());
        let path = bank.path().join("bitmaps").join(&published.record.name);
        let mut damaged = bytes.clone();
        damaged[300_000] ^= 4;
        fs::write(&path, &damaged).expect("writes");
        // What was touched before is not checked again; a handle that is opened anew does.
        assert!(file.read(262_144, 1).is_ok());
        let file = open().expect("opens");
        assert!(file.read(0, 10).is_ok());
        assert!(matches!(file.read(262_144, 1), Err(BankError::Corrupt { .. })));
        fs::write(&path, &bytes[1..]).expect("writes");
        assert!(matches!(open(), Err(BankError::Corrupt { .. })));
        fs::remove_file(&path).expect("removes");
        std::os::unix::fs::symlink("/dev/zero", &path).expect("links");
        assert!(matches!(open(), Err(BankError::Corrupt { .. })));
    }

    #[test]
    fn what_is_not_published_leaves_nothing() {
        let (bank, _) = written(b"x");
        let mut file = NewFile::create(bank.path(), "parquet").expect("creates");
        file.write_all(b"half").expect("writes");
        drop(file);
        assert_eq!(fs::read_dir(bank.path().join("tmp")).expect("a folder").count(), 0);
    }

    #[test]
    fn names_are_checked() {
        assert!(is_file_name("0123456789abcdef0123456789abcdef.parquet"));
        for name in [
            "../x.parquet",
            "0123456789ABCDEF0123456789abcdef.rb",
            "0123456789abcdef0123456789abcdef.sqlite",
            "",
        ] {
            assert!(!is_file_name(name), "{name}");
        }
    }
}
