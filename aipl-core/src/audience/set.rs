//! The set itself: a roaring bitmap of dense numbers, the universe they count in, and how it was made.

use std::fmt;
use std::sync::Arc;

use roaring::RoaringBitmap;

use crate::audience::error::AudienceError;
use crate::base::{ConsumerIdx, IdValue};
use crate::timeline::Universe;

/// An immutable set of consumers. Audiences of one universe combine by set algebra; those of different universes refuse.
///
/// ```
/// use std::sync::Arc;
/// use aipl_core::audience::Audience;
/// use aipl_core::base::{IdKind, IdValue};
/// use aipl_core::timeline::Universe;
///
/// let universe = Arc::new(Universe::of_ids(IdKind::Text, ["a", "b", "c"].map(IdValue::from)));
/// let left = Audience::of_ids(&universe, ["a", "b"].map(IdValue::from), "left");
/// let right = Audience::of_ids(&universe, ["b", "c"].map(IdValue::from), "right");
/// assert_eq!(left.and(&right)?.ids()?, [IdValue::from("b")]);
/// assert_eq!(left.or(&right)?.len(), 3);
/// # Ok::<(), aipl_core::audience::AudienceError>(())
/// ```
#[derive(Clone)]
pub struct Audience {
    bits: Arc<RoaringBitmap>,
    universe: UniverseRef,
    made: Arc<str>,
}

/// A universe, or only its fingerprint.
#[derive(Clone)]
pub(crate) enum UniverseRef {
    Known(Arc<Universe>),
    Fingerprint(u128),
}

impl UniverseRef {
    pub fn fingerprint(&self) -> u128 {
        match self {
            UniverseRef::Known(universe) => universe.fingerprint(),
            UniverseRef::Fingerprint(fingerprint) => *fingerprint,
        }
    }
}

impl fmt::Debug for Audience {
    /// Size and making; never identifiers.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Audience({} consumers: {})", self.len(), self.made)
    }
}

impl PartialEq for Audience {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint() == other.fingerprint() && self.bits == other.bits
    }
}

impl Eq for Audience {}

impl Audience {
    /// A set of dense numbers.
    #[must_use]
    pub fn new(bits: RoaringBitmap, universe: Arc<Universe>, made: &str) -> Self {
        Self::with_ref(bits, UniverseRef::Known(universe), made)
    }

    pub(crate) fn with_ref(mut bits: RoaringBitmap, universe: UniverseRef, made: &str) -> Self {
        bits.optimize();
        Audience {
            bits: Arc::new(bits),
            universe,
            made: made.into(),
        }
    }

    /// The consumers of a universe among these; identifiers that are not in it are left out.
    #[must_use]
    pub fn of_ids(universe: &Arc<Universe>, ids: impl IntoIterator<Item = IdValue>, made: &str) -> Self {
        let bits = ids.into_iter().filter_map(|id| universe.find(&id)).map(|idx| idx.0).collect();
        Self::new(bits, universe.clone(), made)
    }

    /// The number of consumers, those whose identifiers are lost among them.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.bits.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bits.is_empty()
    }

    /// Fingerprint of the universe.
    #[must_use]
    pub fn fingerprint(&self) -> u128 {
        self.universe.fingerprint()
    }

    /// The universe.
    ///
    /// # Errors
    /// [`AudienceError::NoUniverse`] if it was read from bytes without one.
    pub fn universe(&self) -> Result<&Arc<Universe>, AudienceError> {
        match &self.universe {
            UniverseRef::Known(universe) => Ok(universe),
            UniverseRef::Fingerprint(_) => Err(AudienceError::NoUniverse),
        }
    }

    /// How it was made.
    #[must_use]
    pub fn made(&self) -> &str {
        &self.made
    }

    /// The dense numbers.
    #[must_use]
    pub fn bits(&self) -> &RoaringBitmap {
        &self.bits
    }

    /// Bytes of the set in memory, as serialized (the universe is shared and not counted).
    #[must_use]
    pub fn nbytes(&self) -> usize {
        self.bits.serialized_size()
    }

    /// Whether a consumer is in the set.
    ///
    /// # Errors
    /// [`AudienceError::NoUniverse`].
    pub fn contains(&self, id: &IdValue) -> Result<bool, AudienceError> {
        Ok(self.universe()?.find(id).is_some_and(|idx| self.bits.contains(idx.0)))
    }

    /// How many of the consumers have no identifier any more: it was lost with a damaged file of a bank, and their events were
    /// taken out. They count in [`Audience::len`], and are in no list.
    ///
    /// # Errors
    /// [`AudienceError::NoUniverse`].
    pub fn lost_ids(&self) -> Result<u64, AudienceError> {
        Ok(self.bits.intersection_len(self.universe()?.lost()))
    }

    /// The dense numbers of those who have an identifier.
    pub(crate) fn known(&self) -> Result<RoaringBitmap, AudienceError> {
        Ok(&*self.bits - self.universe()?.lost())
    }

    /// Dense numbers in order of external identifier, of those who have one.
    ///
    /// # Errors
    /// [`AudienceError::NoUniverse`].
    pub fn ordered(&self) -> Result<Vec<ConsumerIdx>, AudienceError> {
        Ok(self
            .universe()?
            .order(self.known()?.iter().collect())
            .into_iter()
            .map(ConsumerIdx)
            .collect())
    }

    /// External identifiers in order (integers by value, texts by bytes), of those who have one.
    ///
    /// # Errors
    /// [`AudienceError::NoUniverse`].
    pub fn ids(&self) -> Result<Vec<IdValue>, AudienceError> {
        let universe = self.universe()?;
        Ok(self.ordered()?.into_iter().map(|idx| universe.id(idx)).collect())
    }

    fn combine(
        &self,
        other: &Self,
        sign: &str,
        bits: impl FnOnce(&RoaringBitmap, &RoaringBitmap) -> RoaringBitmap,
    ) -> Result<Self, AudienceError> {
        self.same_universe(other)?;
        // The side that knows its identifiers lends them to the result; of two states of a bank, the later one; of two copies, the one that
        // knows the accounts behind persons.
        let universe = match (&self.universe, &other.universe) {
            (UniverseRef::Known(own), UniverseRef::Known(theirs))
                if (own.len(), own.people().is_some()) < (theirs.len(), theirs.people().is_some()) =>
            {
                &other.universe
            }
            (UniverseRef::Known(_), _) => &self.universe,
            (UniverseRef::Fingerprint(_), _) => &other.universe,
        };
        Ok(Self::with_ref(
            bits(&self.bits, &other.bits),
            universe.clone(),
            &join_recipes(&self.made, sign, &other.made),
        ))
    }

    fn same_universe(&self, other: &Self) -> Result<(), AudienceError> {
        let (left, right) = (self.fingerprint(), other.fingerprint());
        if left == right {
            Ok(())
        } else {
            Err(AudienceError::UniverseMismatch { left, right })
        }
    }

    /// Consumers in either.
    ///
    /// # Errors
    /// [`AudienceError::UniverseMismatch`].
    pub fn or(&self, other: &Self) -> Result<Self, AudienceError> {
        self.combine(other, "|", |left, right| left | right)
    }

    /// Consumers in both.
    ///
    /// # Errors
    /// [`AudienceError::UniverseMismatch`].
    pub fn and(&self, other: &Self) -> Result<Self, AudienceError> {
        self.combine(other, "&", |left, right| left & right)
    }

    /// Consumers here and not there.
    ///
    /// # Errors
    /// [`AudienceError::UniverseMismatch`].
    pub fn minus(&self, other: &Self) -> Result<Self, AudienceError> {
        self.combine(other, "-", |left, right| left - right)
    }

    /// Consumers in exactly one.
    ///
    /// # Errors
    /// [`AudienceError::UniverseMismatch`].
    pub fn xor(&self, other: &Self) -> Result<Self, AudienceError> {
        self.combine(other, "^", |left, right| left ^ right)
    }

    /// How many consumers are in both, without making the set.
    ///
    /// # Errors
    /// [`AudienceError::UniverseMismatch`].
    pub fn overlap(&self, other: &Self) -> Result<u64, AudienceError> {
        self.same_universe(other)?;
        Ok(self.bits.intersection_len(&other.bits))
    }

    /// Whether all consumers here are there too.
    ///
    /// # Errors
    /// [`AudienceError::UniverseMismatch`].
    pub fn is_subset(&self, other: &Self) -> Result<bool, AudienceError> {
        self.same_universe(other)?;
        Ok(self.bits.is_subset(&other.bits))
    }

    /// `count` consumers who have an identifier drawn without replacement (all of them, if there are no more). The same seed draws the same consumers,
    /// whatever else the universe holds: a consumer's lot depends on the seed and its own identifier.
    ///
    /// # Errors
    /// [`AudienceError::NoUniverse`].
    pub fn sample(&self, count: u64, seed: u64) -> Result<Self, AudienceError> {
        let universe = self.universe()?;
        let lot = |idx: u32| match universe.id(ConsumerIdx(idx)) {
            IdValue::Int(value) => xxhash_rust::xxh3::xxh3_64_with_seed(&value.to_le_bytes(), seed),
            IdValue::Text(text) => xxhash_rust::xxh3::xxh3_64_with_seed(text.as_bytes(), seed),
        };
        let mut lots: Vec<(u64, u32)> = self.known()?.iter().map(|idx| (lot(idx), idx)).collect();
        let wanted = usize::try_from(count).unwrap_or(usize::MAX).min(lots.len());
        if wanted < lots.len() && wanted > 0 {
            lots.select_nth_unstable(wanted - 1);
        }
        let bits = lots[..wanted].iter().map(|(_, idx)| *idx).collect();
        Ok(Self::with_ref(
            bits,
            self.universe.clone(),
            &format!("sample of {count} (seed {seed}) from {}", self.made),
        ))
    }
}

/// Recipes stay readable: long ones are shortened in the middle.
fn join_recipes(left: &str, sign: &str, right: &str) -> String {
    const LONGEST: usize = 200;
    let joined = format!("({left} {sign} {right})");
    if joined.chars().count() <= LONGEST {
        return joined;
    }
    let head: String = joined.chars().take(LONGEST / 2).collect();
    let tail: Vec<char> = joined.chars().rev().take(LONGEST / 2).collect();
    format!("{head} … {}", tail.into_iter().rev().collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::IdKind;

    fn universe(ids: &[&str]) -> Arc<Universe> {
        Arc::new(Universe::of_ids(IdKind::Text, ids.iter().map(|id| IdValue::from(*id))))
    }

    #[test]
    fn different_universes_refuse_and_equal_ones_combine() {
        let (one, twin, other) = (universe(&["a", "b"]), universe(&["b", "a"]), universe(&["a", "c"]));
        let set = |universe: &Arc<Universe>| Audience::of_ids(universe, [IdValue::from("a")], "a");
        assert_eq!(set(&one).and(&set(&twin)).map(|both| both.len()), Ok(1));
        assert!(matches!(set(&one).or(&set(&other)), Err(AudienceError::UniverseMismatch { .. })));
        assert_ne!(set(&one), set(&other));
    }

    #[test]
    fn samples_repeat_and_grow() {
        let universe = Arc::new(Universe::of_ids(IdKind::Int64, (0..1000).map(IdValue::Int)));
        let all = Audience::of_ids(&universe, (0..1000).map(IdValue::Int), "all");
        let small = all.sample(10, 7).expect("samples");
        assert_eq!((small.len(), small == all.sample(10, 7).expect("samples")), (10, true));
        assert_eq!(small.is_subset(&all.sample(50, 7).expect("samples")), Ok(true));
        assert_ne!(small, all.sample(10, 8).expect("samples"));
        assert_eq!(all.sample(5000, 1).expect("samples"), all);
        assert_eq!(all.sample(0, 1).expect("samples").len(), 0);
    }

    #[test]
    fn long_recipes_are_shortened() {
        let universe = universe(&["a"]);
        let mut set = Audience::of_ids(&universe, [], "a rather long description of an audience");
        for _ in 0..20 {
            set = set.or(&set).expect("same universe");
        }
        assert!(set.made().chars().count() < 210);
    }
}
