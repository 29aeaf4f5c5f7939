//! Files that may hold identifiers of people: for the eyes of their owner alone.

use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::path::Path;

/// The permission bits of such a file: read and written by its owner, by nobody else.
pub const OWNER_ONLY: u32 = 0o600;

/// Creates a file, or empties the one that is there; only its owner may read it, whatever the umask says and whatever
/// bits an earlier file had. What is no regular file, such as a pipe, keeps its bits.
///
/// # Errors
/// What the file system refuses.
///
/// ```
/// use std::os::unix::fs::PermissionsExt;
/// let path = std::env::temp_dir().join(format!("aipl-private-{}", std::process::id()));
/// let file = aipl_core::base::private::create(&path)?;
/// assert_eq!(file.metadata()?.permissions().mode() & 0o777, 0o600);
/// std::fs::remove_file(path)?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    owned(&mut options);
    let file = options.open(path)?;
    if file.metadata()?.is_file() {
        restrict(&file)?;
    }
    Ok(file)
}

#[cfg(unix)]
fn owned(options: &mut OpenOptions) {
    std::os::unix::fs::OpenOptionsExt::mode(options, OWNER_ONLY);
}

#[cfg(not(unix))]
fn owned(_: &mut OpenOptions) {}

#[cfg(unix)]
fn restrict(file: &File) -> io::Result<()> {
    file.set_permissions(<Permissions as std::os::unix::fs::PermissionsExt>::from_mode(OWNER_ONLY))
}

#[cfg(not(unix))]
fn restrict(_: &File) -> io::Result<()> {
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn an_open_file_that_was_there_is_closed_to_others_and_a_device_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("ids");
        std::fs::write(&path, "old").expect("writes");
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("opens it up");
        let file = create(&path).expect("creates");
        assert_eq!(file.metadata().expect("metadata").permissions().mode() & 0o777, OWNER_ONLY);
        assert_eq!(std::fs::read(&path).expect("reads"), b"");
        let before = std::fs::metadata("/dev/null").expect("a device").permissions().mode();
        create(Path::new("/dev/null")).expect("opens");
        assert_eq!(std::fs::metadata("/dev/null").expect("a device").permissions().mode(), before);
    }
}
