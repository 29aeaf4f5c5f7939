//! Sets of identifiers by number.

const WORD: usize = u64::BITS as usize;

/// A bit for each of a range of numbers: sixty million take seven megabytes, which is looked up much faster than a byte each would be.
#[derive(Debug, Clone)]
pub(crate) struct IdSet {
    words: Vec<u64>,
    empty: bool,
}

impl IdSet {
    /// Some of the numbers below `end`.
    pub fn new(end: usize, ids: impl IntoIterator<Item = u32>) -> Self {
        let mut set = IdSet {
            words: vec![0; end.div_ceil(WORD)],
            empty: true,
        };
        ids.into_iter().for_each(|id| set.insert(id));
        set
    }

    /// Adds a number.
    pub fn insert(&mut self, id: u32) {
        self.words[id as usize / WORD] |= 1 << (id as usize % WORD);
        self.empty = false;
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.empty
    }

    /// Whether a number is there.
    #[inline]
    pub fn contains(&self, id: u32) -> bool {
        self.words[id as usize / WORD] >> (id as usize % WORD) & 1 == 1
    }
}
