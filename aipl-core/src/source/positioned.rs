//! Files read by position, so that threads share one handle without sharing a cursor; a file that changed is noticed.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{BufReader, Read};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};
use rustix::fs::OFlags;
use xxhash_rust::xxh3::Xxh3;

use crate::source::SourceError;

/// Bytes at both ends that are compared when a file is opened again.
const END_BYTES: u64 = 1 << 10;

/// What tells a file from any other that comes to stand in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    node: (u64, u64),
    length: u64,
    changed: (i64, i64),
    /// Hash of its first and last bytes: a file system may keep time too coarsely to tell two writes apart.
    ends: u64,
}

impl Stamp {
    fn of(file: &File) -> std::io::Result<Self> {
        let meta = file.metadata()?;
        Ok(Stamp {
            ends: hash_ends(file, meta.len())?,
            ..Self::without_ends(&meta)
        })
    }

    fn without_ends(meta: &Metadata) -> Self {
        Stamp {
            node: (meta.dev(), meta.ino()),
            length: meta.len(),
            changed: (meta.mtime(), meta.mtime_nsec()),
            ends: 0,
        }
    }
}

fn hash_ends(file: &File, length: u64) -> std::io::Result<u64> {
    let mut hasher = Xxh3::new();
    let mut buffer = [0; END_BYTES as usize];
    for start in [0, length.saturating_sub(END_BYTES)] {
        let end = &mut buffer[..END_BYTES.min(length) as usize];
        match file.read_exact_at(end, start) {
            Ok(()) => hasher.update(end),
            // It became shorter meanwhile; that shows as another stamp.
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => hasher.update(&[start as u8]),
            Err(error) => return Err(error),
        }
    }
    Ok(hasher.digest())
}

/// A file read by position, so that threads share one handle without sharing a cursor.
#[derive(Debug, Clone)]
pub(crate) struct PositionedFile {
    file: Arc<File>,
    name: Arc<str>,
    stamp: Stamp,
}

impl PositionedFile {
    /// Opens a file.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        let failed = |error: std::io::Error| SourceError::io(path, &error);
        // A pipe would wait for a writer, and a device may never end.
        let flags = OFlags::NONBLOCK.bits() as i32;
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(failed)?;
        if !file.metadata().map_err(failed)?.is_file() {
            return Err(SourceError::not_regular(path));
        }
        Ok(PositionedFile {
            stamp: Stamp::of(&file).map_err(failed)?,
            file: Arc::new(file),
            name: path.display().to_string().into(),
        })
    }

    /// Opens a file that was opened before.
    ///
    /// # Errors
    /// [`SourceError::Changed`] where it is not the file with this stamp.
    pub fn open_again(path: &Path, stamp: &Stamp) -> Result<Self, SourceError> {
        let file = Self::open(path)?;
        if file.stamp != *stamp {
            return Err(file.changed());
        }
        Ok(file)
    }

    fn changed(&self) -> SourceError {
        SourceError::Changed {
            path: self.name.to_string(),
        }
    }

    /// Refuses a file that changed since it was opened: what was read of it may be part old and part new.
    pub fn check_unchanged(&self) -> Result<(), SourceError> {
        let failed = |error: std::io::Error| SourceError::io(Path::new(&*self.name), &error);
        let now = Stamp {
            ends: self.stamp.ends,
            ..Stamp::without_ends(&self.file.metadata().map_err(failed)?)
        };
        if now == self.stamp { Ok(()) } else { Err(self.changed()) }
    }

    /// What tells it from another file.
    pub fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// Its length when it was opened.
    pub fn length(&self) -> u64 {
        self.stamp.length
    }

    /// The handle.
    pub fn handle(&self) -> &File {
        &self.file
    }

    /// Reads on from a position.
    pub fn reader(&self, at: u64) -> PositionedReader {
        PositionedReader {
            file: self.file.clone(),
            at,
        }
    }
}

/// Reads on from a position.
#[derive(Debug)]
pub(crate) struct PositionedReader {
    file: Arc<File>,
    at: u64,
}

impl Read for PositionedReader {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.file.read_at(buffer, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl std::io::Seek for PositionedReader {
    fn seek(&mut self, to: std::io::SeekFrom) -> std::io::Result<u64> {
        let target = match to {
            std::io::SeekFrom::Start(at) => Some(at),
            std::io::SeekFrom::End(by) => self.file.metadata()?.len().checked_add_signed(by),
            std::io::SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = target.ok_or_else(|| std::io::Error::from(std::io::ErrorKind::InvalidInput))?;
        Ok(self.at)
    }
}

impl Length for PositionedFile {
    fn len(&self) -> u64 {
        self.length()
    }
}

impl ChunkReader for PositionedFile {
    type T = BufReader<PositionedReader>;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Self::T> {
        Ok(BufReader::new(self.reader(start)))
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        // Checked before the buffer is made: a damaged footer can ask for more than there is.
        if start.checked_add(length as u64).is_none_or(|end| end > self.length()) {
            return Err(ParquetError::EOF(format!(
                "{length} bytes at {start} of a file of {}",
                self.length()
            )));
        }
        let mut buffer = vec![0; length];
        self.file
            .read_exact_at(&mut buffer, start)
            .map_err(|error| ParquetError::External(Box::new(error)))?;
        Ok(buffer.into())
    }
}
