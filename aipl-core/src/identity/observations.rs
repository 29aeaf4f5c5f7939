//! What was observed: rows of identifiers that were seen together, batch by batch. Nothing is ever dropped, so that any link can be
//! taken back.

/// No identifier, or one that is out of use.
pub const NONE: u32 = u32::MAX;

/// Rows of one batch, `width` identifiers each.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// Identifiers a row; absent ones are [`NONE`].
    pub width: usize,
    /// Parts of the rows, each as one worker met them.
    pub parts: Vec<Part>,
}

/// Some rows of a batch.
#[derive(Debug, Clone, Default)]
pub struct Part {
    /// Identifiers, row by row.
    pub ids: Vec<u32>,
    /// When each row was seen (UTC µs), if rows say so; `i64::MAX` where one does not.
    pub seen_at: Vec<i64>,
    /// The number of each row's source, if rows name one; [`NONE`] where one does not.
    pub sources: Vec<u32>,
}

impl Batch {
    /// The number of rows that show an identifier.
    #[must_use]
    pub fn rows(&self) -> usize {
        let shows = |ids: &&[u32]| ids.iter().any(|id| *id != NONE);
        self.parts
            .iter()
            .map(|part| part.ids.chunks_exact(self.width).filter(shows).count())
            .sum()
    }

    /// Bytes held.
    #[must_use]
    pub fn nbytes(&self) -> usize {
        let of_part = |part: &Part| part.ids.capacity() * 4 + part.seen_at.capacity() * 8 + part.sources.capacity() * 4;
        self.parts.iter().map(of_part).sum()
    }
}

impl Part {
    /// Every row with what is known about it.
    pub fn rows(&self, width: usize) -> impl Iterator<Item = Row<'_>> {
        self.ids.chunks_exact(width).enumerate().map(|(at, ids)| Row {
            ids,
            seen_at: self.seen_at.get(at).copied().unwrap_or(i64::MAX),
            source: self.sources.get(at).copied().unwrap_or(NONE),
        })
    }
}

/// One observation.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    /// Identifiers in order of priority, with gaps.
    pub ids: &'a [u32],
    /// When (UTC µs); `i64::MAX` if that is not known.
    pub seen_at: i64,
    /// The number of the source, or [`NONE`].
    pub source: u32,
}
