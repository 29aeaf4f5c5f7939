//! A cursor over the Thrift compact protocol, in which Parquet writes its footer and page headers. It makes no values
//! and does not recurse, so that no declared number takes memory or stack before it was compared with what is there.

/// The deepest nesting of values; Parquet itself needs less than ten.
const MAX_DEPTH: usize = 32;

/// What is wrong with the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum ThriftError {
    /// The value goes on behind the last byte.
    #[error("it is cut short")]
    CutShort,
    /// A number that no writer writes.
    #[error("it has a number or type that cannot be")]
    Invalid,
    /// Values within values without end.
    #[error("its values are nested too deeply")]
    TooDeep,
}

type Result<T> = std::result::Result<T, ThriftError>;

/// Types of values.
pub(super) mod kind {
    pub const STOP: u8 = 0;
    pub const TRUE: u8 = 1;
    pub const FALSE: u8 = 2;
    pub const BYTE: u8 = 3;
    pub const I16: u8 = 4;
    pub const I32: u8 = 5;
    pub const I64: u8 = 6;
    pub const DOUBLE: u8 = 7;
    pub const BINARY: u8 = 8;
    pub const LIST: u8 = 9;
    pub const SET: u8 = 10;
    pub const MAP: u8 = 11;
    pub const STRUCT: u8 = 12;
    pub const UUID: u8 = 13;
}

/// A cursor over the bytes.
#[derive(Debug, Clone)]
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// Values that are still to come while one is passed over.
enum Open {
    Struct,
    Values { left: u64, kind: u8 },
    Pairs { left: u64, kinds: (u8, u8) },
}

impl<'a> Cursor<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Cursor { bytes, at: 0 }
    }

    /// Bytes read so far.
    pub fn position(&self) -> usize {
        self.at
    }

    fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    fn advance(&mut self, bytes: u64) -> Result<()> {
        let bytes = usize::try_from(bytes).map_err(|_| ThriftError::CutShort)?;
        if bytes > self.remaining() {
            return Err(ThriftError::CutShort);
        }
        self.at += bytes;
        Ok(())
    }

    fn byte(&mut self) -> Result<u8> {
        let byte = *self.bytes.get(self.at).ok_or(ThriftError::CutShort)?;
        self.at += 1;
        Ok(byte)
    }

    fn varint(&mut self) -> Result<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(ThriftError::Invalid)
    }

    /// A whole number.
    pub fn integer(&mut self) -> Result<i64> {
        let raw = self.varint()?;
        Ok((raw >> 1) as i64 ^ -((raw & 1) as i64))
    }

    /// The next field of a structure: its number, given that of the field before, and its type.
    pub fn field(&mut self, before: i64) -> Result<Option<(i64, u8)>> {
        let head = self.byte()?;
        if head & 0x0f == kind::STOP {
            return Ok(None);
        }
        let number = match head >> 4 {
            0 => self.integer()?,
            step => before + i64::from(step),
        };
        Ok(Some((number, head & 0x0f)))
    }

    /// The length of a list and the type of its values. The length is no more than the bytes that are left: every value
    /// takes one.
    pub fn list(&mut self) -> Result<(usize, u8)> {
        let head = self.byte()?;
        let length = match head >> 4 {
            15 => self.varint()?,
            short => u64::from(short),
        };
        let length = usize::try_from(length).ok().filter(|length| *length <= self.remaining());
        Ok((length.ok_or(ThriftError::CutShort)?, head & 0x0f))
    }

    /// Passes over a value, however deep.
    pub fn skip(&mut self, kind: u8) -> Result<()> {
        let mut open = Vec::new();
        self.enter(kind, true, &mut open)?;
        while let Some(innermost) = open.last_mut() {
            let next = match innermost {
                Open::Struct => self.field(0)?.map(|(_, kind)| (kind, true)),
                Open::Values { left: 0, .. } | Open::Pairs { left: 0, .. } => None,
                Open::Values { left, kind } => {
                    *left -= 1;
                    Some((*kind, false))
                }
                Open::Pairs { left, kinds } => {
                    *left -= 1;
                    // Keys and values take turns.
                    let (now, next) = *kinds;
                    *kinds = (next, now);
                    Some((now, false))
                }
            };
            match next {
                Some((kind, in_struct)) => self.enter(kind, in_struct, &mut open)?,
                None => drop(open.pop()),
            }
        }
        Ok(())
    }

    /// Passes over a value that has no others within; opens one that has.
    fn enter(&mut self, kind: u8, in_struct: bool, open: &mut Vec<Open>) -> Result<()> {
        if open.len() >= MAX_DEPTH {
            return Err(ThriftError::TooDeep);
        }
        match kind {
            // Fields carry their truth in their type; in a list it takes a byte.
            kind::TRUE | kind::FALSE => self.advance(u64::from(!in_struct)),
            kind::BYTE => self.advance(1),
            kind::I16 | kind::I32 | kind::I64 => self.varint().map(drop),
            kind::DOUBLE => self.advance(8),
            kind::UUID => self.advance(16),
            kind::BINARY => {
                let length = self.varint()?;
                self.advance(length)
            }
            kind::LIST | kind::SET => {
                let (length, kind) = self.list()?;
                open.push(Open::Values { left: length as u64, kind });
                Ok(())
            }
            kind::MAP => {
                let length = self.varint()?;
                let kinds = if length == 0 { 0 } else { self.byte()? };
                if length > self.remaining() as u64 {
                    return Err(ThriftError::CutShort);
                }
                let kinds = (kinds >> 4, kinds & 0x0f);
                open.push(Open::Pairs { left: 2 * length, kinds });
                Ok(())
            }
            kind::STRUCT => {
                open.push(Open::Struct);
                Ok(())
            }
            _ => Err(ThriftError::Invalid),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_passed_over() {
        // A list of two structures, each with an integer and a text.
        let bytes = [0x2c, 0x15, 0x0a, 0x18, 0x01, b'x', 0x00, 0x15, 0x0a, 0x18, 0x01, b'y', 0x00, 0xff];
        let mut cursor = Cursor::new(&bytes);
        cursor.skip(kind::LIST).expect("passes");
        assert_eq!(cursor.position(), bytes.len() - 1);
    }

    #[test]
    fn declared_numbers_are_compared_with_what_is_there() {
        let lists = [0xfc, 0xff, 0xff, 0xff, 0xff, 0x07];
        assert_eq!(Cursor::new(&lists).skip(kind::LIST), Err(ThriftError::CutShort));
        let text = [0xff, 0xff, 0xff, 0xff, 0x07];
        assert_eq!(Cursor::new(&text).skip(kind::BINARY), Err(ThriftError::CutShort));
        assert_eq!(Cursor::new(&[0xff; 11]).skip(kind::I64), Err(ThriftError::Invalid));
    }

    #[test]
    fn depth_is_bounded() {
        let lists = [0x19; 100_000];
        assert_eq!(Cursor::new(&lists).skip(kind::LIST), Err(ThriftError::TooDeep));
    }
}
