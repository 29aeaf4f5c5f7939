//! Which links of the observed rows are taken: the persons that follow from all rows together.
//!
//! The answer is a function of the rows, whatever order they came in: identifiers that are ignored, blocked or shared by too many
//! people link nothing; the rest of a row is linked to its anchor, the identifier of highest priority; and where a component
//! would break a rule, its links are taken from the strongest on and those that would break it are left out.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use rayon::prelude::*;

use crate::identity::forest::Forest;
use crate::identity::id_set::IdSet;
use crate::identity::id_type::{Family, IdType};
use crate::identity::observations::{Batch, NONE, Part, Row};
use crate::identity::table::IdTable;

/// Why a link was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// One end is on an ignore list.
    Ignored,
    /// One end was blocked.
    Blocked,
    /// One end was seen with too many people.
    Shared,
    /// The link was taken back.
    Unlinked,
    /// The person would have two values of a type that allows one.
    SingleValue,
    /// The person would have too many identifiers.
    ComponentFull,
    /// Both ends are of one type that does not join.
    NotJoining,
    /// The carried end belongs to another person.
    CarriedElsewhere,
}

impl Refusal {
    /// The reason as it stands in tables.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Refusal::Ignored => "ignored",
            Refusal::Blocked => "blocked",
            Refusal::Shared => "shared",
            Refusal::Unlinked => "unlinked",
            Refusal::SingleValue => "single_value",
            Refusal::ComponentFull => "component_full",
            Refusal::NotJoining => "not_joining",
            Refusal::CarriedElsewhere => "carried_elsewhere",
        }
    }
}

/// The rules of linking.
#[derive(Clone, Copy)]
pub(crate) struct Rules<'a> {
    pub types: &'a [IdType],
    pub table: &'a IdTable,
    /// An identifier seen with more people than this links nothing.
    pub max_people: Option<u32>,
    /// A person has at most so many joining identifiers.
    pub max_component: Option<u32>,
    /// Links taken back, lesser number first.
    pub cuts: &'a BTreeSet<(u32, u32)>,
    /// Asked now and then; once it holds, the answer does not matter any more.
    pub stop: &'a (dyn Fn() -> bool + Sync),
}

/// The outcome of linking.
#[derive(Debug, Clone, Default)]
pub struct Partition {
    /// The least identifier of each identifier's person; [`NONE`] for those that belong to nobody.
    pub roots: Vec<u32>,
    /// Identifiers that link nothing, with the reason.
    pub out: BTreeMap<u32, Refusal>,
    /// Links between joining identifiers that would break a rule.
    pub broken: HashMap<(u32, u32), Refusal>,
    /// Carried identifiers that a person could not take, since it has another value of the type.
    pub crowded: HashSet<u32>,
}

/// A pair in order of number.
#[inline]
pub(crate) fn pair(left: u32, right: u32) -> (u32, u32) {
    (left.min(right), left.max(right))
}

/// What the links of a row depend on.
pub(crate) struct Links<'a> {
    kinds: &'a [u8],
    joins: Vec<bool>,
    /// Whether every identifier joins, so that nobody needs to ask for its type.
    all_join: bool,
    /// Identifiers that link nothing.
    out: &'a IdSet,
}

impl<'a> Links<'a> {
    pub fn new(types: &[IdType], kinds: &'a [u8], out: &'a IdSet) -> Self {
        Links {
            kinds,
            joins: types.iter().map(|id_type| id_type.joining).collect(),
            all_join: types.iter().all(|id_type| id_type.joining),
            out,
        }
    }

    /// Whether an identifier joins rows to one person.
    #[inline]
    pub fn joins(&self, id: u32) -> bool {
        self.all_join || self.joins[usize::from(self.kinds[id as usize])]
    }

    /// The identifier of a row that the others are linked to: the first that joins, else the first at all.
    #[inline]
    pub fn anchor(&self, ids: &[u32]) -> Option<u32> {
        let mut first = None;
        for &id in ids {
            if id == NONE || self.out.contains(id) {
                continue;
            }
            if self.joins(id) {
                return Some(id);
            }
            first = first.or(Some(id));
        }
        first
    }

    /// Calls `visit` with the anchor and each other identifier that counts.
    #[inline]
    pub fn each(&self, ids: &[u32], mut visit: impl FnMut(u32, u32)) {
        let Some(anchor) = self.anchor(ids) else { return };
        for &id in ids {
            if id != NONE && id != anchor && !self.out.contains(id) {
                visit(anchor, id);
            }
        }
    }
}

/// A part of a batch's rows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stretch<'a> {
    pub batch: u32,
    pub width: usize,
    pub part: &'a Part,
}

/// All parts of all batches.
pub(crate) fn stretches<'a>(batches: impl IntoIterator<Item = &'a Batch>) -> Vec<Stretch<'a>> {
    let of_batch = |(batch, rows): (u32, &'a Batch)| {
        let width = rows.width;
        rows.parts.iter().map(move |part| Stretch { batch, width, part })
    };
    (0u32..).zip(batches).flat_map(of_batch).collect()
}

/// The persons that follow from rows. `out` names identifiers that are ignored or blocked.
pub(crate) fn link(rows: &[Stretch<'_>], mut out: BTreeMap<u32, Refusal>, rules: Rules<'_>) -> Partition {
    let mut is_out = IdSet::new(rules.table.len(), out.keys().copied());
    if let Some(most) = rules.max_people {
        for id in shared(rows, &is_out, most, rules) {
            is_out.insert(id);
            out.insert(id, Refusal::Shared);
        }
    }
    let links = Links::new(rules.types, rules.table.kinds(), &is_out);
    let forest = Forest::new(rules.table.len());
    rows.par_iter().for_each(|stretch| {
        if !(rules.stop)() {
            join(&forest, stretch, &links, rules.cuts);
        }
    });
    let mut partition = Partition {
        roots: forest.into_roots(),
        out,
        ..Partition::default()
    };
    let bad = broken_components(&partition.roots, &links, rules);
    if !bad.is_empty() {
        relink(&mut partition, rows, &bad, &links, rules);
    }
    if rules.types.iter().any(|id_type| !id_type.joining) {
        carry(&mut partition, rows, &links, rules);
    }
    partition.out.keys().for_each(|&id| partition.roots[id as usize] = NONE);
    partition
}

/// Joins what the rows of a part link.
fn join(forest: &Forest, stretch: &Stretch<'_>, links: &Links<'_>, cuts: &BTreeSet<(u32, u32)>) {
    let allowed =
        |left: u32, right: u32| links.joins(left) && links.joins(right) && (cuts.is_empty() || !cuts.contains(&pair(left, right)));
    let (width, ids) = (stretch.width, &stretch.part.ids);
    if width == 2 {
        // By far the most common shape: at most one link a row, and nothing to choose.
        let rows = ids.chunks_exact(2).filter(|ids| ids[0] != NONE && ids[1] != NONE);
        if links.all_join && links.out.is_empty() && cuts.is_empty() {
            return forest.join_all(rows.map(|ids| (ids[0], ids[1])));
        }
        let good = |ids: &[u32]| !links.out.contains(ids[0]) && !links.out.contains(ids[1]) && allowed(ids[0], ids[1]);
        return forest.join_all(rows.filter(|ids| good(ids)).map(|ids| (ids[0], ids[1])));
    }
    let mut linked = Vec::new();
    for ids in ids.chunks_exact(width) {
        links.each(ids, |anchor, id| {
            if allowed(anchor, id) {
                linked.push((anchor, id));
            }
        });
        if linked.len() >= 1 << 12 {
            forest.join_all(linked.drain(..));
        }
    }
    forest.join_all(linked.drain(..));
}

/// Joining identifiers that rows show with more than `most` values of one type that stands for people.
fn shared(rows: &[Stretch<'_>], out: &IdSet, most: u32, rules: Rules<'_>) -> Vec<u32> {
    let (types, kinds) = (rules.types, rules.table.kinds());
    let kind = |id: u32| usize::from(kinds[id as usize]);
    let people: Vec<bool> = types.iter().map(|id_type| id_type.family != Family::Device).collect();
    // Those that were met in more rows, some of which may not count.
    let frequent = rules.table.met(most.saturating_add(1));
    if frequent.is_empty() {
        return Vec::new();
    }
    let often = |id: u32| id != NONE && frequent.contains(id) && !out.contains(id) && types[kind(id)].joining;
    let met = rows
        .par_iter()
        .filter(|_| !(rules.stop)())
        .map(|stretch| {
            let mut met = Met::default();
            for ids in stretch.part.ids.chunks_exact(stretch.width) {
                for &id in ids.iter().filter(|&&id| often(id)) {
                    for &other in ids
                        .iter()
                        .filter(|&&other| other != NONE && other != id && !out.contains(other) && people[kind(other)])
                    {
                        if rules.cuts.is_empty() || !rules.cuts.contains(&pair(id, other)) {
                            met.add(id, kinds[other as usize], other, most);
                        }
                    }
                }
            }
            met
        })
        .reduce(Met::default, |one, other| one.join(other, most));
    met.shared(most)
}

/// By identifier and type, the values that it was seen with, as far as they must be counted.
#[derive(Default)]
struct Met(HashMap<(u32, u8), BTreeSet<u32>>);

impl Met {
    fn add(&mut self, id: u32, kind: u8, other: u32, most: u32) {
        let seen = self.0.entry((id, kind)).or_default();
        if seen.len() <= most as usize {
            seen.insert(other);
        }
    }

    fn join(self, other: Met, most: u32) -> Met {
        let (mut large, small) = if self.0.len() < other.0.len() {
            (other, self)
        } else {
            (self, other)
        };
        for ((id, kind), seen) in small.0 {
            seen.into_iter().for_each(|value| large.add(id, kind, value, most));
        }
        large
    }

    fn shared(self, most: u32) -> Vec<u32> {
        let many = |((id, _), seen): ((u32, u8), BTreeSet<u32>)| (seen.len() > most as usize).then_some(id);
        let mut found: Vec<u32> = self.0.into_iter().filter_map(many).collect();
        found.sort_unstable();
        found.dedup();
        found
    }
}

/// Roots of components that break a rule.
fn broken_components(roots: &[u32], links: &Links<'_>, rules: Rules<'_>) -> HashSet<u32> {
    let mut bad = HashSet::new();
    if let Some(most) = rules.max_component {
        let mut sizes = vec![0u32; roots.len()];
        for (id, &root) in (0u32..).zip(roots).filter(|(id, _)| links.joins(*id)) {
            sizes[root as usize] += 1;
            if sizes[root as usize] > most && !links.out.contains(id) {
                bad.insert(root);
            }
        }
    }
    let single: Vec<bool> = rules.types.iter().map(|id_type| id_type.single && id_type.joining).collect();
    if single.contains(&true) {
        let mut holders: HashMap<(u32, u8), u32> = HashMap::new();
        for (id, &kind) in (0u32..).zip(rules.table.kinds()).filter(|(_, kind)| single[usize::from(**kind)]) {
            let root = roots[id as usize];
            if *holders.entry((root, kind)).or_insert(id) != id {
                bad.insert(root);
            }
        }
    }
    bad
}

/// A link with what makes it strong or weak; the strongest sorts first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Weighed {
    /// Places of the two types in the order of priority, the lower priority first.
    ranks: (u8, u8),
    seen_at: i64,
    /// Keys of both ends: nothing that would depend on the batches that rows came in.
    keys: (u64, u64),
    pair: (u32, u32),
}

/// Takes the links of broken components from the strongest on, and leaves out those that would break a rule.
fn relink(partition: &mut Partition, rows: &[Stretch<'_>], bad: &HashSet<u32>, links: &Links<'_>, rules: Rules<'_>) {
    let roots = &partition.roots;
    let kinds = rules.table.kinds();
    let mut weighed: Vec<Weighed> = rows
        .par_iter()
        .flat_map_iter(|stretch| {
            let mut found = Vec::new();
            for row in stretch.part.rows(stretch.width) {
                links.each(row.ids, |anchor, id| {
                    let pair = pair(anchor, id);
                    if links.joins(anchor) && links.joins(id) && bad.contains(&roots[anchor as usize]) && !rules.cuts.contains(&pair) {
                        let (one, other) = (kinds[anchor as usize], kinds[id as usize]);
                        let (low, high) = (rules.table.key(anchor), rules.table.key(id));
                        found.push(Weighed {
                            ranks: (one.max(other), one.min(other)),
                            seen_at: row.seen_at,
                            keys: (low.min(high), low.max(high)),
                            pair,
                        });
                    }
                });
            }
            found
        })
        .collect();
    weighed.par_sort_unstable();
    let mut seen = HashSet::with_capacity(weighed.len());
    weighed.retain(|link| seen.insert(link.pair));
    drop(seen);
    let mut careful = Careful::new(roots, bad, rules);
    for link in weighed {
        if (rules.stop)() {
            return;
        }
        if let Err(refusal) = careful.join(link.pair) {
            partition.broken.insert(link.pair, refusal);
        }
    }
    for place in 0..careful.members.len() as u32 {
        let root = careful.find(place);
        partition.roots[careful.members[place as usize] as usize] = careful.members[root as usize];
    }
}

/// Union-find of the identifiers of broken components, one link after the other, that refuses what would break a rule.
struct Careful<'a> {
    /// The identifiers in order; the rest speaks of places in this list.
    members: Vec<u32>,
    places: Vec<u32>,
    parents: Vec<u32>,
    sizes: Vec<u32>,
    /// Single-valued types of which each root has a value.
    singles: HashMap<u32, Vec<u8>>,
    rules: Rules<'a>,
}

impl<'a> Careful<'a> {
    fn new(roots: &[u32], bad: &HashSet<u32>, rules: Rules<'a>) -> Self {
        let mut places = vec![NONE; roots.len()];
        let members: Vec<u32> = (0..roots.len() as u32).filter(|&id| bad.contains(&roots[id as usize])).collect();
        let mut singles = HashMap::new();
        for (place, &id) in (0u32..).zip(&members) {
            places[id as usize] = place;
            let kind = rules.table.kinds()[id as usize];
            if rules.types[usize::from(kind)].single {
                singles.insert(place, vec![kind]);
            }
        }
        Careful {
            parents: (0..members.len() as u32).collect(),
            sizes: vec![1; members.len()],
            members,
            places,
            singles,
            rules,
        }
    }

    fn find(&mut self, mut place: u32) -> u32 {
        while self.parents[place as usize] != place {
            let above = self.parents[self.parents[place as usize] as usize];
            self.parents[place as usize] = above;
            place = above;
        }
        place
    }

    fn join(&mut self, (left, right): (u32, u32)) -> Result<(), Refusal> {
        let (left, right) = (self.places[left as usize], self.places[right as usize]);
        let (left, right) = pair(self.find(left), self.find(right));
        if left == right {
            return Ok(());
        }
        let kinds = self.singles.get(&right).cloned().unwrap_or_default();
        if self
            .singles
            .get(&left)
            .is_some_and(|own| own.iter().any(|kind| kinds.contains(kind)))
        {
            return Err(Refusal::SingleValue);
        }
        let joined = self.sizes[left as usize].saturating_add(self.sizes[right as usize]);
        if self.rules.max_component.is_some_and(|most| joined > most) {
            return Err(Refusal::ComponentFull);
        }
        self.parents[right as usize] = left;
        self.sizes[left as usize] = joined;
        if !kinds.is_empty() {
            self.singles.entry(left).or_default().extend(kinds);
        }
        Ok(())
    }
}

/// Gives each carried identifier to one person: that of the joining identifier of highest priority that it was seen with, and of those of
/// one type the one of the least key.
fn carry(partition: &mut Partition, rows: &[Stretch<'_>], links: &Links<'_>, rules: Rules<'_>) {
    let (table, kinds) = (rules.table, rules.table.kinds());
    let each = |visit: &(dyn Fn(u64, u32, u32) + Sync)| {
        rows.par_iter().for_each(|stretch| {
            for ids in stretch.part.ids.chunks_exact(stretch.width) {
                links.each(ids, |anchor, id| {
                    if !links.joins(id) && kinds[anchor as usize] != kinds[id as usize] && !rules.cuts.contains(&pair(anchor, id)) {
                        let rank = u64::from(!links.joins(anchor)) << 63 | u64::from(kinds[anchor as usize]) << 57;
                        visit(rank | table.key(anchor) >> 6, anchor, id);
                    }
                });
            }
        });
    };
    let best: Vec<AtomicU64> = (0..table.len()).into_par_iter().map(|_| AtomicU64::new(u64::MAX)).collect();
    each(&|order, _, id| {
        best[id as usize].fetch_min(order, Relaxed);
    });
    let anchors: Vec<AtomicU32> = (0..table.len()).into_par_iter().map(|_| AtomicU32::new(NONE)).collect();
    each(&|order, anchor, id| {
        if best[id as usize].load(Relaxed) == order {
            anchors[id as usize].fetch_min(anchor, Relaxed);
        }
    });
    for (kind, id_type) in (0u8..).zip(rules.types).filter(|(_, id_type)| !id_type.joining) {
        let mut carried: Vec<(u64, u64, u32)> = (0u32..)
            .zip(kinds)
            .filter(|(id, own)| **own == kind && anchors[*id as usize].load(Relaxed) != NONE)
            .map(|(id, _)| (best[id as usize].load(Relaxed), table.key(id), id))
            .collect();
        carried.sort_unstable();
        let mut taken = HashSet::new();
        for (_, _, id) in carried {
            let root = partition.roots[anchors[id as usize].load(Relaxed) as usize];
            if id_type.single && !taken.insert(root) {
                partition.crowded.insert(id);
            } else {
                partition.roots[id as usize] = root;
            }
        }
    }
    // A carried identifier can be the oldest of its person.
    let mut oldest: HashMap<u32, u32> = HashMap::new();
    for (id, &root) in (0u32..).zip(&partition.roots).filter(|(id, root)| id < *root) {
        oldest.entry(root).or_insert(id);
    }
    if !oldest.is_empty() {
        partition
            .roots
            .par_iter_mut()
            .for_each(|root| *root = oldest.get(root).copied().unwrap_or(*root));
    }
}

/// Why the link of a row between its anchor and another identifier was not taken; `None` if it was.
pub(crate) fn refusal(partition: &Partition, links: &Links<'_>, cuts: &BTreeSet<(u32, u32)>, anchor: u32, id: u32) -> Option<Refusal> {
    let pair = pair(anchor, id);
    if cuts.contains(&pair) {
        return Some(Refusal::Unlinked);
    }
    if partition.roots[anchor as usize] == partition.roots[id as usize] {
        return None;
    }
    if links.joins(anchor) && links.joins(id) {
        return partition.broken.get(&pair).copied();
    }
    Some(if partition.crowded.contains(&id) {
        Refusal::SingleValue
    } else if links.kinds[anchor as usize] == links.kinds[id as usize] {
        Refusal::NotJoining
    } else {
        Refusal::CarriedElsewhere
    })
}

/// Calls `visit` with every link that a row asks for: both ends, and why it was not taken, if it was not.
pub(crate) fn each_asked(
    row: Row<'_>,
    partition: &Partition,
    links: &Links<'_>,
    cuts: &BTreeSet<(u32, u32)>,
    mut visit: impl FnMut(u32, u32, Option<Refusal>),
) {
    let Some(first) = row.ids.iter().copied().find(|&id| id != NONE) else {
        return;
    };
    let hub = links.anchor(row.ids).unwrap_or(first);
    for &id in row.ids.iter().filter(|&&id| id != NONE && id != hub) {
        let out = partition.out.get(&id).or_else(|| partition.out.get(&hub)).copied();
        visit(hub, id, out.or_else(|| refusal(partition, links, cuts, hub, id)));
    }
}
