//! Persons of the library against persons worked out from the definitions alone, for random rows, types and guards.

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a test says what it expects")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aipl_core::base::Zone;
use aipl_core::identity::{Family, Guards, IdType, IdentityMap, Reading};
use aipl_core::source::OnError;
use aipl_core::source::memory::StreamSource;
use aipl_core::timeline::{Runtime, add_identities, block_identity, resolve_identities, unlink_identities};
use arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray, TimestampMicrosecondArray};
use proptest::prelude::*;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// An identifier: place of its type, and value.
type Id = (usize, String);

#[derive(Debug, Clone)]
struct Row {
    ids: Vec<Option<u8>>,
    seen_at: i64,
}

#[derive(Debug, Clone)]
struct World {
    types: Vec<IdType>,
    guards: Guards,
    rows: Vec<Row>,
}

fn types() -> impl Strategy<Value = Vec<IdType>> {
    prop::collection::vec((any::<bool>(), prop::bool::weighted(0.25), prop::bool::weighted(0.75)), 2..5).prop_map(|flags| {
        let names = ["member", "card", "account", "device", "token"];
        let mut types: Vec<IdType> = flags
            .into_iter()
            .zip(names)
            .map(|((device, single, joining), name)| IdType {
                family: if device { Family::Device } else { Family::ThirdParty },
                single,
                joining,
                ignore: vec!["v3".to_owned()],
                ..IdType::named(name)
            })
            .collect();
        types[0].joining = true;
        types
    })
}

fn world() -> impl Strategy<Value = World> {
    types().prop_flat_map(|types| {
        let width = types.len();
        let row =
            (prop::collection::vec(prop::option::weighted(0.6, 0u8..9), width), 0i64..4).prop_map(|(ids, seen_at)| Row { ids, seen_at });
        let guards = (prop::option::weighted(0.6, 1u32..4), prop::option::weighted(0.4, 2u32..6)).prop_map(|(people, component)| Guards {
            max_people_per_id: people,
            max_component: component,
        });
        (Just(types), guards, prop::collection::vec(row, 0..40)).prop_map(|(types, guards, rows)| World { types, guards, rows })
    })
}

fn value(number: u8) -> String {
    format!("v{number}")
}

fn source(world: &World, rows: &[Row]) -> StreamSource {
    let mut columns: Vec<(String, ArrayRef)> = world
        .types
        .iter()
        .enumerate()
        .map(|(place, id_type)| {
            let values = rows.iter().map(|row| row.ids[place].map(value));
            (id_type.name.clone(), Arc::new(values.collect::<StringArray>()) as ArrayRef)
        })
        .collect();
    let times = TimestampMicrosecondArray::from_iter_values(rows.iter().map(|row| row.seen_at)).with_timezone("UTC");
    columns.push(("seen_at".to_owned(), Arc::new(times)));
    let batch = RecordBatch::try_from_iter(columns).expect("a batch");
    StreamSource::from_batches(
        "rows",
        batch.schema(),
        (0..batch.num_rows())
            .step_by(7)
            .map(|at| batch.slice(at, 7.min(batch.num_rows() - at)))
            .collect(),
    )
}

fn reading() -> Reading {
    Reading {
        seen_at: None,
        source: None,
        zone: Arc::new(Zone::named("UTC").expect("UTC")),
    }
}

fn resolve(world: &World, threads: usize) -> IdentityMap {
    let runtime = Runtime::with_threads(threads).expect("threads");
    resolve_identities(
        &source(world, &world.rows),
        world.types.clone(),
        world.guards,
        &reading(),
        OnError::Reject,
        &runtime,
    )
    .expect("resolves")
}

/// The library's order among equals: a hash of type and value.
fn key(world: &World, (kind, text): &Id) -> u64 {
    xxh3_64_with_seed(text.as_bytes(), xxh3_64(world.types[*kind].name.as_bytes())) >> 1
}

/// Rank of an anchor, key of a carried identifier, the identifier, and its anchor.
type Carried = ((bool, usize, u64), u64, Id, Id);

/// Groups of identifiers that belong to one person, straight from the definitions.
fn persons(world: &World, cuts: &[(Id, Id)], blocked: &[Id]) -> BTreeSet<BTreeSet<Id>> {
    let types = &world.types;
    let all: Vec<(Vec<Id>, i64)> = world
        .rows
        .iter()
        .map(|row| {
            let ids = row
                .ids
                .iter()
                .enumerate()
                .filter_map(|(kind, number)| number.map(|number| (kind, value(number))));
            (ids.collect(), row.seen_at)
        })
        .collect();
    let ids: BTreeSet<Id> = all.iter().flat_map(|(ids, _)| ids.clone()).collect();
    let mut out: BTreeSet<Id> = ids.iter().filter(|id| id.1 == "v3" || blocked.contains(id)).cloned().collect();
    let is_cut = |one: &Id, other: &Id| cuts.contains(&(one.clone(), other.clone())) || cuts.contains(&(other.clone(), one.clone()));
    if let Some(most) = world.guards.max_people_per_id {
        let met = |id: &Id, kind: usize| -> BTreeSet<Id> {
            let rows = all.iter().filter(|(row, _)| row.contains(id)).flat_map(|(row, _)| row);
            rows.filter(|other| *other != id && other.0 == kind && !out.contains(*other) && !is_cut(id, other))
                .cloned()
                .collect()
        };
        let people: Vec<usize> = (0..types.len()).filter(|&kind| types[kind].family != Family::Device).collect();
        let shared = |id: &&Id| types[id.0].joining && !out.contains(*id) && people.iter().any(|&kind| met(id, kind).len() > most as usize);
        let shared: Vec<Id> = ids.iter().filter(shared).cloned().collect();
        out.extend(shared);
    }
    // Every row's links, anchor first.
    let mut links: Vec<(Id, Id, i64)> = Vec::new();
    for (row, seen_at) in &all {
        let live: Vec<&Id> = row.iter().filter(|id| !out.contains(id)).collect();
        let Some(anchor) = live.iter().find(|id| types[id.0].joining).or(live.first()) else {
            continue;
        };
        links.extend(
            live.iter()
                .filter(|id| id != &anchor && !is_cut(id, anchor))
                .map(|id| ((*anchor).clone(), (*id).clone(), *seen_at)),
        );
    }
    let mut group: BTreeMap<Id, Id> = ids
        .iter()
        .filter(|id| !out.contains(id))
        .map(|id| (id.clone(), id.clone()))
        .collect();
    let members = |group: &BTreeMap<Id, Id>, of: &Id| -> Vec<Id> {
        group
            .iter()
            .filter(|(_, own)| *own == &group[of])
            .map(|(id, _)| id.clone())
            .collect()
    };
    let merge = |group: &mut BTreeMap<Id, Id>, one: &Id, other: &Id| {
        let (kept, gone) = (group[one].clone(), group[other].clone());
        group.values_mut().filter(|own| **own == gone).for_each(|own| *own = kept.clone());
    };
    let joins = |id: &Id| types[id.0].joining;
    // Strongest first: higher priority of the weaker end, of the stronger end, earlier, then by key.
    let mut joining: Vec<&(Id, Id, i64)> = links.iter().filter(|(one, other, _)| joins(one) && joins(other)).collect();
    joining.sort_by_key(|(one, other, seen_at)| {
        let (a, b) = (key(world, one), key(world, other));
        (one.0.max(other.0), one.0.min(other.0), *seen_at, a.min(b), a.max(b))
    });
    for (one, other, _) in joining {
        if group[one] == group[other] {
            continue;
        }
        let both: Vec<Id> = members(&group, one).into_iter().chain(members(&group, other)).collect();
        let crowded = (0..types.len()).any(|kind| types[kind].single && both.iter().filter(|id| id.0 == kind).count() > 1);
        if !crowded && world.guards.max_component.is_none_or(|most| both.len() <= most as usize) {
            merge(&mut group, one, other);
        }
    }
    // Carried identifiers go to the person of the best anchor they were seen with.
    for kind in (0..types.len()).filter(|&kind| !types[kind].joining) {
        let mut carried: Vec<Carried> = Vec::new();
        for id in ids.iter().filter(|id| id.0 == kind && !out.contains(*id)) {
            let anchors = links
                .iter()
                .filter(|(anchor, other, _)| other == id && anchor.0 != kind)
                .map(|(anchor, ..)| anchor);
            let best = anchors.min_by_key(|anchor| (!joins(anchor), anchor.0, key(world, anchor)));
            carried.extend(best.map(|anchor| {
                (
                    (!joins(anchor), anchor.0, key(world, anchor)),
                    key(world, id),
                    id.clone(),
                    anchor.clone(),
                )
            }));
        }
        carried.sort();
        let mut taken = BTreeSet::new();
        for (_, _, id, anchor) in carried {
            if !types[kind].single || taken.insert(group[&anchor].clone()) {
                let person = group[&anchor].clone();
                group.insert(id, person);
            }
        }
    }
    let mut persons: BTreeMap<Id, BTreeSet<Id>> = BTreeMap::new();
    group.into_iter().for_each(|(id, person)| {
        persons.entry(person).or_default().insert(id);
    });
    persons.into_values().collect()
}

/// Groups as the library has them, checked on the way: lookups agree with persons, and the founder is the oldest.
fn groups(world: &World, map: &IdentityMap) -> BTreeSet<BTreeSet<Id>> {
    let (count, rows) = map.persons();
    let mut persons: BTreeMap<i64, BTreeSet<Id>> = BTreeMap::new();
    let mut seen = 0;
    let mut last = None;
    for batch in rows {
        let batch = batch.expect("a batch");
        let (people, kinds, ids) = (
            batch.column(0).as_primitive::<arrow::datatypes::Int64Type>(),
            batch.column(1).as_string::<i32>(),
            batch.column(2).as_string::<i32>(),
        );
        for row in 0..batch.num_rows() {
            let kind = world.types.iter().position(|known| known.name == kinds.value(row)).expect("a type");
            let age = map.age(kinds.value(row), ids.value(row)).expect("a type");
            let at = (people.value(row), kind, age);
            assert!(last.is_none_or(|last| last < at), "rows are in order of person, priority and age");
            assert_eq!(map.lookup(kinds.value(row), ids.value(row)), Ok(Some(at.0)));
            persons.entry(at.0).or_default().insert((kind, ids.value(row).to_owned()));
            last = Some(at);
            seen += 1;
        }
    }
    assert_eq!((seen, persons.len()), (count, map.len()));
    for (person, ids) in &persons {
        let listed: Vec<(String, String)> = ids
            .iter()
            .map(|(kind, text)| (world.types[*kind].name.clone(), text.clone()))
            .collect();
        let of_map = map
            .person(*person)
            .expect("there")
            .into_iter()
            .map(|(name, text)| (name.to_owned(), text.to_owned()));
        let mut of_map: Vec<_> = of_map.collect();
        of_map.sort_by_key(|(name, text)| (world.types.iter().position(|known| known.name == *name), text.clone()));
        assert_eq!(of_map, listed);
        let oldest = ids
            .iter()
            .min_by_key(|(kind, text)| map.age(&world.types[*kind].name, text).expect("a type"))
            .expect("someone");
        assert_eq!(*person as u64, key(world, oldest), "a person is numbered by its oldest identifier");
    }
    persons.into_values().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn persons_equal_those_of_the_definitions(world in world()) {
        let map = resolve(&world, 2);
        prop_assert_eq!(groups(&world, &map), persons(&world, &[], &[]));
    }

    #[test]
    fn adding_rows_equals_resolving_all_and_keeps_the_oldest_number(world in world(), cut in 0usize..40) {
        let runtime = Runtime::with_threads(2).unwrap();
        let cut = cut.min(world.rows.len());
        let first = World { rows: world.rows[..cut].to_vec(), ..world.clone() };
        let early = resolve(&first, 2);
        let both = add_identities(&early, &source(&world, &world.rows[cut..]), &reading(), OnError::Reject, &runtime).expect("adds");
        let after = groups(&world, &both);
        prop_assert_eq!(&after, &groups(&world, &resolve(&world, 1)));
        // A person whose oldest identifier is from the first batch has the number that one had there, unless guards took it apart.
        for group in &after {
            let (kind, text) = group.iter().next().unwrap();
            let person = both.lookup(&world.types[*kind].name, text).unwrap();
            let founder = group.iter().min_by_key(|(kind, text)| both.age(&world.types[*kind].name, text).unwrap()).unwrap();
            if early.age(&world.types[founder.0].name, &founder.1).unwrap().is_some() {
                prop_assert_eq!(person.map(|person| person as u64), Some(key(&world, founder)));
            }
        }
    }

    #[test]
    fn nothing_depends_on_threads_or_order(world in world(), seed in any::<u64>()) {
        let map = resolve(&world, 1);
        let mut shuffled = world.clone();
        shuffled.rows.sort_by_key(|row| xxh3_64_with_seed(format!("{row:?}").as_bytes(), seed));
        for (other, threads) in [(&world, 2), (&world, 8), (&shuffled, 2)] {
            let other = resolve(other, threads);
            let rows = |map: &IdentityMap| map.persons().1.map(|batch| batch.unwrap()).collect::<Vec<_>>();
            prop_assert_eq!(rows(&map), rows(&other));
            prop_assert_eq!(map.refused(&|| false).unwrap(), other.refused(&|| false).unwrap());
            prop_assert_eq!(map.merges(&|| false).unwrap(), other.merges(&|| false).unwrap());
            prop_assert_eq!(map.ignored().unwrap(), other.ignored().unwrap());
        }
    }

    #[test]
    fn what_is_taken_back_was_never_there(world in world(), pick in any::<prop::sample::Index>(), split in 0usize..40) {
        let runtime = Runtime::with_threads(2).unwrap();
        let map = resolve(&world, 2);
        let name = |id: &Id| world.types[id.0].name.clone();
        let ids: Vec<Id> = groups(&world, &map).into_iter().flatten().collect();
        if ids.is_empty() {
            return Ok(());
        }
        let id = ids[pick.index(ids.len())].clone();
        let person = map.lookup(&name(&id), &id.1).unwrap().unwrap();
        let links = map.links(person, &|| false).unwrap();
        let text = |column: usize, row: usize| links.column(column).as_string::<i32>().value(row).to_owned();
        if links.num_rows() > 0 {
            let row = pick.index(links.num_rows());
            let ends = [(text(0, row), text(1, row)), (text(2, row), text(3, row))];
            let cut = unlink_identities(&map, (&ends[0].0, &ends[0].1), (&ends[1].0, &ends[1].1), &runtime).expect("a link");
            let kind = |name: &str| world.types.iter().position(|known| known.name == *name).unwrap();
            let ids = ends.map(|(name, text)| (kind(&name), text));
            prop_assert_eq!(groups(&world, &cut), persons(&world, &[(ids[0].clone(), ids[1].clone())], &[]));
            // The cut stays while rows come in.
            let early = World { rows: world.rows[..split.min(world.rows.len())].to_vec(), ..world.clone() };
            let again = add_identities(&cut, &source(&world, &early.rows), &reading(), OnError::Reject, &runtime).expect("adds");
            prop_assert_eq!(groups(&world, &again), groups(&world, &cut));
        }
        let blocked = block_identity(&map, &name(&id), &id.1, &runtime).expect("known");
        prop_assert_eq!(groups(&world, &blocked), persons(&world, &[], &[id]));
    }

    #[test]
    fn a_stored_map_comes_back(world in world(), cut in 0usize..40) {
        let runtime = Runtime::with_threads(2).unwrap();
        let first = World { rows: world.rows[..cut.min(world.rows.len())].to_vec(), ..world.clone() };
        let mut map = resolve(&first, 2);
        map = add_identities(&map, &source(&world, &world.rows[first.rows.len()..]), &reading(), OnError::Reject, &runtime).expect("adds");
        let (count, rows) = map.observations().expect("plain data");
        let schema = arrow::array::RecordBatchReader::schema(&rows);
        let batches: Vec<_> = rows.collect();
        prop_assert_eq!(batches.iter().map(|batch| batch.as_ref().unwrap().num_rows()).sum::<usize>(), count);
        let back = IdentityMap::from_observations(&schema, batches.into_iter(), &|| false).expect("reads");
        let rows = |map: &IdentityMap| map.persons().1.map(|batch| batch.unwrap()).collect::<Vec<_>>();
        prop_assert_eq!(rows(&map), rows(&back));
        prop_assert_eq!(map.refused(&|| false).unwrap(), back.refused(&|| false).unwrap());
        prop_assert_eq!(map.merges(&|| false).unwrap(), back.merges(&|| false).unwrap());
        prop_assert_eq!(map.guards(), back.guards());
    }
}

/// Every person as its identifiers, and how old each identifier is.
fn shown(map: &IdentityMap) -> BTreeSet<Vec<(String, String)>> {
    let rows = map.persons().1.map(|batch| batch.expect("rows"));
    let mut persons: BTreeMap<i64, Vec<(String, String)>> = BTreeMap::new();
    for batch in rows {
        let text = |name: &str| batch.column_by_name(name).expect(name).as_string::<i32>().clone();
        let (kinds, ids) = (text("id_type"), text("id"));
        let numbers = batch.column(0).as_primitive::<arrow::datatypes::Int64Type>().values();
        for (place, person) in numbers.iter().enumerate() {
            persons
                .entry(*person)
                .or_default()
                .push((kinds.value(place).to_owned(), ids.value(place).to_owned()));
        }
    }
    persons.into_values().collect()
}

#[test]
fn plain_values_of_a_hashed_type_are_their_hashes_in_every_respect() {
    let plain = ["13900000001", "13900000002", "13900000003"];
    let hashed: Vec<String> = plain
        .iter()
        .map(|text| aipl_core::identity::normalize::hashed(aipl_core::identity::Hash::Md5, text))
        .collect();
    // Of each: how it is written, with which card, and when.
    let rows = |own: &dyn Fn(usize, bool) -> String| {
        let row = |phone: usize, is_plain: bool, card: &str, at: i64| (own(phone, is_plain), card.to_owned(), at);
        vec![
            row(0, true, "c1", 10),
            row(0, false, "c2", 50),
            row(1, false, "c3", 20),
            row(1, true, "c4", 5),
            row(2, true, "c5", 30),
            row(2, true, "c6", 31),
            row(2, false, "c7", 32),
            row(2, false, "c8", 33),
        ]
    };
    let resolved = |rows: Vec<(String, String, i64)>| {
        let phones: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.0)));
        let cards: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.1)));
        let seen: ArrayRef = Arc::new(TimestampMicrosecondArray::from_iter_values(rows.iter().map(|row| row.2)));
        let batch = RecordBatch::try_from_iter([("phone", phones), ("member", cards), ("seen_at", seen)]).expect("a batch");
        let source = StreamSource::from_batches("rows", batch.schema(), vec![batch]);
        let guards = Guards {
            max_people_per_id: Some(3),
            max_component: None,
        };
        let types = vec![IdType::named("phone"), IdType::named("member")];
        resolve_identities(&source, types, guards, &reading(), OnError::Reject, &Runtime::default()).expect("a map")
    };
    let (mixed, pure) = (
        resolved(rows(&|phone, is_plain| {
            if is_plain { plain[phone].to_owned() } else { hashed[phone].clone() }
        })),
        resolved(rows(&|phone, _| hashed[phone].clone())),
    );
    assert_eq!(shown(&mixed), shown(&pure));
    assert_eq!(mixed.ids(), 11);
    for (place, text) in hashed.iter().enumerate() {
        let age = |map: &IdentityMap, text: &str| map.age("phone", text).expect("a type").expect("known");
        assert_eq!(age(&mixed, text), age(&pure, text), "the {place}th phone");
        assert_eq!(age(&mixed, plain[place]), age(&mixed, text));
    }
    // The third phone was seen with four cards, so it stands for nobody.
    assert_eq!(mixed.lookup("phone", plain[2]).expect("a type"), None);
    assert_eq!(mixed.lookup("phone", plain[0]), mixed.lookup("member", "c2"));
}

#[test]
fn a_stored_map_that_does_not_fit_its_rules_is_refused() {
    use arrow::datatypes::Schema;
    let rows = |phones: [&str; 2]| {
        let column = |values: [&str; 2]| Arc::new(StringArray::from(values.to_vec())) as ArrayRef;
        RecordBatch::try_from_iter([("member", column(phones)), ("card", column(["c", "d"]))]).expect("a batch")
    };
    let source = |batch: RecordBatch| StreamSource::from_batches("rows", batch.schema(), vec![batch]);
    let types = vec![IdType::named("member"), IdType::named("card")];
    let map = resolve_identities(
        &source(rows(["a", "b"])),
        types,
        Guards::default(),
        &reading(),
        OnError::Reject,
        &Runtime::default(),
    );
    let stored = map.expect("a map").observations().expect("rows").1;
    let batches: Vec<RecordBatch> = stored.map(|batch| batch.expect("rows")).collect();
    let back = |schema: &Schema, batches: &[RecordBatch]| {
        IdentityMap::from_observations(schema, batches.iter().cloned().map(Ok), &|| false).map(|map| map.len())
    };
    let schema = batches[0].schema();
    assert_eq!(back(&schema, &batches).expect("the map"), 2);
    let fewer: std::collections::HashMap<String, String> = schema
        .metadata()
        .iter()
        .map(|(key, rules)| (key.clone(), rules.replace("\"batches\":1", "\"batches\":0")))
        .collect();
    assert_ne!(&fewer, schema.metadata());
    let refused = back(&schema.as_ref().clone().with_metadata(fewer), &batches).expect_err("too many batches");
    assert!(refused.to_string().contains("a row of batch 0, and 0 batches"), "{refused}");
    for (text, problem) in [(String::new(), "of 0 bytes"), ("x".repeat(70_000), "of 70000 bytes")] {
        let place = schema.index_of("id").expect("ids");
        let mut columns = batches[0].columns().to_vec();
        columns[place] = Arc::new(StringArray::from(vec![text.as_str(); batches[0].num_rows()]));
        let forged = RecordBatch::try_new(schema.clone(), columns).expect("a batch");
        let refused = back(&schema, &[forged]).expect_err(problem);
        assert!(refused.to_string().contains(problem), "{refused}");
    }
}
