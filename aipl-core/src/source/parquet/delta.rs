//! How long the texts of a page are whose lengths are stored as differences. A page of few bytes can declare any number
//! of them, and each can repeat the one before, so they are added up before a decoder makes them.

/// Adds up what a page holds, its values given as DELTA_LENGTH_BYTE_ARRAY or, with prefixes, as DELTA_BYTE_ARRAY. Gives
/// the number of values and the bytes of all texts; nothing if the page is damaged.
pub(super) fn text_bytes(page: &[u8], with_prefixes: bool) -> Option<(u64, u64)> {
    let first = Lengths::read(page)?;
    if !with_prefixes {
        return Some((first.count, first.total(page)?.0));
    }
    let (prefixes, end) = first.total(page)?;
    let second = Lengths::read(page.get(end..)?)?;
    let (suffixes, _) = second.total(page.get(end..)?)?;
    (first.count == second.count).then_some((first.count, prefixes.checked_add(suffixes)?))
}

/// The header of numbers that are stored as differences, in blocks of miniblocks.
struct Lengths {
    miniblocks: u64,
    miniblock_values: u64,
    count: u64,
    first: i64,
    /// Where the first block begins.
    start: usize,
}

impl Lengths {
    fn read(bytes: &[u8]) -> Option<Self> {
        let mut at = 0;
        let block = varint(bytes, &mut at)?;
        let miniblocks = varint(bytes, &mut at)?;
        let count = varint(bytes, &mut at)?;
        let first = zigzag(varint(bytes, &mut at)?);
        let miniblock_values = block.checked_div(miniblocks)?;
        // A miniblock without values would never come to an end.
        (miniblock_values > 0 && miniblock_values % 32 == 0).then_some(Lengths {
            miniblocks,
            miniblock_values,
            count,
            first,
            start: at,
        })
    }

    /// The sum of the numbers, and where the bytes after them begin. Stops where the bytes do.
    fn total(&self, bytes: &[u8]) -> Option<(u64, usize)> {
        let (mut at, mut left) = (self.start, self.count.saturating_sub(1));
        let mut value = self.first;
        let mut total = if self.count == 0 { 0 } else { u64::try_from(value).ok()? };
        while left > 0 {
            let least = zigzag(varint(bytes, &mut at)?);
            let widths = bytes.get(at..at.checked_add(usize::try_from(self.miniblocks).ok()?)?)?;
            at += widths.len();
            for &width in widths {
                let here = left.min(self.miniblock_values);
                if here == 0 {
                    break;
                }
                if width == 0 {
                    // Equal steps need no bits, however many there are.
                    let last = value.checked_add(least.checked_mul(i64::try_from(here).ok()?)?)?;
                    total = total.checked_add(equal_steps(value, last, here)?)?;
                    value = last;
                } else {
                    let packed = bytes.get(at..at.checked_add(usize::try_from(u64::from(width) * self.miniblock_values / 8).ok()?)?)?;
                    at += packed.len();
                    for place in 0..here {
                        value = value.checked_add(least)?.checked_add_unsigned(bits(packed, place, width)?)?;
                        total = total.checked_add(u64::try_from(value).ok()?)?;
                    }
                }
                left -= here;
            }
        }
        Some((total, at))
    }
}

/// The sum of the numbers after `value` that lead in equal steps to `last`; none of them may be negative.
fn equal_steps(value: i64, last: i64, count: u64) -> Option<u64> {
    let step = i128::from(last - value) / i128::from(count);
    let sum = i128::from(count) * i128::from(value) + step * i128::from(count) * i128::from(count + 1) / 2;
    (value >= 0 && last >= 0).then_some(u64::try_from(sum).ok()?)
}

/// The number at a place of packed numbers, the least bit first.
fn bits(packed: &[u8], place: u64, width: u8) -> Option<u64> {
    if width > 32 {
        return None;
    }
    let bit = place * u64::from(width);
    let (byte, shift) = ((bit / 8) as usize, bit % 8);
    let mut word = [0u8; 8];
    let there = packed.get(byte..packed.len().min(byte + 8))?;
    word[..there.len()].copy_from_slice(there);
    Some(u64::from_le_bytes(word) >> shift & ((1u64 << width) - 1))
}

fn varint(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

fn zigzag(raw: u64) -> i64 {
    (raw >> 1) as i64 ^ -((raw & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(number: u64) -> Vec<u8> {
        let mut left = number;
        let mut bytes = Vec::new();
        while left > 127 {
            bytes.push(left as u8 & 127 | 128);
            left >>= 7;
        }
        bytes.push(left as u8);
        bytes
    }

    /// Numbers as a writer stores them: one block of four miniblocks at a time, each of 8 bits a difference.
    fn stored(numbers: &[u64]) -> Vec<u8> {
        let mut bytes = [128, 4, numbers.len() as u64, numbers.first().map_or(0, |first| first << 1)]
            .into_iter()
            .flat_map(packed)
            .collect::<Vec<u8>>();
        let steps: Vec<i64> = numbers.windows(2).map(|pair| pair[1] as i64 - pair[0] as i64).collect();
        for block in steps.chunks(128) {
            let least = *block.iter().min().expect("a block is not empty");
            bytes.extend(packed((least << 1 ^ least >> 63) as u64));
            let full = block.chunks(32).count();
            bytes.extend((0..4).map(|at| if at < full { 8 } else { 0 }));
            for miniblock in block.chunks(32) {
                bytes.extend((0..32).map(|at| miniblock.get(at).map_or(0, |step| (step - least) as u8)));
            }
        }
        bytes
    }

    #[test]
    fn lengths_add_up() {
        for count in [0, 1, 2, 32, 33, 128, 129, 130, 1000] {
            let numbers: Vec<u64> = (0..count).map(|at| at * 7 % 91).collect();
            let sum = numbers.iter().sum();
            assert_eq!(text_bytes(&stored(&numbers), false), Some((count, sum)), "{count} numbers");
            let mut both = stored(&numbers);
            both.extend(stored(&numbers));
            assert_eq!(text_bytes(&both, true), Some((count, 2 * sum)), "{count} numbers twice");
        }
    }

    #[test]
    fn many_equal_lengths_in_few_bytes_are_counted() {
        // 2^40 texts of 1,000 bytes; no block need be there to say so.
        let mut bytes: Vec<u8> = [1u64 << 45, 1, 1 << 40, 2000].into_iter().flat_map(packed).collect();
        bytes.extend([0, 0]);
        assert_eq!(text_bytes(&bytes, false), Some((1 << 40, 1000 << 40)));
    }

    #[test]
    fn damage_is_noticed() {
        let whole = stored(&(0..300).collect::<Vec<_>>());
        assert_eq!(text_bytes(&whole[..whole.len() / 2], false), None);
        assert_eq!(text_bytes(&[0, 0, 1, 1], false), None);
        assert_eq!(text_bytes(&[0xff; 32], true), None);
    }
}
