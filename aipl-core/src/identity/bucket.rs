//! One bucket of identifiers: an index by hash, and their texts.
//!
//! Finding an identifier takes two reads from memory that nothing foretells, the slot and the text. Each is far slower
//! than all arithmetic, so identifiers are looked up in blocks: all slots of a block are touched, then all texts, and
//! the processor waits for many at once.
//!
//! Tags are public, so identifiers can be made that crowd around one slot. A bucket that gets crowded turns to secret
//! tags.

use std::hint::black_box;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::identity::crowd::Secret;
use crate::identity::observations::NONE;

/// Buckets of identifiers: fewer than a byte can tell, so that a byte can also say that there is none.
pub(super) const BUCKETS: usize = 128;
/// In the place of a bucket: no identifier.
pub(super) const ABSENT: u8 = u8::MAX;
/// Marks identifiers without a lasting number; below stands which one of its bucket it is.
pub(super) const FRESH: u32 = 1 << 31;
/// Bytes of texts that stand together; more than any text has.
const PIECE: usize = 1 << 16;
/// Identifiers that are looked up side by side.
const BLOCK: usize = 64;
/// A slot with a public tag stands at most so far behind its place. Chance alone hardly ever gets there.
const REACH: usize = 512;
/// Identifiers with one public tag.
const MAX_TWINS: usize = 16;
/// How far behind its place a new slot may stand on average.
const USUAL_DISTANCE: usize = 32;
/// How far new slots may stand behind that altogether.
const MAX_STRAIN: usize = 8_192;

/// What persons that identifiers found are called: 63 bits of hash, by type and text.
#[derive(Debug, Clone, Default)]
pub(super) struct Keys {
    seeds: Vec<u64>,
    /// Bits that do not count; tests set them, to see different identifiers with one key.
    pub unused: u64,
}

impl Keys {
    /// Keys of types with these seeds.
    pub fn new(seeds: Vec<u64>) -> Self {
        Keys { seeds, unused: 0 }
    }

    /// The key of an identifier.
    #[inline]
    pub fn of(&self, kind: u8, text: &[u8]) -> u64 {
        (xxh3_64_with_seed(text, self.seeds[usize::from(kind)]) & !self.unused) >> 1
    }
}

/// The bucket of a key.
#[inline]
pub(super) fn bucket_of(key: u64) -> usize {
    (key >> 56) as usize
}

/// The bits of a key that a slot keeps, those below the bucket: slots stand in order of them, but for collisions.
#[inline]
pub(super) fn tag_of(key: u64) -> u32 {
    (key >> 24) as u32
}

/// An identifier of the index: what is looked at together stands together.
#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    tag: u32,
    /// Its lasting number, or [`FRESH`] and which of the new ones it is; [`NONE`] once it is dead.
    id: u32,
    /// Where its text begins.
    start: u32,
    length: u16,
    kind: u8,
    /// How often it was met, as far as a byte can tell; 0 where the slot is empty.
    count: u8,
}

impl Slot {
    fn is_fresh(&self) -> bool {
        self.id >= FRESH && self.id != NONE
    }
}

/// What an identifier is looked up by, besides its text.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Wanted {
    pub tag: u32,
    pub length: u16,
    pub kind: u8,
}

/// Identifiers that wait to be looked up in one bucket.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    wanted: Vec<Wanted>,
    texts: Vec<u8>,
}

impl Waiting {
    /// Bytes that an identifier takes, besides its text.
    pub const EACH: usize = size_of::<Wanted>();

    #[inline]
    pub fn push(&mut self, tag: u32, kind: u8, text: &str) {
        let length = text.len() as u16;
        self.wanted.push(Wanted { tag, length, kind });
        self.texts.extend_from_slice(text.as_bytes());
    }

    pub fn clear(&mut self) {
        self.wanted.clear();
        self.texts.clear();
    }
}

/// Where the text of a number stands, and its type.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Place {
    pub start: u32,
    pub length: u16,
    pub bucket: u8,
    pub kind: u8,
}

/// Texts, one after the other, in pieces: copying all of them again and again as they grow would cost more than looking
/// them up.
#[derive(Debug, Clone, Default)]
struct Texts(Vec<Vec<u8>>);

impl Texts {
    /// The text of that length that begins there.
    #[inline]
    fn of(&self, start: u32, length: u16) -> &[u8] {
        let (piece, start) = (start as usize / PIECE, start as usize % PIECE);
        &self.0[piece][start..start + usize::from(length)]
    }

    /// Reads the ends of a text, so that all of it is at hand.
    #[inline]
    fn touch(&self, start: u32, length: u16) -> u32 {
        let text = self.of(start, length);
        text.first().zip(text.last()).map_or(0, |(first, last)| u32::from(first ^ last))
    }

    /// Adds a text; `None` once there is no room.
    fn push(&mut self, text: &[u8]) -> Option<u32> {
        if self.0.last().is_none_or(|last| last.len() + text.len() > PIECE) {
            // The first is as long as it must be, since most maps of a few thousand identifiers have one each.
            self.0.push(Vec::with_capacity(if self.0.is_empty() { text.len() } else { PIECE }));
        }
        let piece = self.0.len() - 1;
        let start = u32::try_from(piece * PIECE + self.0[piece].len()).ok()?;
        self.0[piece].extend_from_slice(text);
        Some(start)
    }
}

/// Identifiers of one bucket.
#[derive(Debug, Clone, Default)]
pub(super) struct Bucket {
    /// A slot stands at the place of its tag among all tags, or after it, behind others of that place.
    slots: Vec<Slot>,
    texts: Texts,
    len: usize,
    /// Identifiers without a lasting number.
    fresh: u32,
    /// Public tags that several identifiers have.
    twins: Vec<u32>,
    /// How much farther than usual new slots stood behind their places.
    strain: usize,
    /// Where tags are secret.
    secret: Option<Secret>,
}

/// Public tags do not tell apart what stands in the bucket.
struct Crowded;

impl Bucket {
    #[inline]
    fn text_of(&self, slot: &Slot) -> &[u8] {
        self.texts.of(slot.start, slot.length)
    }

    /// The text at a place of this bucket.
    #[inline]
    pub fn text(&self, place: Place) -> &[u8] {
        self.texts.of(place.start, place.length)
    }

    /// Where to begin looking for a tag.
    #[inline]
    fn home(&self, tag: u32) -> usize {
        ((u64::from(tag) * self.slots.len() as u64) >> 32) as usize
    }

    #[inline]
    fn after(&self, at: usize) -> usize {
        if at + 1 == self.slots.len() { 0 } else { at + 1 }
    }

    /// The first slot from `at` on that is empty or has the tag; any other one that is out of reach.
    #[inline]
    fn candidate(&self, mut at: usize, tag: u32) -> usize {
        let mut left = REACH;
        while self.slots[at].count != 0 && self.slots[at].tag != tag && left > 0 {
            at = self.after(at);
            left -= 1;
        }
        at
    }

    /// How far a slot stands behind the place of its tag.
    #[inline]
    fn distance(&self, tag: u32, at: usize) -> usize {
        let home = self.home(tag);
        if at >= home { at - home } else { at + self.slots.len() - home }
    }

    /// The tag that an identifier has here.
    #[inline]
    fn own_tag(&self, public: u32, kind: u8, text: &[u8]) -> u32 {
        self.secret.as_ref().map_or(public, |secret| secret.tag(kind, text))
    }

    #[inline]
    fn is(&self, slot: &Slot, wanted: Wanted, text: &[u8]) -> bool {
        slot.kind == wanted.kind && slot.length == wanted.length && self.text_of(slot) == text
    }

    /// The number of an identifier, if it has one.
    pub fn find(&self, tag: u32, kind: u8, text: &[u8]) -> Option<u32> {
        let length = u16::try_from(text.len()).ok()?;
        let tag = self.own_tag(tag, kind, text);
        let wanted = Wanted { tag, length, kind };
        let slot = self.with_tag(tag).find(|slot| self.is(slot, wanted, text))?;
        (slot.id < FRESH).then_some(slot.id)
    }

    /// All identifiers of a tag.
    fn with_tag(&self, tag: u32) -> impl Iterator<Item = &Slot> {
        let reach = if self.secret.is_some() { usize::MAX } else { REACH + 1 };
        let (last, first) = if self.slots.is_empty() {
            (&[][..], &[][..])
        } else {
            self.slots.split_at(self.home(tag))
        };
        let from_home = first.iter().chain(last).take(reach);
        from_home.take_while(|slot| slot.count != 0).filter(move |slot| slot.tag == tag)
    }

    /// The number of the oldest identifier of a key: the one that no person's number had to move from.
    pub fn oldest_of_key(&self, key: u64, keys: &Keys) -> Option<u32> {
        if let Some(secret) = &self.secret {
            return secret.oldest(key);
        }
        let own = move |slot: &&Slot| slot.id < FRESH && keys.of(slot.kind, self.text_of(slot)) == key;
        self.with_tag(tag_of(key)).filter(own).map(|slot| slot.id).min()
    }

    /// Makes room in the index for some more.
    fn reserve(&mut self, more: usize) {
        // At least a quarter stays empty: places stand close to where they are looked for.
        let enough = |slots: usize, len: usize| len <= slots / 4 * 3;
        if enough(self.slots.len(), self.len + more) {
            return;
        }
        self.strain = 0;
        if self.spread(((self.len + more) * 2).next_multiple_of(4)).is_err() {
            self.hide_tags();
        }
    }

    /// Places all identifiers anew in so many slots.
    fn spread(&mut self, slots: usize) -> Result<(), Crowded> {
        let old = std::mem::replace(&mut self.slots, vec![Slot::default(); slots]);
        let mut farthest = 0;
        for slot in old.into_iter().filter(|slot| slot.count != 0) {
            let mut at = self.home(slot.tag);
            while self.slots[at].count != 0 {
                at = self.after(at);
            }
            farthest = farthest.max(self.distance(slot.tag, at));
            self.slots[at] = slot;
        }
        if self.secret.is_none() && farthest > REACH {
            Err(Crowded)
        } else {
            Ok(())
        }
    }

    /// Turns to secret tags.
    #[cold]
    fn hide_tags(&mut self) {
        let secret = Secret::new();
        for slot in self.slots.iter_mut().filter(|slot| slot.count != 0) {
            slot.tag = secret.tag(slot.kind, self.texts.of(slot.start, slot.length));
        }
        self.secret = Some(secret);
        self.twins.clear();
        // With secret tags nothing is crowded.
        let _ = self.spread(self.slots.len());
    }

    /// Finds or adds all that wait, and appends their ids; `None` once the bucket is full.
    pub fn look_up(&mut self, waiting: &Waiting, ids: &mut Vec<u32>) -> Option<()> {
        ids.reserve_exact(waiting.wanted.len());
        let mut texts = &waiting.texts[..];
        for mut block in waiting.wanted.chunks(BLOCK) {
            self.reserve(block.len());
            while !block.is_empty() {
                let done = self.look_up_block(block, &mut texts, ids)?;
                block = &block[done..];
            }
        }
        Some(())
    }

    /// Looks up a block, or the beginning of it: all that came before tags were hidden. Tells how many.
    #[inline]
    fn look_up_block(&mut self, block: &[Wanted], texts: &mut &[u8], ids: &mut Vec<u32>) -> Option<usize> {
        let mut own = [Wanted::default(); BLOCK];
        own[..block.len()].copy_from_slice(block);
        if self.secret.is_some() {
            let mut rest = *texts;
            for wanted in &mut own[..block.len()] {
                let (text, after) = rest.split_at(usize::from(wanted.length));
                (wanted.tag, rest) = (self.own_tag(wanted.tag, wanted.kind, text), after);
            }
        }
        let own = &own[..block.len()];
        let candidates = self.touch(own);
        for (done, (&wanted, &candidate)) in own.iter().zip(&candidates).enumerate() {
            let (text, rest) = texts.split_at(usize::from(wanted.length));
            match self.take(candidate, wanted, text, 1) {
                Ok(id) => ids.push(id?),
                Err(Crowded) => {
                    self.hide_tags();
                    return Some(done);
                }
            }
            *texts = rest;
        }
        Some(block.len())
    }

    /// The id of one identifier that was met some times, added if need be; `None` once the bucket is full.
    pub fn id(&mut self, tag: u32, kind: u8, text: &[u8], times: u8) -> Option<u32> {
        self.reserve(1);
        let length = u16::try_from(text.len()).ok()?;
        loop {
            let tag = self.own_tag(tag, kind, text);
            match self.take(self.home(tag), Wanted { tag, length, kind }, text, times) {
                Ok(id) => return id,
                Err(Crowded) => self.hide_tags(),
            }
        }
    }

    /// Where to look for each identifier of a block. The reads of each step depend on none of the others of the same
    /// step.
    fn touch(&self, block: &[Wanted]) -> [usize; BLOCK] {
        let (mut places, mut seen) = ([0; BLOCK], 0);
        for (place, wanted) in places.iter_mut().zip(block) {
            *place = self.home(wanted.tag);
            seen ^= self.slots[*place].tag;
        }
        for (place, wanted) in places.iter_mut().zip(block) {
            *place = self.candidate(*place, wanted.tag);
            let slot = &self.slots[*place];
            if slot.count != 0 {
                seen ^= self.texts.touch(slot.start, slot.length);
            }
        }
        black_box(seen);
        places
    }

    /// The id of an identifier, added if need be; none once the bucket is full.
    #[inline]
    fn take(&mut self, at: usize, wanted: Wanted, text: &[u8], times: u8) -> Result<Option<u32>, Crowded> {
        let (mut at, mut twins) = (self.candidate(at, wanted.tag), 0);
        while self.slots[at].count != 0 {
            if self.slots[at].tag == wanted.tag {
                if self.is(&self.slots[at], wanted, text) {
                    let slot = &mut self.slots[at];
                    slot.count = slot.count.saturating_add(times);
                    return Ok(Some(slot.id));
                }
                twins += 1;
            }
            if self.secret.is_none() && self.distance(wanted.tag, at) >= REACH {
                return Err(Crowded);
            }
            at = self.candidate(self.after(at), wanted.tag);
        }
        if self.secret.is_none() {
            let distance = self.distance(wanted.tag, at);
            self.strain = (self.strain + distance).saturating_sub(USUAL_DISTANCE);
            if distance > REACH || twins >= MAX_TWINS || self.strain > MAX_STRAIN {
                return Err(Crowded);
            }
            if twins > 0 {
                self.twins.push(wanted.tag);
            }
        }
        Ok(self.add(at, wanted, text, times))
    }

    /// Adds an identifier in an empty slot.
    #[inline]
    fn add(&mut self, at: usize, wanted: Wanted, text: &[u8], times: u8) -> Option<u32> {
        let id = FRESH | self.fresh;
        if id == NONE {
            return None;
        }
        let start = self.texts.push(text)?;
        let Wanted { tag, length, kind } = wanted;
        self.slots[at] = Slot {
            tag,
            id,
            start,
            length,
            kind,
            count: times,
        };
        (self.len, self.fresh) = (self.len + 1, self.fresh + 1);
        Some(id)
    }

    /// How many identifiers have no number yet.
    pub fn fresh(&self) -> u32 {
        self.fresh
    }

    /// Takes the new identifiers out of use for which there is another text: their number among the new ones, that
    /// text, and how often they were met.
    pub fn retire(&mut self, other: impl Fn(u8, &[u8]) -> Option<String>) -> Vec<(u32, String, u8)> {
        let mut retired = Vec::new();
        for slot in self.slots.iter_mut().filter(|slot| slot.count != 0 && slot.is_fresh()) {
            let text = self.texts.of(slot.start, slot.length);
            if let Some(other) = other(slot.kind, text) {
                retired.push((slot.id ^ FRESH, other, slot.count));
                slot.id = NONE;
            }
        }
        retired
    }

    /// Slots of the identifiers without a number, by key and then by text.
    pub fn newcomers(&self, keys: &Keys) -> Vec<u32> {
        let fresh = (0u32..).zip(&self.slots).filter(|(_, slot)| slot.count != 0 && slot.is_fresh());
        if self.secret.is_some() {
            let full = |slot: &Slot| (keys.of(slot.kind, self.text_of(slot)), slot.kind);
            let mut found: Vec<_> = fresh.map(|(at, slot)| (full(slot), self.text_of(slot), at)).collect();
            found.sort_unstable();
            return found.into_iter().map(|(_, _, at)| at).collect();
        }
        // Slots are nearly in order already: only those that had to give way are out of place, and a few at the front
        // came over the end.
        let (over, mut found): (Vec<u32>, Vec<u32>) = fresh
            .map(|(at, _)| at)
            .partition(|&at| self.home(self.slots[at as usize].tag) > at as usize);
        found.extend(over);
        let tag = |at: u32| self.slots[at as usize].tag;
        let mut twins = false;
        for next in 1..found.len() {
            let (at, own) = (found[next], tag(found[next]));
            let mut place = next;
            while place > 0 && tag(found[place - 1]) > own {
                found[place] = found[place - 1];
                place -= 1;
            }
            found[place] = at;
            twins |= place > 0 && tag(found[place - 1]) == own;
        }
        if twins {
            let full = |at: u32| {
                let slot = &self.slots[at as usize];
                (slot.tag, keys.of(slot.kind, self.text_of(slot)), slot.kind, self.text_of(slot))
            };
            for group in found
                .chunk_by_mut(|&one, &other| tag(one) == tag(other))
                .filter(|group| group.len() > 1)
            {
                group.sort_unstable_by(|&one, &other| full(one).cmp(&full(other)));
            }
        }
        found
    }

    /// Which of the new identifiers stands in a slot.
    pub fn local(&self, at: u32) -> u32 {
        self.slots[at as usize].id ^ FRESH
    }

    /// Gives newcomers their numbers. Tells the number of each of the bucket's new identifiers, and where each
    /// newcomer's text stands.
    pub fn number(&mut self, newcomers: &[u32], number_of: impl Fn(usize) -> u32, bucket: u8, places: &mut [Place]) -> Vec<u32> {
        let mut numbers = vec![NONE; std::mem::take(&mut self.fresh) as usize];
        for (rank, (&at, place)) in newcomers.iter().zip(places).enumerate() {
            let slot = &mut self.slots[at as usize];
            let number = number_of(rank);
            numbers[(slot.id ^ FRESH) as usize] = number;
            slot.id = number;
            *place = Place {
                start: slot.start,
                length: slot.length,
                bucket,
                kind: slot.kind,
            };
        }
        numbers
    }

    /// Identifiers whose key an older one has. Each is told once, and again once tags are hidden.
    pub fn take_clashes(&mut self, keys: &Keys) -> Vec<u32> {
        if let Some(secret) = &mut self.secret {
            let is_new = |slot: &&Slot| slot.count != 0 && slot.id < FRESH && slot.id >= secret.known();
            let own = |slot: &Slot| (slot.id, keys.of(slot.kind, self.texts.of(slot.start, slot.length)));
            let newcomers = self.slots.iter().filter(is_new).map(own).collect();
            return secret.settle(newcomers);
        }
        let mut twins = std::mem::take(&mut self.twins);
        twins.sort_unstable();
        twins.dedup();
        let mut clashes = Vec::new();
        for tag in twins {
            let numbered = self.with_tag(tag).filter(|slot| slot.id < FRESH);
            let mut all: Vec<(u64, u32)> = numbered.map(|slot| (keys.of(slot.kind, self.text_of(slot)), slot.id)).collect();
            all.sort_unstable();
            clashes.extend(all.windows(2).filter(|pair| pair[0].0 == pair[1].0).map(|pair| pair[1].1));
        }
        clashes
    }

    /// Numbers of the identifiers that were met at least so often.
    pub fn met(&self, least: u8) -> impl Iterator<Item = u32> {
        let often = move |slot: &&Slot| slot.count >= least.max(1) && slot.id < FRESH;
        self.slots.iter().filter(often).map(|slot| slot.id)
    }

    /// Bytes held.
    pub fn nbytes(&self) -> usize {
        let secret = self.secret.as_ref().map_or(0, Secret::nbytes);
        self.slots.capacity() * size_of::<Slot>() + self.texts.0.iter().map(Vec::capacity).sum::<usize>() + secret
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newcomers_are_in_order_of_tag_however_they_had_to_give_way() {
        let keys = Keys::new(vec![0]);
        // Tags that crowd in one place, at the end (so that slots go over it), and anywhere.
        for (step, first) in [(1, 1 << 31), (1, u32::MAX - 120), (0x9e37_79b9, 7), (10_737_418, 0)] {
            let mut bucket = Bucket::default();
            for n in (0..120u32).map(|n| n * 7919 % 120) {
                let tag = first.wrapping_add(n.wrapping_mul(step));
                let id = bucket.id(tag, 0, format!("{n}").as_bytes(), 1).expect("room");
                assert_eq!(bucket.id(tag, 0, format!("{n}").as_bytes(), 1), Some(id));
            }
            let tags: Vec<u32> = bucket
                .newcomers(&keys)
                .into_iter()
                .map(|at| bucket.slots[at as usize].tag)
                .collect();
            assert_eq!(tags.len(), 120);
            assert!(tags.is_sorted());
        }
    }

    #[test]
    fn crowded_buckets_hide_their_tags_and_others_do_not() {
        let (keys, count) = (Keys::new(vec![0]), 20_000u32);
        type Tags = fn(u32) -> u32;
        let crowds: [(Tags, bool); 4] = [
            (|n| n.wrapping_mul(0x9e37_79b9), false),
            (|_| 7, true),
            (|n| u32::MAX - n % 64, true),
            // All of them come after many that are in nobody's way.
            (|n| if n < 10_000 { n.wrapping_mul(0x9e37_79b9) } else { n }, true),
        ];
        for (tag, hidden) in crowds {
            let (mut many, mut single, mut waiting) = (Bucket::default(), Bucket::default(), Waiting::default());
            let (mut ids, mut expected) = (Vec::new(), Vec::new());
            for n in (0..count).chain(0..count) {
                let text = format!("{n}");
                waiting.push(tag(n), 0, &text);
                expected.push(single.id(tag(n), 0, text.as_bytes(), 1).expect("room"));
            }
            many.look_up(&waiting, &mut ids).expect("room");
            assert_eq!(ids, expected);
            assert_eq!((many.secret.is_some(), single.secret.is_some()), (hidden, hidden));
            let order = |bucket: &Bucket| -> Vec<u32> {
                let newcomers = bucket.newcomers(&keys).into_iter();
                newcomers.map(|at| bucket.local(at)).collect()
            };
            let mut all = order(&many);
            if hidden {
                assert_eq!(all, order(&single));
            }
            all.sort_unstable();
            assert_eq!(all, (0..count).collect::<Vec<_>>());
        }
    }

    #[test]
    fn looking_up_many_at_once_equals_one_after_the_other() {
        let (mut many, mut single) = (Bucket::default(), Bucket::default());
        for round in 1..5u32 {
            let (mut waiting, mut ids, mut expected) = (Waiting::default(), Vec::new(), Vec::new());
            for n in 0..300u32 {
                // Every tag has several texts, and texts come again within a block.
                let n = n * round % 97;
                let (tag, text) = (
                    (n % 40).wrapping_mul(0x0f00_0001),
                    format!("{n:>0width$}", width = n as usize % 9 + 1),
                );
                waiting.push(tag, (n % 2) as u8, &text);
                expected.push(single.id(tag, (n % 2) as u8, text.as_bytes(), 1).expect("room"));
            }
            many.look_up(&waiting, &mut ids).expect("room");
            assert_eq!(ids, expected);
        }
        let counts = |bucket: &Bucket| bucket.slots.iter().map(|slot| u32::from(slot.count)).sum::<u32>();
        assert_eq!((many.fresh(), counts(&many), counts(&single)), (97, 1200, 1200));
    }
}
