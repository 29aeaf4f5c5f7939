//! What may stand where a bank's files and folders belong. Whatever is no regular file, or no folder, is refused before
//! it is opened: a pipe
//! makes its opener wait, a device acts, and a link leads out of the bank.

use std::fs;
use std::io;
use std::path::Path;

use crate::bank::error::{BankError, RESTORE};
use crate::bank::files::{FOLDERS, make_directory, odd};

type Result<T> = std::result::Result<T, BankError>;

/// Files that SQLite opens by itself.
const OF_SQLITE: [&str; 4] = [
    "catalog.sqlite",
    "catalog.sqlite-journal",
    "catalog.sqlite-wal",
    "catalog.sqlite-shm",
];
/// Files that a bank can do without: they are made anew.
const REMOVABLE: [&str; 2] = ["writer.lock", "catalog.sum"];

/// A refusal of what stands in a file's or folder's place.
fn misplaced(name: &str, what: &str, wanted: &str) -> BankError {
    let own = OF_SQLITE.contains(&name) || FOLDERS.contains(&name);
    let cure = if own && !REMOVABLE.contains(&name) {
        RESTORE
    } else {
        "remove it; the bank makes its own again"
    };
    BankError::Corrupt {
        file: name.to_owned(),
        problem: format!("{what}, not {wanted}"),
        cure: cure.to_owned(),
    }
}

/// Refuses anything but a regular file, or nothing, at a place in the bank.
pub(crate) fn check_file(bank: &Path, name: &str) -> Result<()> {
    let path = bank.join(name);
    match odd(&path).map_err(|error| BankError::io(&path, &error))? {
        None => Ok(()),
        Some(what) => Err(misplaced(name, what, "a regular file")),
    }
}

/// Refuses anything but regular files, or nothing, where SQLite looks.
pub(crate) fn check_catalog(bank: &Path) -> Result<()> {
    OF_SQLITE.iter().try_for_each(|name| check_file(bank, name))
}

/// Refuses anything but folders, or nothing, where the bank's folders belong.
pub(crate) fn check_folders(bank: &Path) -> Result<()> {
    for name in FOLDERS {
        let path = bank.join(name);
        match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(BankError::io(&path, &error)),
            Ok(data) if data.is_dir() => {}
            Ok(_) => {
                let what = odd(&path).ok().flatten().unwrap_or("a file");
                return Err(misplaced(name, what, "a folder"));
            }
        }
    }
    Ok(())
}

/// Makes the folders of a bank that are not there.
pub(crate) fn make_folders(bank: &Path) -> Result<()> {
    check_folders(bank)?;
    for folder in FOLDERS.map(|folder| bank.join(folder)) {
        make_directory(&folder).map_err(|error| BankError::io(&folder, &error))?;
    }
    Ok(())
}

/// Makes the directory of a new bank; it must be new or empty of anything but what `begun` allows.
pub(crate) fn make_new(path: &Path, begun: impl FnOnce(&Path) -> io::Result<bool>) -> Result<()> {
    let exists = || BankError::Exists {
        path: path.display().to_string(),
    };
    if fs::metadata(path).is_ok_and(|data| !data.is_dir()) {
        return Err(exists());
    }
    let failed = |error: io::Error| BankError::io(path, &error);
    make_directory(path).map_err(failed)?;
    if begun(path).map_err(failed)? { Ok(()) } else { Err(exists()) }
}
