//! A look at the sizes that an Arrow IPC file declares, before a decoder makes buffers of those sizes.

use std::fs::File;
use std::os::unix::fs::FileExt;

use arrow::ipc::{root_as_footer, root_as_message};

/// Marks the beginning of a message since format version 0.15.
const CONTINUATION: i32 = -1;
/// The longest accepted schema or footer.
const MAX_METADATA_BYTES: u64 = 64 << 20;

/// The first declared size that the file cannot hold, in words.
pub(crate) fn oversized(file: &File, length: u64, is_file: bool) -> Option<String> {
    if is_file {
        check_footer(file, length).err()
    } else {
        check_messages(file, length).err()
    }
}

fn read(file: &File, at: u64, bytes: u64, length: u64, what: &str) -> Result<Vec<u8>, String> {
    if bytes > MAX_METADATA_BYTES || at.checked_add(bytes).is_none_or(|end| end > length) {
        return Err(format!("{what} of {bytes} bytes at {at} in a file of {length}"));
    }
    let mut buffer = vec![0; bytes as usize];
    file.read_exact_at(&mut buffer, at).map_err(|error| error.to_string())?;
    Ok(buffer)
}

fn read_i32(file: &File, at: u64, length: u64) -> Result<i32, String> {
    let bytes = read(file, at, 4, length, "a length")?;
    Ok(bytes.first_chunk().map_or(0, |bytes| i32::from_le_bytes(*bytes)))
}

fn check_footer(file: &File, length: u64) -> Result<(), String> {
    let tail = length.checked_sub(10).ok_or("it is cut short")?;
    let size = u64::try_from(read_i32(file, tail, length)?).map_err(|_| "a negative footer length")?;
    let start = tail
        .checked_sub(size)
        .ok_or_else(|| format!("a footer of {size} bytes in a file of {length}"))?;
    let bytes = read(file, start, size, length, "a footer")?;
    let footer = root_as_footer(&bytes).map_err(|error| error.to_string())?;
    for block in footer
        .dictionaries()
        .iter()
        .flatten()
        .chain(footer.recordBatches().iter().flatten())
    {
        let sizes = [block.offset(), i64::from(block.metaDataLength()), block.bodyLength()];
        let end = sizes.iter().try_fold(0u64, |end, size| end.checked_add(u64::try_from(*size).ok()?));
        if end.is_none_or(|end| end > length) {
            return Err(format!("a block that ends beyond the file of {length} bytes"));
        }
    }
    Ok(())
}

fn check_messages(file: &File, length: u64) -> Result<(), String> {
    let mut at = 0;
    while at < length {
        let mut size = read_i32(file, at, length)?;
        at += 4;
        if size == CONTINUATION {
            size = read_i32(file, at, length)?;
            at += 4;
        }
        if size == 0 {
            return Ok(());
        }
        let size = u64::try_from(size).map_err(|_| "a negative message length")?;
        let bytes = read(file, at, size, length, "a message")?;
        let message = root_as_message(&bytes).map_err(|error| error.to_string())?;
        let body = u64::try_from(message.bodyLength()).map_err(|_| "a negative body length")?;
        at = at
            .checked_add(size)
            .and_then(|at| at.checked_add(body))
            .filter(|end| *end <= length)
            .ok_or_else(|| format!("a message body of {body} bytes in a file of {length}"))?;
    }
    Ok(())
}
