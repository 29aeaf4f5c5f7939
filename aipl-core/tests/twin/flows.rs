//! What the twin says of a flow, beside what the engine says.

use std::collections::{BTreeMap, BTreeSet};

use aipl_core::analyses::{Flow, FlowClass, FlowMode, FlowParams, SnapshotParams, TriangleParams, flow, flow_triangle, snapshot};
use aipl_core::audience::Audience;
use aipl_core::base::{Day, IdKind, IdValue};
use aipl_core::timeline::{Runtime, ScopeValue, Timelines, Universe};
use arrow::array::AsArray;
use arrow::datatypes::Float64Type;
use proptest::prelude::*;
use proptest::sample::subsequence;

use super::random::{FIRST_DAY, LAST_DAY};
use super::tables::{day, members, rows};
use super::world::{Checked, Days, World, listed};

/// Consumers by what they have in common.
type Sets<K> = BTreeMap<K, BTreeSet<String>>;

/// What became of consumers between two days, by the twin.
struct Moves {
    /// By label at first and at last.
    cells: Sets<(usize, usize)>,
    /// By class and label at first.
    classes: Sets<(&'static str, usize)>,
}

impl Moves {
    fn new(days: &Days, scope: &str, (start, end): (i32, i32), mode: FlowMode, within: Option<&BTreeSet<String>>) -> Moves {
        let mut moves = Moves {
            cells: Sets::new(),
            classes: Sets::new(),
        };
        let wanted = |consumer: &&str| within.is_none_or(|within| within.contains(*consumer));
        for consumer in ["u1", "u2", "u3", "u4", "u5"].iter().filter(|consumer| wanted(consumer)) {
            let label = |day: i32| days.label(day, consumer, scope);
            let from = label(start);
            let to = match mode {
                FlowMode::Endpoint => label(end),
                FlowMode::Peak => (start + 1..=end).map(label).max().expect("two days"),
            };
            let class = match (from, to) {
                (0, 0) => continue,
                (0, _) if (FIRST_DAY..start).any(|day| label(day) != 0) => "returned",
                (0, _) => "new",
                (_, 0) => "lost",
                _ if to > from => "advanced",
                _ if to < from => "regressed",
                _ => "kept",
            };
            moves.cells.entry((from, to)).or_default().insert((*consumer).to_owned());
            moves.classes.entry((class, from)).or_default().insert((*consumer).to_owned());
        }
        moves
    }

    fn cell(&self, from: usize, to: usize) -> usize {
        self.cells.get(&(from, to)).map_or(0, BTreeSet::len)
    }

    fn class(&self, class: &'static str, from: usize) -> usize {
        self.classes.get(&(class, from)).map_or(0, BTreeSet::len)
    }
}

/// The consumers of some of the sets, in order.
fn union<K>(sets: &Sets<K>, wanted: impl Fn(&K) -> bool) -> Vec<String> {
    let wanted = sets
        .iter()
        .filter(|(key, _)| wanted(key))
        .flat_map(|(_, consumers)| consumers.clone());
    wanted.collect::<BTreeSet<_>>().into_iter().collect()
}

/// Stages from the lowest, "out" last: the order of tables.
fn order(stages: usize) -> Vec<usize> {
    (1..=stages).chain([0]).collect()
}

fn check_tables(moved: &Flow, all: &[(String, Moves)], codes: &[String]) -> Checked {
    let code = |label: usize| if label == 0 { "out".to_owned() } else { codes[label - 1].clone() };
    let (mut matrix, mut rates, mut classes, mut percents) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (scope, moves) in all {
        for from in order(codes.len()) {
            let base: usize = order(codes.len()).into_iter().map(|to| moves.cell(from, to)).sum();
            for to in order(codes.len()).into_iter().filter(|to| (from, *to) != (0, 0)) {
                let consumers = moves.cell(from, to);
                let row = vec![scope.clone(), code(from), code(to), consumers.to_string()];
                matrix.push(row.clone());
                if from != 0 {
                    rates.push([row, vec![base.to_string()]].concat());
                    percents.push((base > 0).then(|| 100.0 * consumers as f64 / base as f64));
                }
            }
            let counts = FlowClass::ALL.map(|class| moves.class(class.code(), from));
            prop_assert_eq!(counts.iter().sum::<usize>(), base);
            let texts = [base].into_iter().chain(counts).map(|count| count.to_string());
            classes.push([scope.clone(), code(from)].into_iter().chain(texts).collect::<Vec<_>>());
        }
    }
    prop_assert_eq!(rows(&moved.matrix().expect("a table")), matrix);
    prop_assert_eq!(rows(&moved.classes().expect("a table")), classes);
    let table = moved.rates().expect("a table");
    let told: Vec<Option<f64>> = table.column(5).as_primitive::<Float64Type>().iter().collect();
    prop_assert_eq!(told, percents);
    prop_assert_eq!(rows(&table.project(&[0, 1, 2, 3, 4]).expect("columns")), rates);
    Ok(())
}

fn check_audiences(moved: &Flow, all: &[(String, Moves)], codes: &[String]) -> Checked {
    let names: Vec<&str> = std::iter::once("out").chain(codes.iter().map(String::as_str)).collect();
    for (scope, (text, moves)) in moved.scopes().iter().zip(all) {
        prop_assert_eq!(&scope.to_string(), text);
        for (from, to) in (0..names.len()).flat_map(|from| (0..names.len()).map(move |to| (from, to))) {
            let audience = moved.audience(scope, &[names[from]], &[names[to]]);
            if (from, to) == (0, 0) {
                prop_assert!(audience.is_err());
                continue;
            }
            let audience = audience.expect("an audience");
            prop_assert_eq!(members(&audience), union(&moves.cells, |cell| *cell == (from, to)));
            prop_assert_eq!(audience.len() as i64, moved.count(scope, names[from], names[to]).expect("a count"));
            // Unions of cells: everybody below and above.
            let joined = moved.audience(scope, &names[..=from], &names[to..]).map(|joined| members(&joined));
            if (from, to) != (0, 0) {
                prop_assert_eq!(
                    joined.expect("an audience"),
                    union(&moves.cells, |cell| cell.0 <= from && cell.1 >= to)
                );
            }
        }
        for class in FlowClass::ALL {
            let consumers = |from: Option<&str>| members(&moved.class_audience(scope, class, from).expect("an audience"));
            prop_assert_eq!(consumers(None), union(&moves.classes, |(code, _)| *code == class.code()));
            for (label, name) in names.iter().enumerate() {
                prop_assert_eq!(consumers(Some(name)), union(&moves.classes, |key| *key == (class.code(), label)));
            }
        }
    }
    Ok(())
}

/// Whom a flow is limited to.
#[derive(Debug, Clone)]
pub enum Limit {
    Everybody,
    /// Everybody in a stage on a day, by a snapshot of the events: another universe than a log's or a flow's.
    Labeled(i32),
    /// These, in the log's own universe.
    Own(Vec<&'static str>),
    /// These, in a universe that also has strangers.
    Elsewhere(Vec<&'static str>),
}

impl Limit {
    fn audience(&self, world: &World) -> Option<Audience> {
        let ids = |names: &[&str]| names.iter().map(|name| IdValue::from(*name)).collect::<Vec<_>>();
        match self {
            Limit::Everybody => None,
            Limit::Labeled(on) => {
                let snap = snapshot(
                    &world.events,
                    &world.model,
                    day(*on),
                    &SnapshotParams::default(),
                    &Runtime::default(),
                )
                .expect("answers");
                let cells = snap
                    .scopes()
                    .iter()
                    .flat_map(|scope| world.model.codes().map(move |code| (scope, code)));
                let parts = cells.map(|(scope, code)| snap.audience(scope, code).expect("an audience"));
                parts.reduce(|all, part| all.or(&part).expect("of one snapshot"))
            }
            Limit::Own(names) => Some(Audience::of_ids(world.log.universe(), ids(names), "own")),
            Limit::Elsewhere(names) => {
                let all = ids(&[&names[..], &["stranger", "u9"]].concat());
                let universe = Universe::of_ids(IdKind::Text, all.clone()).into();
                Some(Audience::of_ids(&universe, all, "elsewhere"))
            }
        }
    }
}

pub fn limit() -> impl Strategy<Value = Limit> {
    let some = || subsequence(vec!["u1", "u2", "u3", "u5"], 0..=3);
    prop_oneof![
        5 => Just(Limit::Everybody),
        1 => (FIRST_DAY..=LAST_DAY).prop_map(Limit::Labeled),
        1 => some().prop_map(Limit::Own),
        1 => some().prop_map(Limit::Elsewhere),
    ]
}

pub fn check_flow(world: &World, (start, end): (i32, i32), mode: FlowMode, named: Option<Vec<ScopeValue>>, limit: &Limit) -> Checked {
    let days = world.days(end);
    let within = limit.audience(world);
    let allowed: Option<BTreeSet<String>> = within.as_ref().map(|audience| members(audience).into_iter().collect());
    let params = FlowParams {
        scopes: named.clone(),
        within,
        mode,
    };
    let mut told = Vec::new();
    for source in [&world.events as &dyn Timelines, &world.log] {
        let moved = flow(source, &world.model, day(start), day(end), &params, &Runtime::default()).expect("answers");
        let table = rows(&moved.matrix().expect("a table"));
        let scopes = listed(&table, 0, named.as_ref(), &days.scopes(start..=end))?;
        let all: Vec<(String, Moves)> = scopes
            .into_iter()
            .map(|scope| (scope.clone(), Moves::new(&days, &scope, (start, end), mode, allowed.as_ref())))
            .collect();
        check_tables(&moved, &all, &days.codes)?;
        check_audiences(&moved, &all, &days.codes)?;
        told.push((moved.scopes().to_vec(), moved.recipe().clone(), table));
    }
    prop_assert_eq!(&told[0], &told[1]);
    Ok(())
}

pub fn check_triangle(world: &World, mut numbers: Vec<i32>, limit: &Limit) -> Checked {
    let asked: Vec<Day> = numbers.iter().map(|&number| day(number)).collect();
    let within = limit.audience(world);
    let params = TriangleParams {
        scopes: None,
        within: within.clone(),
    };
    let flow_params = FlowParams {
        within,
        ..FlowParams::default()
    };
    let answer = |source: &dyn Timelines| flow_triangle(source, &world.model, &asked, &params, &Runtime::default());
    numbers.sort_unstable();
    numbers.dedup();
    if numbers.len() < 2 {
        prop_assert!(answer(&world.log).is_err());
        return Ok(());
    }
    let table = world.ask(|source| answer(source).expect("answers"))?.table;
    let days = world.days(numbers[numbers.len() - 1]);
    let scopes = listed(&rows(&table), 2, None, &days.scopes(numbers.iter().copied()))?;
    let mut next = 0;
    for (place, &start) in numbers.iter().enumerate() {
        for &end in &numbers[place + 1..] {
            let moved = flow(&world.log, &world.model, day(start), day(end), &flow_params, &Runtime::default()).expect("answers");
            let rates = moved.rates().expect("a table");
            // A triangle lists scopes that one of its pairs may not, and the other way round; nobody is in a stage there.
            let per_scope = world.codes().len() * (world.codes().len() + 1);
            for scope in &scopes {
                let part = table.slice(next, per_scope);
                next += per_scope;
                prop_assert!(
                    rows(&part)
                        .iter()
                        .all(|row| row[..3] == [day(start).to_string(), day(end).to_string(), scope.clone()])
                );
                let part = part.project(&[2, 3, 4, 5, 6, 7]).expect("columns");
                match moved.scopes().iter().position(|known| known.to_string() == *scope) {
                    Some(at) => prop_assert_eq!(rows(&part), rows(&rates.slice(at * per_scope, per_scope))),
                    None => prop_assert!(rows(&part).iter().all(|row| row[3..] == ["0", "0", ""])),
                }
            }
            let missing = moved.scopes().iter().filter(|known| !scopes.contains(&known.to_string()));
            for scope in missing {
                let moves = Moves::new(&days, &scope.to_string(), (start, end), FlowMode::Endpoint, None);
                prop_assert!(moves.cells.keys().all(|(from, _)| *from == 0));
            }
        }
    }
    prop_assert_eq!(next, table.num_rows());
    Ok(())
}
