//! The first half of a scan: event batches, spread over buckets as small integer rows.

use crate::base::id::{BUCKETS, bucket_of};
use crate::base::memory::{OutOfMemory, has_room, has_room_for};
use crate::event::Tally;
use crate::event::columns::IdRef;
use crate::source::{EventBatch, Sink, SourceError};
use crate::timeline::judge::{Judge, Plan};
use crate::timeline::rows::{Pending, Toggle, pack};

/// One worker's half-sorted rows.
pub(crate) struct Partitioner<'a> {
    judge: Judge<'a>,
    /// Rows by bucket, apart from all that few rows have: the ends of 256 lists are then together in the nearest cache.
    rows: Vec<Vec<(u64, u64)>>,
    rest: Vec<Pending>,
}

impl<'a> Partitioner<'a> {
    pub fn new(plan: &'a Plan<'a>) -> Self {
        Partitioner {
            judge: Judge::new(plan),
            rows: vec![Vec::new(); BUCKETS],
            rest: std::iter::repeat_with(Pending::default).take(BUCKETS).collect(),
        }
    }

    /// What was met, by bucket.
    pub fn into_pending(self) -> Vec<Pending> {
        let joined = self.rows.into_iter().zip(self.rest);
        joined.map(|(rows, rest)| Pending { rows, ..rest }).collect()
    }
}

impl Sink for Partitioner<'_> {
    fn accept(&mut self, batch: &EventBatch<'_>, tally: &mut Tally) -> Result<(), SourceError> {
        let plan = self.judge.plan;
        let consumers = self.judge.consumers(batch)?;
        let owned = self.judge.owned(consumers.column());
        let judged = self.judge.judge(batch, &owned, tally)?;
        let width = plan.layout.width();
        let (rows, rest) = (&mut self.rows, &mut self.rest);
        let (mut kept, mut refused) = (0, false);
        judged.each_consumer(batch, consumers.column(), plan, tally, |row, key, id| {
            let toggle = plan.program.toggles[batch.codes[row] as usize];
            if !judged.matters(row, toggle.is_some(), plan) {
                return;
            }
            kept += 1;
            if !plan.keep {
                return;
            }
            consumers.note(row);
            let bucket = bucket_of(key);
            if judged.masks[row] != 0 || toggle.is_none() {
                if !has_room(&mut rows[bucket]) || !has_room_for(&mut rest[bucket].payloads, width) {
                    refused = true;
                    return;
                }
                rows[bucket].push((key, pack(judged.scopes[row], batch.days[row], judged.classes[row])));
                if let IdRef::Text(text) = id {
                    push_text(&mut rest[bucket].texts, text);
                }
                if width > 0 {
                    rest[bucket]
                        .payloads
                        .extend_from_slice(&judged.payloads[row * width..(row + 1) * width]);
                }
            }
            if let Some(toggle) = toggle {
                let toggle = Toggle {
                    scope: judged.scopes[row],
                    instant: batch.instants[row],
                    off: !toggle.on,
                    state: toggle.state,
                    day: batch.days[row],
                };
                rest[bucket].toggles.push((key, toggle));
                if let IdRef::Text(text) = id {
                    push_text(&mut rest[bucket].toggle_texts, text);
                }
            }
        });
        tally.rows_kept += kept;
        if refused { Err(OutOfMemory.into()) } else { Ok(()) }
    }
}

/// Appends a text with its length; integers need none, their key is the identifier.
#[inline]
pub(crate) fn push_text(texts: &mut Vec<u8>, text: &str) {
    texts.extend_from_slice(&(text.len() as u16).to_le_bytes());
    texts.extend_from_slice(text.as_bytes());
}
